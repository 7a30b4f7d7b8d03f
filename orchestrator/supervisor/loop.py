"""The loop of a supervisor: wait for what happens, ask the core, record, carry out.

Promise: nothing starts before its start stands in the journal; an outcome is in the journal or in its worker's log at every
instant; what runs is never disturbed by recording. Invariant: the core's running items are the flights and the starts of this
turn. It refuses to handle: rules (core), durability (store), processes (engines, flights), what people see (views).
"""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import assert_never

from orchestrator.attempts.agent.answers import AgentEnds, verdict_on
from orchestrator.attempts.agent.fallback import Chooser
from orchestrator.attempts.child_runs import ChildRuns
from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.flight import Flight
from orchestrator.attempts.items.listing import ListingError, choose_items, chosen_record, list_job
from orchestrator.attempts.items.selection import Chosen, Selector
from orchestrator.attempts.loops import Loops, as_round
from orchestrator.attempts.message import StartMessages
from orchestrator.attempts.preparer import NotStarted, Preparer
from orchestrator.attempts.staleness import newly_stale
from orchestrator.attempts.workspaces.landing_outcome import landing_told
from orchestrator.attempts.workspaces.notes import WorkspaceNotes
from orchestrator.control.messages import CancelRequest, Pause, Request, StopRequest
from orchestrator.control.server import ControlServer
from orchestrator.core.decide import decide, next_wake
from orchestrator.core.decisions import (
    AskGate,
    CloseJob,
    Decision,
    EndAttempt,
    FinishRun,
    ListItems,
    ReopenItems,
    Settle,
    StartAttempt,
)
from orchestrator.core.events import (
    AttemptEnded,
    CancelAsked,
    ChildAnswered,
    Declined,
    Event,
    ItemsListed,
    JoinEnded,
    ListingFailed,
    OutcomesDurable,
    RunOpened,
    StopAsked,
    TimePassed,
    Verdict,
    VerdictShared,
)
from orchestrator.core.states import ENDED_STATES, ItemRef, ItemState, RestoredJob, RunState, Stop
from orchestrator.engines.engine import Engine, EngineEvent, Noted
from orchestrator.errors import StateUnwritableError
from orchestrator.jobsfile.model import Job, JobsFile, LandAction
from orchestrator.reading.run_reader import RunReader
from orchestrator.shared.limits.parks import Parks
from orchestrator.shared.limits.trials import Trials
from orchestrator.shared.nesting.ancestors import Nesting
from orchestrator.shared.tokens.answers import RefusedAll, ReplaceAsked, SharedWith, Told, TryAgain
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.shared.wait_board import WaitBoard
from orchestrator.store import records
from orchestrator.store.outcomes import checked, verdict_of
from orchestrator.store.run_store import RunStore
from orchestrator.supervisor.account_limits import AccountLimits
from orchestrator.supervisor.admission import Admission
from orchestrator.supervisor.attempt_starts import Starts
from orchestrator.supervisor.charges import Charges, cost_with, spent_with
from orchestrator.supervisor.flights import Flights
from orchestrator.supervisor.gates import Asker, Gates
from orchestrator.supervisor.narrator import Narrator
from orchestrator.supervisor.recorder import Recorder
from orchestrator.supervisor.requests import Requests
from orchestrator.supervisor.run_end import error_in_words, exit_code_of
from orchestrator.supervisor.settlements import Settlements
from orchestrator.supervisor.waits_of_run import Waits
from orchestrator.system.descriptor_readers import Readers
from orchestrator.system.stop_signals import SignalInbox
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.protocol import AttemptClass, Outcome

REFRESH_SECONDS = 0.25
EVENTS_A_TURN = 256
"""Events worked off before the loop looks at its descriptors (and signals) again."""


_TOLD_TO_CHILDREN: dict[Stop, Request] = {Stop.PAUSE: Pause(), Stop.DRAIN: StopRequest()}
"""What child runs are told when their parent stops; at a harder stop each of them is ended (`EndAttempt`)."""


class Supervisor:
    """One run while it is supervised. `restore(job_id)`: what the core shall know of a job that was listed before an update.

    `run` returns the exit code; StateUnwritableError leaves the workers to themselves."""

    def __init__(
        self,
        *,
        store: RunStore,
        reader: RunReader,
        jobs_file: JobsFile,
        selector: Selector,
        state: RunState,
        engine: Engine,
        admission: Admission,
        parks: Parks,
        trials: Trials,
        tokens: TokenDesk,
        nesting: Nesting | None,
        children: ChildRuns,
        is_inline: bool,
        narrator: Narrator,
        signals: SignalInbox,
        asker: Asker | None,
        restore: Callable[[str, Chosen], RestoredJob],
    ) -> None:
        self._store = store
        self._reader = reader
        self._history = store.history
        self._run_dir = store.run_dir
        self._jobs = jobs_file.jobs
        self._orders = {job.id: order for order, job in enumerate(jobs_file.jobs)}
        self._state = state
        self._jobs_file = jobs_file
        self._engine = engine
        self._admission = admission
        self._tokens = tokens
        self._narrator = narrator
        self._signals = signals
        self._restore = restore
        self._contexts = ItemContexts(reader, self._history.header.inputs)
        self._loops = Loops(reader, self._contexts)
        self._agent_ends = AgentEnds(reader, self._contexts, jobs_file.folder)
        chooser = Chooser(os.environ, trials.seconds_left, narrator.note)
        self._limits = AccountLimits(parks, admission, state, narrator, self._run_dir.run_id)
        self._preparer = Preparer(reader, self._contexts, self._loops, jobs_file, selector, chooser)
        self._messages = StartMessages(reader, jobs_file, nesting, self._preparer.replay)
        self._workspace_notes = WorkspaceNotes(str(reader.run_dir.workspaces), narrator.note)
        self._selector = selector
        self._children = children
        self._recorder = Recorder(store)
        self._control = ControlServer(self._run_dir.path)
        self._flights = Flights(engine, self._run_dir)
        self._readers = Readers()
        self._events: deque[Event] = deque()
        self._settlements = Settlements(
            self._recorder, narrator, [job.id for job in self._jobs], self._name, spent_on=self._spent_on
        )
        self._gates = Gates(
            reader=reader,
            contexts=self._contexts,
            jobs_file=jobs_file,
            state=state,
            events=self._events,
            recorder=self._recorder,
            settlements=self._settlements,
            narrator=narrator,
            asker=asker,
            selector=selector,
            name_of=self._name,
        )
        self._requests = Requests(
            store=store,
            recorder=self._recorder,
            settlements=self._settlements,
            state=state,
            admission=admission,
            tokens=tokens,
            gates=self._gates,
            jobs_file=jobs_file,
            is_inline=is_inline,
            stop=self._stop,
            ask=self._events.append,
        )
        self._waits = Waits(
            WaitBoard(self._run_dir, self._messages.run_mark, nesting.marks if nesting is not None else ()),
            state=state,
            tokens=tokens,
            admission=admission,
            flights=self._flights,
            is_nested=nesting is not None,
            name_of=self._name,
        )
        self._starts = Starts(
            history=self._history,
            state=state,
            events=self._events,
            admission=admission,
            tokens=tokens,
            flights=self._flights,
            recorder=self._recorder,
            settlements=self._settlements,
            narrator=narrator,
            preparer=self._preparer,
            messages=self._messages,
            children=self._children,
            worker_started=self._listen_to_engine,
        )
        self._charges = Charges(self._history, state, self._recorder, narrator)
        self._ran: set[str] = set()
        self._stop_signal: signal.Signals | None = None
        self._finish: FinishRun | None = None
        self._is_cancel_asked = False

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
            mark=self._messages.mark(name, start.attempt),
        )
        if start.token is not None:
            self._tokens.adopt_attempt(item, name, start)
        self._hear_engine(self._flights.resume(flight, self._history.workers.get(start.worker)))

    def run(self, first: Sequence[Event] = (), replaced_by: str | None = None) -> int:
        """Supervise until the run is finished or stopped. `first`: what is asked before anything starts.

        `replaced_by` (`RUN/ITEM`): who takes the token of the items that `first` cancels.
        """
        for event in first:
            if isinstance(event, CancelAsked) and replaced_by is not None:
                for item in event.items or ():
                    self._settlements.replaced(item, replaced_by)
        self._readers.set(self._read_signals, [self._signals.fileno()])
        self._readers.set(self._read_durable, [self._store.sync_fileno()])
        self._readers.set(self._read_asks, [self._flights.asks_fileno()])
        self._listen_to_engine()
        self._readers.set(self._tokens.take_in, self._tokens.filenos())
        self._charges.begin()
        self._read_signals(-1)  # who was told to stop already starts nothing
        self._events.extend([*first, RunOpened()])
        try:
            return self._go_on()
        except StateUnwritableError as error:
            if not self._is_cancelling:
                raise
            raise StateUnwritableError(
                error.message, f"{error.hint or 'mend that'}; what was being cancelled was not recorded: cancel it once more"
            ) from error

    @property
    def _is_cancelling(self) -> bool:
        """Whether something was asked to be cancelled of which not everything is recorded."""
        return self._is_cancel_asked or self._state.is_cancelled or any(flight.asked_end == "cancel" for flight in self._flights)

    def _go_on(self) -> int:
        while True:
            self._work_off()
            self._recorder.commit()
            self._is_cancel_asked = self._is_cancel_asked and bool(self._events)
            if self._finish is not None and not self._events:
                self._gates.leave()
                return self._end_run(self._finish)
            if self._store.wants_checkpoint:
                self._recorder.take_checkpoint()
            self._wait()

    def close(self) -> None:
        """Let go of everything. Attempts that run go on and leave their outcomes on disk."""
        self._control.close()
        self._waits.close()
        self._flights.close()
        self._tokens.close()
        self._readers.close()

    # Waiting.

    def _wait(self) -> None:
        now = time.monotonic()
        wake = next_wake(self._state)
        is_caught_up = not self._events
        if not is_caught_up or (wake is not None and wake <= now):
            timeout = 0.0
        else:
            times = [REFRESH_SECONDS]
            if wake is not None:
                times.append(wake - now)
            looks = (self._admission.next_look, self._tokens.next_look, self._engine.next_look)
            times += [max(0.0, look - now) for look in looks if look is not None]
            timeout = min(times)
        self._gates.look()
        self._limits.look(now)
        self._readers.set(self._read_control, self._control.filenos())
        self._readers.set(self._read_answer, self._gates.filenos())
        if not self._readers.wait(timeout):
            self._narrator.refresh()
        now = time.monotonic()
        self._hear_engine(self._engine.look_at_workers(now))
        if is_caught_up:
            # A turn that left events may have left a start that found something missing: told to be free now, and held by that
            # afterwards, the resource would have nobody who looks at it.
            self._events.extend(self._admission.poll(now))
        for told in self._tokens.poll(now):
            self._hear(told)
        for items, words in self._waits.look(now):
            self._refuse(items, words)
        if wake is not None and now >= wake:
            self._events.append(TimePassed())

    def _read_engine(self, fileno: int) -> None:
        self._hear_engine(self._engine.take_in(fileno))
        self._listen_to_engine()

    def _listen_to_engine(self) -> None:
        self._readers.set(self._read_engine, self._engine.sources())

    def _hear_engine(self, events: Sequence[EngineEvent]) -> None:
        for event in events:
            if isinstance(event, Noted):
                self._narrator.note(event.words)
            elif (ended := self._flights.take_in(event)) is not None:
                self._attempt_ended(*ended)

    def _read_asks(self, _fileno: int) -> None:
        self._flights.take_in_asks()

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
                how = Stop(min(max(self._state.stop.value + 1, Stop.DRAIN.value), Stop.KILL.value))
                self._stop(how, "once more ends them now")
                self._work_off()

    def _read_control(self, fileno: int) -> None:
        for client, request in self._control.poll(fileno):
            self._work_off()  # what has ended in this very turn is told durable, too; a pause sees the stop before it
            self._is_cancel_asked = self._is_cancel_asked or isinstance(request, CancelRequest)
            if isinstance(request, StopRequest):
                self._stop_signal = self._stop_signal or signal.SIGTERM
            self._control.answer(client, self._requests.obey(request))
        self._readers.set(self._read_control, self._control.filenos())

    def _read_answer(self, _fileno: int) -> None:
        self._work_off()  # a stop of this very turn comes before what is said at the terminal
        self._gates.read()

    def _stop(self, how: Stop, hurry: str = "stop --now ends them") -> None:
        """`hurry`: how whoever asks could have what runs ended at once, in words."""
        self._events.append(StopAsked(how))
        if how in (Stop.PAUSE, Stop.DRAIN) and self._flights:
            what = "pausing" if how is Stop.PAUSE else "stopping"
            more = "" if how is Stop.PAUSE else f" ({hurry})"
            self._narrator.note(f"{what}: nothing more starts, what runs ({len(self._flights)}) may finish{more}")

    # What happens to attempts.

    def _attempt_ended(self, flight: Flight, outcome: Outcome) -> None:
        if outcome.attempt_class is AttemptClass.STATE_ERROR:
            raise StateUnwritableError(
                f"{flight.name}: {outcome.message}", "mend that, then resume the run: what is recorded stays"
            )
        if flight.start.child:
            outcome = self._children.came_to(flight, outcome)
            if outcome.attempt_class is AttemptClass.PAUSED:
                self._narrator.child_paused(flight, outcome.message, self._children.questions(flight))
        if isinstance(flight.job.action, LandAction):
            outcome = landing_told(outcome, self._run_dir)
        if outcome.workspace is not None:
            self._workspace_notes.told(flight.name, outcome.workspace)
        outcome = self._preparer.outcome_as_played(flight.start, outcome)
        said = self._agent_ends.told(flight, as_round(outcome, flight.job.repeat))
        outcome = self._agent_ends.fitting(flight, checked(said, flight.job.output, self._run_dir))
        verdict = verdict_on(said, outcome, verdict_of(outcome, flight.asked_end))
        is_round = flight.job.repeat is not None and verdict is Verdict.SUCCEEDED
        if is_round:
            outcome, verdict = self._loops.round_ended(flight, outcome)
        fault_point("supervisor.outcome")
        self._starts.ended(flight.start)
        spent = spent_with(self._reader, flight, outcome)
        self._settlements.ended(flight, outcome, is_round=is_round, spent=spent)
        self._ran.add(flight.job.id)
        until = self._limits.ended(flight, outcome, verdict)
        self._events.append(AttemptEnded(flight.item, verdict, until, cost=cost_with(flight, outcome, spent)))
        if verdict is Verdict.PAUSED and self._children.is_answered_since(flight, outcome):
            self._events.append(ChildAnswered(flight.item))

    # Carrying out what the core decides.

    def _work_off(self) -> None:
        for _ in range(EVENTS_A_TURN):
            if not self._events:
                return
            stop_before = self._state.stop
            for decision in decide(self._state, self._events.popleft(), time.monotonic()):
                self._carry_out(decision)
            if self._state.stop is not stop_before and self._state.stop in _TOLD_TO_CHILDREN:
                self._flights.tell_children(_TOLD_TO_CHILDREN[self._state.stop])

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case StartAttempt(item, attempt, slot, account):
                self._starts.start(item, self._name(item), self._jobs[item[0]], attempt, slot, account)
            case Settle(item, state, message):
                self._settle(item, state, message)
            case AskGate(item):
                self._gates.ask(item)
            case ReopenItems(items):
                self._gates.reopen(items)
            case ListItems(order):
                self._list(order)
            case EndAttempt(item, reason, grace_at_most):
                self._recorder.then(lambda: self._flights.end(item, reason, grace_at_most))
            case CloseJob(order, phase):
                self._recorder.add(records.JobClosed(job=self._jobs[order].id, status=phase.value))
                self._narrator.closed(self._jobs[order].id, phase.value)
            case FinishRun():
                self._finish = decision
            case unknown:
                assert_never(unknown)

    def _hear(self, told: Told) -> None:
        """What came of work that items of this run joined."""
        match told:
            case SharedWith(items, outcome, is_success, deduped_from):
                for item in items:
                    self._settlements.shares(item, outcome, deduped_from)
                self._events.append(VerdictShared(items, is_success))
            case RefusedAll(items, message):
                self._refuse(items, message)
            case TryAgain(items):
                self._events.append(JoinEnded(items))
            case ReplaceAsked(item, by):
                self._settlements.replaced(item, by)
                self._events.append(CancelAsked((item,)))
            case unknown:
                assert_never(unknown)

    def _refuse(self, items: tuple[ItemRef, ...], message: str) -> None:
        """Items that wait shall fail."""
        for item in items:
            joined = self._settlements.joined(item)
            label, token, payload = (joined.label, joined.token, joined.payload) if joined else (None, None, "")
            self._settlements.declined(item, NotStarted(Declined.REFUSED, message, label, token, payload))
        self._events.append(VerdictShared(items, is_success=False))

    def _settle(self, item: ItemRef, state: ItemState, message: str) -> None:
        settled = self._settlements.settle(item, state, message)
        if settled.ended is not None:
            self._charges.attempt_ended(settled.ended.flight, settled.ended.outcome, settled.ended.spent)
        if settled.status is records.Status.WAITING:
            # At once: it may be started again in this very turn, and what is let go of later would be the new attempt's lock.
            self._tokens.settle_item(item, settled.status, settled.outcome, settled.replaced_by)
        elif self._tokens.knows(item):
            self._recorder.then(lambda: self._tokens.settle_item(item, settled.status, settled.outcome, settled.replaced_by))
        if isinstance(state, ENDED_STATES) and self._state.jobs[item[0]].has_dependents:
            self._recorder.ended(item)

    def _list(self, order: int) -> None:
        job = self._jobs[order]
        self._recorder.catch_up()
        try:
            listing = list_job(self._reader, self._contexts, job)
        except ListingError as error:
            message = f"for_each: {error}"
            self._recorder.add(records.ListingFailed(job=job.id, message=message))
            self._narrator.closed(job.id, "failed", message)
            self._events.append(ListingFailed(order))
            return
        fault_point("supervisor.listed")
        was_listed = self._history.jobs[job.id].is_outdated
        self._recorder.add(records.ItemsListed(job=job.id, count=listing.count, revision=listing.revision))
        for mark in listing.marks:
            self._recorder.add(mark)
        chosen = self._choose(job) if self._selector.words else None
        selected = listing.count if chosen is None else sum(map(len, chosen))
        self._narrator.listed(job.id, listing.count, selected, self._selector.words)
        restored = None
        if was_listed:
            self._recorder.commit()
            restored = self._restore(job.id, None if chosen is None else frozenset(index for each in chosen for index in each))
        self._events.append(ItemsListed(order, listing.count, chosen, restored))

    def _choose(self, job: Job) -> tuple[range, ...] | None:
        self._recorder.catch_up()  # labels may tell of the list
        chosen = choose_items(self._reader, self._contexts, self._selector, job.id)
        record = chosen_record(job.id, chosen, self._selector.reason)
        self._recorder.add(record)
        return None if record.ranges is None else tuple(range(start, end) for start, end in record.ranges)

    def _end_run(self, finish: FinishRun) -> int:
        exit_code = exit_code_of(finish.status, self._stop_signal, is_rejected=finish.is_rejected)
        error_item, error_message = error_in_words(self._reader, finish.error, is_timed_out=self._state.is_timed_out)
        stale = list(newly_stale(self._history, self._jobs, self._preparer, self._ran))
        for record in stale:
            self._recorder.add(record)
        if stale:
            names = ", ".join(self._reader.item_name(record.job, record.index) for record in stale[:5])
            self._narrator.note(
                f"{len(stale)} succeeded items are stale, their inputs have changed since they ran ({names}"
                f"{', …' if len(stale) > 5 else ''}); resume with --rerun-stale runs them again"
            )
        for pattern in self._selector.idle_patterns():
            self._narrator.note(f"--only {shlex.quote(pattern)} matches no item")
        self._recorder.add(
            records.RunEnded(
                status=finish.status,
                at=time.time(),
                exit_code=exit_code,
                error_item=error_item,
                error_message=error_message,
                reason=finish.reason,
            )
        )
        fault_point("supervisor.ending")
        for note in self._tokens.finish_publishing():
            self._narrator.note(note)
        self._recorder.take_checkpoint()
        fault_point("supervisor.ended")
        return exit_code

    def _spent_on(self, item: ItemRef) -> records.Spent | None:
        return self._history.jobs[self._jobs[item[0]].id].spent(item[1])

    def _name(self, item: ItemRef) -> str:
        return self._reader.item_name(self._jobs[item[0]].id, item[1])
