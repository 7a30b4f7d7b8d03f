"""The loop of a supervisor: wait for what happens, ask the core, record, carry out.

Promise: nothing starts before its start stands in the journal; an outcome is in the journal or in its worker's log at every
instant; what runs is never disturbed by recording. Invariant: one flight a slot; the core knows of exactly these.
It refuses to handle: rules (core), durability (store), processes (workers), what people see (views).
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
    Verdict,
)
from orchestrator.core.states import ENDED_STATES, ItemRef, ItemState, RunState, Stop, Waiting
from orchestrator.core.transitions import decide, next_wake
from orchestrator.engines.adopted import POLL_SECONDS, AdoptedWorkers, logged_outcome
from orchestrator.engines.engine import Engine, EngineEvent, OutcomeArrived, WorkerDied, WorkerIdentity
from orchestrator.errors import ExitCode, StateUnwritableError
from orchestrator.jobsfile.model import Job, JobsFile
from orchestrator.listing import ListingError, list_job
from orchestrator.locks.slots import is_slot_free, try_lock_slot
from orchestrator.recording import Recorder
from orchestrator.results import RunReader
from orchestrator.run_log import append_log
from orchestrator.signals import SignalInbox
from orchestrator.starting import NotStarted, Starter
from orchestrator.store import records
from orchestrator.store.outputs import CaptureMismatch, read_capture
from orchestrator.store.records import Status
from orchestrator.store.run_store import RunStore
from orchestrator.tree_ending import TreeEndings
from orchestrator.verdicts import BadOutputError, parse_output, verdict_of
from orchestrator.views import happenings
from orchestrator.views.happenings import View
from workers.log import LOG_NAME, read_log
from workers.protocol import AttemptClass, End, EndReason, Outcome, Start
from workers.tree import end_tree_of_dead_worker

HELD_SLOT_SECONDS = 0.1
"""How often a slot whose lock somebody else holds is tried again."""

REFRESH_SECONDS = 0.25
EVENTS_A_TURN = 256
"""Events worked off before the loop looks at its descriptors (and signals) again."""


@dataclass(slots=True)
class Flight:
    """An attempt that runs: in `slot`, by `worker`."""

    item: ItemRef
    job: Job
    attempt: int
    sequence: int
    slot: int
    worker: int
    started_at: float
    label: str | None
    payload: str
    asked_end: str | None = None
    is_adopted: bool = False


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
        view: View,
        signals: SignalInbox,
    ) -> None:
        self._store = store
        self._reader = reader
        self._history = store.history
        self._run_dir = store.run_dir
        self._jobs = jobs_file.jobs
        self._jobs_file = jobs_file
        self._state = state
        self._engine = engine
        self._view = view
        self._signals = signals
        self._contexts = ItemContexts(reader, self._history.header.inputs)
        self._starter = Starter(reader, self._contexts, jobs_file)
        self._recorder = Recorder(store)
        self._control = ControlServer(self._run_dir.path)
        self._endings = TreeEndings()
        self._adopted = AdoptedWorkers()
        self._selector = selectors.DefaultSelector()
        self._registered: dict[int, Callable[[int], None]] = {}
        self._events: deque[Event] = deque()
        self._flights: dict[int, Flight] = {}
        self._outcomes: dict[ItemRef, tuple[Flight, Outcome]] = {}
        self._declined: dict[ItemRef, NotStarted] = {}
        self._recorded_through: dict[int, int] = {}
        self._held_slots: set[int] = set()
        self._next_held_look = 0.0
        self._next_sequence = self._history.next_sequence
        self._next_worker = self._history.next_worker
        self._stop_signal: signal.Signals | None = None
        self._finish: FinishRun | None = None

    def resume_flight(self, start: records.Started, slot: int) -> None:
        """Take over an attempt that an earlier supervisor started: adopt it, take its outcome, or end its tree."""
        order = next(order for order, job in enumerate(self._jobs) if job.id == start.job)
        flight = Flight(
            item=(order, start.index),
            job=self._jobs[order],
            attempt=start.attempt,
            sequence=start.sequence,
            slot=slot,
            worker=start.worker,
            started_at=start.at,
            label=start.label,
            payload=start.payload,
            is_adopted=True,
        )
        self._flights[slot] = flight
        worker = self._history.workers.get(start.worker)
        folder = self._run_dir.worker_folder(start.worker)
        if worker is not None:
            identity = WorkerIdentity(worker.worker, worker.pid, worker.start_ticks, worker.boot_id)
            if logged_outcome(folder, start.sequence) is None and self._adopted.adopt(slot, start.sequence, identity, folder):
                self._note(f"adopted {self._name(flight.item)}, which worker {worker.pid} still runs")
                return
        self._worker_died(flight, f"worker {start.worker} is gone")

    def run(self, first: Iterable[Event] = ()) -> int:
        """Supervise until the run is finished or stopped. `first`: what is asked before anything starts."""
        self._register_all()
        self._events.extend(first)
        while self._events:
            self._work_off()
        self._recorder.commit()
        self._events.append(RunOpened())
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
        self._engine.close()
        self._adopted.close()
        self._endings.close()
        self._selector.close()

    # Waiting: each descriptor has one reader.

    def _wait(self) -> None:
        timeout = 0.0 if self._events else self._timeout()
        ready = self._selector.select(timeout)
        for key, _ in ready:
            key.data(key.fd)
        if not ready:
            self._view.refresh()
        if self._held_slots or self._adopted.needs_polling:
            self._look_around()
        wake = next_wake(self._state)
        if wake is not None and time.monotonic() >= wake:
            self._events.append(TimePassed())

    def _timeout(self) -> float:
        now = time.monotonic()
        timeout = REFRESH_SECONDS
        wake = next_wake(self._state)
        if wake is not None:
            timeout = min(timeout, wake - now)
        if self._held_slots:
            timeout = min(timeout, self._next_held_look - now)
        if self._adopted.needs_polling:
            timeout = min(timeout, POLL_SECONDS)
        return max(0.0, timeout)

    def _register_all(self) -> None:
        self._register([self._signals.fileno()], self._on_signals)
        self._register([self._store.sync_fileno()], self._on_durable)
        self._register([self._endings.fileno()], self._on_tree_ended)
        self._register(self._adopted.filenos(), self._on_adopted)
        self._register(self._control.filenos(), self._on_control)
        self._register(self._engine.filenos(), self._on_engine)

    def _register(self, filenos: Iterable[int], reader: Callable[[int], None]) -> None:
        """Have exactly `filenos` read by `reader`."""
        wanted = set(filenos)
        for fileno in [each for each, known in self._registered.items() if known == reader and each not in wanted]:
            del self._registered[fileno]
            self._selector.unregister(fileno)
        for fileno in wanted - self._registered.keys():
            self._registered[fileno] = reader
            self._selector.register(fileno, selectors.EVENT_READ, reader)

    def _on_engine(self, fileno: int) -> None:
        for event in self._engine.poll(fileno):
            self._take_engine_event(event)
            if isinstance(event, WorkerDied):
                self._register(self._engine.filenos(), self._on_engine)

    def _on_adopted(self, _fileno: int) -> None:
        for event in self._adopted.poll():
            self._take_engine_event(event)
        self._register(self._adopted.filenos(), self._on_adopted)

    def _on_durable(self, _fileno: int) -> None:
        items = self._recorder.durable()
        if items:
            self._events.append(OutcomesDurable(items))

    def _on_tree_ended(self, _fileno: int) -> None:
        for slot in self._endings.take():
            flight = self._flights[slot]
            now = time.time()
            message = f"worker {flight.worker} ended before the attempt did"
            self._ended(
                flight,
                Outcome(
                    attempt_class=AttemptClass.LOST,
                    started_at=flight.started_at,
                    finished_at=now,
                    duration_seconds=max(0.0, now - flight.started_at),
                    message=message,
                ),
            )

    def _on_signals(self, _fileno: int) -> None:
        for number in self._signals.take():
            if number == signal.SIGUSR1:
                self._flush()
            else:
                self._stop_signal = self._stop_signal or number
                self._stop(Stop(min(self._state.stop.value + 1, Stop.KILL.value)))

    def _on_control(self, fileno: int) -> None:
        for client, request in self._control.poll(fileno):
            self._control.answer(client, self._obey(request))
        self._register(self._control.filenos(), self._on_control)

    def _look_around(self) -> None:
        if self._adopted.needs_polling:
            self._on_adopted(-1)
        now = time.monotonic()
        if self._held_slots and now >= self._next_held_look:
            self._next_held_look = now + HELD_SLOT_SECONDS
            for slot in [each for each in self._held_slots if is_slot_free(self._run_dir.slot_lock(each))]:
                self._held_slots.discard(slot)
                self._events.append(SlotFreed(slot))

    # What is asked from outside.

    def _obey(self, request: Request) -> Reply:
        match request:
            case StopRequest(now):
                self._stop_signal = self._stop_signal or signal.SIGTERM
                self._stop(Stop.NOW if now else Stop.DRAIN)
                return Reply(True, f"run {self._run_dir.run_id} is stopping: {len(self._flights)} items still run")
            case Flush():
                generation = self._flush()
                return Reply(True, f"all that has ended is durable (generation {generation})")
            case Cancel(items):
                if items is None:
                    self._events.append(CancelAsked(None))
                    return Reply(True, f"run {self._run_dir.run_id} is being cancelled")
                orders = {job.id: order for order, job in enumerate(self._jobs)}
                self._events.append(CancelAsked(tuple((orders[job_id], index) for job_id, index in items)))
                return Reply(True, f"{len(items)} items are being cancelled")
            case unknown:
                assert_never(unknown)

    def _stop(self, how: Stop) -> None:
        self._events.append(StopAsked(how))
        if how is Stop.DRAIN and self._flights:
            self._note(f"stopping: nothing more starts; {len(self._flights)} running items may finish (again: end them now)")

    def _flush(self) -> int:
        self._recorder.take_checkpoint()
        return self._history.generation

    # What happens to attempts.

    def _take_engine_event(self, event: EngineEvent) -> None:
        flight = self._flights.get(event.slot)
        match event:
            case OutcomeArrived(_, sequence, outcome):
                if flight is not None and flight.sequence == sequence:
                    self._ended(flight, outcome)
            case WorkerDied(_, worker, description):
                self._note(description)
                if flight is not None and flight.worker == worker:
                    self._worker_died(flight, description)
            case unknown:
                assert_never(unknown)

    def _worker_died(self, flight: Flight, description: str) -> None:
        """Its last word may stand in its log; else what it left behind is ended before the slot is used again."""
        folder = self._run_dir.worker_folder(flight.worker)
        outcome = logged_outcome(folder, flight.sequence)
        if outcome is not None:
            self._ended(flight, outcome)
            return
        lines = [line for line in read_log(str(folder / LOG_NAME)) if line.sequence == flight.sequence]
        mark = self._starter.mark(self._name(flight.item), flight.attempt)
        grace = flight.job.grace
        self._log(f"{self._name(flight.item)}: {description}; ending what it left behind")
        self._endings.begin(flight.slot, lambda: end_tree_of_dead_worker(lines, mark=mark, grace_seconds=grace))

    def _ended(self, flight: Flight, outcome: Outcome) -> None:
        del self._flights[flight.slot]
        if outcome.attempt_class is AttemptClass.STATE_ERROR:
            raise StateUnwritableError(
                f"{self._name(flight.item)}: {outcome.message}", "mend that, then resume the run: what is recorded stays"
            )
        outcome = self._checked(flight, outcome)
        verdict = verdict_of(outcome, flight.asked_end)
        if verdict is Verdict.DRAINED and flight.is_adopted and self._state.stop is Stop.NO:
            verdict = Verdict.LOST  # an earlier supervisor's drain: this one runs it again
        self._recorded_through[flight.worker] = flight.sequence
        self._outcomes[flight.item] = (flight, outcome)
        self._events.append(AttemptEnded(flight.item, verdict))

    def _checked(self, flight: Flight, outcome: Outcome) -> Outcome:
        """A success whose output is not what the job promised is none."""
        kind = flight.job.output
        if outcome.attempt_class is not AttemptClass.OK or kind in ("text", "lines"):
            return outcome
        import msgspec

        try:
            parse_output(kind, read_capture(outcome.stdout, self._run_dir))
        except (BadOutputError, CaptureMismatch) as error:
            return msgspec.structs.replace(outcome, attempt_class=AttemptClass.BAD_OUTPUT, message=str(error))
        return outcome

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
                self._recorder.then(lambda: self._end_attempt(item, reason, grace_at_most))
            case CloseJob(order, phase):
                self._recorder.add(records.JobClosed(job=self._jobs[order].id, status=phase.value))
                self._view.show(happenings.JobClosed(job=self._jobs[order].id, status=phase.value))
            case FinishRun():
                self._finish = decision
            case unknown:
                assert_never(unknown)

    def _start(self, item: ItemRef, attempt: int, slot: int) -> None:
        order, index = item
        job = self._jobs[order]
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
        now = time.time()
        payload = rendered.prepared.payload
        self._recorder.add(
            records.Started(
                job=job.id,
                index=index,
                attempt=attempt,
                sequence=sequence,
                worker=worker,
                at=now,
                slot=slot,
                label=rendered.label,
                payload=payload,
            )
        )
        through = self._recorded_through.get(worker, -1)
        message = self._starter.message(job, index, attempt, sequence, rendered.prepared, through)
        self._flights[slot] = Flight(item, job, attempt, sequence, slot, worker, now, rendered.label, payload)
        self._recorder.then(lambda: self._send(slot, message, lock_fd))
        self._view.show(happenings.ItemStarted(item=message.item, job=job.id, label=rendered.label, attempt=attempt, at=now))

    def _send(self, slot: int, message: Start, lock_fd: int) -> None:
        try:
            self._engine.start(slot, message, [lock_fd])
        finally:
            os.close(lock_fd)  # without unlocking: the lock is the worker's now

    def _take_slot(self, slot: int) -> int | None:
        """The slot's lock and a worker for it; None when the lock, or a process, is not to be had just now."""
        try:
            lock_fd = try_lock_slot(self._run_dir.slot_lock(slot))
            if lock_fd is None:
                self._held_slots.add(slot)
                return None
            try:
                identity = self._engine.prepare_slot(slot, self._next_worker)
            except BaseException:
                os.close(lock_fd)
                raise
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise StateUnwritableError(f"{self._run_dir.path}: {error.strerror}", "mend that, then resume the run") from error
            self._log(f"slot {slot}: {error.strerror}; tried again")
            self._held_slots.add(slot)
            return None
        if identity is not None:
            self._next_worker = identity.worker + 1
            self._recorder.add(
                records.WorkerStarted(
                    worker=identity.worker, pid=identity.pid, start_ticks=identity.start_ticks, boot_id=identity.boot_id
                )
            )
            self._register(self._engine.filenos(), self._on_engine)
        return lock_fd

    def _end_attempt(self, item: ItemRef, reason: str, grace_at_most: float | None) -> None:
        flight = next((each for each in self._flights.values() if each.item == item), None)
        if flight is None:
            return  # it has ended meanwhile
        flight.asked_end = flight.asked_end or reason
        if flight.slot in self._adopted:
            self._adopted.end(flight.slot)
            return
        grace = flight.job.grace if grace_at_most is None else min(flight.job.grace, grace_at_most)
        self._engine.end(flight.slot, End(sequence=flight.sequence, reason=EndReason(reason), grace_seconds=grace))

    def _settle(self, item: ItemRef, state: ItemState, message: str) -> None:
        order, index = item
        job = self._jobs[order]
        status = Status(type(state).__name__.lower())
        ended = self._outcomes.pop(item, None)
        declined = self._declined.pop(item, None)
        if ended is not None:
            flight, outcome = ended
            self._recorder.add(
                records.AttemptEnded(
                    job=job.id,
                    index=index,
                    attempt=flight.attempt,
                    status=status,
                    outcome=outcome,
                    label=flight.label,
                    payload=flight.payload,
                )
            )
        else:
            message = message or (declined.message if declined is not None else "")
            label = declined.label if declined is not None else None
            self._recorder.add(records.ItemSettled(job=job.id, index=index, status=status, message=message, label=label))
        if isinstance(state, ENDED_STATES) and self._state.jobs[order].has_dependents:
            self._recorder.ended(item)
        self._show_settled(item, state, status, message, ended, declined)

    def _show_settled(
        self,
        item: ItemRef,
        state: ItemState,
        status: Status,
        message: str,
        ended: tuple[Flight, Outcome] | None,
        declined: NotStarted | None,
    ) -> None:
        name, job_id = self._name(item), self._jobs[item[0]].id
        flight, outcome = ended if ended is not None else (None, None)
        label = flight.label if flight is not None else declined.label if declined is not None else None
        words = outcome.message if outcome is not None else message
        if isinstance(state, Waiting):
            self._view.show(
                happenings.ItemRetrying(
                    item=name,
                    job=job_id,
                    label=label,
                    attempt=flight.attempt if flight is not None else 0,
                    message=words,
                    wait_s=round(max(0.0, state.due - time.monotonic()), 3),
                    at=time.time(),
                )
            )
            return
        self._view.show(
            happenings.ItemEnded(
                item=name,
                job=job_id,
                label=label,
                status=status.value,
                attempts=flight.attempt if flight is not None else 0,
                message=words,
                duration_s=round(outcome.duration_seconds, 3) if outcome is not None else None,
                exit_code=outcome.exit_code if outcome is not None else None,
                at=time.time(),
            )
        )

    def _list(self, order: int) -> None:
        job = self._jobs[order]
        try:
            count = list_job(self._reader, self._contexts, job)
        except ListingError as error:
            message = f"for_each: {error}"
            self._recorder.add(records.ListingFailed(job=job.id, message=message))
            self._view.show(happenings.JobClosed(job=job.id, status="failed", message=message))
            self._events.append(ListingFailed(order))
            return
        self._recorder.add(records.ItemsListed(job=job.id, count=count))
        self._recorder.commit()
        self._view.show(happenings.JobListed(job=job.id, count=count, counts={}))
        if count == 0:
            self._note(f"{job.id} has no items: its for_each gave an empty list")
        self._events.append(ItemsListed(order, count))

    # The end.

    def _end_run(self, finish: FinishRun) -> int:
        exit_code = self._exit_code(finish)
        error_item, error_message = self._error_in_words(finish)
        self._recorder.add(
            records.RunEnded(
                status=finish.status,
                at=time.time(),
                exit_code=exit_code,
                error_item=error_item,
                error_message=error_message,
            )
        )
        self._recorder.take_checkpoint()
        return exit_code

    def _exit_code(self, finish: FinishRun) -> int:
        match finish.status:
            case "completed":
                return ExitCode.COMPLETED
            case "failed":
                return ExitCode.FAILED
            case "cancelled":
                return ExitCode.CANCELLED
            case "interrupted":
                return 128 + (self._stop_signal or signal.SIGTERM)
            case unknown:
                assert_never(unknown)

    def _error_in_words(self, finish: FinishRun) -> tuple[str | None, str | None]:
        if finish.error is None:
            return None, "the run's timeout passed" if self._state.is_timed_out else None
        order, index = finish.error
        job = self._history.jobs.get(self._jobs[order].id)
        if job is None or job.count is None:
            return self._jobs[order].id, job.listing_failed if job is not None else None
        result = self._reader.result(self._jobs[order].id, index)
        return result["item"], result["error"] or result["status"]

    def _name(self, item: ItemRef) -> str:
        return self._reader.item_name(self._jobs[item[0]].id, item[1])

    def _note(self, message: str) -> None:
        self._log(message)
        self._view.show(happenings.Noted(message=message, at=time.time()))

    def _log(self, message: str) -> None:
        append_log(self._run_dir.log, message)
