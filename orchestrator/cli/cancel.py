"""`orchestrate cancel RUN [ITEM…]`: end what runs or waits, for good, also in a run that nobody supervises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import items_argument, run_argument
from orchestrator.cli.output import write_line
from orchestrator.errors import StateUnwritableError, UserError

if TYPE_CHECKING:
    from orchestrator.cli.meant_run import Meant
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.store.run_dir import RunDir


@click.command("cancel")
@run_argument
@items_argument
@click.option("--replaced-by", metavar="RUN/ITEM", hidden=True, help="On behalf of an item that takes the token of ITEM.")
@pass_invocation
def command(invocation: Invocation, *, run: str | None, items: tuple[str, ...], replaced_by: str | None) -> int:
    """Cancel a run, or some of its items: what runs or waits is ended, and a resume does not run it again.

    ITEM is JOB:INDEX, JOB, JOB:LABEL or a glob. A run without a living supervisor can be cancelled, too.

    Cancelling a whole run leaves items that had not started pending. `resume RUN` runs them; `run FILE --resume` starts a new
    run. What has ended stays as it is.
    """
    from orchestrator.cli.asking import say
    from orchestrator.cli.meant_run import must_be_named, only_living, run_and_items
    from orchestrator.control.client import NoSupervisor, ask
    from orchestrator.control.messages import CancelRequest
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.runs.left_children import left_children

    meant = run_and_items(invocation, (run, *items), must_be_named if run is None else only_living)
    reader = RunReader.read(meant.run_dir)
    chosen = _chosen(reader, meant) if meant.words else None
    # A living supervisor cancels; without one this process takes the run, ends its workers and records the cancel.
    try:
        code = say(ask(reader.run_dir.path, CancelRequest.of(chosen, replaced_by)))
    except NoSupervisor:
        code = _cancel_dead(reader.run_dir, chosen, replaced_by)
    # After the parent: its item no longer starts them anew.
    for child in left_children(reader, chosen):
        _cancel_dead(child, None, None)
    return code


def _chosen(reader: RunReader, meant: Meant) -> list[tuple[str, int]]:
    """All items that the user named. Raises UserError if there are none yet: a cancel must not be promised and then forgotten."""
    chosen = meant.items(reader)
    if not chosen:
        raise UserError(
            f"{', '.join(meant.words)} of run {reader.run_dir.run_id} has no items",
            "a fan-out has none until what it needs has ended",
        )
    return chosen


def _cancel_dead(run_dir: RunDir, items: list[tuple[str, int]] | None, replaced_by: str | None) -> int:
    """Take a run that nobody supervises, end what still runs, record the cancel; 0, whatever status the run has then."""
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.reading.seen_statuses import run_status
    from orchestrator.runs.commands import cancel_dead_run
    from orchestrator.views.listeners import Listeners

    try:
        report = cancel_dead_run(run_dir, items, Listeners([]), replaced_by=replaced_by)
    except StateUnwritableError as error:
        raise StateUnwritableError(error.message, "the cancel was not recorded: mend that, then cancel once more") from error
    if report is None and items is not None:
        status = run_status(RunReader.read(run_dir))
        write_line(f"nothing to cancel: all that was named has ended, and run {run_dir.run_id} is {status}")
    elif report is None:
        write_line(f"run {run_dir.run_id} is {run_status(RunReader.read(run_dir))}: nothing to cancel")
    else:
        write_line(f"run {run_dir.run_id} had no living supervisor; it is {report.status} now")
    return 0
