"""What a shell completes a word to: `orchestrate complete WORD…` prints it, a line each, with a tab and a few words behind it.

Only a command that has options already, or whose options are asked for, needs click: ids of runs, items and agents are told as
quickly as `list` is. A word that a shell would not take as it stands (`$(…)`, a blank) is never offered, whoever made it up.
"""

from __future__ import annotations

import os
import string
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.cli.command_names import COMMANDS
from orchestrator.errors import UserError

if TYPE_CHECKING:
    import click

    from orchestrator.cli.invocation import Invocation
    from orchestrator.reading.run_reader import RunReader

ARGUMENTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("run", "check", "plan", "import", "agents"), ("file",)),
    **dict.fromkeys(("resume", "status", "attach", "results", "capsule", "wait", "pause", "stop", "flush"), ("run",)),
    **dict.fromkeys(("why", "logs", "diff", "exec"), ("run", "item")),
    **dict.fromkeys(("land", "retry", "cancel"), ("run", "items")),
    "approve": ("run", "gate"),
    "set": ("run", "settings"),
    "init": ("example",),
    "completion": ("shell",),
}
"""Command -> its arguments, by the names that its function gives them. The last of several may stand any number of times."""

SHELLS = ("bash", "zsh", "fish")

_MOST_RUNS = 30
_MOST_ITEMS = 200
_MOST_LABELS = 1000
_LARGEST_RECORDS = 8 << 20
"""Bytes of records that are read while somebody waits for a word."""
_SAFE = frozenset(string.ascii_letters + string.digits + "_./:=,@%+-")


def complete(invocation: Invocation, words: Sequence[str]) -> int:
    """Print what the last of these words, all that stand behind `orchestrate`, may become; 0, also if that is nothing."""
    from orchestrator.cli.output import write_bytes

    try:
        for word, about in _found(invocation, [*words] or [""]):
            if _SAFE.issuperset(word):
                write_bytes(f"{word}\t{about}\n".encode())
    except UserError:
        pass  # no home, no such run, damaged records: a prompt is no place to tell of that
    return 0


def _found(invocation: Invocation, words: list[str]) -> Iterator[tuple[str, str]]:
    *before, last = words
    if "--home" in before[:-1]:
        at = before.index("--home")
        invocation.home_option = before[at + 1]
        before[at : at + 2] = []
    candidates = _candidates(invocation, before, last)
    return ((word, about) for word, about in candidates if word.startswith(last) and word != last)


def _candidates(invocation: Invocation, before: list[str], last: str) -> Iterable[tuple[str, str]]:
    if not before:
        return COMMANDS.items()
    name, *given = before
    if name not in COMMANDS:
        return ()
    # Options, and what stands behind one.
    if last.startswith("-") or any(word.startswith("-") for word in given):
        command = _command(name, given)
        if last.startswith("-"):
            return _options(command)
        if given and (option := _option(command, given[-1])) is not None:
            return _values(option)
        given = _without_options(command, given)
    # Arguments, by their place.
    kinds = ARGUMENTS.get(name, ())
    if not kinds or (len(given) >= len(kinds) and kinds[-1] not in ("items", "settings")):
        return ()
    return _arguments(invocation, kinds[min(len(given), len(kinds) - 1)], given, last)


def _arguments(invocation: Invocation, kind: str, given: list[str], last: str) -> Iterator[tuple[str, str]]:
    match kind:
        case "run":
            yield from _runs(invocation)
            yield from ((name, "jobs file") for name in os.listdir() if name.endswith(".toml"))
            if last:  # RUN may be left out
                yield from _items(invocation, None, last)
        case "item" | "items":
            yield from _items(invocation, given[0], last)
        case "gate":
            yield from _gates(invocation, given[0])
        case "settings":
            yield from ((f"{each}=", "") for each in ("slots", "budget_usd", "budget_tokens"))
        case "shell":
            yield from ((each, "") for each in SHELLS)
        case "example":
            from orchestrator.system.shipped_files import examples_folder

            yield from ((path.stem, "") for path in sorted(examples_folder().glob("*.toml")))


def _runs(invocation: Invocation) -> Iterator[tuple[str, str]]:
    """The newest runs, by when their checkpoints were last written."""
    from orchestrator.store.home import runs_folder
    from orchestrator.store.kept_summary import kept_summary
    from orchestrator.store.run_dir import CHECKPOINT_NAME, RunDir

    folder = runs_folder(invocation.home())
    written: list[tuple[float, str]] = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        try:
            written.append((os.lstat(f"{folder}/{name}/{CHECKPOINT_NAME}").st_mtime, name))
        except OSError:
            continue  # no run, or one that is removed just now
    for _, name in sorted(written, reverse=True)[:_MOST_RUNS]:
        kept = kept_summary(RunDir(folder / name))
        yield name, "" if kept is None else f"{kept.summary['name']} {kept.summary['status']}"


def _reader(invocation: Invocation, reference: str | None) -> RunReader | None:
    """The run; None: to read it would take too long."""
    from orchestrator.reading.run_reader import RunReader

    run_dir = invocation.find(reference)
    sizes = (os.lstat(path).st_size for path in run_dir.path.iterdir() if path.name.startswith(("checkpoint", "journal")))
    return RunReader.read(run_dir) if sum(sizes) <= _LARGEST_RECORDS else None


def _items(invocation: Invocation, reference: str | None, last: str) -> Iterator[tuple[str, str]]:
    """Jobs, and behind their colon the items: by their labels, or by their numbers."""
    from orchestrator.reading.item_names import label_of
    from orchestrator.store.checkpoint import read_header

    job_id, colon, rest = last.partition(":")
    if not colon:
        jobs = read_header(invocation.find(reference).checkpoint).jobs
        yield from ((f"{each}:" if is_fan_out else each, "") for each, is_fan_out in jobs.items())
        return
    reader = _reader(invocation, reference)
    if reader is None or job_id not in reader.history.header.jobs:
        return
    past, told = reader.history.jobs[job_id], 0
    for index in range(min(reader.count(job_id), _MOST_LABELS)):
        status, label = past.status(index).value, label_of(reader, job_id, index, past.record(index))
        name = f"{job_id}:{label}" if label and _SAFE.issuperset(label) and not rest.isdigit() else f"{job_id}:{index}"
        if name.startswith(last) and told < _MOST_ITEMS:
            told += 1
            yield name, status


def _gates(invocation: Invocation, reference: str | None) -> Iterator[tuple[str, str]]:
    from orchestrator.reading.open_questions import open_questions

    reader = _reader(invocation, reference)
    if reader is not None:
        yield from ((asked.gate, "") for asked in open_questions(reader))


def _command(name: str, given: list[str]) -> click.Command:
    import click

    from orchestrator.cli.group import orchestrate

    command = orchestrate.get_command(click.Context(orchestrate), name)
    assert command is not None
    inner = command.commands.get(given[0]) if isinstance(command, click.Group) and given else None
    return inner or command


def _options(command: click.Command) -> Iterator[tuple[str, str]]:
    for each in command.params:
        if each.param_type_name == "option" and not getattr(each, "hidden", False):
            about = (getattr(each, "help", "") or "").partition(". ")[0]
            yield from ((word, about) for word in each.opts if word.startswith("--"))


def _option(command: click.Command, word: str) -> click.Parameter | None:
    """The option that this word is, if a value stands behind it."""
    return next((each for each in command.params if word in each.opts and not getattr(each, "is_flag", True)), None)


def _values(option: click.Parameter) -> Iterator[tuple[str, str]]:
    if option.name == "agent":
        from orchestrator.jobsfile.profiles.load import Profiles

        yield from ((name, "") for name in Profiles(os.getcwd()).names())
    yield from ((str(each), "") for each in getattr(option.type, "choices", ()))


def _without_options(command: click.Command, given: list[str]) -> list[str]:
    words: list[str] = []
    is_value = False
    for word in given:
        if not is_value and not word.startswith("-"):
            words.append(word)
        is_value = not is_value and _option(command, word) is not None
    return words
