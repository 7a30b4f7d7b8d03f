"""Carrying out `StartAttempt`: render the item, take what it needs, record the start, and only then hand it over.

Promise: an attempt is sent after its start stands in the journal; the locks it needs are the worker's then, or free again. An
item that does not start is told to the core (`StartDeclined`), once, in the same turn.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, assert_never

import msgspec

from orchestrator.attempts.child_runs import ChildRuns
from orchestrator.attempts.flight import Flight
from orchestrator.attempts.message import StartMessages
from orchestrator.attempts.preparer import NotStarted, Preparer, Ready
from orchestrator.attempts.rendering import Prepared
from orchestrator.core import parking, throttle
from orchestrator.core.budget import left_nano_usd
from orchestrator.core.events import AccountTold, Declined, Event, StartDeclined
from orchestrator.core.scheduling import resources_of
from orchestrator.core.states import ItemRef, RunState, Stop
from orchestrator.jobsfile.model import Job
from orchestrator.reading.money.costs import dollars
from orchestrator.shared.tokens.answers import Joins, Refused, Shared
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.store import records
from orchestrator.store.run_history import RunHistory
from orchestrator.supervisor.admission import Admission, Admitted, Missing, SlotHeld
from orchestrator.supervisor.flights import Flights
from orchestrator.supervisor.narrator import Narrator
from orchestrator.supervisor.recorder import Recorder
from orchestrator.supervisor.settlements import Joined, Settlements


class Starts:
    """Of one run. `events`: what the core has not heard yet. `worker_started` is called when there is a new one to listen to."""

    def __init__(
        self,
        *,
        history: RunHistory,
        state: RunState,
        events: deque[Event],
        admission: Admission,
        tokens: TokenDesk,
        flights: Flights,
        recorder: Recorder,
        settlements: Settlements,
        narrator: Narrator,
        preparer: Preparer,
        messages: StartMessages,
        children: ChildRuns,
        worker_started: Callable[[], None],
    ) -> None:
        self._state = state
        self._events = events
        self._admission = admission
        self._tokens = tokens
        self._flights = flights
        self._recorder = recorder
        self._settlements = settlements
        self._narrator = narrator
        self._preparer = preparer
        self._messages = messages
        self._children = children
        self._worker_started = worker_started
        self._next_sequence = history.next_sequence
        self._recorded_through: dict[int, int] = {}

    def ended(self, start: records.Started) -> None:
        """The outcome of this attempt is known: its worker's log is read so far."""
        self._recorded_through[start.worker] = start.sequence

    def start(self, item: ItemRef, name: str, job: Job, attempt: int, slot: int, account: str | None) -> None:
        """Begin the attempt, or decline it. `account`: the one that the core had in mind. Raises StateUnwritableError."""
        known = self._known_missing(item[0], account)
        if known is not None:
            self._events.append(msgspec.structs.replace(known, item=item))
            return
        self._recorder.catch_up()
        left = left_nano_usd(self._state, self._state.jobs[item[0]]) if job.is_agent else None
        rendered = self._preparer.prepare_start(job, item[1], attempt, account, dollars(left))
        if isinstance(rendered, NotStarted):
            self._decline(item, rendered)
            return
        found = rendered.prepared.agent.account if rendered.prepared.agent is not None else None
        if found is not None and found != account and (throttled := self._throttled(item, found)) is not None:
            self._events.append(throttled)
            return
        mark = self._messages.mark(name, attempt)
        answer = self._admission.admit(item, name, job, slot, mark, rendered.prepared)
        if isinstance(answer, Admitted | Missing) and answer.new_worker is not None:
            self._recorder.add(answer.new_worker)
            self._worker_started()
        if isinstance(answer, Admitted):
            if found is not None and found != account:
                self._events.append(AccountTold(item, found))
            self._begin(item, name, job, attempt, slot, mark, rendered, answer)
        else:
            self._not_admitted(item, rendered, answer)

    def _throttled(self, item: ItemRef, account: str) -> StartDeclined | None:
        """What keeps an item that found out its account just now from starting: the core could not know."""
        running = sum(flight.start.account == account for flight in self._flights)
        if not throttle.is_full(self._state, account, running):
            return None
        return StartDeclined(item, Declined.HELD, throttle.rate_limit(account), account=account)

    def _known_missing(self, order: int, account: str | None) -> StartDeclined | None:
        """What another start of this turn found missing already: a freed slot of a pool is tried once, not by every free slot."""
        needed = set(resources_of(self._state.jobs[order].rules))
        if account is not None:
            needed |= {parking.usage_limit(account), parking.trial(account)}
        # Of what may be tried again by now nothing is known: repeated, it would answer for itself for ever.
        now = time.monotonic()
        held = (event for event in self._events if isinstance(event, StartDeclined) and event.why is Declined.HELD)
        return next((event for event in held if event.resource in needed and event.until > now), None)

    def _begin(
        self, item: ItemRef, name: str, job: Job, attempt: int, slot: int, mark: str, rendered: Ready, admitted: Admitted
    ) -> None:
        prepared = rendered.prepared
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
            slot=slot,
            label=rendered.label,
            payload=prepared.payload,
            token=prepared.token,
            promotions=admitted.promotions,
            round=rendered.round,
            child=child,
            workspace=prepared.place.name if prepared.place is not None else "",
            **_agent_fields(prepared),
            played=None if prepared.played is None else (prepared.played.index, prepared.played.attempt),
        )
        message = self._messages.compose_start(
            job,
            start,
            prepared,
            recorded_through=self._recorded_through.get(worker, -1),
            kept_locks=admitted.locks.kept_count,
            pools=admitted.pools,
            more_arguments=self._children.arguments(child, name) if child else (),
        )
        if admitted.locks.kept_count:
            self._tokens.begin_attempt(item, attempt=attempt, worker=worker, sequence=sequence, mark=mark)
        flight = Flight(item=item, name=name, job=job, start=start, slot=slot, mark=mark)
        self._flights.begin(flight)
        self._recorder.add(start)
        self._recorder.then(lambda: self._flights.send(flight, message, admitted.locks))
        self._narrator.started(flight)

    def _not_admitted(self, item: ItemRef, rendered: Ready, answer: Missing | SlotHeld | Joins | Shared | Refused) -> None:
        """Something is missing, or the item's work is done elsewhere: it was, it is, or it must not be done here."""
        match answer:
            case SlotHeld():
                self._events.append(StartDeclined(item, Declined.SLOT_HELD))
            case Missing(resource, until):
                self._held(item, rendered, answer, StartDeclined(item, Declined.HELD, resource, until, answer.account))
            case Joins(words):
                self._settlements.joins(item, _joined(rendered, words))
                self._events.append(StartDeclined(item, Declined.JOINS))
            case Shared(outcome, is_success, deduped_from):
                self._settlements.shares(item, outcome, deduped_from, _joined(rendered))
                self._events.append(StartDeclined(item, Declined.SATISFIED if is_success else Declined.REFUSED))
            case Refused(message):
                prepared = rendered.prepared
                refused = NotStarted(Declined.REFUSED, message, rendered.label, prepared.token, prepared.payload)
                self._decline(item, refused)
            case unknown:
                assert_never(unknown)

    def _held(self, item: ItemRef, rendered: Ready, missing: Missing, held: StartDeclined) -> None:
        """Something is missing; of the limit of an account the job says what is to become of the item."""
        rules = self._state.jobs[item[0]].rules
        is_parked = missing.account is not None and missing.resource == parking.usage_limit(missing.account)
        if is_parked and rules.on_usage_limit == "fail":
            prepared = rendered.prepared
            self._decline(item, NotStarted(Declined.REFUSED, missing.words, rendered.label, prepared.token, prepared.payload))
            return
        if is_parked and rules.on_usage_limit == "pause" and self._state.stop is Stop.NO:
            self._narrator.note(f"pausing: {missing.words}; resume the run then")
            until = time.localtime(time.time() + missing.until - time.monotonic())
            words = f"usage limit of {missing.account} until {time.strftime('%Y-%m-%d %H:%M:%S', until)}"
            held = msgspec.structs.replace(held, words=words)
        self._events.append(held)

    def _decline(self, item: ItemRef, why: NotStarted) -> None:
        self._settlements.declined(item, why)
        self._events.append(StartDeclined(item, why.why))


def _agent_fields(prepared: Prepared) -> dict[str, Any]:
    """What is recorded of an agent's attempt besides."""
    work = prepared.agent
    if work is None:
        return {}
    session = work.session.session_id if work.session is not None else None
    return {"agent": work.agent, "account": work.account, "model": work.model, "session": session, "folder": prepared.cwd}


def _joined(rendered: Ready, words: str = "") -> Joined:
    assert rendered.prepared.token is not None
    return Joined(label=rendered.label, token=rendered.prepared.token, payload=rendered.prepared.payload, words=words)
