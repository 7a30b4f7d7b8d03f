"""Carrying out `StartAttempt`: prepare the attempt, take what it needs, record its start, and only then hand it over.

Promise: an attempt is sent after its start stands in the journal; the locks it needs are the worker's then, or free again. An
item that does not start is told to the core (`StartDeclined`), once, in the same turn. A run that ends before a start is recorded
lets the locks of it go (`close`).
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, assert_never

import msgspec

from orchestrator.attempts.agent.work import AgentWork
from orchestrator.attempts.child_runs import ChildRuns
from orchestrator.attempts.flight import Flight
from orchestrator.attempts.message import StartMessages
from orchestrator.attempts.preparer import NotStarted, Preparer, Ready
from orchestrator.attempts.rendering import Prepared
from orchestrator.core import parking, throttle
from orchestrator.core.decisions import StartAttempt
from orchestrator.core.events import AccountTold, Declined, StartDeclined, StartReturned
from orchestrator.core.states import ItemRef, Stop
from orchestrator.engines.engine import EngineEvent
from orchestrator.reading.money.costs import dollars
from orchestrator.shared.tokens.answers import Joins, Refused, Shared
from orchestrator.store import records
from orchestrator.supervisor.admission import Admission, Admitted, Candidate, SlotHeld
from orchestrator.supervisor.flights import Flights
from orchestrator.supervisor.resources import Missing
from orchestrator.supervisor.run import Run
from orchestrator.supervisor.settlements import Joined, Settlements
from orchestrator.system.locks.held import HeldLocks
from orchestrator.system.wording import title
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.protocol import Start


class Preparation(msgspec.Struct, frozen=True):
    """How attempts of this run are made ready: their work, the message for a worker, the child run that does it."""

    preparer: Preparer
    messages: StartMessages
    children: ChildRuns


class AttemptStarts:
    """Of one run."""

    def __init__(
        self,
        run: Run,
        preparation: Preparation,
        admission: Admission,
        flights: Flights,
        settlements: Settlements,
    ) -> None:
        self._run = run
        self._preparer = preparation.preparer
        self._messages = preparation.messages
        self._children = preparation.children
        self._admission = admission
        self._flights = flights
        self._settlements = settlements
        self._next_sequence = run.history.next_sequence
        self._is_first_told = False
        """Whether it was told that an item runs alone."""
        self._unsent: list[HeldLocks] = []
        """The locks of attempts that were admitted in this turn, until they are handed over."""
        self._recorded_through: dict[int, int] = {}
        """By worker the last attempt of which the end is known."""
        self._admitted_in_slot: dict[int, Admitted] = {}
        """With what the last one began in each slot behind which nothing was queued: what is queued behind it has the same."""
        self._queued_in_slot: dict[int, list[tuple[Flight, Start]]] = {}
        """What is queued in this turn behind the start that is sent with it, or behind what runs already, and is not sent yet."""

    def start(self, decision: StartAttempt) -> None:
        """Begin the attempt, or decline it. Raises StateUnwritableError."""
        item, account = decision.item, decision.account
        if decision.is_queued:
            self._queue(decision)
            return
        # What another start of this turn found missing is not tried again by every free slot.
        known = self._known_missing(item[0], account) if self._run.events else None
        if known is not None:
            self._run.happened(msgspec.structs.replace(known, item=item))
            return
        # Templates read what ended in this very turn.
        self._run.recorder.catch_up()
        job = self._run.job(item)
        left = dollars(self._run.core.left_nano_usd(item[0])) if job.is_agent else None
        ready = self._preparer.prepare_start(job, decision, left)
        if isinstance(ready, NotStarted):
            self._decline(item, ready)
            return
        agent = ready.prepared.agent
        own = agent.account if agent is not None else None
        candidate = self._candidate(decision, ready, own)
        # An item that found out its account only now was not held back by the core for it.
        is_new_account = own is not None and own != account
        if is_new_account and (throttled := self._throttled(candidate)) is not None:
            self._run.happened(throttled)
            return
        answer = self._admission.admit(candidate)
        if isinstance(answer, (Admitted, Missing)) and answer.new_worker is not None:
            self._run.recorder.add(answer.new_worker)
        if not isinstance(answer, Admitted):
            self._not_admitted(item, ready, answer)
            return
        self._unsent.append(answer.locks)
        if own is not None and is_new_account:
            self._run.happened(AccountTold(item, own))
        self._begin(candidate, decision, ready, answer)

    def resume(self, start: records.Started, slot: int) -> list[EngineEvent]:
        """Take over an attempt that an earlier supervisor started and whose end is not recorded; what is known of it at once."""
        fault_point("supervisor.resuming")
        item = self._run.ref(start.job, start.index)
        name = self._run.name(item)
        mark = self._messages.mark(name, start.attempt)
        flight = Flight(item=item, name=name, job=self._run.job(item), start=start, slot=slot, mark=mark)
        if start.token is not None:
            self._admission.adopt_token(item, name, start)
        return self._flights.resume(flight, self._run.history.workers.get(start.worker))

    def returned(self, flight: Flight) -> None:
        """A queued start was given back: nothing has begun."""
        self._flights.leave(flight)
        # It was sent when all that was before it in its queue had ended.
        if not self._flights.has_slot(flight.slot):
            self._admission.slots.attempt_ended(flight.slot, is_told=True)
        self._run.recorder.add(records.QueuedReturned(job=flight.start.job, index=flight.start.index))
        self._run.happened(StartReturned(flight.item))

    def began(self, flight: Flight, at: float | None = None) -> None:
        """An attempt that was queued has begun. `at`: when, if it has ended since (seconds since the epoch); None: just now."""
        flight.is_queued = False
        flight.start = msgspec.structs.replace(flight.start, is_queued=False, at=time.time() if at is None else at)
        # With the ends of its whole queue it would be seen to run beside all of them.
        flight.is_start_untold = at is not None
        if at is None:
            start = flight.start
            self._run.recorder.add(records.QueuedBegan(job=start.job, index=start.index, at=start.at))
            self._admission.note_slot(flight.slot, flight.name, flight.mark)
            self._run.tell.started(flight)

    def note_end(self, flight: Flight, *, is_told: bool) -> None:
        """The end of this attempt is known, so its worker may forget it. `is_told`: that worker has told it."""
        self._recorded_through[flight.start.worker] = flight.start.sequence
        if not self._flights.has_slot(flight.slot):
            self._admission.slots.attempt_ended(flight.slot, is_told=is_told)

    def end_turn(self) -> None:
        """Nothing more is started now: let go of what was kept for it."""
        self._admission.slots.let_go_of_idle()

    def close(self) -> None:
        """Let go of what was taken for starts that could not be recorded, and so are not sent."""
        while self._unsent:
            self._unsent.pop().let_go()
        self._admission.slots.close()

    def _queue(self, decision: StartAttempt) -> None:
        """Queue the attempt behind the one that this turn starts in its slot, or that runs there."""
        item, job, slot = decision.item, self._run.job(decision.item), decision.slot
        # That one was not started after all, or has ended meanwhile.
        if not self._flights.has_slot(slot):
            self._run.happened(StartReturned(item))
            return
        ready = self._preparer.prepare_start(job, decision, None)
        if isinstance(ready, NotStarted):
            self._decline(item, ready)
            return
        candidate = self._candidate(decision, ready, None)
        queued = self._recorded(candidate, decision, ready, self._admitted_in_slot[slot])
        if (unsent := self._queued_in_slot.get(slot)) is not None:
            unsent.append(queued)
        else:
            self._queued_in_slot[slot] = [queued]
            self._run.recorder.then(partial(self._send_more, slot))

    def _candidate(self, decision: StartAttempt, ready: Ready, account: str | None) -> Candidate:
        item, name = decision.item, self._run.name(decision.item)
        mark = self._messages.mark(name, decision.attempt)
        return Candidate(item, name, self._run.job(item), decision.slot, mark, ready.prepared, account)

    def _send(self, flight: Flight, message: Start, locks: HeldLocks) -> None:
        self._unsent.remove(locks)
        self._flights.send(flight, message, locks, self._queued_in_slot.pop(flight.slot))

    def _send_more(self, slot: int) -> None:
        # What ran there may have ended meanwhile: they hold the slot as it did.
        self._flights.queue(slot, self._queued_in_slot.pop(slot), self._admission.slots.kept(slot))

    def _throttled(self, candidate: Candidate) -> StartDeclined | None:
        """What keeps an attempt from starting while its account is throttled."""
        account = candidate.account
        assert account is not None
        running = sum(flight.start.account == account for flight in self._flights)
        if not self._run.core.is_account_full(account, running):
            return None
        return StartDeclined(candidate.item, Declined.HELD, throttle.rate_limit(account), account=account)

    def _known_missing(self, order: int, account: str | None) -> StartDeclined | None:
        """What another start of this turn found missing already."""
        held = [event for event in self._run.events if isinstance(event, StartDeclined) and event.why is Declined.HELD]
        if not held:
            return None
        needed = self._run.core.resources(order)
        if account is not None:
            needed |= {parking.usage_limit(account), parking.trial(account)}
        # Ignore entries whose `until` has passed: they would decline every later start of this turn without a new try.
        now = time.monotonic()
        return next((event for event in held if event.resource in needed and event.until > now), None)

    def _begin(self, candidate: Candidate, decision: StartAttempt, ready: Ready, admitted: Admitted) -> None:
        """Record the start, and have the attempt sent once the record stands in the journal."""
        # A supervisor that is killed between record and message leaves a start that its resume finds without a worker's log.
        flight, message = self._recorded(candidate, decision, ready, admitted)
        if admitted.has_token:
            self._admission.begin_token(candidate, flight.start)
        self._queued_in_slot[candidate.slot] = []
        self._admitted_in_slot[candidate.slot] = admitted
        self._run.recorder.then(partial(self._send, flight, message, admitted.locks))
        self._run.tell.started(flight)
        # Of several slots one is used then: a person would look for what is wrong.
        if candidate.job.is_agent and not self._is_first_told and self._run.core.runs_alone(candidate.item[0]):
            self._is_first_told = True
            alone = "runs alone: nobody knows yet what an item costs, and the budget holds the others until it tells"
            self._run.tell.note(f"{title(candidate.name, ready.label)} {alone}")

    def _recorded(self, candidate: Candidate, decision: StartAttempt, ready: Ready, admitted: Admitted) -> tuple[Flight, Start]:
        """Record the start of the attempt: what flies then, and the message for its worker."""
        item, job, prepared = candidate.item, candidate.job, ready.prepared
        attempt, is_queued = decision.attempt, decision.is_queued
        worker = admitted.worker.number
        sequence = self._next_sequence
        self._next_sequence += 1
        child = self._children.run_of(job.id, item[1], attempt, prepared.child) if prepared.child is not None else ""
        start = records.Started(
            job=job.id,
            index=item[1],
            attempt=attempt,
            sequence=sequence,
            worker=worker,
            at=time.time(),
            slot=candidate.slot,
            label=ready.label,
            payload=prepared.payload,
            token=prepared.token,
            promotions=admitted.promotions,
            round=ready.round,
            child=child,
            workspace=prepared.place.name if prepared.place is not None else "",
            because=prepared.because,
            device=decision.device,
            is_queued=is_queued,
        )
        if prepared.agent is not None:
            start = msgspec.structs.replace(start, **_agent_fields(prepared.agent, prepared))
        message = self._messages.compose_start(
            job,
            start,
            prepared,
            name=candidate.name,
            mark=candidate.mark,
            recorded_through=self._recorded_through.get(worker, -1),
            kept_locks=admitted.locks.kept_count,
            pools=admitted.pools,
            more_arguments=self._children.arguments(child, candidate.name) if child else (),
        )
        flight = Flight(
            item=item, name=candidate.name, job=job, start=start, slot=candidate.slot, mark=candidate.mark, is_queued=is_queued
        )
        self._flights.begin(flight)
        self._run.recorder.add(start)
        return flight, message

    def _not_admitted(self, item: ItemRef, ready: Ready, answer: Missing | SlotHeld | Joins | Shared | Refused) -> None:
        """Something is missing; or the item's work was done, is being done elsewhere, or must not be done here."""
        match answer:
            # Nothing of these four was started or taken, so nothing has to be given back.
            case SlotHeld():
                self._run.happened(StartDeclined(item, Declined.SLOT_HELD))
            case Missing(resource, until):
                self._held(item, ready, answer, StartDeclined(item, Declined.HELD, resource, until, answer.account))
            case Joins(words):
                self._settlements.joins(item, _joined(ready, words))
                self._run.happened(StartDeclined(item, Declined.JOINS))
            case Shared(outcome, is_success, deduped_from):
                self._settlements.shares(item, outcome, deduped_from, _joined(ready))
                self._run.happened(StartDeclined(item, Declined.SATISFIED if is_success else Declined.REFUSED))
            case Refused(message):
                prepared = ready.prepared
                refused = NotStarted(Declined.REFUSED, message, ready.label, prepared.token, prepared.payload)
                self._decline(item, refused)
            case unknown:
                assert_never(unknown)

    def _held(self, item: ItemRef, ready: Ready, missing: Missing, held: StartDeclined) -> None:
        """Something is missing; of the limit of an account the job says what is to become of the item."""
        rules = self._run.core.rules(item[0])
        is_parked = missing.account is not None and missing.resource == parking.usage_limit(missing.account)
        if is_parked and rules.on_usage_limit == "fail":
            prepared = ready.prepared
            self._decline(item, NotStarted(Declined.REFUSED, missing.words, ready.label, prepared.token, prepared.payload))
            return
        if is_parked and rules.on_usage_limit == "pause" and self._run.core.stop is Stop.NO:
            self._run.tell.note(f"pausing: {missing.words}; resume the run then")
            until = time.localtime(time.time() + missing.until - time.monotonic())
            words = f"usage limit of {missing.account} until {time.strftime('%Y-%m-%d %H:%M:%S', until)}"
            held = msgspec.structs.replace(held, words=words)
        self._run.happened(held)

    def _decline(self, item: ItemRef, why: NotStarted) -> None:
        if why.look is not None:
            # It is tried again when that is known, and holds nothing till then.
            missing = self._admission.watch_look(self._run.job(item).id, why.look)
            self._run.happened(StartDeclined(item, Declined.HELD, missing.resource))
            return
        self._settlements.declined(item, why)
        self._run.happened(StartDeclined(item, why.why))


def _agent_fields(work: AgentWork, prepared: Prepared) -> dict[str, Any]:
    """What is recorded of an agent's attempt besides."""
    session = work.session.session_id if work.session is not None else None
    played = None if prepared.played is None else (prepared.played.index, prepared.played.attempt)
    told = {"agent": work.agent, "account": work.account, "model": work.model, "session": session, "folder": prepared.cwd}
    return {**told, "played": played}


def _joined(ready: Ready, words: str = "") -> Joined:
    assert ready.prepared.token is not None
    return Joined(label=ready.label, token=ready.prepared.token, payload=ready.prepared.payload, words=words)
