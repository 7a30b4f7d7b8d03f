"""The loop of a supervisor: wait for what happens, ask the core, record, carry out.

Promise: nothing starts before its start stands in the journal; an outcome is in the journal or in its worker's log at every
instant; what runs is never disturbed by recording. Invariant: the core's running items are the flights and the starts of this
turn. It refuses to handle: rules (core), durability (store), processes (engines), what people see (views); each part of the
carrying out is a file beside this one.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import assert_never

from orchestrator.attempts.flight import Flight
from orchestrator.control.messages import CancelRequest, Reply
from orchestrator.core.decide import decide
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
from orchestrator.core.events import CancelAsked, Event, MoreAsked, OutcomesDurable, RunOpened, TimePassed
from orchestrator.core.states import RunState
from orchestrator.engines.engine import AttemptLost, Noted, OutcomeArrived, QueuedBegan, QueuedReturned, QueueRanLow
from orchestrator.errors import StateUnwritableError
from orchestrator.store.records import CancelTold, RunEnded
from orchestrator.supervisor.happened import (
    Answered,
    AnswerJudged,
    Asked,
    BecameDurable,
    Happened,
    MayBeFree,
    Signalled,
    TimeCame,
    TokenNews,
    WaitGivenUp,
)
from orchestrator.supervisor.parts import Parts
from orchestrator.workers.protocol import AttemptClass, Outcome

EVENTS_A_TURN = 256
"""Events that the core decides on before the loop looks at its descriptors, and so at signals, again."""


class Loop:
    """One supervised run. `state` is changed by the core alone."""

    def __init__(self, state: RunState, parts: Parts) -> None:
        self._state = state
        self._parts = parts
        self._run = parts.run
        self._finish: FinishRun | None = None
        self._is_cancel_asked = False
        self._decided = 0
        """Events that the core has heard so far."""
        self._replies: deque[tuple[int, int, Reply]] = deque()
        """Of what is asked: when so many events are heard, this client gets this reply."""

    def run(self, first: Sequence[Event] = (), replaced_by: str | None = None, ended: RunEnded | None = None) -> int:
        """Supervise until the run is finished or stopped; the exit code. `first`: what is asked before anything starts.

        `replaced_by` (`RUN/ITEM`): the item that takes the token of those which `first` cancels. `ended`: as of `RunEnd.record`.
        Raises StateUnwritableError: the workers are then left to themselves.
        """
        self._parts.charges.begin()
        # A process that was told to stop already starts nothing.
        for happened in self._parts.signals.read_news():
            self.take_in(happened)
        for event in first:
            if isinstance(event, CancelAsked) and replaced_by is not None:
                for item in event.items or ():
                    self._parts.settlements.replaced(item, replaced_by)
        self._run.happened(*first, RunOpened())
        try:
            return self._go_on(ended)
        except StateUnwritableError as error:
            if not self._is_cancelling:
                raise
            raise StateUnwritableError(
                error.message, f"{error.hint or 'mend that'}; what was being cancelled was not recorded: cancel it once more"
            ) from error

    def _go_on(self, ended: RunEnded | None) -> int:
        run, parts = self._run, self._parts
        while True:
            self.decide()
            run.recorder.commit()
            if self._replies:
                self._reply()
            self._is_cancel_asked = self._is_cancel_asked and bool(run.events)
            if self._finish is not None and not run.events:
                parts.gates.leave()
                # They end while the last records are made durable.
                parts.engine.let_idle_go()
                return parts.run_end.record(self._finish, parts.ends.job_ids, ended)
            if run.store.wants_checkpoint:
                run.recorder.take_checkpoint()
            parts.gates.show_next_question()
            parts.limits.tell_changes(time.monotonic())
            if not run.events:
                parts.starts.end_turn()
            for happened in parts.inbox.wait(run.core.next_wake, is_in_hurry=bool(run.events) or parts.lists.is_busy):
                self.take_in(happened)
            if parts.lists.is_busy:
                # First what was asked for meanwhile: a stop ends the walk.
                self.decide()
                parts.lists.go_on()

    def decide(self) -> None:
        """Have the core hear what has happened, at most so much a turn, and carry out what it decides."""
        for _ in range(EVENTS_A_TURN):
            if not self._run.events:
                return
            self._decided += 1
            for decision in decide(self._state, self._run.events.popleft(), time.monotonic()):
                self.carry_out(decision)
            self._parts.stops.tell_children()

    def _reply(self) -> None:
        """Answer what was asked, of which all is recorded and sent by now: what is told as done survives SIGKILL."""
        while self._replies and self._replies[0][0] <= self._decided:
            _, client, reply = self._replies.popleft()
            self._parts.control.answer(client, reply)

    def take_in(self, happened: Happened) -> None:  # noqa: C901 (a case for each thing that can happen)
        """Turn what has happened into what the core hears. Nothing is started or written here but by a part that says so."""
        parts, run = self._parts, self._run
        match happened:
            case OutcomeArrived() | AttemptLost():
                if (ended := parts.flights.take_in(happened)) is not None:
                    self._attempt_over(*ended, is_told=isinstance(happened, OutcomeArrived))
            case QueuedBegan(sequence):
                # What was before it in its queue ends first, also for those who look.
                self.decide()
                if (flight := parts.flights.find(sequence)) is not None:
                    parts.starts.began(flight)
            case QueueRanLow(sequence):
                if (flight := parts.flights.find(sequence)) is not None:
                    run.happened(MoreAsked(flight.item))
            case QueuedReturned(sequence):
                if (flight := parts.flights.find(sequence)) is not None:
                    parts.starts.returned(flight)
            case AnswerJudged(sequence, told):
                parts.ends.judged(sequence, told)
            case Noted(words):
                run.tell.note(words)
            case Signalled(signal.SIGUSR1):
                run.recorder.take_checkpoint()
            case Signalled(number):
                parts.stops.signalled(number)
                # The next signal asks for a stop that is harder than this one, so this one holds first.
                self.decide()
            case Asked(client, request, requester):
                # What has ended in this very turn is told durable, too, and a pause sees the stop before it.
                self.decide()
                self._is_cancel_asked = self._is_cancel_asked or isinstance(request, CancelRequest)
                reply = parts.requests.obey(request, requester)
                # The answer comes when the core has heard of it: until then a cancel is neither recorded nor sent to a worker.
                self._replies.append((self._decided + len(run.events), client, reply))
            case Answered(said):
                # A stop of this very turn comes before what is said at the terminal.
                self.decide()
                parts.gates.take_in(said)
            case BecameDurable(items):
                run.happened(OutcomesDurable(items))
            case TokenNews(told):
                parts.joiners.take_in(told)
            case WaitGivenUp(items, words):
                parts.joiners.refuse(items, words)
            case MayBeFree(event):
                run.happened(event)
            case TimeCame():
                run.happened(TimePassed())
            case unknown:
                assert_never(unknown)

    def _attempt_over(self, flight: Flight, outcome: Outcome, *, is_told: bool) -> None:
        parts = self._parts
        parts.starts.note_end(flight, is_told=is_told)
        # One that was queued under an earlier supervisor, or for a worker that is gone, has only not begun.
        if flight.start.is_queued and outcome.attempt_class is AttemptClass.NOT_BEGUN:
            parts.starts.returned(flight)
            return
        if flight.is_queued:
            parts.starts.began(flight, outcome.started_at)
        parts.ends.take_in(flight, outcome)
        parts.paces.attempt_ended(flight, outcome)

    def carry_out(self, decision: Decision) -> None:
        """Hand a decision of the core to the part that carries it out."""
        parts = self._parts
        match decision:
            case StartAttempt():
                parts.starts.start(decision)
            case RecallQueued():
                # After the commit: what is queued in this very turn is sent before it is recalled.
                self._run.recorder.then(parts.flights.recall)
            case Settle():
                parts.settlements.settle(decision)
            case AskGate(item):
                parts.gates.ask(item)
            case ReopenItems(items):
                parts.gates.reopen(items)
            case ListItems(order):
                (parts.growth or parts.lists).list_items(order)
            case EndAttempt(item, reason, grace_at_most, words):
                if reason == "cancel":
                    # Whoever asked is answered then, and this supervisor may be killed before the attempt has ended.
                    self._run.recorder.add(CancelTold(at=time.time(), job=self._run.job(item).id, index=item[1], message=words))
                # After the commit: an attempt whose start is recorded in this very turn is sent before it is ended.
                self._run.recorder.then(partial(parts.flights.end, item, reason, grace_at_most))
            case CloseJob():
                parts.settlements.close_job(decision)
            case FinishRun():
                self._finish = decision
            case unknown:
                assert_never(unknown)

    @property
    def _is_cancelling(self) -> bool:
        """Whether something was asked to be cancelled of which not everything is recorded."""
        is_ending = any(flight.asked_end == "cancel" for flight in self._parts.flights)
        return self._is_cancel_asked or self._run.core.is_cancelled or is_ending
