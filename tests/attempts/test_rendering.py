"""From a job and an item to what a worker gets; the values arrive byte for byte, proved by real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.attempts.items.labels import item_label
from orchestrator.attempts.rendering import Prepared, Surroundings, is_wanted, render_attempt
from orchestrator.attempts.template_texts import ARGUMENT_BYTES, ItemRefused
from orchestrator.jobsfile.language.compiler import compile_template
from orchestrator.jobsfile.language.template import Template, TemplateKind
from orchestrator.jobsfile.model import CommandAction, Job, Promised, ShellAction
from orchestrator.workers.protocol import Limits

HOSTILE = "quotes ' \" `id` $(id) ${HOME} \\ \\' new\nline\r\ttab é 漢 \U0001f600 \x01\x7f * ? ~ # ; & | < > -"
LARGE = (HOSTILE * 2000).encode()[:100_000].decode(errors="ignore")


def text(source: str, kind: TemplateKind = "text") -> Template:
    return compile_template(source, kind)


def made(path: str) -> Promised:
    return Promised(paths=(text(path),))


def command(*argv: str, **keys: Any) -> Job:
    return Job(id="job", action=CommandAction(argv=tuple(text(each, "value") for each in argv)), **keys)


def shell(script: str, **keys: Any) -> Job:
    return Job(id="job", action=ShellAction(script=text(script, "shell")), **keys)


def prepared(
    job: Job, item: Any = "x", run_env: dict[str, Template] | None = None, suffix: str = "run", **names: Any
) -> Prepared:
    context = {"item": item, "attempt": {"number": 1}, **names}
    folder = names.get("folder", "/srv/here")
    return render_attempt(job, context, Surroundings(folder=folder, temporary_suffix=suffix, run_env=run_env or {}))


def refusal(job: Job, item: Any = "x", **names: Any) -> str:
    with pytest.raises(ItemRefused) as caught:
        prepared(job, item, **names)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def output_of(ready: Prepared, tmp_path: Path) -> bytes:
    """Run it as a worker would."""
    argv = list(ready.argv)
    if ready.script is not None:
        (tmp_path / "script").write_bytes(ready.script.encode())
        argv.append(str(tmp_path / "script"))
    env = {"PATH": os.environ["PATH"], **{name: value for name, value in ready.env.items() if value is not None}}
    given = None if ready.stdin is None else ready.stdin.encode()
    return subprocess.run(argv, env=env, cwd=ready.cwd, input=given, capture_output=True, check=True, timeout=60).stdout


# Argv.


def test_values_become_arguments() -> None:
    assert prepared(command("echo", "{{ item }}", "a{{ item }}b"), 7).argv == ["echo", "7", "a7b"]
    assert prepared(command("echo", "{{ item }}"), True).argv == ["echo", "true"]
    assert prepared(command("echo", "{{ item }}"), {"a": 1}).argv == ["echo", '{"a": 1}']
    assert prepared(command("echo", "{{ item }}"), "").argv == ["echo", ""]


def test_a_list_becomes_several_arguments() -> None:
    assert prepared(command("echo", "{{ item }}", "z"), ["a b", 1, ["c"]]).argv == ["echo", "a b", "1", '["c"]', "z"]
    assert prepared(command("echo", "{{ item }}"), []).argv == ["echo"]
    assert prepared(command("{{ item }}"), ["echo", "a"]).argv == ["echo", "a"]


@pytest.mark.parametrize(
    ("argv", "item", "told"),
    [
        (("echo", "{{ item }}"), None, "command: argument 1: null has no text"),
        (("echo", "{{ item }}"), ["a", None], "command: argument 2: null has no text"),
        (("{{ item }}",), "", "command: the program is empty"),
        (("{{ item }}",), [], "command: the program is empty"),
        (("echo", "{{ item.x }}"), "a", "command: item.x is undefined: text has no field x"),
        (("echo", "{{ item }}"), "a\0b", "argument 1 holds a NUL byte; pass it by `stdin`"),
        (("echo", "{{ item }}"), "a\ud83d", "argument 1 has half a character at 1"),
    ],
)
def test_an_item_that_gives_no_argv_is_refused(argv: tuple[str, ...], item: Any, told: str) -> None:
    assert refusal(command(*argv), item).startswith(told)


def test_an_argument_that_the_kernel_would_not_take_is_refused_and_stdin_named(tmp_path: Path) -> None:
    job = command("printf", "%s", "{{ item }}")
    told = "argument 2 is 131072 bytes; the kernel takes at most 131071: pass it by `stdin`"
    assert refusal(job, "a" * 131_072) == told
    assert refusal(job, "é" * 65_536) == told
    largest = "a" * ARGUMENT_BYTES
    assert output_of(prepared(job, largest, folder=str(tmp_path)), tmp_path) == largest.encode()


# Shell.


def test_a_script_is_one_argument_until_it_is_too_large(tmp_path: Path) -> None:
    ready = prepared(shell("printf %s {{ item }}"), "a'b")
    assert (ready.argv, ready.script) == (["/bin/sh", "-ec", "printf %s 'a'\"'\"'b'"], None)
    large = prepared(shell('x={{ item }}; printf %s "$x" | tail -c 3'), "a" * 200_000, folder=str(tmp_path))
    assert large.argv == ["/bin/sh", "-e"]
    assert large.script is not None
    assert output_of(large, tmp_path) == b"aaa"


def test_a_script_ends_with_its_first_command_that_fails(tmp_path: Path) -> None:
    for filler in ("", "a" * 200_000):
        lines = "printf a\nset +e\nfalse\nset -e\nprintf b\nfalse\nprintf {{ item }}"
        with pytest.raises(subprocess.CalledProcessError) as failed:
            output_of(prepared(shell(lines), filler, folder=str(tmp_path)), tmp_path)
        assert (failed.value.returncode, failed.value.stdout) == (1, b"ab")


def test_a_script_with_a_nul_is_refused() -> None:
    assert "NUL" in refusal(shell("echo {{ item }}"), "a\0")
    assert "NUL" in refusal(shell("echo {{ item | raw }}"), "a\0")


# Byte for byte.

ECHO_ARGUMENT = ("{{ python }}", "-c", "import os, sys; sys.stdout.buffer.write(os.fsencode(sys.argv[1]))", "{{ item }}")


@pytest.mark.parametrize(
    "value", [HOSTILE, LARGE, "-n", "'", "\n", ""], ids=["hostile", "large", "dash", "quote", "newline", "empty"]
)
@pytest.mark.parametrize(
    "job",
    [
        command(*ECHO_ARGUMENT),
        shell("printf %s {{ item }}"),
        shell("{{ python }} -c 'import os,sys; sys.stdout.buffer.write(os.environb[b\"V\"])'", env={"V": text("{{ item }}")}),
        shell("cat", stdin=text("{{ item }}")),
    ],
    ids=["command", "shell", "env", "stdin"],
)
def test_a_value_arrives_byte_for_byte(job: Job, value: str, tmp_path: Path) -> None:
    assert output_of(prepared(job, value, python=sys.executable, folder=str(tmp_path)), tmp_path) == value.encode()


def test_a_large_value_arrives_byte_for_byte_through_a_script_file(tmp_path: Path) -> None:
    value = LARGE + LARGE
    ready = prepared(shell("printf %s {{ item }}"), value, folder=str(tmp_path))
    assert ready.script is not None
    assert output_of(ready, tmp_path) == value.encode()


def test_standard_input_may_hold_any_text_of_any_length() -> None:
    assert prepared(command("cat", stdin=text("{{ item }}\n")), "a\0" * 200_000).stdin == "a\0" * 200_000 + "\n"
    assert prepared(command("cat")).stdin is None
    assert prepared(command("cat", stdin=text("{{ item }}")), "\udcff").stdin == "\udcff"
    assert refusal(command("cat", stdin=text("{{ item }}")), "\ud83d") == "stdin has half a character at 0"


def test_bytes_that_are_not_utf8_make_other_work_and_reach_argv_environment_and_creates() -> None:
    job = command("{{ item }}", env={"X": text("{{ item }}")}, creates=made("{{ item }}.txt"))
    odd, plain = prepared(job, "caf\udce9"), prepared(job, "caf\xe9")
    assert (odd.argv, odd.env, odd.payload != plain.payload) == (["caf\udce9"], {"X": "caf\udce9"}, True)
    assert odd.creates
    assert odd.creates[0].final == "/srv/here/caf\udce9.txt"


# Folder and environment.


def test_the_folder_is_relative_to_the_jobs_file() -> None:
    assert prepared(command("true")).cwd == "/srv/here"
    assert prepared(command("true", cwd=text("sub/{{ item }}"))).cwd == "/srv/here/sub/x"
    assert prepared(command("true", cwd=text("/else"))).cwd == "/else"
    assert refusal(command("true", cwd=text("{{ item }}")), "") == "cwd: the path is empty"
    assert "NUL" in refusal(command("true", cwd=text("{{ item }}")), "a\0")


def test_the_jobs_environment_wins_over_the_runs() -> None:
    job = command("true", env={"B": text("{{ item }}"), "C": text("3")})
    assert prepared(job, 7, run_env={"A": text("1"), "B": text("2")}).env == {"A": "1", "B": "7", "C": "3"}


def test_a_variable_that_the_kernel_would_not_take_is_refused() -> None:
    job = command("true", env={"NAME": text("{{ item }}")})
    assert refusal(job, "a" * 131_067).startswith("env.NAME is 131072 bytes with its name; the kernel takes at most 131071")
    assert prepared(job, "a" * 131_066).env["NAME"] == "a" * 131_066
    assert refusal(job, "a\0") == "env.NAME holds a NUL byte; pass it by `stdin`"
    assert refusal(job, None).startswith("env.NAME: null has no text")


# The file it makes.


def test_creates_gives_a_temporary_name_beside_the_final_one() -> None:
    job = shell(
        "make {{ item }} {{ creates }}",
        cwd=text("sub"),
        creates=made("out/{{ item }}.tar.gz"),
        env={"OUT": text("{{ creates }}")},
    )
    ready = prepared(job, "a b")
    assert ready.creates
    assert ready.creates[0].final == "/srv/here/sub/out/a b.tar.gz"
    folder, name = os.path.split(ready.creates[0].temporary)
    assert folder == "/srv/here/sub/out"
    assert name.startswith(".")
    assert name.endswith(".part.tar.gz")
    assert ready.argv[2] == f"make 'a b' '{ready.creates[0].temporary}'"
    assert ready.env["OUT"] == ready.creates[0].temporary


def test_the_temporary_name_is_the_same_for_each_attempt_and_another_in_each_run() -> None:
    job = command("make", "{{ creates }}", creates=made("{{ item }}.txt"))
    first, second, other = prepared(job), prepared(job, attempt={"number": 2}), prepared(job, suffix="another")
    assert first == second
    assert first.creates
    assert other.creates
    assert first.creates[0].temporary != other.creates[0].temporary
    assert first.payload == other.payload


@pytest.mark.parametrize(
    ("name", "suffixes"),
    [
        ("a", ""),
        ("a.txt", ".txt"),
        (".bashrc", ""),
        (".a.txt", ".txt"),
        ("a." + "x" * 40 + ".gz", ".gz"),
        ("a." + "x" * 40, ""),
        ("a" * 250 + ".c", ".c"),
    ],
)
def test_the_temporary_name_keeps_the_suffixes_and_stays_short(name: str, suffixes: str) -> None:
    ready = prepared(command("make", creates=made("{{ item }}")), name)
    assert ready.creates
    temporary = os.path.basename(ready.creates[0].temporary)
    assert temporary.partition(".part")[2] == suffixes
    assert len(temporary) < 60


def test_several_files_of_creates_are_a_list_to_templates_and_are_made_each_beside_its_own_place() -> None:
    two = Promised(paths=(text("{{ item }}.pdf", "value"), text("log/{{ item }}", "value")), is_list=True)
    ready = prepared(command("make", "{{ creates }}", creates=two, env={"LOG": text("{{ creates[1] }}")}), "a")
    assert [each.final for each in ready.creates] == ["/srv/here/a.pdf", "/srv/here/log/a"]
    temporary = [each.temporary for each in ready.creates]
    assert ready.argv == ["make", *temporary]
    assert ready.env["LOG"] == temporary[1]
    assert temporary[1].startswith("/srv/here/log/.")
    # The names of a run make no other work; another list does.
    again = prepared(command("make", "{{ creates }}", creates=two, env={"LOG": text("{{ creates[1] }}")}), "a", suffix="other")
    assert (again.creates != ready.creates, again.payload) == (True, ready.payload)
    same = Promised(paths=(text("x", "value"), text("./x", "value")), is_list=True)
    assert refusal(command("make", creates=same), "a") == "creates: /srv/here/x is named twice"
    none = Promised(paths=(text("{{ [] }}", "value"),), is_list=True)
    assert refusal(command("make", creates=none), "a") == "creates: expected the path of a file, got an empty list"


@pytest.mark.parametrize("path", ["", "out/", ".", "out/..", "a\0b", "\ud83d"])
def test_creates_has_to_be_the_path_of_a_file(path: str) -> None:
    assert refusal(command("make", creates=made("{{ item }}")), path).startswith("creates")


# Token.


def test_a_token_is_the_text_of_its_template_and_the_same_for_each_attempt() -> None:
    job = command("true", token=text("work {{ item }} é"))
    assert prepared(job).token == prepared(job, attempt={"number": 2}).token == "work x é"
    assert prepared(job, {"a": [1]}).token == 'work {"a": [1]} é'
    assert prepared(command("true")).token is None
    assert prepared(command("true", token=text("{{ item }}")), "é" * 2048).token == "é" * 2048


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("", "token: the token is empty"),
        (" \u00a0", "token: the token is empty"),
        (None, "token: null has no text"),
        ("a\0b", "token: the token holds a character that cannot be shown (\\x00) at 1"),
        ("a\n", "token: the token holds a character that cannot be shown (\\n) at 1"),
        ("\x85", "token: the token is empty"),
        ("a\x7f", "token: the token holds a character that cannot be shown (\\x7f) at 1"),
        ("a\udcff", "token: the token holds a character that cannot be shown (\\udcff) at 1"),
        ("é" * 2049, "token: the token is 4098 bytes; at most 4096"),
    ],
)
def test_an_item_without_a_token_that_people_can_read_is_refused(item: Any, told: str) -> None:
    assert refusal(command("true", token=text("{{ item }}")), item).startswith(told)


# Payload.


def test_the_payload_tells_what_is_done_apart() -> None:
    base = prepared(command("echo", "{{ item }}")).payload
    assert len(bytes.fromhex(base)) == 8
    assert prepared(command("echo", "x", limits=Limits(timeout_seconds=3.0), attempts=5, priority=2)).payload == base
    assert (
        prepared(
            command("echo", "x", token=text("t"), token_ttl=3.0, limits=Limits(memory_bytes=1), lane="fast", pool="p")
        ).payload
        == base
    )
    others = [
        prepared(command("echo", "{{ item }}"), "y"),
        prepared(command("echo", "x", stdin=text("a"))),
        prepared(command("echo", "x", env={"A": text("a")})),
        prepared(command("echo", "x", cwd=text("a"))),
        prepared(command("echo", "x", output="json")),
        prepared(command("echo", "x", creates=made("a"))),
        prepared(shell("echo x")),
    ]
    assert len({base, *(each.payload for each in others)}) == 8


def test_a_script_is_the_same_work_as_before_it_was_run_up_to_its_first_failure() -> None:
    """Its hash stands in the records of runs that go on now, and of tokens that are in flight."""
    assert prepared(shell("false; echo {{ item }}")).payload == "dea0f1331ebe9ec5"
    assert prepared(shell("echo {{ item }}"), "a" * 200_000).payload == "46cfb227d2e3ab83"


def test_the_order_of_the_environment_is_no_difference() -> None:
    one, two = command("true", env={"A": text("1"), "B": text("2")}), command("true", env={"B": text("2"), "A": text("1")})
    assert prepared(one).payload == prepared(two).payload


def test_what_is_prepared_can_be_sent() -> None:
    ready = prepared(
        shell("echo {{ item }} > {{ creates }}", creates=made("{{ item }}"), stdin=text("{{ item }}")), HOSTILE.replace("/", "")
    )
    assert msgspec.msgpack.encode((ready.argv, ready.script, ready.cwd, ready.env, ready.stdin, ready.creates))


# Label and `when`.


@pytest.mark.parametrize(
    ("item", "label"),
    [
        ("a.py", "a.py"),
        (7, "7"),
        (False, "false"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("é 漢\u3000x", "é 漢\u3000x"),
        ("a\udcff", "a\\udcff"),
        ("a" * 80, "a" * 80),
        ("a" * 81, None),
        ("", None),
        (None, None),
        (["a"], None),
        ({"a": 1}, None),
    ],
)
def test_a_short_scalar_item_is_its_own_label(item: Any, label: str | None) -> None:
    assert item_label(command("true"), {"item": item}) == label


def test_a_written_label_is_one_short_line() -> None:
    job = command("true", label=text("{{ item.name }}\n"))
    assert item_label(job, {"item": {"name": "a"}}) == "a\\n"
    long = item_label(job, {"item": {"name": "a" * 1000}})
    assert long is not None
    assert len(long) == 200
    with pytest.raises(ItemRefused, match=r"label: item\.name is undefined"):
        item_label(job, {"item": {}})
    assert item_label(command("true"), {}) is None


@pytest.mark.parametrize(
    ("source", "item", "wanted"),
    [
        ("{{ item > 3 }}", 4, True),
        ("{{ item > 3 }}", 3, False),
        ("{{ item }}", "true", True),
        ("{{ item }}", "false", False),
        ("{{ item }}", "", False),
        ("{% if item %}true{% endif %}\n", 1, True),
    ],
)
def test_when_is_a_truth(source: str, item: Any, wanted: bool) -> None:
    assert is_wanted(command("true", when=text(source, "value")), {"item": item}) is wanted


@pytest.mark.parametrize("item", [1, 0, None, [], "yes"])
def test_when_refuses_what_is_neither_true_nor_false(item: Any) -> None:
    with pytest.raises(ItemRefused, match="when: expected true or false, got"):
        is_wanted(command("true", when=text("{{ item }}", "value")), {"item": item})


def test_always_and_failed_are_not_a_question_of_the_item() -> None:
    assert is_wanted(command("true", when="always"), {})
    assert is_wanted(command("true", when="failed"), {})
