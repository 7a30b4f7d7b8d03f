"""What is asked of a living supervisor from outside (`control`), turned into events of the core and answers in words."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import assert_never

from orchestrator.attempts.workspaces.assignment import followers
from orchestrator.control.messages import (
    Approve,
    CancelRequest,
    CountWaiting,
    Explain,
    Flush,
    GoOn,
    Pause,
    Reply,
    Request,
    RetryRequest,
    SetBudget,
    SetSlots,
    StopRequest,
    WhyItWaits,
)
from orchestrator.core import events
from orchestrator.core.events import CancelAsked, ChildAnswered, Event
from orchestrator.core.explanations import (
    is_waiting,
    limits_waited_for,
    spared_now,
    waiting_counts,
    waiting_resource,
    why_it_waits,
)
from orchestrator.core.parking import usage_limit
from orchestrator.core.reopening import to_reopen, why_not
from orchestrator.core.scheduling import is_over, split_slots
from orchestrator.core.states import ItemRef, Pending, Running, RunState, Stop, Waiting
from orchestrator.jobsfile.model import JobsFile
from orchestrator.reading.money.budgets import bounds_of, budget_set, in_words
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.store import records
from orchestrator.store.durable_file import write_whole
from orchestrator.store.run_store import RunStore
from orchestrator.supervisor.admission import Admission
from orchestrator.supervisor.gates import Gates
from orchestrator.supervisor.recorder import Recorder
from orchestrator.supervisor.reopenings import retries
from orchestrator.supervisor.settlements import Settlements


class Requests:
    """Of one run. `stop` takes a stop, `ask` an event."""

    def __init__(
        self,
        *,
        store: RunStore,
        recorder: Recorder,
        settlements: Settlements,
        state: RunState,
        admission: Admission,
        tokens: TokenDesk,
        gates: Gates,
        jobs_file: JobsFile,
        is_inline: bool,
        stop: Callable[[Stop], None],
        ask: Callable[[Event], None],
    ) -> None:
        self._store = store
        self._run_id = store.run_dir.run_id
        self._orders = {job_id: order for order, job_id in enumerate(store.history.header.jobs)}
        self._recorder = recorder
        self._settlements = settlements
        self._state = state
        self._admission = admission
        self._tokens = tokens
        self._gates = gates
        self._jobs_file = jobs_file
        self._is_inline = is_inline
        self._stop = stop
        self._ask = ask

    def obey(self, request: Request) -> Reply:
        """Have it done, or say why not."""
        match request:
            case StopRequest() | Pause():
                return self._wind_down(request)
            case Flush():
                self._recorder.take_checkpoint()
                return Reply(True, f"all that has ended is durable (generation {self._store.history.generation})")
            case SetSlots(slots):
                return self._set_slots(slots)
            case SetBudget():
                return self._set_budget(request)
            case CancelRequest(items, replaced_by):
                return self._cancel(items, replaced_by)
            case Approve(items, choice, message):
                return self._gates.answer([(self._orders[job_id], index) for job_id, index in items], choice, message)
            case GoOn((job_id, index)):
                return self._go_on((self._orders[job_id], index))
            case RetryRequest():
                return self._retry(request)
            case Explain(items):
                return Reply(True, "", [self._explain((self._orders[job_id], index)) for job_id, index in items])
            case CountWaiting():
                spared = spared_now(self._state, time.monotonic())
                return Reply(True, "", waiting=waiting_counts(self._state), spared=spared)
            case unknown:
                assert_never(unknown)

    @property
    def _running_words(self) -> str:
        running = self._state.running
        return "1 item still runs" if running == 1 else f"{running} items still run"

    def _set_slots(self, slots: int) -> Reply:
        if self._is_inline:
            return Reply(False, f"run {self._run_id} runs inline (slots = 0): stop it, and resume it with --slots {slots}")
        lanes: set[str] = {job.rules.lane for job in self._state.jobs if not job.rules.is_gate}
        self._recorder.add(records.SlotsSet(slots=slots))
        fast_slots = split_slots(slots, self._jobs_file.run.fast_slots, lanes)
        write_whole(self._store.run_dir.slot_count, str(slots - fast_slots).encode())
        self._ask(events.SlotsSet(slots, fast_slots))
        return Reply(True, f"run {self._run_id} has {slots} slot{'' if slots == 1 else 's'} now; {self._running_words}")

    def _set_budget(self, asked: SetBudget) -> Reply:
        """The core hears of all bounds of the run or the job, as they are with this one."""
        order = self._orders[asked.job] if asked.job else None
        table = self._jobs_file.run if order is None else self._jobs_file.jobs[order]
        record = budget_set(asked.kind, asked.amount, asked.job, table)
        self._recorder.add(record)
        self._recorder.commit()
        self._ask(events.BudgetSet(order, bounds_of(table, asked.job, self._store.history.budgets_set)))
        return Reply(True, f"run {self._run_id} has {in_words(record)} now")

    def _cancel(self, items: list[tuple[str, int]] | None, replaced_by: str | None) -> Reply:
        if items is None:
            self._ask(CancelAsked(None))
            return Reply(True, f"run {self._run_id} is being cancelled; a resume would run only what has not begun")
        refs = tuple((self._orders[job_id], index) for job_id, index in items)
        if replaced_by is not None:
            for ref in refs:
                self._settlements.replaced(ref, replaced_by)
        self._ask(CancelAsked(refs))
        return Reply(True, f"{len(items)} item{' is' if len(items) == 1 else 's are'} being cancelled")

    def _wind_down(self, request: StopRequest | Pause) -> Reply:
        if isinstance(request, StopRequest):
            self._stop(Stop.NOW if request.now else Stop.DRAIN)
            return Reply(True, f"run {self._run_id} is stopping; {self._running_words}")
        if self._state.stop.value > Stop.PAUSE.value:
            return Reply(False, f"run {self._run_id} is stopping already")
        self._stop(Stop.PAUSE)
        return Reply(True, f"run {self._run_id} is being paused; {self._running_words}")

    def _retry(self, request: RetryRequest) -> Reply:
        refs = [(self._orders[job_id], index) for job_id, index in request.items]
        refusal = why_not(self._state, refs) or self._who_goes_on_there(refs)
        if refusal:
            return Reply(False, f"run {self._run_id}: {refusal}")
        for record in retries(self._store.history, request):
            self._recorder.add(record)
        self._gates.reopen(*to_reopen(self._state, refs))
        return Reply(True, f"run {self._run_id} runs {len(refs)} item{'' if len(refs) == 1 else 's'} again")

    def _who_goes_on_there(self, items: list[ItemRef]) -> str:
        """Whether an item that goes on in the workspace of one of these is at work in it, in words; empty: none is."""
        after = followers({job.id: job for job in self._jobs_file.jobs})
        for order, index in items:
            job_id = self._state.jobs[order].rules.id
            while (job_id := after.get(job_id, "")) in self._orders:
                job = self._state.jobs[self._orders[job_id]]
                if not job.is_listed:
                    break
                item = job.items[index]
                if isinstance(item, Running | Waiting) or (isinstance(item, Pending) and index in job.ready):
                    return f"{job_id}:{index} goes on in its workspace: cancel that first, or wait for its end"
        return ""

    def _go_on(self, item: ItemRef) -> Reply:
        if is_over(self._state, self._state.jobs[item[0]]):
            return Reply(True, f"run {self._run_id} is ending, and a resume of it goes on from there")
        self._ask(ChildAnswered(item))
        return Reply(True, f"run {self._run_id} goes on with it")

    def _explain(self, item: ItemRef) -> WhyItWaits:
        joined = self._settlements.joined(item)
        if joined is not None:
            return WhyItWaits(joined.words, self._tokens.holder_pids(item), is_waiting=True)
        words = why_it_waits(self._state, item, time.monotonic())
        resource = waiting_resource(self._state, item)
        notes = self._admission.notes(resource) if resource is not None else []
        if resource is not None and (limit := self._admission.limit_words(resource)) is not None:
            words = f"{words}: it holds {limit}"
        for other in limits_waited_for(self._state, item)[1:]:
            if (limit := self._admission.limit_words(usage_limit(other))) is not None:
                words = f"{words}, that of {other} {limit}"
        held_by = [note.partition(" ")[0] for note in notes if note]
        told = f"{words} (held by {', '.join(dict.fromkeys(held_by))})" if held_by else words
        return WhyItWaits(told, is_waiting=is_waiting(self._state, item))
