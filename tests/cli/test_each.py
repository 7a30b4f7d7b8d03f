"""`each`: xargs' manners, byte for byte."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from drivers.command_line import RunCli
from drivers.sweeps import examples
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.attempts.rendering import Surroundings, render_attempt
from orchestrator.cli.each_file import run_text
from orchestrator.cli.each_job import Typed, job_of
from orchestrator.errors import UserError
from orchestrator.jobsfile.load import load_text

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
BRACES = st.text("{}%#-' itemr\r\n\\\"", max_size=12)


def text_of(typed: Typed) -> str:
    job = job_of(typed)
    return run_text(job.name, job.form, job.keys)


def argv_of(words: list[str], item: str) -> list[str]:
    jobs_file = load_text(text_of(Typed(words=tuple(words))), path="/x/each.toml", folder="/x")
    context = {"item": item, "index": 0}
    return render_attempt(jobs_file.jobs[0], context, Surroundings(folder="/x", temporary_suffix="t")).argv


@examples(60)
@example(["{\r"], "")
@given(st.lists(TEXT | BRACES, max_size=3), TEXT)
def test_what_was_typed_and_what_was_read_arrive_as_they_are(words: list[str], item: str) -> None:
    def replaced(word: str) -> str:
        parts = word.split("{}")
        return item.join(parts)

    typed = ["cmd", *(word for word in words if "item" not in word and not re.search(r"\{[\w./#%+-]+\}", word))]
    expected = [replaced(word) for word in typed]
    if not any("{}" in word for word in typed):
        expected.append(item)
    assert argv_of(typed, item) == expected


@pytest.mark.parametrize(
    ("word", "argument"),
    [
        ("a{}b{}", "aXbX"),
        ("{{ item }}", "X"),
        ("{{item}}.o", "X.o"),
        ("{{ item | upper }}", "{{ item | upper }}"),
        ("{{ items }}", "{{ items }}"),
        ("{{{}}}", "{{X}}"),
        ("{{{ item }}}", "{X}"),
        ("{% if %}", "{% if %}"),
        ("{# no comment #}", "{# no comment #}"),
        ("{", "{"),
        ("a\r\nb\r", "a\r\nb\r"),
        ("\x7f\x1b\u2028", "\x7f\x1b\u2028"),
    ],
)
def test_only_the_two_placeholders_mean_anything(word: str, argument: str) -> None:
    assert argv_of(["cmd", "{}", word], "X") == ["cmd", "X", argument]


def test_an_argument_that_no_jobs_file_can_hold_is_refused() -> None:
    with pytest.raises(UserError, match="not UTF-8"):
        text_of(Typed(words=("cmd", "\udcff")))


def test_each_line_is_one_argument_and_the_outputs_come_in_the_order_of_the_lines(run_cli: RunCli) -> None:
    lines = ["two words", "'single' \"double\"", "$(id) `id` ;", "  blanks  ", "{{ item }}", "ünï\tcode", "-n"]
    told = run_cli("each", "-j3", "--", "printf", "<%s>\\n", stdin="".join(f"{line}\n" for line in lines))
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == [f"<{line}>" for line in lines]


def test_the_outputs_of_items_that_failed_are_printed_too_and_the_others_go_on_with_k(run_cli: RunCli) -> None:
    told = run_cli("each", "-k", "-j1", "--", "sh", "-c", 'echo "$1"; test "$1" != b', "sh", "{}", stdin="a\nb\nc\n")
    assert told.returncode == 1
    assert told.stdout == "a\nb\nc\n"
    assert "FAILED each:1 b exit code 1" in told.stderr
    assert run_cli("results", "--format", "csv", "--fields", "item,label,status").stdout.splitlines() == [
        "item,label,status",
        "each:0,a,succeeded",
        "each:1,b,failed",
        "each:2,c,succeeded",
    ]


def test_print_shows_a_jobs_file_that_check_accepts(run_cli: RunCli, tmp_path: Path) -> None:
    told = run_cli("each", "--print", "--", "wc", "-l", "{}")
    assert told.stdout.startswith("#:schema ./jobs.schema.json\n"), "editors look there"
    assert 'command = [\n  "wc",\n  "-l",\n  "{{ item }}",\n]' in told.stdout
    (tmp_path / "made.toml").write_text(told.stdout)
    assert run_cli("check", "made.toml").stdout.startswith("ok: 1 job\n")


def test_the_file_that_is_printed_does_the_same_when_it_is_run(run_cli: RunCli, tmp_path: Path) -> None:
    lines = ["two words", "", "{{ item }}", "{% raw %}{#", "a{", "b\r", 'q"\\', "c\x1b", "fail", "last", "left out"]
    script = 'test "$1" = fail || printf "<%s>" "$1"; test "$1" != fail'
    words = ["-k", "-j1", "--limit", "10", "--", "sh", "-c", script, "{}", "{}"]
    stdin = "".join(f"{line}\n" for line in lines)
    done = run_cli("each", *words, stdin=stdin)
    told = run_cli("each", "--print", *words, stdin=stdin)
    assert "slots = 1\n" in told.stdout
    (tmp_path / "made.toml").write_text(told.stdout)
    again = run_cli("run", "made.toml")
    assert (done.returncode, again.returncode) == (1, 1), again.stderr
    shown = [
        json.loads(run_cli("results", run, "--json", "--fields", "item,label,value,status,output").stdout)
        for run in ("made.toml", run_cli("list").stdout.splitlines()[-1].split()[0])
    ]
    assert shown[0] == shown[1][:10], "what --limit leaves out is not in the file"
    assert [each["value"] for each in shown[0]] == lines[:10]
    assert run_cli("each", "--print", "--", "x", stdin="\udcff\n").stderr.startswith(
        "orchestrate: the line '\\udcff' is not UTF-8"
    )


def test_the_summary_takes_the_place_of_the_outputs(run_cli: RunCli) -> None:
    told = run_cli("each", "--json", "--quiet", "--", "echo", stdin="a\nb\n")
    assert json.loads(told.stdout)["counts"] == {"succeeded": 2}
    assert told.stderr == ""


def test_status_names_no_jobs_file_that_the_user_does_not_have(run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("each", "--quiet", "--", "echo", stdin="a\n").returncode == 0
    assert run_cli("status").stdout.splitlines()[2] == f"  each, in {tmp_path}"


def test_no_lines_are_no_items(run_cli: RunCli) -> None:
    told = run_cli("each", "--", "echo", stdin="")
    assert (told.returncode, told.stdout) == (0, "")


def test_a_line_that_is_not_utf8_is_an_argument_byte_for_byte_and_json_says_it(run_cli: RunCli) -> None:
    told = run_cli("each", "--", "echo", stdin="fine\ncaf\udce9\nIcon\r\n")
    assert (told.returncode, told.stdout) == (0, "fine\ncaf\udce9\nIcon\r\n"), told.stderr
    shown = run_cli("results", "--format", "jsonl", "--fields", "value,output").stdout.splitlines()
    assert shown[1] == r'{"value": "caf\udce9", "output": "caf\udce9"}'


def test_line_ends_of_windows_are_left_out_and_told_and_utf16_is_refused(run_cli: RunCli) -> None:
    told = run_cli("each", "--", "printf", "<%s>", stdin="\ufeffa\r\n b\r\n")
    assert told.stdout == "<a>< b>"
    assert "note: the lines come with CR LF or a byte order mark" in told.stderr
    refused = run_cli("each", "--", "echo", stdin="\udcff\udcfea\0\n\0")
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (2, "orchestrate: stdin is in UTF-16")


def test_without_a_command_it_says_what_is_missing(run_cli: RunCli) -> None:
    assert run_cli("each", "-j2").returncode == 2


# Agents.


def test_an_agent_is_told_of_each_line_and_its_answers_come_in_order(run_cli: RunCli) -> None:
    told = ["each", "--agent", "demo", "-p", "say {} is {100 %}", "--model", "m", "-j", "2"]
    done = run_cli(*told, stdin="one\ntwo\n")
    assert (done.returncode, done.stdout) == (0, "one is {100 %}\ntwo is {100 %}\n")


def test_the_jobs_file_of_an_agent_is_printed_as_it_would_be_run(run_cli: RunCli) -> None:
    printed = run_cli(
        *("each", "--print", "--agent", "claude", "-p", "Port {{ item }}", "--model", "opus"),
        *("--permissions", "edit", "--workspace", "worktree", "-j", "8"),
    ).stdout
    (job,) = load_text(printed, path="/x/each.toml", folder="/x").jobs
    assert (job.is_agent, job.allowed, job.workspace.kind, job.max_concurrency) == (True, "edit", "worktree", 8)
    assert job.prompt is not None
    assert job.prompt.render({"item": "{{ x }}"}) == "Port {{ x }}"
    bare = run_cli("each", "--print", "--agent", "claude", "-p", "Port this:").stdout
    (job,) = load_text(bare, path="/x/each.toml", folder="/x").jobs
    assert job.prompt is not None
    assert (job.prompt.render({"item": "a.py"}), job.max_concurrency) == ("Port this:\n\na.py", 4)


def agent_text(prompt: str, agent: str = "demo", model: str | None = None) -> str:
    return text_of(Typed(agent=agent, prompt=prompt, model=model))


@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_an_agent_is_not_paid_for_an_empty_prompt(prompt: str) -> None:
    with pytest.raises(UserError, match="the prompt is empty"):
        agent_text(prompt)


@pytest.mark.parametrize("word", ["{{ itm }}", "{{itm}}", "{{ item.name }}", "{{ item | upper }}", "{{ item }} {{ itm }} {}"])
def test_a_name_that_stands_for_nothing_never_reaches_a_paid_agent(word: str) -> None:
    for told in ({"prompt": word}, {"prompt": "x", "model": word}, {"prompt": "x", "agent": word}):
        with pytest.raises(UserError, match=r"^--(prompt|model|agent): \{\{.*\}\} is not a name"):
            agent_text(**told)


@pytest.mark.parametrize("prompt", ["{{ item }}", "{{item}} {}", "{100 %} of {{}}", "f'{ x }' {{ 1 }}", "{{.ID}}", "{% if x %}"])
def test_other_braces_are_told_to_an_agent_as_they_are(prompt: str) -> None:
    (job,) = load_text(agent_text(prompt), path="/x/each.toml", folder="/x").jobs
    assert job.prompt is not None
    heard = job.prompt.render({"item": "X"}).removesuffix("\n\nX")
    assert heard == prompt.replace("{{ item }}", "X").replace("{{item}}", "X").replace("{}", "X")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--agent", "demo", "-p", ""], "the prompt is empty"),
        (["--agent", "demo"], "--agent goes with -p TEXT"),
        (["--agent", "demo", "-p", "x", "--", "echo"], "and with no command"),
        (["-p", "x", "--", "echo"], "--prompt is about an agent"),
        (["--model", "x", "--", "echo"], "--model is about an agent"),
        ([], "Missing argument"),
        (["--agent", "dmeo", "-p", "x"], 'there is no agent "dmeo"; did you mean demo?'),
    ],
)
def test_half_a_command_line_of_an_agent_is_refused(run_cli: RunCli, arguments: list[str], words: str) -> None:
    done = run_cli("each", *arguments, stdin="a\n")
    assert done.returncode == 2
    assert words in done.stderr


def test_a_run_that_lost_its_lines_takes_them_once_more_and_runs_what_had_not_succeeded(
    run_cli: RunCli, home: Path, tmp_path: Path
) -> None:
    script = 'echo "$1" >> ran; test "$1" != b || test -e mended'
    told = run_cli("each", "--run-id", "e", "-k", "-j1", "--", "sh", "-c", script, "sh", "{}", stdin="a\nb\nc\n")
    assert told.returncode == 1
    (home / "runs" / "e" / "items" / "each.jsonl").unlink()
    told = run_cli("resume", "e")
    assert "orchestrate resume e --update < LINES takes its lines once more and keeps what succeeded" in told.stderr
    told = run_cli("resume", "e", "--update", stdin="")
    assert (told.returncode, told.stderr.splitlines()[0]) == (2, "orchestrate: run e lacks lines, and stdin has none")
    # In another order, and one line more.
    (tmp_path / "mended").touch()
    (tmp_path / "ran").unlink()
    told = run_cli("resume", "e", "--update", stdin="d\nc\nb\na\n")
    assert told.returncode == 0, told.stderr
    assert (tmp_path / "ran").read_text() == "b\nd\n"
    results = json.loads(run_cli("results", "e", "--json").stdout)
    assert [(each["item"], each["value"], each["status"]) for each in results] == [
        (f"each:{index}", value, "succeeded") for index, value in enumerate("abcd")
    ]
    assert "it has no jobs file that could have changed" in run_cli("resume", "e", "--update", stdin="x\n").stderr


def test_items_of_several_values_that_are_lost_cannot_be_taken_from_lines(run_cli: RunCli, home: Path) -> None:
    assert run_cli("each", "--run-id", "e", "--quiet", "false", ":::", "a", ":::", "b").returncode == 1
    (home / "runs" / "e" / "items" / "each.jsonl").unlink()
    told = run_cli("resume", "e", "--update", stdin="a\n")
    assert (told.returncode, told.stderr.splitlines()[0]) == (
        2,
        "orchestrate: run e lacks items, and each had several values",
    )
