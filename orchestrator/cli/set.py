"""`orchestrate set RUN slots=4`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import MOST_SLOTS, last_option, named_run, run_argument
from orchestrator.cli.output import write_line
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.store.rundir import RunDir


@click.command("set")
@run_argument
@click.argument("settings", nargs=-1, metavar="slots=N")
@last_option
@pass_invocation
def command(invocation: Invocation, *, run: str | None, settings: tuple[str, ...], last: bool) -> int:
    """Change how many items of a run go at once, now and in its resumes. What runs is not disturbed."""
    from orchestrator.cli.asking import say
    from orchestrator.control import NoAnswer, NoSupervisor, SetSlots, ask

    if last and run is not None:
        settings = (run, *settings)  # with --last the first word is a setting already
        run = None
    slots = _slots(settings)
    run_dir = invocation.find(named_run(run, last=last))
    try:
        return say(ask(run_dir.path, SetSlots(slots)))
    except NoAnswer:
        raise  # whether it has the slots now, nobody knows
    except NoSupervisor:
        return _set_for_resumes(run_dir, slots)


def _slots(settings: tuple[str, ...]) -> int:
    if len(settings) != 1:
        raise UserError("set what?", "slots=N, as in: orchestrate set RUN slots=4")
    key, equals, value = settings[0].partition("=")
    if key.strip() != "slots" or not equals:
        raise UserError(f"{settings[0]!r} cannot be set", "slots=N can, as in: orchestrate set RUN slots=4")
    number = int(value) if value.isascii() and value.isdigit() else 0
    if not 1 <= number <= MOST_SLOTS:
        raise UserError(f"slots={value}: not a number of slots", f"a run has 1 to {MOST_SLOTS} slots")
    return number


def _set_for_resumes(run_dir: RunDir, slots: int) -> int:
    """Nobody supervises the run: record it for the next resume. Raises RunHeldError if one has just begun."""
    from orchestrator.launching import lock_run
    from orchestrator.store.records import SlotsSet
    from orchestrator.store.run_store import RunStore

    lock = lock_run(run_dir)
    try:
        store = RunStore.open(run_dir)
        try:
            store.append([SlotsSet(slots=slots)])
            store.take_checkpoint()
        finally:
            store.close()
    finally:
        lock.release()
    write_line(f"run {run_dir.run_id} has no living supervisor: a resume of it will have {slots} slot{'' if slots == 1 else 's'}")
    return 0
