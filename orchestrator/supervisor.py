"""The loop of a supervisor: wait for what happens, ask the core, record, carry out.

Promise: nothing starts before its start stands in the journal; an outcome is in the journal or in its worker's log at every
instant; what runs is never disturbed by recording. Invariant: the core's running items are the flights and the starts of this
turn. It refuses to handle: rules (core), durability (store), processes (engines, flights), what people see (views).
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterable
from typing import assert_never

from orchestrator.context import ItemContexts
from orchestrator.control import Cancel, ControlServer, Flush, Reply, Request
from orchestrator.control import Stop as StopRequest
from orchestrator.core.decisions import CloseJob, Decision, EndAttempt, FinishRun, ListItems, Settle, StartAttempt
from orchestrator.core.events import (
    AttemptEnded,
    CancelAsked,
    Declined,
    Event,
    ItemsListed,
    ListingFailed,
    OutcomesDurable,
    RunOpened,
    SlotFreed,
    StartDeclined,
    StopAsked,
    TimePassed,
)
from orchestrator.core.states import ENDED_STATES, ItemRef, ItemState, RunState, Stop
from orchestrator.core.transitions import decide, next_wake
from orchestrator.ending import error_in_words, exit_code_of
from orchestrator.engines.adopted import POLL_SECONDS
from orchestrator.engines.engine import Engine
from orchestrator.errors import StateUnwritableError
from orchestrator.flights import Flight, Flights
from orchestrator.jobsfile.model import JobsFile
from orchestrator.listing import ListingError, list_job
from orchestrator.narrator import Narrator
from orchestrator.readers import Readers
from orchestrator.recording import Recorder
from orchestrator.results import RunReader
from orchestrator.signals import SignalInbox
from orchestrator.slot_keeper import SlotKeeper
from orchestrator.staleness import newly_stale
from orchestrator.starting import NotStarted, Starter
from orchestrator.store import records
from orchestrator.store.records import Status
from orchestrator.store.run_store import RunStore
from orchestrator.verdicts import checked, verdict_of
from workers.faultpoints import fault_point
from workers.protocol import AttemptClass, Outcome, Start

REFRESH_SECONDS = 0.25
EVENTS_A_TURN = 256
"""Events worked off before the loop looks at its descriptors (and signals) again."""


class Supervisor:
    """One run while it is supervised. `run` returns the exit code; StateUnwritableError leaves the workers to themselves."""

    def __init__(
        self,
        *,
        store: RunStore,
        reader: RunReader,
        jobs_file: JobsFile,
        state: RunState,
        engine: Engine,
        narrator: Narrator,
        signals: SignalInbox,
    ) -> None:
        self._store = store
        self._reader = reader
        self._history = store.history
        self._run_dir = store.run_dir
        self._jobs = jobs_file.jobs
        self._orders = {job.id: order for order, job in enumerate(jobs_file.jobs)}
        self._state = state
        self._engine = engine
        self._narrator = narrator
        self._signals = signals
        self._contexts = ItemContexts(reader, self._history.header.inputs)
        self._starter = Starter(reader, self._contexts, jobs_file)
        self._recorder = Recorder(store)
        self._control = ControlServer(self._run_dir.path)
        self._slots = SlotKeeper(self._run_dir, engine, narrator.note)
        self._flights = Flights(engine, self._run_dir, self._attempt_ended, narrator.note)
        self._readers = Readers()
        self._events: deque[Event] = deque()
        self._outcomes: dict[ItemRef, tuple[Flight, Outcome]] = {}
        self._declined: dict[ItemRef, NotStarted] = {}
        self._recorded_through: dict[int, int] = {}
        self._ran: set[str] = set()
        self._must_commit = False
        self._next_sequence = self._history.next_sequence
        self._next_worker = self._history.next_worker
        self._stop_signal: signal.Signals | None = None
        self._finish: FinishRun | None = None

    def resume_flight(self, start: records.Started, slot: int) -> None:
        """Take over an attempt that an earlier supervisor started and whose end is not recorded."""
        fault_point("supervisor.resuming")
        item = (self._orders[start.job], start.index)
        name = self._name(item)
        flight = Flight(
            item=item,
            name=name,
            job=self._jobs[item[0]],
            start=start,
            slot=slot,
            mark=self._starter.mark(name, start.attempt),
        )
        self._flights.resume(flight, self._history.workers.get(start.worker))

    def run(self, first: Iterable[Event] = ()) -> int:
        """Supervise until the run is finished or stopped. `first`: what is asked before anything starts."""
        self._readers.set(self._read_signals, [self._signals.fileno()])
        self._readers.set(self._read_durable, [self._store.sync_fileno()])
        self._readers.set(self._read_control, self._control.filenos())
        self._readers.set(self._flights.read_tree_endings, [self._flights.tree_endings_fileno()])
        self._readers.set(self._read_adopted, self._flights.adopted_filenos())
        self._readers.set(self._read_engine, self._engine.filenos())
        self._events.extend([*first, RunOpened()])
        while True:
            self._work_off()
            self._recorder.commit()
            if self._finish is not None and not self._events:
                return self._end_run(self._finish)
            if self._store.wants_checkpoint:
                self._recorder.take_checkpoint()
            self._wait()

    def close(self) -> None:
        """Let go of everything. Attempts that run go on and leave their outcomes on disk."""
        self._control.close()
        self._flights.close()
        self._readers.close()

    # Waiting.

    def _wait(self) -> None:
        now = time.monotonic()
        wake = next_wake(self._state)
        if self._events or (wake is not None and wake <= now):
            timeout = 0.0
        else:
            times = [REFRESH_SECONDS]
            if wake is not None:
                times.append(wake - now)
            if self._slots.next_look is not None:
                times.append(max(0.0, self._slots.next_look - now))
            if self._flights.needs_polling:
                times.append(POLL_SECONDS)
            timeout = min(times)
        if not self._readers.wait(timeout):
            self._narrator.refresh()
        if self._flights.needs_polling:
            self._read_adopted(-1)
        now = time.monotonic()
        self._events.extend(SlotFreed(slot) for slot in self._slots.freed(now))
        if wake is not None and now >= wake:
            self._events.append(TimePassed())

    def _read_engine(self, fileno: int) -> None:
        self._flights.read_engine(fileno)
        self._readers.set(self._read_engine, self._engine.filenos())

    def _read_adopted(self, fileno: int) -> None:
        self._flights.read_adopted(fileno)
        self._readers.set(self._read_adopted, self._flights.adopted_filenos())

    def _read_durable(self, _fileno: int) -> None:
        items = self._recorder.durable()
        if items:
            self._events.append(OutcomesDurable(items))

    def _read_signals(self, _fileno: int) -> None:
        for number in self._signals.take():
            if number == signal.SIGUSR1:
                self._recorder.take_checkpoint()
            else:
                self._stop_signal = self._stop_signal or number
                self._stop(Stop(min(self._state.stop.value + 1, Stop.KILL.value)))
                self._work_off()

    def _read_control(self, fileno: int) -> None:
        for client, request in self._control.poll(fileno):
            self._control.answer(client, self._obey(request))
        self._readers.set(self._read_control, self._control.filenos())

    # What is asked from outside.

    def _obey(self, request: Request) -> Reply:
        match request:
            case StopRequest(now):
                self._stop_signal = self._stop_signal or signal.SIGTERM
                self._stop(Stop.NOW if now else Stop.DRAIN)
                return Reply(True, f"run {self._run_dir.run_id} is stopping; {len(self._flights)} items still run")
            case Flush():
                self._recorder.take_checkpoint()
                return Reply(True, f"all that has ended is durable (generation {self._history.generation})")
            case Cancel(items):
                if items is None:
                    self._events.append(CancelAsked(None))
                    return Reply(True, f"run {self._run_dir.run_id} is being cancelled")
                self._events.append(CancelAsked(tuple((self._orders[job_id], index) for job_id, index in items)))
                return Reply(True, f"{len(items)} item{' is' if len(items) == 1 else 's are'} being cancelled")
            case unknown:
                assert_never(unknown)

    def _stop(self, how: Stop) -> None:
        self._events.append(StopAsked(how))
        if how is Stop.DRAIN and self._flights:
            running = len(self._flights)
            self._narrator.note(f"stopping: nothing more starts, {running} running items may finish (once more ends them now)")

    # What happens to attempts.

    def _attempt_ended(self, flight: Flight, outcome: Outcome) -> None:
        if outcome.attempt_class is AttemptClass.STATE_ERROR:
            raise StateUnwritableError(
                f"{flight.name}: {outcome.message}", "mend that, then resume the run: what is recorded stays"
            )
        outcome = checked(outcome, flight.job.output, self._run_dir)
        verdict = verdict_of(outcome, flight.asked_end)
        fault_point("supervisor.outcome")
        self._recorded_through[flight.start.worker] = flight.start.sequence
        self._outcomes[flight.item] = (flight, outcome)
        self._ran.add(flight.job.id)
        self._events.append(AttemptEnded(flight.item, verdict))

    # Carrying out what the core decides.

    def _work_off(self) -> None:
        for _ in range(EVENTS_A_TURN):
            if not self._events:
                return
            for decision in decide(self._state, self._events.popleft(), time.monotonic()):
                self._carry_out(decision)

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case StartAttempt(item, attempt, slot):
                self._start(item, attempt, slot)
            case Settle(item, state, message):
                self._settle(item, state, message)
            case ListItems(order):
                self._list(order)
            case EndAttempt(item, reason, grace_at_most):
                self._recorder.then(lambda: self._flights.end(item, reason, grace_at_most))
            case CloseJob(order, phase):
                self._recorder.add(records.JobClosed(job=self._jobs[order].id, status=phase.value))
                self._must_commit = True
                self._narrator.closed(self._jobs[order].id, phase.value)
            case FinishRun():
                self._finish = decision
            case unknown:
                assert_never(unknown)

    def _start(self, item: ItemRef, attempt: int, slot: int) -> None:
        order, index = item
        job = self._jobs[order]
        self._catch_up()
        rendered = self._starter.render(job, index, attempt)
        if isinstance(rendered, NotStarted):
            self._declined[item] = rendered
            self._events.append(StartDeclined(item, rendered.why))
            return
        lock_fd = self._take_slot(slot)
        if lock_fd is None:
            self._events.append(StartDeclined(item, Declined.SLOT_HELD))
            return
        worker = self._engine.worker_of(slot)
        sequence = self._next_sequence
        self._next_sequence += 1
        through = self._recorded_through.get(worker, -1)
        message = self._starter.message(job, index, attempt, sequence, rendered.prepared, through)
        start = records.Started(
            job=job.id,
            index=index,
            attempt=attempt,
            sequence=sequence,
            worker=worker,
            at=time.time(),
            slot=slot,
            label=rendered.label,
            payload=rendered.prepared.payload,
        )
        flight = Flight(item=item, name=message.item, job=job, start=start, slot=slot, mark=message.mark)
        self._flights.begin(flight)
        self._recorder.add(start)
        self._recorder.then(lambda: self._send(slot, message, lock_fd))
        self._narrator.started(flight)

    def _send(self, slot: int, message: Start, lock_fd: int) -> None:
        try:
            self._engine.start(slot, message, [lock_fd])
        finally:
            os.close(lock_fd)  # without unlocking: the lock is the worker's now

    def _take_slot(self, slot: int) -> int | None:
        """The slot's lock, with a worker ready for it; None when one of them is not to be had just now."""
        taken = self._slots.take(slot, self._next_worker)
        if taken is None:
            return None
        if taken.new_worker is not None:
            self._next_worker = taken.new_worker.worker + 1
            self._recorder.add(taken.new_worker)
            self._readers.set(self._read_engine, self._engine.filenos())
        return taken.lock_fd

    def _catch_up(self) -> None:
        """Templates read jobs from the history: what was decided of jobs in this turn must stand there before one is rendered."""
        if self._must_commit:
            self._must_commit = False
            self._recorder.commit()

    def _settle(self, item: ItemRef, state: ItemState, message: str) -> None:
        order, index = item
        job_id = self._jobs[order].id
        status = Status(type(state).__name__.lower())
        ended = self._outcomes.pop(item, None)
        if ended is not None:
            flight, outcome = ended
            self._recorder.add(
                records.AttemptEnded(
                    job=job_id,
                    index=index,
                    attempt=flight.start.attempt,
                    status=status,
                    outcome=outcome,
                    label=flight.start.label,
                    payload=flight.start.payload,
                )
            )
            self._narrator.attempt_ended(flight, outcome, state)
        else:
            declined = self._declined.pop(item, None)
            label = declined.label if declined is not None else None
            message = declined.message if declined is not None else message
            self._recorder.add(records.ItemSettled(job=job_id, index=index, status=status, message=message, label=label))
            self._narrator.settled(self._name(item), job_id, label, status, message)
        if isinstance(state, ENDED_STATES) and self._state.jobs[order].has_dependents:
            self._recorder.ended(item)

    def _list(self, order: int) -> None:
        job = self._jobs[order]
        self._catch_up()
        try:
            count = list_job(self._reader, self._contexts, job)
        except ListingError as error:
            message = f"for_each: {error}"
            self._recorder.add(records.ListingFailed(job=job.id, message=message))
            self._narrator.closed(job.id, "failed", message)
            self._events.append(ListingFailed(order))
            return
        fault_point("supervisor.listed")
        self._recorder.add(records.ItemsListed(job=job.id, count=count))
        self._must_commit = True
        self._narrator.listed(job.id, count)
        self._events.append(ItemsListed(order, count))

    def _end_run(self, finish: FinishRun) -> int:
        exit_code = exit_code_of(finish.status, self._stop_signal)
        error_item, error_message = error_in_words(self._reader, finish.error, is_timed_out=self._state.is_timed_out)
        stale = list(newly_stale(self._history, self._jobs, self._starter, self._ran))
        for record in stale:
            self._recorder.add(record)
        if stale:
            names = ", ".join(self._reader.item_name(record.job, record.index) for record in stale[:5])
            self._narrator.note(
                f"{len(stale)} succeeded items are stale, their inputs have changed since they ran ({names}"
                f"{', …' if len(stale) > 5 else ''}); resume with --rerun-stale runs them again"
            )
        self._recorder.add(
            records.RunEnded(
                status=finish.status,
                at=time.time(),
                exit_code=exit_code,
                error_item=error_item,
                error_message=error_message,
            )
        )
        fault_point("supervisor.ending")
        self._recorder.take_checkpoint()
        fault_point("supervisor.ended")
        return exit_code

    def _name(self, item: ItemRef) -> str:
        return self._reader.item_name(self._jobs[item[0]].id, item[1])
