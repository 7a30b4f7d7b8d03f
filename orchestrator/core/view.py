"""What the parts of a supervisor may ask of the rules' state: questions alone.

Promise: no question changes the state. The loop alone holds the `RunState`, for `decide`; every other part holds a `CoreView`.
Jobs are named by their order in the file, items by (order of the job, index). `now` and all times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core import budget, decide, explanations, reopening, scheduling, throttle
from orchestrator.core.job_rules import JobRules
from orchestrator.core.states import ENDED_STATES, Interrupted, ItemRef, Pending, Running, RunState, Stop, Waiting


class CoreView:
    """Of one run."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    # The run.

    @property
    def stop(self) -> Stop:
        """How far the run is being stopped."""
        return self._state.stop

    @property
    def is_cancelled(self) -> bool:
        """Whether the whole run was cancelled."""
        return self._state.is_cancelled

    @property
    def is_timed_out(self) -> bool:
        """Whether the run has reached its timeout."""
        return self._state.is_timed_out

    @property
    def next_wake(self) -> float | None:
        """When `TimePassed` is due, if nothing happens before; None: never."""
        return decide.next_wake(self._state)

    @property
    def running_count(self) -> int:
        """How many items run; none that is queued."""
        return self._state.at_work

    @property
    def waiting_counts(self) -> dict[str, int]:
        """Job id -> how many of its items were tried and wait now, holding nothing."""
        return explanations.waiting_counts(self._state)

    # Slots.

    @property
    def main_slots(self) -> int:
        """How many slots are not the fast lane's alone."""
        return self._state.slots - self._state.fast_slots

    @property
    def slots_set_aside(self) -> int:
        """How many slots of this run somebody else holds."""
        return len(self._state.set_aside)

    @property
    def has_fast_lane(self) -> bool:
        """Whether some slots are the fast lane's alone."""
        return self._state.fast_slots > 0

    @property
    def lanes(self) -> set[str]:
        """The lanes of all jobs that take slots."""
        return {job.rules.lane for job in self._state.jobs if not job.rules.is_gate}

    def has_free_slot(self, order: int) -> bool:
        """Whether a slot of the job's lane is free."""
        lane = self._state.jobs[order].rules.lane
        return bool(self._state.free_slots) and scheduling.lane_rooms(self._state)[lane] > 0

    # One job.

    def rules(self, order: int) -> JobRules:
        """What the rules know of the job."""
        return self._state.jobs[order].rules

    def is_listed(self, order: int) -> bool:
        """Whether the job has its items."""
        return self._state.jobs[order].is_listed

    def ended_count(self, order: int) -> int:
        """How many items of the job have ended."""
        job = self._state.jobs[order]
        return len(job.items) - job.unfinished

    def is_cut(self, order: int) -> bool:
        """Whether the list of the job grew, and was not read to its end."""
        return order in self._state.agenda.cut

    def is_over(self, order: int) -> bool:
        """Whether no item of the job will start any more under this supervisor."""
        return scheduling.is_over(self._state, self._state.jobs[order])

    def has_dependents(self, order: int) -> bool:
        """Whether other jobs need the job."""
        return bool(self._state.jobs[order].dependents)

    def startable_jobs(self) -> list[int]:
        """The jobs of which an item can start: as soon as there is a slot and what else it needs, or when its time has come."""
        return sorted(self._state.agenda.wanting)

    def due_items(self, order: int) -> list[ItemRef]:
        """Items of the job that were tried before and would start now if they could, in order."""
        return [(order, index) for index in sorted(self._state.jobs[order].due)]

    def is_window_full(self, order: int) -> bool:
        """Whether as many items of the job run as its `max_concurrency` allows."""
        job = self._state.jobs[order]
        return job.rules.max_concurrency is not None and job.running >= job.rules.max_concurrency

    def resources(self, order: int) -> set[str]:
        """What an item of the job needs besides a slot of its run and an account."""
        return set(scheduling.resources_of(self._state.jobs[order].rules))

    def missing_resource(self, order: int) -> str | None:
        """The resource that items of the job wait for now, if there is one."""
        return scheduling.missing_resource(self._state, self._state.jobs[order])

    def left_nano_usd(self, order: int) -> int | None:
        """What an attempt of the job that is about to begin may cost at most, in billionths of a dollar; None: no bound."""
        return budget.left_nano_usd(self._state, self._state.jobs[order])

    def runs_alone(self, order: int) -> bool:
        """Whether other items of the job wait until one that runs has told what an item costs."""
        job = self._state.jobs[order]
        refused = budget.refusal(self._state, job) if job.unfinished > job.running else None
        return refused is not None and refused.is_first

    def mute_units(self, order: int) -> list[budget.Unit]:
        """The unit of each budget that does not bound the job, because its agents tell nothing of what they use."""
        return list(budget.mute_units(self._state, self._state.jobs[order]))

    # One item.

    def is_asking(self, item: ItemRef) -> bool:
        """Whether the item goes on as soon as somebody has made a choice."""
        return item[1] in self._state.jobs[item[0]].asking

    def is_waiting(self, item: ItemRef) -> bool:
        """Whether the item was tried, or has made an attempt, and waits now, holding nothing."""
        return explanations.is_waiting(self._state, item)

    def is_in_motion(self, item: ItemRef) -> bool:
        """Whether the item of a listed job runs, waits for its next attempt, or has its turn in a chain: it uses a workspace."""
        job, index = self._state.jobs[item[0]], item[1]
        state = job.items[index]
        return isinstance(state, Running | Waiting) or (isinstance(state, Pending) and index in job.ready)

    def has_ended(self, item: ItemRef) -> bool:
        """Whether the item has come to its end, or its job has without listing it: a cancel changes nothing."""
        job, index = self._state.jobs[item[0]], item[1]
        if not job.is_listed:
            return job.is_closed
        return isinstance(job.items[index], ENDED_STATES) and not isinstance(job.items[index], Interrupted)

    def waiting_resource(self, item: ItemRef) -> str | None:
        """The resource that the item waits for, if it waits for one."""
        return explanations.waiting_resource(self._state, item)

    def limits_waited_for(self, item: ItemRef) -> list[str]:
        """The accounts whose usage limit the item waits for; the one that is to be over first comes first."""
        return explanations.limits_waited_for(self._state, item)

    def why_it_waits(self, item: ItemRef, now: float) -> str:
        """One line: what the item waits for; empty if the rules know of nothing."""
        return explanations.why_it_waits(self._state, item, now)

    # Items that are to run once more.

    def why_not_again(self, items: Sequence[ItemRef]) -> str:
        """Why these items cannot be had once more just now, in words; empty: they can."""
        return reopening.why_not_again(self._state, items)

    def to_reopen(self, items: Sequence[ItemRef]) -> tuple[tuple[ItemRef, ...], tuple[int, ...]]:
        """The items that run again with these; and the jobs that were closed before they were listed."""
        return reopening.items_to_reopen(self._state, items)

    # Accounts of agents.

    @property
    def accounts(self) -> list[str]:
        """The accounts that this run has met."""
        return list(self._state.accounts)

    def throttle_count(self, account: str) -> int:
        """How often the account was throttled; what was in flight then counts as once."""
        return self._state.accounts[account].throttles

    def is_account_full(self, account: str, running: int) -> bool:
        """Whether no more of the account may start now, of which `running` attempts run."""
        return throttle.is_full(self._state, account, running)

    def spared(self, account: str) -> tuple[str, float | None]:
        """How the account is spared just now, in words, and until when nothing of it starts; empty: it is not."""
        return explanations.how_spared(self._state, account)

    def spared_now(self, now: float) -> list[str]:
        """A line for each account that is spared."""
        return explanations.spared_now(self._state, now)

    def why_few(self, account: str, now: float) -> str:
        """How a throttled account is spared, in words; empty if nothing bounds it."""
        return explanations.why_few(self._state, account, now)
