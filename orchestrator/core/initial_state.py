"""The state of a run at its start: fresh, or from what an earlier supervisor recorded."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence

from orchestrator.core import throttle
from orchestrator.core.agenda import Agenda, WaitingLine
from orchestrator.core.ancestry import chain_depths
from orchestrator.core.budget import take_over_costs
from orchestrator.core.costs import UNBOUND, Bounds
from orchestrator.core.item_ends import want_again
from orchestrator.core.job_changes import count_start, enter_phase
from orchestrator.core.job_rules import JobRules
from orchestrator.core.states import PENDING, SKIPPED, JobState, Pending, Phase, RestoredJob, Running, RunState, Tries


def open_run(
    rules: Sequence[JobRules],
    *,
    slots: int,
    fast_slots: int = 0,
    now: float,
    drain_timeout: float = 300.0,
    timeout: float | None = None,
    budget: Bounds = UNBOUND,
    is_attended: bool = False,
    restored: Mapping[int, RestoredJob] | None = None,
) -> RunState:
    """Make the state of a run. `slots` >= 1, `fast_slots` of them the fast lane's; `restored` by job order.

    `timeout` and `drain_timeout` in seconds. `is_attended`: there is somebody whom its gates can ask at once.
    """
    jobs = [JobState(rules=rule, budget=rule.budget, line=_line_of(rule)) for rule in rules]
    # Whether others depend on a job decides whether its ends have to be durable before anything follows from them.
    for job in jobs:
        for parent in job.rules.chain:
            jobs[parent].chain_children.append(job.rules.order)
        for need in (*job.rules.needs, *job.rules.chain):
            jobs[need].dependents.append(job.rules.order)
    # What is begun is brought to its end first: of a chain the last jobs come before the first ones.
    depths = chain_depths(rules)
    by_rank = sorted(range(len(jobs)), key=lambda order: (-rules[order].priority, -depths[order], order))
    for rank, order in enumerate(by_rank):
        jobs[order].rank = rank
    state = RunState(
        jobs=jobs,
        slots=slots,
        free_slots=list(range(slots)),
        fast_slots=fast_slots,
        budget=budget,
        drain_timeout=drain_timeout,
        timeout_at=None if timeout is None else now + timeout,
        is_attended=is_attended,
        by_rank=by_rank,
        agenda=Agenda(changed=set(range(len(jobs))), to_open=set(range(len(jobs)))),
        ceilings=_ceilings(rules),
    )
    # Last: what was adopted takes slots and accounts of the state.
    for order, past in (restored or {}).items():
        restore_job(state, jobs[order], past)
    return state


def _line_of(rules: JobRules) -> WaitingLine:
    """The line of a job as long as nobody knows what it costs."""
    return WaitingLine(rules.lane, rules.accounts, rules.on_usage_limit, is_unpriced=False)


def _ceilings(rules: Sequence[JobRules]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for rule in rules:
        for account in rule.accounts:
            bounded, unbounded = found.get(account, (0, 0))
            bound = rule.max_concurrency
            found[account] = (bounded, unbounded + 1) if bound is None else (bounded + bound, unbounded)
    return found


def list_items(job: JobState, count: int, chosen: Sequence[range] | None = None) -> None:
    """Give a job its `count` items; it is not yet open. Those of `chosen` (None: all) are pending, the others are skipped."""
    ranges = (range(count),) if chosen is None else chosen
    job.items = [SKIPPED] * count
    for each in ranges:
        job.items[each.start : each.stop] = [PENDING] * len(each)
    job.is_listed = True
    job.unfinished = sum(map(len, ranges))
    job.skipped = job.unselected = count - job.unfinished
    set_failures_allowed(job, job.unfinished)


def set_failures_allowed(job: JobState, judged: int) -> None:
    """How many of so many items of the job may fail, and how many are enough."""
    halt = job.rules.halt
    if halt is not None:
        percent = 0 if halt.percent is None else max(1, math.ceil(judged * halt.percent / 100 - 1e-9))
        job.halts_at = percent if halt.count is None else halt.count
    if job.rules.max_failures is not None:
        job.failures_allowed = job.rules.max_failures
    elif job.rules.max_failures_percent is not None:
        # The tiny share keeps 18.4% of 375 at 69: in floats it is 68.99999999999999.
        job.failures_allowed = int(judged * job.rules.max_failures_percent / 100 + 1e-9)


def restore_job(state: RunState, job: JobState, past: RestoredJob) -> None:
    """Give a job what is recorded of its items.

    A job that still has something to do stays blocked: what it needs may run again, and comes first.
    """
    job.gone = past.gone
    if past.is_cut:
        state.agenda.cut.add(job.rules.order)
    if past.costs is not None:
        take_over_costs(state, job, past.costs)
    # Count all items as unfinished first: `count_end` takes each that has ended off again.
    job.items = past.states
    job.is_listed = True
    job.unfinished = len(job.items)
    job.unselected = past.unselected
    set_failures_allowed(job, len(job.items) - job.unselected - job.gone)
    job.tries = {index: Tries(number=number) for index, number in past.attempts.items()}
    # Attempts whose workers live run on, in their slots and by their accounts, as if this supervisor had started them.
    for adopted in past.adopted:
        job.items[adopted.index] = Running(adopted.attempt, adopted.slot)
        if adopted.account is not None:
            throttle.note_account(state, job, adopted.index, adopted.account)
        if adopted.device:
            state.devices[adopted.device] = (job.rules.order, adopted.index)
        job.tries[adopted.index] = Tries(number=adopted.attempt, used=1)
        count_start(state, job)
        # The run may have fewer slots now than when it began: then the slot is none of its slots.
        if adopted.slot in state.free_slots:
            state.free_slots.remove(adopted.slot)
    for item in job.items:
        if not isinstance(item, Pending | Running):
            job.count_end(item)
    if job.rules.limits_failures and job.failed > job.failures_allowed:
        job.is_stopped = True
    if job.rules.has_goal:
        want_again(job, past.wanted_again)
    # Nothing left to do: it closes with the first event, whatever became of the jobs that it needs.
    if not job.unfinished:
        enter_phase(state, job, Phase.OPEN)
    heapq.heapify(state.free_slots)
