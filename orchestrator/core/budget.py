"""Budgets: nothing of a job of agents starts that would probably cost more than is left of its budget or of the run's.

Promise: what the attempts that have ended have cost, what those that run are expected to cost, and what the next one is expected
to cost are together within the bound before it starts. So a bound is exceeded by no more than what the attempts in flight cost
beyond what was expected of them. A job without money left starts nothing; when nothing else moves either, the run pauses.

What is expected of an attempt, the first of these that is known:

1. the median of what the last attempts of its job's items cost;
2. `estimate_usd` of the job;
3. the mean over all attempts of the run;
4. nothing is known: one item starts alone, and the others wait for what it tells.

An attempt that does not tell what it cost counts as much as is expected of one. Where nobody tells anything (`MUTE_AFTER`
attempts, and none has told) a bound bounds nothing: that is said, once (`mute_units`).

All of this follows from what is recorded: a resume with the same budget starts what this supervisor would have started.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from orchestrator.core.costs import UNBOUND, Cost, Costs, Meter, Total
from orchestrator.core.states import JobState, RunState

MUTE_AFTER = 2
"""One attempt that tells nothing may have been killed; two in a run where none has told are an agent that never tells."""

_NEXT_BUDGET = "; (?=budget(?:: | of ))"

Unit = Literal["nano_usd", "tokens"]
UNITS: tuple[Unit, ...] = ("nano_usd", "tokens")


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why no item of a job starts: of what the run (`job` None) or the job may cost in this unit, too little is left.

    `spent`: what is known. `unknown` attempts did not tell and count as `unknown_amount`; what runs (`running`) will probably
    cost `running_amount`, the next one `expected`. `is_first`: there is money, but nobody knows what an item costs before the
    first has ended.
    """

    unit: Unit
    job: str | None
    bound: int
    spent: int
    unknown: int
    unknown_amount: int
    running: int
    running_amount: int
    expected: int
    is_first: bool = False


def charge_attempt(state: RunState, job: JobState, index: int, cost: Cost | None) -> None:
    """An attempt of item `index` has ended; None: it was no agent's, or never began."""
    if cost is not None:
        _count(state, job, -1)
        job.costs.charge(index, cost)
        _count(state, job, 1)


def take_over_costs(state: RunState, job: JobState, costs: Costs) -> None:
    """What the job has cost under an earlier supervisor, or before its run was updated."""
    _count(state, job, -1)
    job.costs = costs
    _count(state, job, 1)


def refusal(state: RunState, job: JobState) -> Refusal | None:
    """What keeps the next item of this job from starting; None: it may start."""
    if not job.rules.is_paid:
        return None
    return next(_refusals(state, job), None)


def mute_units(state: RunState, job: JobState) -> Iterator[Unit]:
    """The units of budgets over this job that do not bound it, because it tells nothing of what it uses."""
    for unit in UNITS:
        meter = _meter(job, unit)
        is_mute = meter.unknown >= MUTE_AFTER and not meter.told and not expected(state, job, unit)
        if is_mute and _bounds(state, job, unit):
            yield unit


def expected(state: RunState, job: JobState, unit: Unit) -> int | None:
    """What an attempt of this job will probably cost; None: nobody knows."""
    own = _own_price(job, unit)
    return getattr(state.totals, unit).mean if own is None else own


def is_unpriced(job: JobState) -> bool:
    """Whether the job's items cost money, and nothing but the run as a whole tells how much, or how much they may: if one of two
    such jobs is refused money, so is the other."""
    if not job.rules.is_paid or job.budget != UNBOUND:
        return False
    return all(_own_price(job, unit) is None for unit in UNITS)


def left_nano_usd(state: RunState, job: JobState) -> int | None:
    """What an attempt of this job that is about to begin, and is counted as running, may cost at most; None: there is no bound.

    The least that is left of the bounds that hold for it, without what the others that run are expected to cost. At least 1: that
    there is money was seen to before.
    """
    own = expected(state, job, "nano_usd") or 0
    left = [bound - sum(_used(state, whose, "nano_usd")) + own for whose, bound in _bounds(state, job, "nano_usd")]
    return max(min(left), 1) if left else None


def in_words(refused: Refusal) -> str:
    """One line: `budget: spent 19.80 of 20.00 USD`, and what is counted besides."""
    whose = "budget" if refused.job is None else f"budget of {refused.job}"
    if refused.is_first:
        return f"{whose}: nobody knows yet what an item costs, and the first one tells"
    words = f"{whose}: spent {_amount(refused.spent, refused.unit)} of {_amount(refused.bound, refused.unit)} "
    words += "USD" if refused.unit == "nano_usd" else "tokens"
    besides = []
    if refused.unknown:
        counted = f", counted as {_amount(refused.unknown_amount, refused.unit)}" if refused.unknown_amount else ""
        besides.append(f"{refused.unknown} of unknown cost{counted}")
    if refused.running:
        likely = f", expected to cost {_amount(refused.running_amount, refused.unit)}" if refused.running_amount else ""
        besides.append(f"{refused.running} running{likely}")
    if refused.spent < refused.bound and refused.expected:
        besides.append(f"the next is expected to cost {_amount(refused.expected, refused.unit)}")
    return f"{words} ({'; '.join(besides)})" if besides else words


def words_about_job(reason: str, job_id: str) -> str:
    """What a pause's `reason`, budgets in words (`in_words`) behind each other, says of this job.

    That leaves out the budgets of other jobs. If nothing is left, it is all of `reason`: the job waits for what others would do.
    """
    # Budgets stand behind each other with "; " between them, which may stand inside the words of one, too.
    told = re.split(_NEXT_BUDGET, reason)
    own = [each for each in told if not each.startswith("budget of ") or each.startswith(f"budget of {job_id}: ")]
    return "; ".join(own or told)


def _refusals(state: RunState, job: JobState) -> Iterator[Refusal]:
    """Each bound that keeps the next item of the job from starting, in the order in which people are told of them."""
    for unit in UNITS:
        for whose, bound in _bounds(state, job, unit):
            # All that is counted is put together first: a refusal says it in words.
            likely = expected(state, job, unit)
            spent, unknown_amount, running_amount = _used(state, whose, unit)
            refused = Refusal(
                unit=unit,
                job=None if whose is None else whose.rules.id,
                bound=bound,
                spent=spent,
                unknown=(getattr(state.totals, unit) if whose is None else _meter(whose, unit)).unknown,
                unknown_amount=unknown_amount,
                running=sum(each.running for each in _at_work(state)) if whose is None else whose.running,
                running_amount=running_amount,
                expected=likely or 0,
            )
            # At least the smallest amount must be left, also for a job whose attempts have cost nothing so far.
            if spent + unknown_amount + running_amount + max(likely or 0, 1) > bound:
                yield refused
            # There is money, but any number of items might start on it before the first one tells what an item costs.
            elif likely is None and _is_first_in_flight(state, unit):
                yield msgspec.structs.replace(refused, is_first=True)


def _used(state: RunState, whose: JobState | None, unit: Unit) -> tuple[int, int, int]:
    """Of a job (None: of all): what is known to be spent, what attempts that did not tell count as, what running ones will cost.

    It is asked before each start: of all jobs only those are looked at that are at work, the rest is summed up already.
    """
    if whose is None:
        total: Total = getattr(state.totals, unit)
        running_amount = sum(each.running * (expected(state, each, unit) or 0) for each in _at_work(state))
        return total.known, total.unknown_amount + total.unpriced * (total.mean or 0), running_amount
    meter, price = _meter(whose, unit), expected(state, whose, unit) or 0
    return meter.known, meter.unknown * price, whose.running * price


def _bounds(state: RunState, job: JobState, unit: Unit) -> list[tuple[JobState | None, int]]:
    """Each bound that holds for the job: whose it is (None: the run's, of all jobs together), and how much."""
    found: list[tuple[JobState | None, int]] = []
    if (bound := getattr(state.budget, unit)) is not None:
        found.append((None, bound))
    if (bound := getattr(job.budget, unit)) is not None:
        found.append((job, bound))
    return found


def _is_first_in_flight(state: RunState, unit: Unit) -> bool:
    """Whether an agent is at work that may tell what an item costs, which nobody knows yet."""
    is_mute = getattr(state.totals, unit).unknown >= MUTE_AFTER
    return not is_mute and any(expected(state, job, unit) is None for job in _at_work(state))


def _at_work(state: RunState) -> Iterator[JobState]:
    """The jobs that cost money of which items run."""
    return (job for order in state.agenda.at_work if (job := state.jobs[order]).rules.is_paid)


def _own_price(job: JobState, unit: Unit) -> int | None:
    """What an attempt of this job will probably cost, as far as the job itself tells."""
    median = _meter(job, unit).median
    return job.rules.estimate_nano_usd if median is None and unit == "nano_usd" else median


def _count(state: RunState, job: JobState, times: int) -> None:
    for unit in UNITS:
        total: Total = getattr(state.totals, unit)
        total.count(_meter(job, unit), _own_price(job, unit), times)


def _meter(job: JobState, unit: Unit) -> Meter:
    return job.costs.nano_usd if unit == "nano_usd" else job.costs.tokens


def _amount(amount: int, unit: Unit) -> str:
    if unit == "tokens":
        return f"{amount:,}"
    return f"{amount / 1e9:.2f}" if not 0 < amount < 10_000_000 else f"{amount / 1e9:.4f}"
