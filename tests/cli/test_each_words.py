"""What a command line of `each` comes to: a table of words, options and stdin, and the commands that would be run."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.attempts.rendering import Surroundings, render_attempt
from orchestrator.cli import main
from orchestrator.cli.each_file import run_text
from orchestrator.cli.each_job import Typed, halt_of, job_of
from orchestrator.errors import UserError
from orchestrator.jobsfile.load import load_text


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Stdin for bytes that has the text of the parameter."""
    stream = SimpleNamespace(buffer=io.BytesIO(getattr(request, "param", "").encode()), isatty=lambda: False)
    monkeypatch.setattr("orchestrator.cli.each_lines.sys.stdin", stream)


def commands_of(line: str, **options: Any) -> list[list[str]]:
    """The command of each item. Of a shell it is one text."""
    job = job_of(Typed(words=tuple(line.split()), **options))
    (made,) = load_text(run_text(job.name, job.form, job.keys), path="/x/each.toml", folder="/x").jobs
    surroundings = Surroundings(folder="/x", temporary_suffix="t")
    contexts = [{"item": value, "index": index, "slot": 0} for index, value in enumerate(job.values)]
    return [render_attempt(made, context, surroundings).argv for context in contexts]


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("echo ::: A B", ["echo A", "echo B"]),
        ("echo {} {}.bak ::: A", ["echo A A.bak"]),
        ("echo {.} {/} {//} {/.} ::: d/a.tar.gz", ["echo d/a.tar a.tar.gz d a.tar"]),
        ("echo {#} {1} {-1} ::: A B", ["echo 1 A A", "echo 2 B B"]),
        ("echo ::: A B ::: 1 2", ["echo A 1", "echo A 2", "echo B 1", "echo B 2"]),
        ("echo {2}{1}: ::: A B ::: 1", ["echo 1A:", "echo 1B:"]),
        ("echo ::: A B C :::+ 1 2", ["echo A 1", "echo B 2"]),
        ("echo ::: A B ::: 1 2 :::+ x y", ["echo A 1 x", "echo A 2 y", "echo B 1 x", "echo B 2 y"]),
        ("echo {1/} {2.} {1//} ::: d/a.b ::: e/f.g", ["echo a.b e/f d"]),
        ("awk {print_$1} ${HOME} {a,b} {{.ID}} ::: A", ["awk {print_$1} ${HOME} {a,b} {{.ID}} A"]),
        ("echo :::", []),
    ],
)
def test_words_become_commands(line: str, commands: list[str]) -> None:
    assert commands_of(line) == [command.split() for command in commands]


@pytest.mark.parametrize(
    ("line", "options", "stdin", "commands"),
    [
        ("echo", {"is_nul": True}, "a b\0c\nd\0", [["echo", "a b"], ["echo", "c\nd"]]),
        ("echo", {"delimiter": ","}, "a,b", [["echo", "a"], ["echo", "b"]]),
        ("echo", {"delimiter": "\\t"}, "a\tb\n", [["echo", "a"], ["echo", "b\n"]]),
        ("echo", {"batch": 2}, "a\nb\nc\n", [["echo", "a", "b"], ["echo", "c"]]),
        ("echo {1}-{2} {}", {"batch": 2}, "a\nb\nc\n", [["echo", "a-b", "a", "b"], ["echo", "c-", "c"]]),
        ("echo {2} {1}", {"column_separator": "|"}, "a|b c\n", [["echo", "b c", "a"]]),
        ("echo {1.} {-1}", {"column_separator": r"\s*,\s*"}, "a.c , b,c\n", [["echo", "a", "c"]]),
        ("echo {y} {x.} {2}", {"column_separator": ",", "header": ":"}, "x,y\na.b,c\n", [["echo", "c", "a", "c"]]),
        ("echo {x_y}", {"header": ":"}, "x_y\na\n", [["echo", "a"]]),
        ("mv @ {}.bak@ {3}", {"mark": "@"}, "a\n", [["mv", "a", "{}.baka", "{3}"]]),
        ("echo x{}", {"batch": 2}, "a\nb\n", [["echo", "xa b"]]),
        ("echo {}", {}, "", []),
    ],
    indirect=["stdin"],
)
@pytest.mark.usefixtures("stdin")
def test_lines_become_commands(line: str, options: dict[str, Any], commands: list[list[str]]) -> None:
    assert commands_of(line, **options) == commands


def test_a_shell_gets_items_quoted_and_all_else_as_it_is_typed() -> None:
    def script(line: str, **options: Any) -> list[str]:
        return [argv[-1] for argv in commands_of(line, is_shell=True, **options)]

    assert script("wc <{} | tr {# '{#' > {/.}.n ::: it's") == ["""wc <'it'"'"'s' | tr {# '{#' > 'it'"'"'s'.n"""]
    assert script("echo ::: A ::: B") == ["echo 'A' 'B'"]
    assert script("::: ls|wc") == ["ls|wc"]


@pytest.mark.parametrize(
    ("line", "options", "words"),
    [
        ("echo {foo} ::: A", {}, "{foo} stands for nothing: there are {} {.} {/} {//} {/.} {#} {%}"),
        ("echo {2} ::: A", {}, "{2} stands for nothing"),
        ("echo {3} ::: A ::: B", {}, "{3} stands for nothing: an item has 2 values"),
        ("echo {.} ::: A ::: B", {}, "{.}: an item has several values"),
        ("echo {z} ::: x A", {"header": ":"}, "{z} stands for nothing: the columns are x"),
        ("echo {2} ::: a,b c", {"column_separator": ","}, "item 2 has 1 values, and {2} is wanted: c"),
        ("echo :::+ A", {}, ":::+ is linked to a source before it"),
        ("echo ::::", {}, ":::: names no file"),
        ("echo :::: /none", {}, "/none: cannot be read: No such file"),
        ("echo ::: A ::: B", {"batch": 2}, "-n takes several values of one source"),
        ("echo ::: A", {"column_separator": "(a"}, "--colsep: (a is no regular expression"),
        ("echo ::: A", {"mark": ""}, "-I takes at least one character"),
        ("echo ::: A", {"header": "2"}, "--header 2: only : is known"),
        ("echo ::: x ::: x", {"header": ":"}, "--header: a name stands there twice"),
        ("echo ::: A", {"is_nul": True, "delimiter": ","}, "-0 and -d cannot both be given"),
    ],
)
def test_what_is_meant_and_cannot_be_is_refused_in_words(line: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as refused:
        commands_of(line, **options)
    assert refused.value.message.startswith(words)
    assert refused.value.hint


def test_files_are_sources_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n2\n")
    (tmp_path / "b").write_text("x\n")
    files = (f"{tmp_path}/a",)
    assert commands_of(f"echo :::: {tmp_path}/b", files=files) == [["echo", "1", "x"], ["echo", "2", "x"]]


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("sh -c echo_{}", "safe is: each --shell 'echo_{}'"),
        ("env A=1 /bin/bash -e -uc {}", "safe is: each --shell '{}'"),
        ("sh -c echo_$1 sh {}", ""),
        ("sh script {}", ""),
        ("echo -c {}", ""),
        ("train --gpu $(({%}-1))", "leave out the - 1"),
        ("train --gpu {%}-10 {%}", ""),
    ],
)
def test_what_would_do_something_else_than_it_seems_is_told(line: str, note: str) -> None:
    told = " ".join(job_of(Typed(words=(*line.split(), ":::", "a"))).notes)
    assert note in told
    assert bool(told) is bool(note)


@pytest.mark.parametrize(
    ("option", "ours"),
    [("--jobs=8", "here it is -j N"), ("--retries=3", "here it is --attempts N"), ("-S", "ssh HOST")],
)
def test_an_option_of_xargs_or_parallel_is_answered_by_ours(
    option: str, ours: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["each", "--home", str(home), option, "echo", ":::", "a"]) == 2
    assert ours in capsys.readouterr().err


@pytest.mark.parametrize("line", ["echo {}", "wc -l {/}", "FOO=1 run"])
def test_a_command_line_as_parallel_takes_it_is_answered_before_anything_runs(line: str) -> None:
    with pytest.raises(UserError) as refused:
        job_of(Typed(words=(line, ":::", "a")))
    assert "--shell" in refused.value.hint
    assert job_of(Typed(words=("./my program", ":::", "a"))).name == "my program"


def test_options_are_keys_of_the_job() -> None:
    job = job_of(
        Typed(
            words=("cp", "{}", "{}.c", ":::", "a b.x"),
            timeout="5m",
            attempts=3,
            retry_delay="1s",
            max_failures="1",
            pool="p",
            token="cp {/}",
            check="test -s {.}.c",
        )
    )
    assert job.keys == {
        "command": ["cp", "{{ item }}", "{{ item }}.c"],
        "timeout": "5m",
        "attempts": 3,
        "retry": {"delay": "1s"},
        "max_failures": 1,
        "pool": "p",
        "token": "cp {{ item | basename }}",
        "check": "test -s {{ item | with_suffix('') }}.c",
    }


@pytest.mark.parametrize(
    ("words", "key", "goes_on"),
    [
        (None, None, False),
        ("never", None, True),
        ("soon,fail=1", None, False),
        ("1", None, False),
        ("2", "now,fail=1", False),
        ("now,fail=20%", "now,fail=20%", False),
        ("soon,success=1", "soon,success=1", False),
    ],
)
def test_a_halt_of_parallel_is_a_key_of_the_job_or_says_that_the_run_goes_on(words: str, key: str, goes_on: bool) -> None:
    assert halt_of(words, None, keep_going=False) == (key, goes_on)


@pytest.mark.parametrize(
    ("words", "keep_going", "max_failures", "hint"),
    [
        ("x", False, None, "never, or soon or now"),
        ("now,fail=0", False, None, "success=N"),
        ("now,fail=1", True, None, "-k goes on after failures"),
        ("soon,fail=3", False, "2", "each says how many may fail"),
    ],
)
def test_a_halt_that_cannot_be_is_refused_with_the_way_out(words: str, keep_going: bool, max_failures: str, hint: str) -> None:
    with pytest.raises(UserError, match=f"--halt {words}") as refused:
        halt_of(words, max_failures, keep_going=keep_going)
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("gzip {.} ::: a_b.c", "gzip a_b\n"),
        ("--shell {}|tr<{/}>{#} ::: it's", """'it'"'"'s'|tr<'it'"'"'s'>1\n"""),
        ("-n2 echo ::: a b c", "echo a b\necho c\n"),
        ("--limit 1 --agent claude -p {1}:{2} ::: a ::: b c", "claude: a:b\n"),
    ],
)
def test_a_dry_run_tells_what_would_be_run(words: str, lines: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["each", "--home", str(home), "--dry-run", *words.split()]) == 0
    assert capsys.readouterr().out == lines
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--timeout 5x echo ::: a", "  timeout: expected a duration"),
        ("--pool none echo ::: a", '  pool: no pool is called "none"'),
        ("--shell echo '{}' ::: a", "  shell: {{ item }} stands inside"),
        ("--shell-program bash echo ::: a", "orchestrate: --shell-program runs the command line of --shell"),
        ("--max-failures x echo ::: a", "  max_failures: expected a whole number"),
        ("--json --tag echo ::: a", "no outputs are printed"),
        ("--detach --results out echo ::: a", "no outputs are printed"),
        ("-C /none echo ::: a", "orchestrate: -C /none: no such folder"),
        ("--line-buffer --agent claude -p x ::: a", "orchestrate: --line-buffer is about commands"),
    ],
)
def test_a_mistake_is_told_as_one_of_what_was_typed(
    words: str, told: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["each", "--home", str(home), "--dry-run", *words.split()]) == 2
    assert told in capsys.readouterr().err
