"""Tells the listeners what happens to a run, its jobs and its items, in the words of `happenings`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from orchestrator.attempts.flight import Flight
from orchestrator.core.states import SUCCEEDED, ItemState, Waiting
from orchestrator.reading.money.ledger import Ledger, Price
from orchestrator.reading.told_records import asked_elsewhere, charged, item_started
from orchestrator.store.gate_records import GateAnswered, GateAsked
from orchestrator.store.outcomes import outcome_in_words
from orchestrator.store.records import AttemptEnded, RunEnded, Status
from orchestrator.system.fence import fenced_words, log_fenced
from orchestrator.system.run_log import append_log
from orchestrator.views import happenings
from orchestrator.views.happenings import OpenQuestion
from orchestrator.views.listeners import Listeners
from orchestrator.workers.protocol import AttemptClass, Outcome

_END_WORDS = {kind: kind.__name__.lower() for kind in get_args(ItemState)}

_REFUSED = (AttemptClass.RATE_LIMIT, AttemptClass.OVERLOADED, AttemptClass.NETWORK, AttemptClass.USAGE_LIMIT)
"""Classes after which an item waits for its account: nobody can say when its turn comes."""


class Narrator:
    """One run's story. It alone makes happenings, but for two: a prompt says itself when the terminal is its own."""

    def __init__(self, listeners: Listeners, log: Path) -> None:
        self._listeners = listeners
        self._log = log
        self._follows_items = listeners.follows_items
        """Whether starts, and successes that say nothing, are told. Once a gate has asked they are: they may end a question."""
        listeners.log_to(log)

    def refresh_if_due(self, now: float) -> None:
        """Have views show that time passes, if that is due. `now`: monotonic seconds. Called once a turn of the loop."""
        self._listeners.refresh_if_due(now)

    @property
    def next_refresh(self) -> float:
        """When `refresh_if_due` has something to do again (monotonic seconds): the loop waits no longer than until then."""
        return self._listeners.next_refresh

    def run_began(self, run_id: str, name: str, jobs: list[str], *, slots: int, at: float, is_resumed: bool) -> None:
        """A supervisor took the run. `jobs`: ids in file order; `at`: seconds since the epoch."""
        self._listeners.hear(happenings.RunBegan(run_id=run_id, name=name, jobs=jobs, slots=slots, at=at, is_resumed=is_resumed))

    def run_finished(self, run_id: str, summary: dict[str, Any], exit_code: int, ended: RunEnded | None) -> None:
        """The last word. `summary`: what `run --json` prints; `ended`: what it is made of."""
        error = {} if ended is None else {name: getattr(ended, name) for name in ("error_label", "error_attempts", "error_class")}
        self._listeners.hear(
            happenings.RunFinished(
                run_id=run_id, status=summary["status"], exit_code=exit_code, summary=summary, at=time.time(), **error
            )
        )

    def counted(self, job_id: str, count: int, counts: dict[str, int]) -> None:
        """The items of a job were listed by an earlier supervisor, or some run again now because a gate was rejected.

        `counts`: how many stand in which state.
        """
        self._listeners.hear(happenings.JobListed(job=job_id, count=count, counts=counts))

    def started(self, flight: Flight) -> None:
        """An attempt was handed to a worker."""
        if not self._follows_items:
            return
        self._listeners.hear(item_started(flight.name, flight.start))

    def attempt_ended(
        self,
        flight: Flight,
        outcome: Outcome,
        state: ItemState,
        round_ended: int,
        price: Price,
        why: str | None = None,
        tail: list[str] | None = None,
    ) -> None:
        """An attempt ended and cost `price`; its item is `state` now. `round_ended`: the round of a loop that it ended; 0: none.

        `why`: the reason of the item's end, if the outcome's words are not that. `tail`: as of `ItemEnded`.

        Exactly one happening tells the end of an attempt: which one depends on what its item does next.
        """
        if not self._follows_items and state is SUCCEEDED and not outcome_in_words(outcome):
            return
        if flight.is_start_untold:
            self.started(flight)
        told = _attempt_told(flight, outcome, price)
        # The item came to its end.
        if not isinstance(state, Waiting):
            self._listeners.hear(
                happenings.ItemEnded(
                    status=_END_WORDS[type(state)],
                    attempts=flight.start.attempt,
                    message=why or outcome_in_words(outcome),
                    duration_s=round(outcome.duration_seconds, 3),
                    exit_code=outcome.exit_code,
                    tail=tail,
                    **told,
                )
            )
        # The item waits for something that has no time yet, so a time to the next attempt would be wrong.
        elif state.due == math.inf or outcome.attempt_class in _REFUSED:
            self._listeners.hear(happenings.ItemWaiting(message=outcome_in_words(outcome), **told))
        # The next round is no retry: nothing failed.
        elif round_ended:
            self._listeners.hear(
                happenings.ItemRoundEnded(
                    round=round_ended,
                    attempt=flight.start.attempt,
                    exit_code=outcome.exit_code,
                    duration_s=round(outcome.duration_seconds, 3),
                    wait_s=_seconds_until(state.due),
                    **told,
                )
            )
        else:
            self._listeners.hear(
                happenings.ItemRetrying(
                    attempt=flight.start.attempt, message=outcome_in_words(outcome), wait_s=_seconds_until(state.due), **told
                )
            )

    def child_paused(self, flight: Flight, message: str, questions: Sequence[OpenQuestion]) -> None:
        """The child run of an item paused. `questions`: its gates that wait for a choice."""
        self.note(f"{flight.name} waits: {message}")
        self._follows_items = True
        for each in questions:
            self._listeners.hear(asked_elsewhere(flight.name, flight.job.id, flight.start.label, each))

    def charged(self, name: str | None, job_id: str | None, cost_usd: float | None, ledger: Ledger) -> None:
        """An agent's attempt of the item `name` cost `cost_usd`, the run so far `ledger`. No name: before this supervisor."""
        self._listeners.hear(charged(name, job_id, cost_usd, ledger))

    def settled(self, name: str, job_id: str, label: str | None, status: Status, message: str) -> None:
        """An item came to its end without an attempt."""
        self._listeners.hear(
            happenings.ItemEnded(
                item=name,
                job=job_id,
                label=label,
                status=status.value,
                attempts=0,
                message=message,
                duration_s=None,
                exit_code=None,
                at=time.time(),
            )
        )

    def waits(self, name: str, job_id: str, label: str | None, message: str) -> None:
        """The item waits for work that is done elsewhere. `message`: where."""
        self._listeners.hear(happenings.ItemWaiting(item=name, job=job_id, label=label, message=message, at=time.time()))

    def asks(self, name: str, asked: GateAsked, *, is_here: bool) -> None:
        """A gate asks. `is_here`: the question is put at this supervisor's terminal."""
        self._follows_items = True
        self._listeners.hear(
            happenings.GateAsked(
                item=name,
                job=asked.job,
                label=asked.label,
                question=asked.question,
                options=asked.options,
                is_here=is_here,
                at=asked.at,
            )
        )

    def answered(self, name: str, job_id: str, label: str | None, answer: GateAnswered) -> None:
        """A choice was made at a gate, and the run acts on it now."""
        self._listeners.hear(
            happenings.GateAnswered(
                item=name, job=job_id, label=label, choice=answer.choice, message=answer.message, at=answer.at
            )
        )

    def shared(self, name: str, ended: AttemptEnded, deduped_from: str, tail: list[str] | None = None) -> None:
        """An item came to its end with the outcome of another, without an attempt. `tail`: as of `ItemEnded`."""
        outcome = ended.outcome
        self._listeners.hear(
            happenings.ItemEnded(
                item=name,
                job=ended.job,
                label=ended.label,
                status=ended.status.value,
                attempts=0,
                message=outcome_in_words(outcome),
                duration_s=round(outcome.duration_seconds, 3),
                exit_code=outcome.exit_code,
                at=time.time(),
                deduped_from=deduped_from,
                tail=tail,
            )
        )

    def listed(self, job_id: str, count: int, selected: int, selection: str, globs: Sequence[str]) -> None:
        """A job's items are known: `count` in all. `selection`, in words, selects `selected` of them.

        `globs`: the patterns of files that the list is made of.
        """
        counts = {Status.SKIPPED.value: count - selected} if selected < count else {}
        self._listeners.hear(happenings.JobListed(job=job_id, count=count, counts=counts))
        if counts:
            self.note(f"{job_id}: {selected} of {count} items selected ({selection})")
        if count == 0 and globs:
            # Mostly a typing error, or the wrong folder: of a list that is empty its maker knows.
            self.note(f"{job_id} has no items: no file matches {', '.join(globs)}", is_warning=True)
        elif count == 0:
            self.note(f"{job_id} has no items: its list is empty")

    def grew(self, job_id: str, count: int, *, is_growing: bool) -> None:
        """Of a job whose list grows so many items are known. Not `is_growing`: nothing more comes."""
        self._listeners.hear(happenings.JobGrew(job=job_id, count=count, is_growing=is_growing))

    def closed(self, job_id: str, status: str, message: str) -> None:
        """Nothing more will come of a job."""
        self._listeners.hear(happenings.JobClosed(job=job_id, status=status, message=message))

    def spares(self, account: str, words: str, until: float | None) -> None:
        """How an account is spared has changed. `until`: monotonic seconds."""
        epoch = None if until is None else time.time() + _seconds_until(until)
        self._listeners.hear(happenings.AccountSpared(account=account, words=words, until=epoch, at=time.time()))

    def fenced(self, what: str, error: Exception | str) -> str:
        """A bug of ours concerns one item: for supervisor.log, as of `log_fenced`. The words for people, of an exception."""
        log_fenced(self._log, what, error)
        return fenced_words(error) if isinstance(error, Exception) else ""

    def note(self, message: str, *, is_warning: bool = False) -> None:
        """Something that a person should know: told to the listeners and to supervisor.log. `is_warning`: also with --quiet."""
        append_log(self._log, message)
        self._listeners.hear(happenings.Noted(message=message, at=time.time(), is_warning=is_warning))


def _attempt_told(flight: Flight, outcome: Outcome, price: Price) -> dict[str, Any]:
    """What each happening says of an attempt that ended."""
    start, report = flight.start, outcome.agent
    return {
        "item": flight.name,
        "job": start.job,
        "label": start.label,
        "at": time.time(),
        "sequence": start.sequence,
        "worker": start.worker,
        "attempt_class": outcome.attempt_class,
        "cost_usd": price.usd,
        "usage": price.usage,
        "session_id": report.session_id if report is not None else start.session,
        "agent": report.agent if report is not None else start.agent,
        # What the agent told goes before what was asked for: an alias stands for whatever is newest.
        "model": (report.model if report is not None else None) or start.model,
    }


def _seconds_until(due: float) -> float:
    return round(max(0.0, due - time.monotonic()), 3)
