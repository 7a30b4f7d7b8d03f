"""What a resume runs: a pure reading of what is recorded. Interrupted, pending and failed items run again, never the succeeded.

Skipped items are looked at again: what they needed may succeed this time. Not those that are no longer in the list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

from orchestrator.attempts.items.selection import Chosen
from orchestrator.core.costs import Costs, Meter
from orchestrator.core.states import CANCELLED, FAILED, PENDING, SKIPPED, SUCCEEDED, AdoptedAttempt, ItemState, RestoredJob
from orchestrator.store.job_history import JobHistory
from orchestrator.store.records import Started, Status
from orchestrator.store.run_history import RunHistory
from orchestrator.store.spending import Spending, tokens_of

_ENDED = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.SKIPPED)


def assign_slots(starts: Collection[Started], slots: int, is_over: Callable[[Started], bool]) -> dict[tuple[str, int], int]:
    """A slot for each attempt that was started and has no recorded end. `is_over`: whether its worker has logged what came of it.

    Its own (the attempt holds that lock) if the run still has it and it is not taken; else a free one; else one beyond the run's
    slots, which is gone when the attempt ends. So adopted attempts count against the slots.

    Of those that were queued in one slot the one that runs has it: else the slot that an earlier one seems to leave could not be
    locked, and the one that is free would be taken for this one's, as long as it runs.
    """
    in_slot = Counter(start.slot for start in starts)
    assigned: dict[tuple[str, int], int] = {}
    taken: set[int] = set()
    homeless = []
    for start in sorted(starts, key=lambda each: (in_slot[each.slot] > 1 and is_over(each), each.sequence)):
        if start.slot < slots and start.slot not in taken:
            taken.add(start.slot)
            assigned[start.job, start.index] = start.slot
        else:
            homeless.append(start)
    free = iter([slot for slot in range(slots + len(homeless)) if slot not in taken])
    for start in homeless:
        assigned[start.job, start.index] = next(free)
    return assigned


class RestoredJobs:
    """The jobs of one run, as the core shall know them. `slots_of`: the slot of each attempt of an earlier supervisor."""

    def __init__(
        self, history: RunHistory, slots_of: Mapping[tuple[str, int], int], *, keep_failed: bool, rerun_stale: bool
    ) -> None:
        self._history = history
        self._slots_of = slots_of
        self._keep_failed = keep_failed
        self._rerun_stale = rerun_stale

    def of_job(self, job_id: str, chosen: Chosen) -> RestoredJob:
        """What the core knows of a listed job. `chosen`: what is selected; a failed item that is not selected stays failed."""
        past, starts = self._history.jobs[job_id], self._history.starts_without_end
        states = self._states(past)
        adopted = tuple(
            AdoptedAttempt(index=index, attempt=start.attempt, slot=slot, account=start.account, device=start.device)
            for (of, index), slot in self._slots_of.items()
            if of == job_id and (start := starts[of, index])
        )
        # What is not selected is skipped from the start, but for what runs already.
        unselected = set() if chosen is None else set(range(len(states))) - chosen - {each.index for each in adopted}
        unselected = {index for index in unselected if states[index] is PENDING}
        for index in unselected:
            states[index] = FAILED if past.status(index) is Status.FAILED else SKIPPED
        pending = (index for index, state in enumerate(states) if state is PENDING)
        return RestoredJob(
            states=states,
            attempts={index: past.attempts(index) for index in pending if past.attempts(index)},
            adopted=adopted,
            wanted_again=frozenset(index for index in past.retries if past.status(index) not in _ENDED),
            unselected=sum(states[index] is SKIPPED for index in unselected),
            gone=len(past.gone),
            is_cut=past.growing is not None,
            costs=costs_of(past.spending),
        )

    def _states(self, past: JobHistory) -> list[ItemState]:
        """The state of each item, by what is recorded of it."""
        assert past.count is not None
        # A state that needed a living supervisor is none any more; what was skipped is decided anew, by what it needs.
        by_status: dict[Status, ItemState] = {
            Status.PENDING: PENDING,
            Status.WAITING: PENDING,
            Status.RUNNING: PENDING,
            Status.INTERRUPTED: PENDING,
            Status.SKIPPED: PENDING,
            Status.SUCCEEDED: SUCCEEDED,
            Status.CANCELLED: CANCELLED,
            Status.FAILED: FAILED if self._keep_failed else PENDING,
        }
        states = [by_status[past.status(index)] for index in range(past.count)]
        # An update took these out of the list. Their numbers stay, so that `JOB:INDEX` means the same for ever.
        for index in past.gone:
            states[index] = SKIPPED
        if self._rerun_stale:
            for index in past.indices(Status.SUCCEEDED):
                if past.is_stale(index):
                    states[index] = PENDING
        return states


def costs_of(spending: Spending) -> Costs:
    """What the rules need to know of what a job's attempts have cost."""
    spent = spending.by_agent.values()
    attempts, unknown, untold = (sum(getattr(each, name) for each in spent) for name in ("attempts", "unknown", "untold"))
    tokens = sum(tokens_of(each.usage) or 0 for each in spent)
    costs = Costs(
        nano_usd=Meter(known=sum(each.nano_usd for each in spent), told=attempts - unknown, unknown=unknown),
        tokens=Meter(known=tokens, told=attempts - untold, unknown=untold),
    )
    for each in spending.of_children.values():
        # What a child run costs is known, as far as it is, without a count of its attempts.
        costs.nano_usd.known += each.nano_usd
        costs.tokens.known += tokens_of(each.usage) or 0
    for index, nano_usd, used in spending.last_costs():
        if spending.of_children:
            costs.nano_usd.told += 1
            costs.tokens.told += 1
        costs.nano_usd.note_last(index, nano_usd)
        costs.tokens.note_last(index, used)
    return costs
