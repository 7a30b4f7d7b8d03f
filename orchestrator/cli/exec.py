"""`orchestrate exec [RUN] ITEM`: run an item's command by hand."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from typing import TYPE_CHECKING

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.noting import tell_note
from orchestrator.cli.options import item_argument, run_argument
from orchestrator.errors import UserError
from orchestrator.system.wording import shell_word
from orchestrator.workers.byte_text import bytes_of_text
from orchestrator.workers.files.beneath import enter_beneath, real_root

if TYPE_CHECKING:
    from orchestrator.attempts.rendering import Prepared


@click.command("exec")
@run_argument
@item_argument
@click.option("--shell", is_flag=True, help="Start your shell there instead of the command.")
@pass_invocation
def command(invocation: Invocation, *, run: str | None, item: str | None, shell: bool) -> int:
    """Run an item's command by hand: same argv, folder, environment and standard input. Nothing is recorded.

    Exits as the command does.
    """
    from orchestrator.attempts.by_hand import prepared_by_hand
    from orchestrator.cli.meant_run import run_and_item
    from orchestrator.reading.run_reader import RunReader

    # One item: this process becomes its command.
    meant = run_and_item(invocation, (run, item))
    reader = RunReader.read(meant.run_dir)
    [name], items = meant.words, meant.items(reader)
    if len(items) != 1:
        raise UserError(f"{name!r} names {len(items)} items", "name one as JOB:INDEX")
    job_id, index = items[0]
    prepared, environment = prepared_by_hand(reader, job_id, index)
    if prepared.child is not None and not shell:
        raise UserError(f"{name} is a run of another file", f"by hand: orchestrate run {shell_word(prepared.child.path)}")
    # What the worker would do before it starts the command, without its captures, limits and locks.
    go_to(prepared)
    for each in prepared.creates:
        tell_note(f"it writes {each.temporary}, and by hand nothing renames that")
    if shell:
        _become([os.environ.get("SHELL") or "/bin/sh"], environment)
    # A shell script that is too long for an argument is read from a descriptor, so that no file is left behind.
    argv = list(prepared.argv)
    _set_stdin(prepared.stdin)
    if prepared.script is not None:
        argv.append(f"/dev/fd/{_readable(prepared.script)}")
    _become(argv, environment)
    return 0


def go_to(prepared: Prepared) -> None:
    """Go where the item works, as its worker does: no link that stands there is followed out of a workspace."""
    place = prepared.place
    try:
        if place is None or place.kind == "shared":
            os.chdir(prepared.cwd)
        else:
            enter_beneath(prepared.cwd, real_root(place.path))
    except OSError as error:
        raise UserError(f"{prepared.cwd}: cannot go there: {error.strerror}") from error


def _set_stdin(text: str | None) -> None:
    source = os.open(os.devnull, os.O_RDONLY) if text is None else _readable(text)
    os.dup2(source, 0)


def _readable(text: str) -> int:
    """An inheritable descriptor from which `text` can be read; nothing is left on disk."""
    with tempfile.TemporaryFile() as file:
        file.write(bytes_of_text(text))
        file.seek(0)
        descriptor = os.dup(file.fileno())
    os.set_inheritable(descriptor, True)
    return descriptor


def _become(argv: list[str], environment: dict[str, str]) -> None:
    """Replace this process by the command: signals, terminal and exit code are the command's own. Raises UserError."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.flush()
    try:
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        raise UserError(f"{argv[0]}: cannot be started: {error.strerror}") from error
