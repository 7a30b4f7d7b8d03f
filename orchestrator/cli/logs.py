"""`orchestrate logs [RUN] [ITEM]`: what items wrote, without secrets; of agents what people want to read of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.noting import tell_note
from orchestrator.cli.options import run_argument
from orchestrator.cli.output import write_line, write_lines
from orchestrator.cli.sinks import Sinks, copy_stream
from orchestrator.cli.streams import STREAMS, open_stream
from orchestrator.errors import UserError
from orchestrator.system.wording import how_many

if TYPE_CHECKING:
    from orchestrator.reading.run_reader import RunReader


@click.command("logs")
@run_argument
@click.argument("item", required=False)
@click.option("-f", "--follow", is_flag=True, help="Follow an item until it ends, or all that run, line by line.")
@click.option("--stderr", is_flag=True, help="What it wrote to stderr, instead of stdout and then stderr.")
@click.option("--both", is_flag=True, help="Both streams, as without it; says whether the order of their lines is known.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Which attempt (default: the last).")
@click.option("-n", "--lines", "--tail", type=click.IntRange(min=0), metavar="LINES", help="Only the last LINES of each stream.")
@click.option(
    "--raw",
    is_flag=True,
    help="The bytes as they were written: no event left out, no secret hidden, and a terminal obeys them.",
)
@pass_invocation
def command(
    invocation: Invocation,
    *,
    run: str | None,
    item: str | None,
    follow: bool,
    stderr: bool,
    both: bool,
    attempt: int | None,
    lines: int | None,
    raw: bool,
) -> int:
    """Print what an item wrote (default: all items of the newest run): its stdout, then its stderr, then what its check
    wrote if that failed.

    Of an agent: what it said, a line for each tool that it called, its errors, and how it ended. Values of environment variables
    with a name such as API_KEY or TOKEN, and whatever looks like a key, are shown as [redacted:NAME].

    ITEM is JOB:INDEX, JOB, JOB:LABEL or a glob, with #ROUND behind it for one round of a loop. Several items have a header line
    each.

    -f of no item, or of several, shows what those that run write from now on, and before (`--tail 0`: not that), each line behind
    the name of its item, until the run has ended.

    stdout and stderr are files of their own, so which line came first is not known; -f shows each as it comes. A command with
    2>&1 has both in its stdout, in order.
    """
    from orchestrator.cli.meant_run import run_and_items
    from orchestrator.reading.follower import RunFollower

    meant = run_and_items(invocation, (run, item), most=1)
    follower = RunFollower(meant.run_dir, tell_note)
    reader, is_named = follower.reader, bool(meant.words)
    items, number = meant.round(reader) if is_named else (_all_items(reader), None)
    sinks = Sinks(reader, is_raw=raw)
    # Options that do not go together are refused before anything is printed.
    if number is not None and (follow or attempt is not None):
        raise UserError("#ROUND does not go with -f or --attempt", "-f follows the attempt that runs")
    if follow and attempt is not None:
        raise UserError("-f and --attempt cannot both be given", "-f follows the attempt that runs")
    if both and stderr:
        raise UserError("--both and --stderr cannot both be given", "without either both are shown, stdout first")
    if both and not follow:
        tell_note(
            "which line came first, of stdout or of stderr, is not known: stderr follows. 2>&1 in the command keeps the order"
        )
    names = ("stderr",) if stderr else STREAMS
    if follow and (not is_named or len(items) != 1) and reader.is_alive:
        from orchestrator.cli.following_all import FollowedItems

        FollowedItems(follower, set(items) if is_named else None, sinks, names=names, lines=lines).follow()
        return 0
    if follow and len(items) == 1:
        from orchestrator.cli.following import follow_item

        with _bug_told(reader, *items[0]):
            follow_item(follower, *items[0], sinks, names=names, lines=lines)
        return 0
    # Of a whole run, items that have not started have nothing to show; one that was named gets its header all the same.
    if not is_named:
        items = [each for each in items if _attempt_number(reader, *each, attempt) > 0]
    for place, (job_id, index) in enumerate(items):
        if len(items) > 1:
            _print_title(reader, job_id, index, is_first=place == 0)
        chosen = attempt if number is None else _attempt_of(reader, job_id, index, number)
        with _bug_told(reader, job_id, index):
            _print_item(reader, sinks, job_id, index, chosen, lines, only_stderr=stderr)
    if len(items) == 1:
        _tell_child(reader, invocation.program(), *items[0])
    return 0


@contextmanager
def _bug_told(reader: RunReader, job_id: str, index: int) -> Iterator[None]:
    """A bug of ours to which the bytes of this item lead is told in its place: the others are shown."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        from orchestrator.system.fence import fenced_words, log_fenced

        log_fenced(reader.run_dir.log, f"{reader.item_name(job_id, index)}: its logs could not be shown", error)
        write_line(f"[the rest cannot be shown: {fenced_words(error)}]")


def _print_title(reader: RunReader, job_id: str, index: int, *, is_first: bool) -> None:
    """The header line of one of several items, with an empty line before it but for the first."""
    from orchestrator.reading.item_names import label_of
    from orchestrator.system.wording import title

    shown = title(reader.item_name(job_id, index), label_of(reader, job_id, index))
    write_lines([*([] if is_first else [""]), f"==> {shown} <=="])


def _tell_child(reader: RunReader, program: str, job_id: str, index: int) -> None:
    """If the item's work is a child run, say where the logs of that run are."""
    from orchestrator.reading.item_result import shown_result

    child = shown_result(reader, job_id, index, with_output=False)["child"]
    if child is not None:
        tell_note(f"the work is done by child run {child}: {program} logs {child}")


def _all_items(reader: RunReader) -> list[tuple[str, int]]:
    """Every item of the run, in order."""
    return [(job_id, index) for job_id in reader.history.header.jobs for index in range(reader.count(job_id))]


def _attempt_of(reader: RunReader, job_id: str, index: int, number: int) -> int:
    """The attempt that round `number` of a loop ended with. Raises UserError."""
    past = reader.history.jobs[job_id]
    ended = past.round_end(index, number)
    if ended is None:
        done = past.rounds_done(index)
        raise UserError(f"{reader.item_name(job_id, index)} has done no round {number}", f"it has done {how_many(done, 'round')}")
    return ended.attempt


def _attempt_number(reader: RunReader, job_id: str, index: int, attempt: int | None) -> int:
    """The attempt that is meant (None: the last); 0 if the item has not had it."""
    last = reader.history.jobs[job_id].attempts(index)
    return last if attempt is None else attempt if attempt <= last else 0


def _print_item(
    reader: RunReader, sinks: Sinks, job_id: str, index: int, attempt: int | None, lines: int | None, *, only_stderr: bool
) -> None:
    """Print the streams of one attempt of an item, one behind the other. Raises UserError: there was no such attempt."""
    number = _attempt_number(reader, job_id, index, attempt)
    if attempt is not None and number == 0:
        had = reader.history.jobs[job_id].attempts(index)
        raise UserError(
            f"{reader.item_name(job_id, index)} has had no attempt {attempt}",
            f"it has had {how_many(had, 'attempt')}",
        )
    for name in ("stderr",) if only_stderr else STREAMS:
        stream = open_stream(reader, job_id, index, number, name)
        if stream is not None:
            with stream:
                copy_stream(stream, sinks.sink(job_id, index, number, name, lines))
