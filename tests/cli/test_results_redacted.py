"""Results are written without secrets, and what an item among many others costs there is counted."""

from __future__ import annotations

import cProfile
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from drivers.store_samples import ended, header, started

from orchestrator.cli import results
from orchestrator.cli.entry import main
from orchestrator.cli.result_forms import FORMS, Row
from orchestrator.cli.results_redacted import WatchedRows, without_secrets_in_blocks
from orchestrator.reading import many_results
from orchestrator.reading.item_result import RESULT_FIELDS
from orchestrator.reading.large_output import LargeOutput
from orchestrator.reading.many_results import PlainResult, as_dict, results_to_encode
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.item_list import write_item_list
from orchestrator.store.records import ItemsListed
from orchestrator.store.run_dir import create_run_dir
from orchestrator.store.run_store import RunStore
from orchestrator.system import made_by_two
from orchestrator.system.redaction import Redactor
from orchestrator.views.json_lines import TIMES_S

KEY = "sk-ant-" + "a1B2" * 8
FIELDS = [*RESULT_FIELDS, "reason", *TIMES_S]
BLOCK = f"-----BEGIN PRIVATE KEY-----\n{'A' * 64}\n-----END PRIVATE KEY-----"


def rows(secrets: dict[int, Any]) -> Iterator[Row]:
    """Some blocks of them."""
    for index in range(900):
        yield {"item": f"a:{index}", "label": "x" * 200, "value": secrets.get(index, index), "output": "done", "error": None}


def written(given: Iterable[Row], form: str, redactor: Redactor) -> bytes:
    watched = WatchedRows(given, ["item", "label", "value", "output", "error"])
    return b"".join(without_secrets_in_blocks(FORMS[form](watched, ["item"]), watched, redactor))


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
@pytest.mark.parametrize("value", [KEY, {"deep": [f"of {KEY}"]}, {KEY: 1}, BLOCK, "own secret 1"])
def test_a_secret_is_found_in_whatever_block_of_results_it_is(form: str, value: Any) -> None:
    redactor = Redactor({"MY_TOKEN": "own secret 1"})
    places = dict.fromkeys((0, 299, 300, 301, 899), value)
    found = written(rows(places), form, redactor)
    assert found == redactor.redact(b"".join(FORMS[form](rows(places), ["item"])))
    assert found.count(b"[redacted:") == 5


def test_blocks_without_a_secret_are_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    redact_part = Redactor.redact_part

    def counted(self: Redactor, data: bytes, begin: int, end: int) -> tuple[bytes, int]:
        looked.append(end - begin)
        return redact_part(self, data, begin, end)

    monkeypatch.setattr(Redactor, "redact_part", counted)
    assert len(written(rows({}), "jsonl", Redactor())) > 200_000
    assert looked == []
    written(rows({2: KEY}), "jsonl", Redactor())
    assert len(looked) == 1


def test_a_large_output_is_looked_through_in_all_blocks_that_it_fills(tmp_path: Path) -> None:
    path = tmp_path / "stdout"
    path.write_text("x" * 300_000 + f" {KEY} " + "x" * 300_000)
    empty = {"item": "a", "label": None, "value": None, "output": None, "error": None}
    given = [{**empty, "output": LargeOutput(path, "text")}, empty]
    found = written(given, "jsonl", Redactor())
    assert (len(found) > 600_000, KEY.encode() in found, b"[redacted:" in found) == (True, False, True)


def plain_result(index: int, label: str) -> PlainResult:
    nothing = dict.fromkeys(PlainResult.__struct_fields__[:21])
    told = {"item": f"a:{index}", "job": "a", "index": index, "label": label, "output": "done", "notes": ["é", "\x7f"]}
    return PlainResult(**{**nothing, **told})


@pytest.mark.parametrize("form", ["json", "jsonl"])
@pytest.mark.parametrize(
    ("count", "others"),
    [(0, []), (1, []), (1, [0]), (64, []), (65, []), (65, [64]), (130, [0, 1, 64, 129]), (900, [500]), (900, [*range(200, 700)])],
)
@pytest.mark.parametrize("secrets", [[], [0, 63, 64, 899]])
def test_plain_results_are_written_as_others_are(form: str, count: int, others: list[int], secrets: list[int]) -> None:
    plain = [
        plain_result(index, KEY if index in secrets else "caf\udce9" if index % 100 == 7 else "x" * 200) for index in range(count)
    ]
    as_dicts = [{**as_dict(each), **dict.fromkeys(FIELDS[len(RESULT_FIELDS) :])} for each in plain]
    expected = Redactor().redact(b"".join(FORMS[form](as_dicts, FIELDS)))
    watched = WatchedRows([as_dicts[each.index] if each.index in others else each for each in plain], FIELDS)
    assert b"".join(without_secrets_in_blocks(FORMS[form](watched, FIELDS), watched, Redactor())) == expected
    assert len(json.loads(expected) if form == "json" else expected.splitlines()) == count


def test_what_a_plain_result_says_has_the_names_of_all_results() -> None:
    assert (*PlainResult.__struct_encode_fields__,) == (*FIELDS,)


CALLS_OF_A_RESULT = 30
"""Measured, and a tenth more: from the records of an item to its line of JSON."""


def calls_of_results(home: Path, items: int) -> int:
    """Calls of Python's functions and its own for the results of so many items."""
    home.mkdir()
    run_dir = create_run_dir(home, "r1")
    jobs = '[jobs.port]\nfor_each = { lines = "x" }\ncommand = ["true"]\n'
    store = RunStore.create(run_dir, msgspec.structs.replace(header("r1"), jobs={"port": True}), jobs)
    write_item_list(run_dir.items("port", 0), range(items))
    lines = [line for index in range(items) for line in (started(index, sequence=index), ended(index))]
    store.append([ItemsListed(job="port", count=items), *lines])
    store.close()
    reader = RunReader.read(run_dir)
    profile = cProfile.Profile()
    profile.enable()
    watched = WatchedRows(itertools.chain.from_iterable(results_to_encode(reader, with_output="in pieces")), [*RESULT_FIELDS])
    chunks = without_secrets_in_blocks(FORMS["jsonl"](watched, []), watched, Redactor())
    line_count = sum(chunk.count(b"\n") for chunk in chunks)
    profile.disable()
    assert line_count == items
    return sum(entry.callcount for entry in profile.getstats())


def test_a_result_takes_no_more_calls_than_it_did(tmp_path: Path) -> None:
    """Where it fails: `python -m cProfile -s ncalls -m orchestrator results RUN --format jsonl` tells what does more than before.

    What few items have (agents, workspaces, tokens, large outputs) is to cost the others nothing.
    """
    _, few, many = (calls_of_results(tmp_path / str(number), number) for number in (3, 20, 120))
    assert (many - few) / 100 <= CALLS_OF_A_RESULT


def test_many_results_are_written_by_two_processes_as_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which one item has a secret, and one an output that is a file."""
    run_dir = create_run_dir(tmp_path, "r1")
    jobs = '[jobs.port]\nfor_each = { lines = "x" }\ncommand = ["true"]\n'
    store = RunStore.create(run_dir, msgspec.structs.replace(header("r1"), jobs={"port": True}), jobs)
    write_item_list(run_dir.items("port", 0), [KEY if index == 7 else index for index in range(20)])
    store.append([ItemsListed(job="port", count=20), *(ended(index, output=b"x" * index) for index in range(20))])
    store.close()
    monkeypatch.setattr(many_results, "_ITEMS_OF_A_PART", 3)
    words = ["results", "--home", str(tmp_path), "r1", "--format", "jsonl", "-o"]
    assert main([*words, str(tmp_path / "one")]) == 0
    monkeypatch.setattr(results, "_MANY", 20)
    monkeypatch.setattr(made_by_two, "may_be_two", lambda: True)
    asked: list[int] = []
    by_two = made_by_two.made_by_two
    monkeypatch.setattr(made_by_two, "made_by_two", lambda make, count: asked.append(count) or by_two(make, count))
    assert main([*words, str(tmp_path / "two")]) == 0
    assert asked == [7]
    assert (tmp_path / "two").read_bytes() == (tmp_path / "one").read_bytes()
    assert (tmp_path / "two").read_bytes().count(b"[redacted:") == 1
