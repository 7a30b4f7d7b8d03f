"""`orchestrate set RUN slots=4`, `set RUN budget_usd=40`: change a run's bounds, while it goes on or for its resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import run_argument
from orchestrator.cli.output import write_line
from orchestrator.errors import UserError
from orchestrator.system.wording import how_many

if TYPE_CHECKING:
    from orchestrator.control.messages import SetBudget, SetSlots
    from orchestrator.reading.money.budgets import Kind
    from orchestrator.store.run_dir import RunDir
    from orchestrator.store.settings_records import BudgetSet, SlotsSet

_KNOWN = "slots=N, budget_usd=N, budget_tokens=N or JOB.budget_usd=N can, as in: orchestrate set RUN slots=4"


@click.command("set")
@run_argument
@click.argument("settings", nargs=-1, metavar="KEY=N")
@pass_invocation
def command(invocation: Invocation, *, run: str | None, settings: tuple[str, ...]) -> int:
    """Change how many items of a run are at work at once (slots), or what the run or one of its jobs may cost.

    KEY is slots, budget_usd, budget_tokens, JOB.budget_usd or JOB.budget_tokens. The change holds at once and in all resumes.
    Items that run are not disturbed.
    """
    from orchestrator.cli.asking import say
    from orchestrator.cli.meant_run import run_to_steer
    from orchestrator.control.client import NoAnswer, NoSupervisor, ask

    # KEY=N is no run's id, and hardly its name.
    if run is not None and (invocation.is_last or "=" in run):
        settings, run = (run, *settings), None
    wanted = _parsed(settings)
    run_dir = run_to_steer(invocation, run)
    record = _record(run_dir, wanted)
    try:
        return say(ask(run_dir.path, wanted))
    except NoAnswer:
        raise  # the supervisor may have it or not: recording it beside the supervisor could contradict it
    except NoSupervisor:
        return _set_for_resumes(run_dir, wanted, record)


def _parsed(settings: tuple[str, ...]) -> SetSlots | SetBudget:
    from orchestrator.control.messages import SetBudget, SetSlots
    from orchestrator.jobsfile.language.quantities import MOST_SLOTS, read_digits

    if len(settings) != 1:
        raise UserError("set what?", "slots=N, as in: orchestrate set RUN slots=4")
    key, equals, value = settings[0].partition("=")
    job, _, kind = key.strip().rpartition(".")
    if not equals or (kind not in ("slots", "budget_usd", "budget_tokens")) or (job and kind == "slots"):
        raise UserError(f"{settings[0]!r} cannot be set", _KNOWN)
    if kind != "slots":
        return SetBudget(kind=cast("Kind", kind), amount=_amount(kind, value), job=job)
    number = read_digits(value)
    if number is None or not 1 <= number <= MOST_SLOTS:
        raise UserError(f"slots={value}: not a number of slots", f"a run has 1 to {MOST_SLOTS} slots")
    return SetSlots(number)


def _amount(kind: str, value: str) -> float:
    from orchestrator.core.costs import MOST_DOLLARS, MOST_TOKENS

    most = MOST_DOLLARS if kind == "budget_usd" else MOST_TOKENS
    try:
        amount = float(value) if kind == "budget_usd" else int(value)
    except ValueError:
        amount = -1
    if not 0 <= amount <= most:
        what = "an amount of dollars" if kind == "budget_usd" else "a number of tokens"
        raise UserError(
            f"{kind}={value}: not {what}", f"as in: orchestrate set RUN {kind}={'40' if kind == 'budget_usd' else '2000000'}"
        )
    return float(amount)


def _record(run_dir: RunDir, wanted: SetSlots | SetBudget) -> SlotsSet | BudgetSet:
    """The record of the change. Raises UserError if the run has no such job, or no agent does it."""
    from orchestrator.control.messages import SetSlots
    from orchestrator.reading.money.budgets import budget_set
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.store.settings_records import SlotsSet

    if isinstance(wanted, SetSlots):
        return SlotsSet(slots=wanted.slots)
    # Only an agent costs something: a budget of another job would bound nothing.
    jobs_file = RunReader.read(run_dir).jobs_file
    jobs = {job.id: job for job in jobs_file.jobs}
    if wanted.job and (wanted.job not in jobs or not jobs[wanted.job].is_agent):
        agents = [job.id for job in jobs_file.jobs if job.is_agent]
        raise UserError(
            f"run {run_dir.run_id} has no job {wanted.job!r} that an agent does",
            f"those are: {', '.join(agents)}" if agents else "it has no jobs of agents at all",
        )
    return budget_set(wanted.kind, wanted.amount, wanted.job, jobs[wanted.job] if wanted.job else jobs_file.run)


def _set_for_resumes(run_dir: RunDir, wanted: SetSlots | SetBudget, record: SlotsSet | BudgetSet) -> int:
    """Record the change for the next resume of a run that nobody supervises; 0. Raises RunHeldError if one has just begun."""
    from orchestrator.reading.money.budgets import in_words
    from orchestrator.runs.offline_recorder import OfflineRecorder
    from orchestrator.store.settings_records import SlotsSet

    # Durable before it is promised.
    with OfflineRecorder.lock_and_open(run_dir, wanted) as recorder:
        recorder.record_group([record])
        recorder.make_durable()
    slots = record.slots if isinstance(record, SlotsSet) else 0
    what = how_many(slots, "slot") if isinstance(record, SlotsSet) else in_words(record)
    write_line(f"run {run_dir.run_id} has no living supervisor: a resume of it will have {what}")
    return 0
