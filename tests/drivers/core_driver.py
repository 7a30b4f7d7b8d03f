"""Plays the supervisor for tests of the core: carries decisions out by feeding events back, when the test says so.

The clock is a number that the test moves. After each event the invariants are checked, and so is the conversation itself: a
start in a slot that is taken, an attempt number that is used twice, a word after `FinishRun`, a wake-up that lies in the past.
Items are named as people name them: "port:3" is (order of port, 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from drivers.core_invariants import check_invariants
from orchestrator.core.costs import UNBOUND, Bounds, Cost
from orchestrator.core.decide import decide, next_wake
from orchestrator.core.decisions import (
    AskGate,
    CloseJob,
    Decision,
    EndAttempt,
    FinishRun,
    ListItems,
    RecallQueued,
    ReopenItems,
    Settle,
    StartAttempt,
)
from orchestrator.core.events import (
    AccountTold,
    AttemptEnded,
    BudgetSet,
    CancelAsked,
    ChildAnswered,
    Declined,
    Event,
    GateEnd,
    GateTold,
    ItemsAdded,
    ItemsListed,
    ItemsReopened,
    JoinEnded,
    LeftAlone,
    ListEnded,
    ListingFailed,
    MoreAsked,
    OutcomesDurable,
    PaceTold,
    ResourceFreed,
    RunOpened,
    SlotFreed,
    SlotsSet,
    StartDeclined,
    StartReturned,
    StopAsked,
    TimePassed,
    Verdict,
    VerdictShared,
)
from orchestrator.core.initial_state import open_run
from orchestrator.core.job_rules import JobRules
from orchestrator.core.states import ENDED_STATES, Cancelled, Interrupted, ItemRef, Phase, RestoredJob, Stop

START_OF_TIME = 1000.0

NOT_STARTED = frozenset({Declined.SLOT_HELD, Declined.HELD, Declined.JOINS})
"""Nothing came of the start: the attempt's number is given again."""


class CoreDriver:
    """One run. `counts` has the items of each job; a job that is not in it has 1. `…_at_once`: no delay."""

    def __init__(
        self,
        rules: Sequence[JobRules],
        counts: Mapping[str, int] | None = None,
        *,
        slots: int = 2,
        fast_slots: int = 0,
        durable_at_once: bool = True,
        list_at_once: bool = True,
        ask_at_once: bool = True,
        drain_timeout: float = 300.0,
        timeout: float | None = None,
        budget: Bounds = UNBOUND,
        is_attended: bool = False,
        restored: Mapping[str, RestoredJob] | None = None,
        chosen: Mapping[str, tuple[range, ...]] | None = None,
    ) -> None:
        self.orders = {rule.id: rule.order for rule in rules}
        self.ids = [rule.id for rule in rules]
        self.counts = dict(counts or {})
        self.chosen = dict(chosen or {})
        self.slots = slots
        self.durable_at_once = durable_at_once
        self.list_at_once = list_at_once
        self.ask_at_once = ask_at_once
        self.now = START_OF_TIME
        past = {self.orders[name]: msgspec.structs.replace(job, states=[*job.states]) for name, job in (restored or {}).items()}
        self.state = open_run(
            rules,
            slots=slots,
            fast_slots=fast_slots,
            now=self.now,
            drain_timeout=drain_timeout,
            timeout=timeout,
            budget=budget,
            is_attended=is_attended,
            restored=past,
        )
        self.running: dict[str, tuple[int, int]] = {
            f"{self.ids[order]}:{adopted.index}": (adopted.attempt, adopted.slot)
            for order, job in past.items()
            for adopted in job.adopted
        }
        self.accounts: dict[str, str] = {
            f"{self.ids[order]}:{adopted.index}": adopted.account
            for order, job in past.items()
            for adopted in job.adopted
            if adopted.account is not None
        }
        """What runs -> the account that it uses."""
        self.last_attempt: dict[str, int] = {item: attempt for item, (attempt, _) in self.running.items()}
        for order, job in past.items():
            self.last_attempt |= {f"{self.ids[order]}:{index}": number for index, number in job.attempts.items()}
        self.queued: list[str] = []
        """Of what runs, what is queued behind another, in order."""
        self.have_begun: set[str] = set()
        """Of what runs, what was queued before."""
        self.is_recalling = False
        self.to_list: list[str] = []
        self.not_durable: list[str] = []
        self.held_slots: set[int] = set()
        self.joining: list[str] = []
        """Items that joined work in flight and have not heard of it since."""
        self.started: list[str] = []
        """Every start, in order."""
        self.ended: dict[str, str] = {}
        """The last state that was settled for each item, as a word ("waiting" too)."""
        self.messages: dict[str, str] = {}
        self.closed: dict[str, Phase] = {}
        self.asked_to_end: list[tuple[str, str, float | None]] = []
        self.finish: FinishRun | None = None
        self.asked: list[str] = []
        """Every question, in order."""
        self.to_ask: list[str] = []
        self.to_reopen: list[str] = []

    # What a test does.

    def open(self) -> CoreDriver:
        self.feed(RunOpened())
        return self

    def succeed(self, *items: str) -> None:
        for item in items:
            self.end(item, Verdict.SUCCEEDED)

    def fail(self, *items: str) -> None:
        for item in items:
            self.end(item, Verdict.FAILED)

    def end(self, item: str, verdict: Verdict, cost: Cost | None = None, *, seconds: float | None = None) -> None:
        """`seconds`: for how long the account of the item takes no more, if the outcome says so."""
        self._leave(item)
        self.feed(AttemptEnded(self.ref(item), verdict, None if seconds is None else self.now + seconds, cost))

    def tell_account(self, item: str, account: str) -> None:
        """The attempt of an item turns out to use this account."""
        self.accounts[item] = account
        self.feed(AccountTold(self.ref(item), account))

    def succeed_all(self) -> None:
        """Let everything that runs succeed, in the order of its start, until nothing runs."""
        while self.running:
            self.succeed(next(iter(self.running)))

    def decline(
        self, item: str, why: Declined, resource: str = "", *, seconds: float = math.inf, account: str | None = None
    ) -> None:
        """`resource`, `seconds`: what is not to be had, and for how long it is no use to try again."""
        slot = self.running[item][1]
        behind = [other for other in self.queued if self.running[other][1] == slot and item not in self.queued]
        self._leave(item)
        if why is Declined.SLOT_HELD and not behind:
            self.held_slots.add(slot)
        del self.started[len(self.started) - 1 - self.started[::-1].index(item)]
        if why in NOT_STARTED:
            self.last_attempt[item] -= 1
        if why is Declined.JOINS:
            self.joining.append(item)
        # What was to be queued behind it is given back at once, before anything else is heard.
        self.feed(StartDeclined(self.ref(item), why, resource, self.now + seconds, account))
        self.give_back(*behind)

    def give_back(self, *items: str) -> None:
        """These were queued, and never begin."""
        for item in items:
            self._leave(item)
            self.started.remove(item)
            self.last_attempt[item] -= 1
            self.feed(StartReturned(self.ref(item)))

    def tell_pace(self, job_id: str, queue_length: int) -> None:
        """So many items of the job may be queued behind one."""
        self.feed(PaceTold(self.orders[job_id], queue_length))

    def ask_more(self, item: str) -> None:
        """It runs, and little is queued behind it."""
        self.feed(MoreAsked(self.ref(item)))

    def _leave(self, item: str) -> None:
        """It runs no more; what is queued behind it begins."""
        slot = self.running.pop(item)[1]
        self.accounts.pop(item, None)
        if item in self.queued:
            self.queued.remove(item)
        elif (following := next((other for other in self.queued if self.running[other][1] == slot), None)) is not None:
            self.queued.remove(following)
            self.have_begun.add(following)
        self.have_begun.discard(item)
        self.is_recalling = self.is_recalling and bool(self.queued)

    def hold(self, item: str, resource: str, *, seconds: float = math.inf, account: str | None = None) -> None:
        self.decline(item, Declined.HELD, resource, seconds=seconds, account=account)

    def join(self, *items: str) -> None:
        for item in items:
            self.decline(item, Declined.JOINS)

    def free_resource(self, resource: str) -> None:
        self.feed(ResourceFreed(resource))

    def share(self, *items: str, is_success: bool) -> None:
        """What these items joined is done."""
        self.joining = [item for item in self.joining if item not in items]
        self.feed(VerdictShared(tuple(self.ref(item) for item in items), is_success))

    def end_join(self, *items: str) -> None:
        """What these items joined came to no verdict."""
        self.joining = [item for item in self.joining if item not in items]
        self.feed(JoinEnded(tuple(self.ref(item) for item in items)))

    def choose(self, item: str, how: GateEnd) -> None:
        """What came of the question of a gate."""
        if item in self.to_ask:
            self.to_ask.remove(item)
        self.feed(GateTold(self.ref(item), how))

    def answer_child(self, item: str) -> None:
        """Somebody answered what the child run of an item waits for."""
        self.feed(ChildAnswered(self.ref(item)))

    def leave_alone(self) -> None:
        self.feed(LeftAlone())

    def set_slots(self, slots: int, fast_slots: int = 0) -> None:
        self.slots = slots
        self.feed(SlotsSet(slots, fast_slots))

    def set_budget(self, bounds: Bounds, job_id: str | None = None) -> None:
        """Of the run, or of a job."""
        self.feed(BudgetSet(None if job_id is None else self.orders[job_id], bounds))

    def free_slot(self, slot: int) -> None:
        self.held_slots.remove(slot)
        self.feed(SlotFreed(slot))

    def list_items(self, job_id: str) -> None:
        self.to_list.remove(job_id)
        self.feed(ItemsListed(self.orders[job_id], self.counts.get(job_id, 1), self.chosen.get(job_id)))

    def begin_list(self, job_id: str, count: int = 0) -> None:
        """These are the first items of the job, and others may come."""
        self.to_list.remove(job_id)
        self.feed(ItemsListed(self.orders[job_id], count, is_growing=True))

    def add_items(self, job_id: str, count: int) -> None:
        self.feed(ItemsAdded(self.orders[job_id], count))

    def end_list(self, job_id: str, *, is_whole: bool = True) -> None:
        self.feed(ListEnded(self.orders[job_id], is_whole=is_whole))

    def fail_listing(self, job_id: str) -> None:
        self.to_list.remove(job_id)
        self.feed(ListingFailed(self.orders[job_id]))

    def make_durable(self, *items: str) -> None:
        """These, or all that are not."""
        chosen = list(items) or list(self.not_durable)
        for item in chosen:
            self.not_durable.remove(item)
        self.feed(OutcomesDurable(tuple(self.ref(item) for item in chosen)))

    def stop(self, how: Stop) -> None:
        self.feed(StopAsked(how))

    def cancel(self, *items: str) -> None:
        self.feed(CancelAsked(tuple(self.ref(item) for item in items) or None))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.feed(TimePassed())

    def pass_time_to_next_wake(self) -> None:
        wake = next_wake(self.state)
        assert wake is not None, "nothing is due without an event"
        self.pass_time(wake - self.now)

    # What a test asks.

    def ref(self, item: str) -> ItemRef:
        job_id, _, index = item.partition(":")
        return self.orders[job_id], int(index)

    def name(self, ref: ItemRef) -> str:
        return f"{self.ids[ref[0]]}:{ref[1]}"

    def state_of(self, item: str) -> str:
        order, index = self.ref(item)
        return type(self.state.jobs[order].items[index]).__name__.lower()

    def states_of(self, job_id: str) -> list[str]:
        return [type(item).__name__.lower() for item in self.state.jobs[self.orders[job_id]].items]

    def wake(self) -> float | None:
        """Seconds from now to the next wake-up."""
        wake = next_wake(self.state)
        return None if wake is None else wake - self.now

    @property
    def result(self) -> tuple[str, str | None]:
        """(status, error) of the finished run; nothing may be left behind."""
        assert self.finish is not None, f"the run is not finished; running: {list(self.running)}"
        error = self.finish.error
        return self.finish.status, None if error is None else self.name(error)

    # The supervisor's part.

    def feed(self, event: Event) -> list[Decision]:
        was_finished = self.finish is not None
        decisions = decide(self.state, event, self.now)
        assert not (was_finished and decisions), f"decided after the run was finished: {decisions}"
        for decision in decisions:
            self._carry_out(decision)
        check_invariants(self.state)
        self._check()
        if self.to_reopen:
            self._reopen()
        while self.ask_at_once and self.to_ask:
            self.choose(self.to_ask[0], GateEnd.OPEN)
        while self.list_at_once and self.to_list:
            self.list_items(self.to_list[0])
        if self.durable_at_once and self.not_durable:
            self.make_durable()
        return decisions

    def _carry_out(self, decision: Decision) -> None:  # noqa: C901 (a case for each decision)
        assert self.finish is None, f"{decision} after FinishRun"
        match decision:
            case ListItems(order):
                self.to_list.append(self.ids[order])
            case StartAttempt(ref, attempt, slot, account, is_queued):
                item = self.name(ref)
                taken = {slot for _, slot in self.running.values()} | self.held_slots
                assert item not in self.running, f"{item} runs already"
                assert item not in self.joining, f"{item} starts beside the work that it joined"
                assert self.ended.get(item) in (None, "waiting"), f"{item} has ended and starts again"
                assert (slot in taken) == is_queued, f"slot {slot} is taken, or has nothing to queue behind"
                assert 0 <= slot < self.slots, f"there is no slot {slot}"
                assert is_queued or len({slot for _, slot in self.running.values()}) < self.slots, "more run than there are slots"
                assert not self.is_recalling, f"{item} starts while others are recalled"
                assert attempt == self.last_attempt.get(item, 0) + 1, f"{item} has attempt {attempt} out of order"
                self.last_attempt[item] = attempt
                self.running[item] = (attempt, slot)
                if is_queued:
                    self.queued.append(item)
                if account is not None:
                    self.accounts[item] = account
                self.started.append(item)
            case RecallQueued():
                assert self.queued, "nothing is queued, and it is recalled"
                self.is_recalling = True
            case AskGate(ref):
                assert self.ended.get(self.name(ref)) is None, f"{self.name(ref)} has ended and asks"
                self.asked.append(self.name(ref))
                self.to_ask.append(self.name(ref))
            case ReopenItems(items):
                self.to_reopen = [self.name(ref) for ref in items]
            case Settle(ref, state, message):
                item = self.name(ref)
                assert item not in self.running, f"{item} is settled and still runs"
                # An interrupted item has not come to its end: it may still be cancelled.
                before = (None, "waiting", "interrupted") if isinstance(state, Cancelled) else (None, "waiting")
                assert self.ended.get(item) in before, f"{item} is settled twice"
                self.ended[item] = type(state).__name__.lower()
                if isinstance(state, ENDED_STATES) and item in self.joining:
                    self.joining.remove(item)
                self.messages[item] = message
                is_verdict = isinstance(state, ENDED_STATES) and not isinstance(state, Interrupted)
                if is_verdict and self.state.jobs[ref[0]].has_dependents:
                    self.not_durable.append(item)
            case EndAttempt(ref, reason, grace):
                self.asked_to_end.append((self.name(ref), reason, grace))
            case CloseJob(order, phase, reason):
                assert self.ids[order] not in self.closed, f"{self.ids[order]} is closed twice"
                self.closed[self.ids[order]] = phase
                self.messages[self.ids[order]] = reason
            case FinishRun():
                assert not self.running, f"the run is finished while {list(self.running)} run"
                assert not self.joining, f"the run is finished while {self.joining} wait for what they joined"
                assert not self.not_durable, f"the run is finished while {self.not_durable} are not durable"
                assert not self.to_list, f"the run is finished while {self.to_list} are listed"
                self.finish = decision

    def _reopen(self) -> None:
        items, self.to_reopen = self.to_reopen, []
        for item in items:
            self.ended.pop(item, None)
            self.closed.pop(item.partition(":")[0], None)
        self.feed(ItemsReopened({self.ref(item): self.last_attempt.get(item, 0) for item in items}))

    def _check(self) -> None:
        core_runs = {
            self.name((job.rules.order, index))
            for job in self.state.jobs
            for index, item in enumerate(job.items)
            if type(item).__name__ == "Running"
        }
        assert core_runs == set(self.running), "the core and its driver disagree on what runs"
        wake = next_wake(self.state)
        if self.finish is None and self.state.is_open:
            assert wake is None or wake > self.now, f"a wake-up {self.now - wake} s ago: the supervisor would spin"


def job(job_id: str, order: int, **rules: object) -> JobRules:
    """Rules without jitter, so that tests can tell times."""
    return JobRules(**{"id": job_id, "order": order, "retry_jitter": 0.0, **rules})  # type: ignore[arg-type]


def single(job_id: str, order: int, **rules: object) -> JobRules:
    """A job without `for_each`."""
    return job(job_id, order, is_single=True, **rules)
