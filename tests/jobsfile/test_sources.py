"""The items that each kind of `for_each` gives, and what is told of a source that gives none."""

from __future__ import annotations

import datetime
import glob
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from orchestrator.jobsfile import sources
from orchestrator.jobsfile.globs import NotYet, Walks
from orchestrator.jobsfile.language.compiler import compile_template
from orchestrator.jobsfile.model import FileSource, ListSource, MatrixSource
from orchestrator.jobsfile.sources import SourceError, list_items


def a_list(*values: Any, batch: int | None = None) -> ListSource:
    return ListSource(values=values, batch=batch)


def a_file(kind: Literal["glob", "lines", "jsonl", "csv"], path: str, batch: int | None = None) -> FileSource:
    return FileSource(kind=kind, path=compile_template(path, "text"), batch=batch)


def items(source: ListSource | FileSource | MatrixSource, folder: Path | str = "/", **context: Any) -> list[Any]:
    return list(list_items(source, context, str(folder)))


def refusal(source: ListSource | FileSource | MatrixSource, folder: Path | str = "/", **context: Any) -> str:
    with pytest.raises(SourceError) as caught:
        items(source, folder, **context)
    message = str(caught.value)
    assert "\n" not in message
    return message


def in_parts(make: Callable[[], list[Any]]) -> tuple[list[Any], int]:
    """What is listed in the end, and how often it was put aside before."""
    for parts in range(100):
        with suppress(NotYet):
            return make(), parts
    pytest.fail("it goes on for ever")


# Lists.


def test_a_list_as_written_keeps_its_types_and_renders_its_templates() -> None:
    source = a_list(
        "a", 1, True, {"x": [1.5]}, compile_template("{{ inputs.x }}", "value"), compile_template("<{{ inputs.x }}>", "value")
    )
    assert items(source, inputs={"x": [1, 2]}) == ["a", 1, True, {"x": [1.5]}, [1, 2], "<[1, 2]>"]


def test_a_template_gives_the_list() -> None:
    assert items(ListSource(values=compile_template("{{ xs }}", "value")), xs=["a", {"b": None}]) == ["a", {"b": None}]
    assert items(ListSource(values=compile_template("{{ range(3) }}", "value"))) == [0, 1, 2]
    assert items(ListSource(values=compile_template("{{ xs }}", "value")), xs=[]) == []


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a\nb", '{{ xs }} gave text, not a list; output = "lines" makes a list of a job\'s output'),
        ({"a": 1}, "{{ xs }} gave a mapping, not a list"),
        (None, "{{ xs }} gave null, not a list"),
        (3, "{{ xs }} gave a number, not a list"),
    ],
)
def test_a_template_that_gives_no_list_is_told(value: Any, told: str) -> None:
    assert refusal(ListSource(values=compile_template("{{ xs }}", "value")), xs=value) == told


def test_a_number_that_nothing_could_write_is_no_item() -> None:
    source = ListSource(values=compile_template("{{ [n, -(n ** 400)] }}", "value"))
    assert refusal(source, n=10) == "it gives a number that no double can hold"
    assert items(source, n=1) == [1, -1]


def test_a_table_may_have_many_columns(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(50_000)]  # each compared with each would take a minute
    (tmp_path / "x.csv").write_text(f"{','.join(names)},c7\n")
    assert refusal(a_file("csv", "x.csv"), tmp_path) == "x.csv:1: the column 'c7' is there twice"


def test_an_undefined_name_is_told() -> None:
    assert (
        refusal(ListSource(values=compile_template("{{ run.x }}", "value")), run={"id": "r"})
        == "run.x is undefined: the keys are id"
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "item 1 holds the number nan, which JSON cannot say"),
        ({"x": [float("inf")]}, "item 1 holds the number inf, which JSON cannot say"),
        (datetime.date(2024, 1, 1), "item 1 holds a date, which JSON cannot say"),
    ],
)
def test_only_what_json_can_say_is_an_item(value: Any, told: str) -> None:
    assert refusal(a_list("a", value)) == told


def test_batches_are_lists_of_up_to_so_many() -> None:
    assert items(a_list(1, 2, 3, 4, 5, batch=2)) == [[1, 2], [3, 4], [5]]
    assert items(a_list(1, batch=2)) == [[1]]
    assert items(a_list(batch=2)) == []


# Files.


def test_a_matrix_of_more_items_than_any_run_could_make_is_refused_before_the_first() -> None:
    """Three axes of a thousand had `plan` take all memory, and `run` fill the disk."""
    axis = a_list(*range(1000))
    told = refusal(MatrixSource(axes={"a": axis, "b": axis, "c": axis}))
    assert told == "matrix: 1000 x 1000 x 1000 are 1,000,000,000 items; a job has at most 10,000,000"


def test_glob_is_sorted_and_gives_paths_as_the_pattern_writes_them(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", ".hidden.py", "sub/c.py", "sub/deep/d.py", ".git/e.py", "sub/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert items(a_file("glob", "*.py"), tmp_path) == ["a.py", "b.py"]
    assert items(a_file("glob", "**/*.py"), tmp_path) == ["a.py", "b.py", "sub/c.py", "sub/deep/d.py"]
    assert items(a_file("glob", "./sub/*"), tmp_path) == ["./sub/c.py", "./sub/deep", "./sub/x.txt"]
    assert items(a_file("glob", ".*.py"), tmp_path) == [".hidden.py"]
    assert items(a_file("glob", f"{tmp_path}/s*/c.py"), "/") == [f"{tmp_path}/sub/c.py"]
    assert items(a_file("glob", "{{ inputs.p }}"), tmp_path, inputs={"p": "a.*"}) == ["a.py"]
    assert items(a_file("glob", "*.rs"), tmp_path) == []


LINKS = {"two/src": "a folder", "two/src/a.py": "", "two/loop": "..", "two/src/again": "../src", "other": "two/src"}


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """One file, and links to folders that lead up and around."""
    for name, target in LINKS.items():
        place = tmp_path / name
        if target == "a folder":
            place.mkdir(parents=True)
        elif target:
            place.symlink_to(target)
        else:
            place.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("two/**/*.py", ["two/src/a.py"]),
        ("**/**/a.py", ["two/src/a.py"]),
        ("other/*.py", ["other/a.py"]),
        ("*/loop/*/src/a.py", ["two/loop/two/src/a.py"]),
        ("two/**", ["two/", "two/loop", "two/src", "two/src/a.py", "two/src/again"]),
        ("two/**/", ["two/", "two/src/"]),
        ("**/again", ["two/src/again"]),
    ],
)
def test_two_stars_go_into_no_link_to_a_folder_and_a_link_that_is_meant_is_followed(
    linked: Path, pattern: str, paths: list[str]
) -> None:
    assert items(a_file("glob", pattern), linked) == paths


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "**",
        "**/",
        "*/",
        "./**/*.py",
        "s*/**",
        "sub/../*.py",
        "sub//*.py",
        "**/.h*",
        ".*/*",
        "[ab].py",
        "sub",
        "gone",
        "a.py/",
        "*/c.py",
    ],
)
def test_without_links_a_pattern_gives_what_pythons_glob_gives(tmp_path: Path, pattern: str) -> None:
    for name in ("b.py", "a.py", ".hidden.py", "sub/c.py", "sub/deep/d.py", ".git/e.py", "sub/.h/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = sorted({path for path in glob.glob(pattern, root_dir=tmp_path, recursive=True) if path})
    assert items(a_file("glob", pattern), tmp_path) == expected


def test_a_walk_goes_on_where_it_had_to_stop(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / str(number) / "x").mkdir(parents=True)
    walks = Walks(seconds=0.0)
    found, parts = in_parts(lambda: walks.matching_paths("**/x", str(tmp_path)))
    assert found == [f"{number}/x" for number in range(5)]
    assert 10 < parts < 30


def test_a_matrix_of_one_walk_twice_is_listed_in_parts_and_ends(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}/x").touch()
    source = MatrixSource(axes={"a": a_file("glob", "**/x"), "b": a_file("glob", "**/x")})
    walks = Walks(seconds=0.0)
    found, _ = in_parts(lambda: list(list_items(source, {}, str(tmp_path), walks.matching_paths)))
    assert len(found) == 25
    (tmp_path / "0/x").unlink()
    walks.forget_found()
    assert len(in_parts(lambda: walks.matching_paths("**/x", str(tmp_path)))[0]) == 4, "the next list finds out anew"


def test_hostile_file_names_are_items_like_any_other(tmp_path: Path) -> None:
    names = sorted(["new\nline", "it's", "$(id)", "-rf", " ", "a" * 255, "é", "A", "a"])
    for name in names:
        (tmp_path / name).touch()
    assert items(a_file("glob", "*"), tmp_path) == names


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take UTF-8 names only")
def test_a_file_name_that_is_not_utf8_is_an_item_by_which_the_file_is_found(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "wb"):
        pass
    (found,) = items(a_file("glob", "*.txt"), tmp_path)
    assert (found, (tmp_path / found).exists()) == ("caf\udce9.txt", True)


def test_lines_lose_their_ends_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbfa\r\n\n  b\t\n\r\nc\xc3\xa9\x0b\x1cd\n" + b"x" * 200_000)
    assert items(a_file("lines", "list"), tmp_path) == ["a", "  b\t", "cé\x0b\x1cd", "x" * 200_000]


def test_lines_and_fields_that_are_not_utf8_are_items_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a\nb\xff\n")
    assert items(a_file("lines", "list"), tmp_path) == ["a", "b\udcff"]
    (tmp_path / "x.csv").write_bytes(b"a\n\xff\n")
    assert items(a_file("csv", "x.csv"), tmp_path) == [{"a": "\udcff"}]


@pytest.mark.parametrize("kind", ["lines", "jsonl", "csv"])
def test_a_file_in_utf16_is_refused_in_words(tmp_path: Path, kind: Literal["lines", "jsonl", "csv"]) -> None:
    (tmp_path / "x").write_bytes("a\nb\n".encode("utf-16"))
    assert refusal(a_file(kind, "x"), tmp_path) == "x: it is in UTF-16; save it in UTF-8"


def test_each_line_of_jsonl_is_a_value(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"b": 1, "a": [null, true]}\n\n  \n"007"\n123456789012345678901234567890\n')
    assert items(a_file("jsonl", "x.jsonl"), tmp_path) == [{"b": 1, "a": [None, True]}, "007", 123456789012345678901234567890]


@pytest.mark.parametrize("line", ["{", "NaN", "[1] 2", "'a'", "[" * 100_000, "[" * 990 + "]" * 990, "9" * 400, '"\\ud800"'])
def test_a_line_that_is_not_json_is_told_with_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.jsonl").write_text(f"1\n{line}\n")
    assert refusal(a_file("jsonl", "x.jsonl"), tmp_path).startswith("x.jsonl:2: ")


def test_csv_has_the_delimiter_that_is_said_and_one_that_seems_to_be_there_is_named(tmp_path: Path) -> None:
    for said, name in (("\t", r'"\t"'), (";", '";"'), ("|", '"|"')):
        (tmp_path / "x.csv").write_text(f"a{said}b\n1,5{said}2\n")
        source = a_file("csv", "x.csv")
        assert items(msgspec.structs.replace(source, delimiter=said), tmp_path) == [{"a": "1,5", "b": "2"}]
        assert f'if that are several, say delimiter = {name}, else delimiter = ","' in refusal(source, tmp_path)
    (tmp_path / "x.csv").write_text("a;b\n1\n")
    assert items(msgspec.structs.replace(a_file("csv", "x.csv"), delimiter=","), tmp_path) == [{"a;b": "1"}]


def test_each_row_of_csv_is_a_mapping_of_texts(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b'\xef\xbb\xbfname,n\r\n"a ""b"",\nc",007\r\n\r\n,\r\n' + b"y" * 300_000 + b",1\r\n")
    assert items(a_file("csv", "x.csv"), tmp_path) == [
        {"name": 'a "b",\nc', "n": "007"},
        {"name": "", "n": ""},
        {"name": "y" * 300_000, "n": "1"},
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "x.csv:1: expected a line of column names"),
        (b"a,b,a\n1,2,3\n", "x.csv:1: the column 'a' is there twice"),
        (b"a,b\n1,2\n1\n", "x.csv:3: 1 fields, but the header has 2"),
        (b"a,b\n1,2,3\n", "x.csv:2: 3 fields, but the header has 2"),
        (b'a,b\n"1"x,2\n', "x.csv:2: "),
        (b'a,b\n"1,2\n', "x.csv:2: "),
    ],
)
def test_a_bad_csv_is_told_with_its_line(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    assert refusal(a_file("csv", "x.csv"), tmp_path).startswith(told)


@pytest.mark.parametrize("kind", ["lines", "jsonl", "csv"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, kind: Literal["lines", "jsonl", "csv"]) -> None:
    assert refusal(a_file(kind, "no/such"), tmp_path) == "no/such: No such file or directory"
    assert refusal(a_file(kind, "."), tmp_path) == ".: Is a directory"
    assert refusal(a_file(kind, "{{ x }}"), tmp_path, x="") == f"{kind}: the path is empty"
    assert refusal(a_file(kind, "a\0b"), tmp_path) == f"{kind}: the path holds a NUL byte"


@pytest.mark.parametrize("kind", ["lines", "jsonl", "csv"])
def test_a_pipe_without_a_writer_and_a_device_are_refused_and_not_waited_for(
    tmp_path: Path, kind: Literal["lines", "jsonl", "csv"]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(a_file(kind, "pipe"), tmp_path) == "pipe: it is a pipe, and nobody writes to it"
    assert refusal(a_file(kind, "/dev/zero"), tmp_path) == "/dev/zero: it is a device, and no file"


def test_a_table_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a,b\n1,2\n")
    os.close(writing)
    try:
        assert items(a_file("csv", f"/dev/fd/{reading}")) == [{"a": "1", "b": "2"}]
    finally:
        os.close(reading)


def test_a_line_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LARGEST_BYTES", 1 << 20)
    (tmp_path / "list").write_bytes(b"a\n" + b"\0" * (1 << 20 | 1))
    assert refusal(a_file("lines", "list"), tmp_path) == "list:2: a line of more than 1 MiB"
    assert refusal(a_file("csv", "list"), tmp_path) == "list:2: a line of more than 1 MiB"


def test_a_long_file_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"1\n2\n" + b"\n" * 100_000 + b"\xff\n")
    stream: Iterator[Any] = list_items(a_file("jsonl", "list", batch=1), {}, str(tmp_path))
    assert list(islice(stream, 2)) == [[1], [2]]
    with pytest.raises(SourceError, match="list:100003"):
        next(stream)


# Matrices.


def test_a_matrix_is_the_product_with_the_last_axis_fastest(tmp_path: Path) -> None:
    (tmp_path / "tasks").write_text("x\ny\n")
    axes: dict[str, ListSource | FileSource] = {"model": a_list("a", 1), "task": a_file("lines", "tasks")}
    assert items(MatrixSource(axes=axes), tmp_path) == [
        {"model": "a", "task": "x"},
        {"model": "a", "task": "y"},
        {"model": 1, "task": "x"},
        {"model": 1, "task": "y"},
    ]
    assert items(MatrixSource(axes=axes, batch=3), tmp_path)[1] == [{"model": 1, "task": "y"}]
    assert items(MatrixSource(axes={**axes, "none": a_list()}), tmp_path) == []


def test_a_bad_axis_is_named() -> None:
    axes: dict[str, ListSource | FileSource] = {"a": a_list(1), "b": a_file("lines", "no/such")}
    assert refusal(MatrixSource(axes=axes)) == "axis b: no/such: No such file or directory"
