"""Attempts taken over: from an earlier supervisor, whose workers may still run them, or from a worker of ours that died.

Every engine of this machine has one of these at its side: an earlier supervisor may have used another of them (`slots = 0`
after a run with workers).
"""

from __future__ import annotations

import msgspec

from orchestrator.engines.adopted import POLL_SECONDS, AdoptedWorkers
from orchestrator.engines.dead_workers import DeadWorkers
from orchestrator.engines.deadlines import Deadlines, Overdue
from orchestrator.engines.engine import (
    AgentTaskOf,
    Attempt,
    AttemptLost,
    EngineEvent,
    Noted,
    OutcomeArrived,
    earliest,
    grace_of,
)
from orchestrator.engines.worker_ends import lines_of, logged_outcome, never_sent
from orchestrator.store.records import WorkerStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.protocol import AttemptClass, EndReason, Outcome, Returned


class TakenOver:
    """Of one run. `agent_task`: how what the agent of a lost attempt told is read."""

    def __init__(self, run_dir: RunDir, agent_task: AgentTaskOf) -> None:
        self._run_dir = run_dir
        self._adopted = AdoptedWorkers()
        self._dead = DeadWorkers(run_dir, agent_task)
        self._deadlines = Deadlines(run_dir)
        self._cancelled: set[int] = set()
        """Sequences of the adopted attempts that were asked to end because somebody cancelled them."""
        self._queued: dict[int, Attempt] = {}
        """By sequence the adopted attempts that were queued, as long as nothing tells whether their workers begin them."""
        self._looked_at = 0.0

    def resume(self, attempt: Attempt, worker: WorkerStarted | None) -> list[EngineEvent]:
        """Take over an attempt of an earlier supervisor: take its outcome, adopt its worker, or end what is left of it."""
        outcome = logged_outcome(self._run_dir, attempt.start)
        # What stopped the earlier supervisor (a full disk) is no verdict on the item: it runs again.
        if outcome is not None and outcome.attempt_class is AttemptClass.STATE_ERROR:
            return [AttemptLost(attempt.slot, attempt.start.sequence, outcome.message, outcome.agent)]
        if worker is not None and outcome is None and self._adopted.try_adopt(attempt, worker):
            self._deadlines.watch(attempt, worker, None)
            if attempt.start.is_queued:
                self._queued[attempt.start.sequence] = attempt
            return [Noted(f"adopted {attempt.name}, which worker {worker.worker} (pid {worker.pid}) still runs")]
        return self._dead.take_over(attempt, f"worker {attempt.start.worker} is gone")

    def worker_died(self, attempt: Attempt, words: str, overdue: Overdue | None) -> list[EngineEvent]:
        """A worker of our own that ran `attempt` is dead, as `words` say. `overdue`: why we killed it."""
        return self._dead.take_over(attempt, words, overdue)

    def tell_not_begun(self, attempt: Attempt, outcome: Outcome) -> None:
        """Have `take_in` tell this of an attempt whose worker died before it could be sent."""
        self._dead.tell_not_begun(attempt, outcome)

    def try_end(self, attempt: Attempt, reason: EndReason, grace_at_most: float | None) -> bool:
        """Have the attempt ended if it is one of these; False if a worker of ours has it."""
        if attempt.slot in self._adopted:
            if reason is EndReason.CANCEL:
                self._cancelled.add(attempt.start.sequence)
            self._adopted.end(attempt.slot, is_hurried=grace_at_most is not None)
            self._deadlines.expect_end(attempt, reason, grace_of(attempt, grace_at_most))
            return True
        return self._dead.hurry(attempt, grace_at_most)

    def is_dead(self, slot: int) -> bool:
        """Whether what a dead worker left in `slot` is being ended."""
        return self._dead.has_slot(slot)

    @property
    def has_adopted(self) -> bool:
        """Whether `sources` may be others at the next call."""
        return len(self._adopted) > 0

    def sources(self) -> list[int]:
        """Descriptors for `take_in`."""
        return [*self._adopted.filenos(), self._dead.fileno()] if self._adopted else [self._dead.fileno()]

    def take_in(self, fileno: int) -> list[EngineEvent]:
        """What the descriptor has to tell."""
        return self._dead.take_in() if fileno == self._dead.fileno() else self._take_gone()

    @property
    def next_look(self) -> float | None:
        """When `look_at_workers` is due (monotonic); None: descriptors tell all."""
        return earliest(self._next_poll, self._dead.next_look, self._deadlines.next_look)

    @property
    def _next_poll(self) -> float | None:
        """When the adopted workers are to be looked for; None where the kernel tells by a descriptor that one is gone, and none
        of them may give back what is queued."""
        return self._looked_at + POLL_SECONDS if self._adopted.needs_polling or self._queued else None

    def look_at_workers(self, now: float) -> list[EngineEvent]:
        """What became of the adopted workers, their deadlines, ends that wait for a thread; nothing before `next_look`."""
        events = [*self._dead.look(now), *self._deadlines.look(now)]
        if self._next_poll is not None and now >= self._next_poll:
            self._looked_at = now
            events += [*self._take_gone(), *self._take_returned()]
        return events

    def close(self) -> None:
        """Let the adopted workers go on. What is being ended has no end recorded: a resume ends it."""
        self._adopted.close()
        self._dead.close()

    def _take_gone(self) -> list[EngineEvent]:
        events: list[EngineEvent] = []
        for attempt in self._adopted.take_gone():
            number, sequence = attempt.start.worker, attempt.start.sequence
            self._queued.pop(sequence, None)
            outcome = logged_outcome(self._run_dir, attempt.start)
            overdue = self._deadlines.forget(attempt)
            if outcome is None:
                words = f"worker {number} (of an earlier supervisor) ended without an outcome"
                events += [Noted(words), *self._dead.take_over(attempt, words, overdue)]
                continue
            # It was asked by a signal, which tells no reason.
            if sequence in self._cancelled and outcome.ended_by is EndReason.DRAIN:
                outcome = msgspec.structs.replace(outcome, ended_by=EndReason.CANCEL, message="cancelled")
            self._cancelled.discard(sequence)
            events.append(OutcomeArrived(attempt.slot, sequence, outcome))
        return events

    def _take_returned(self) -> list[EngineEvent]:
        """What was queued in workers that had not heard yet, when they were adopted, that their supervisor is gone."""
        events: list[EngineEvent] = []
        for sequence, attempt in list(self._queued.items()):
            lines = lines_of(self._run_dir, attempt.start.worker, sequence) or []
            if lines:
                del self._queued[sequence]
            if any(isinstance(line, Returned) for line in lines):
                self._adopted.forget(attempt)
                self._deadlines.forget(attempt)
                events.append(OutcomeArrived(attempt.slot, sequence, never_sent()))
        return events
