"""What a command line of `each` says, as a job: a name, keys of a jobs file, and items. All that is typed is read here."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.cli.each_file import agent_keys, command_keys
from orchestrator.cli.each_lines import coming_stdin
from orchestrator.cli.each_sources import Reading, read_items
from orchestrator.cli.each_words import ItemForm, Placeholders, SourceWords, script_with_item, split_sources
from orchestrator.errors import UserError
from orchestrator.system.wording import shell_word
from orchestrator.workers.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from orchestrator.system.coming_input import ComingInput


class Typed(msgspec.Struct, frozen=True, kw_only=True):
    """The words and options of a command line that say what is run; None: not given."""

    words: tuple[str, ...] = ()
    agent: str | None = None
    prompt: str | None = None
    model: str | None = None
    permissions: str | None = None
    workspace: str | None = None
    is_shell: bool = False
    files: tuple[str, ...] = ()
    is_nul: bool = False
    delimiter: str | None = None
    batch: int | None = None
    column_separator: str | None = None
    header: str | None = None
    mark: str | None = None
    timeout: str | None = None
    attempts: int | None = None
    retry_delay: str | None = None
    pool: str | None = None
    token: str | None = None
    check: str | None = None
    shell_program: str | None = None
    label: str | None = None
    max_failures: str | None = None
    halt: str | None = None
    """The value of the key."""
    slots: int | None = None


class EachJob(msgspec.Struct, frozen=True):
    """A job over items. `reads_stdin`: they come from there; a file can then also read a list that the user makes.

    `notes`: what a person should know who has typed it.
    """

    name: str
    form: ItemForm
    keys: dict[str, Any]
    values: Iterator[Any]
    reads_stdin: bool
    notes: list[str] = []
    coming: ComingInput | None = None
    """By which stdin is read, if it may still come when the run begins."""


def job_of(typed: Typed, *, begins_early: bool = False) -> EachJob:
    """What is typed, as a job. `begins_early`: its run may begin before all items have come.

    Raises UserError, also when items are taken.
    """
    words, sources = split_sources(typed.words)
    _refuse_halves(typed, words)
    # What -a names comes first, as in parallel.
    sources = [*(SourceWords((file,), are_files=True) for file in typed.files), *sources]
    # How many may fail of all is only known when all have come.
    is_share = any(each is not None and each.endswith("%") for each in (typed.max_failures, typed.halt))
    coming = coming_stdin() if begins_early and not sources and not is_share else None
    items = read_items(sources, _reading(typed, coming))
    if typed.mark == "":
        raise UserError("-I takes at least one character", "leave it out: {} stands for the item")
    meant = Placeholders(items.form, typed.mark)
    if typed.agent is not None and typed.prompt is not None:
        keys = agent_keys(typed.agent, typed.prompt, meant, model=typed.model)
        given = {"permissions": typed.permissions, "workspace": typed.workspace, "max_concurrency": typed.slots or None}
        keys |= {key: value for key, value in given.items() if value is not None}
        name = typed.agent
    else:
        keys = command_keys(words, meant, is_shell=typed.is_shell, takes_item=typed.batch != 0)
        name = os.path.basename(words[0].split()[0] if typed.is_shell and words else (words or ("each",))[0])
    keys |= _option_keys(typed, meant)
    # A list has no label of its own.
    if typed.label is not None:
        keys["label"] = meant.text(typed.label)
    elif not items.form.is_text:
        keys["label"] = meant.item(is_text=True)
    texts = (typed.agent, typed.prompt, typed.model, typed.token, typed.check, typed.label)
    told = [*words, *(text for text in texts if text is not None)]
    values = items.with_at_least(meant.most_values(told))
    return EachJob(name, items.form, keys, values, not sources, _notes(typed, words, meant), coming)


def _notes(typed: Typed, words: Sequence[str], meant: Placeholders) -> list[str]:
    notes = []
    script = None if typed.is_shell else script_with_item(words, meant)
    if script is not None:
        safe = f"each --shell {shell_word(script)}"
        notes.append(f"the shell reads the item as code: $(…) in it is run, and blanks part it; safe is: {safe}")
    if typed.mark is None and any(_ONE_LESS.search(word) for word in words):
        notes.append("{%} counts from 0 here, not from 1 as in parallel: leave out the - 1")
    return notes


def _refuse_halves(typed: Typed, words: tuple[str, ...]) -> None:
    """Either a command or an agent: half of each would run something that was not meant. Raises UserError."""
    of_an_agent = {
        "--prompt": typed.prompt,
        "--model": typed.model,
        "--permissions": typed.permissions,
        "--workspace": typed.workspace,
    }
    given = [option for option, value in of_an_agent.items() if value is not None]
    if typed.agent is None and given:
        raise UserError(f"{given[0]} is about an agent: give --agent NAME too", _HELP)
    if typed.agent is not None and (typed.prompt is None or words or typed.is_shell):
        raise UserError("--agent goes with -p TEXT" + (", and with no command" if words or typed.is_shell else ""), _HELP)
    if typed.agent is None and not words and not typed.is_shell:
        raise UserError("Missing argument '-- CMD [ARG | {}]...'", "with --shell each item is a command line itself")
    # As parallel takes it; a program whose name has a blank is a path, or found.
    if (
        len(words) == 1
        and not typed.is_shell
        and " " in words[0]
        and "/" not in words[0].partition(" ")[0]
        and not shutil.which(words[0])
    ):
        raise UserError(f"no program is called {words[0]!r}", "a command line goes behind --shell; a program has its words apart")


_ONE_LESS = lazy_pattern(r"\{%\}\s*-\s*1\b")

_HELP = "see orchestrate each --help"


def _reading(typed: Typed, coming: ComingInput | None) -> Reading:
    if typed.is_nul and typed.delimiter is not None:
        raise UserError("-0 and -d cannot both be given", "each says what ends an item: leave one out")
    delimiter = "\0" if typed.is_nul else _unescaped(typed.delimiter)
    return Reading(
        separator=None if delimiter in (None, "\n") else delimiter.encode("utf-8", "surrogateescape"),
        batch=typed.batch or 1,
        column_separator=_unescaped(typed.column_separator),
        has_header=_has_header(typed.header),
        coming=coming,
    )


def _has_header(header: str | None) -> bool:
    if header not in (None, ":"):
        raise UserError(f"--header {header}: only : is known, one line with names", "cut other headers off before: tail -n +3")
    return header is not None


_ESCAPES = {"\\0": "\0", "\\n": "\n", "\\t": "\t", "\\r": "\r"}


def _unescaped(text: str | None) -> str | None:
    """What a person means that types `\\t`, which a shell hands on as it is."""
    if text == "":
        raise UserError("-d and --colsep take at least one character", "for lines leave them out")
    return None if text is None else _ESCAPES.get(text, text)


def _option_keys(typed: Typed, meant: Placeholders) -> dict[str, Any]:
    failures = typed.max_failures
    keys: dict[str, Any] = {
        "timeout": typed.timeout,
        "attempts": typed.attempts,
        "retry": {"delay": typed.retry_delay} if typed.retry_delay is not None else None,
        "max_failures": int(failures) if failures is not None and failures.isdecimal() else failures,
        "halt": typed.halt,
        "shell_program": _program(typed),
        "pool": typed.pool,
        "token": meant.text(typed.token) if typed.token is not None else None,
        "check": meant.script(typed.check) if typed.check is not None else None,
    }
    return {key: value for key, value in keys.items() if value is not None}


def _program(typed: Typed) -> list[str] | None:
    """The words of the shell that runs a command line. Raises UserError."""
    if typed.shell_program is None:
        return None
    if not typed.is_shell:
        raise UserError("--shell-program runs the command line of --shell", "give --shell too")
    try:
        return shlex.split(typed.shell_program)
    except ValueError as error:
        raise UserError(f"--shell-program {typed.shell_program}: {error}", "as: --shell-program 'bash -c'") from error


def halt_of(words: str | None, max_failures: str | None, *, keep_going: bool) -> tuple[str | None, bool]:
    """The key `halt` of what is typed for --halt, if it needs one, and whether the run goes on after a failure.

    Raises UserError for words that mean nothing, or not together with -k or --max-failures.
    """
    # As parallel once spelled them; the first failure halts a run anyway.
    words = {"1": "soon,fail=1", "2": "now,fail=1"}.get(words or "", words)
    if words in (None, "never"):
        return None, keep_going or words == "never"
    assert words is not None
    from orchestrator.jobsfile.key_types import parse_halt

    try:
        halt = parse_halt(words)
    except ValueError:
        hint = "never, or soon or now with fail=N, success=N or done=N (a number or a percentage): now,success=1"
        raise UserError(f"--halt {words} is not possible", hint) from None
    if halt.why == "fail" and keep_going:
        raise UserError(f"--halt {words} and -k cannot both be given", "-k goes on after failures: leave one out")
    if halt.why == "fail" and (halt.count or halt.percent) and max_failures is not None:
        raise UserError(f"--halt {words} and --max-failures cannot both be given", "each says how many may fail: leave one out")
    return (None if words == "soon,fail=1" else words), keep_going


def folder_named(folder: str | None) -> str:
    """The absolute path of the folder that commands run in; None: here. Raises UserError if there is none."""
    path = os.path.abspath(folder or ".")
    if not os.path.isdir(path):
        raise UserError(f"-C {folder}: no such folder", "make it, or name another one")
    return path
