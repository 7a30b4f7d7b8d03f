"""Attempts whose worker is dead: what its log says of them, the end of what it left running, what its agent had told.

Promise: an attempt is told lost only when its tree is confirmed gone, so its slot may be used again. Invariant: what an agent
told of its costs and wrote is read after that, once nobody writes it any more. Both may take long, so they happen on a thread
of their own; the loop hears of the end by a descriptor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from orchestrator.engines.deadlines import Overdue
from orchestrator.engines.engine import (
    AgentTaskOf,
    Attempt,
    AttemptLost,
    AttemptOver,
    EngineEvent,
    Noted,
    OutcomeArrived,
    grace_of,
)
from orchestrator.engines.worker_ends import lines_of, never_sent, outcome_in
from orchestrator.errors import UserError
from orchestrator.store.run_dir import RunDir
from orchestrator.system.side_threads import SideThreads
from orchestrator.workers.processes.identity import boot_id
from orchestrator.workers.processes.spawn import SHORTAGES
from orchestrator.workers.protocol import AgentReport, AgentTask, Begun, EndReason, LogLine, Outcome, SessionSeen, Spawned

if TYPE_CHECKING:
    from orchestrator.workers.agents.left_behind import LeftBehind

_NO_ATTEMPT = -1
"""The number of work that ends no attempt."""

_TOLD = {EndReason.TIMEOUT: "timed out", EndReason.CANCEL: "cancelled", EndReason.DRAIN: "ended by a drain"}
_SHORTAGE_PAUSE_SECONDS = 0.5

_PATIENCE_SECONDS = 5.0
"""How long an end waits for a thread before the loop is held up for it."""


class _Ending(msgspec.Struct):
    """The end of one attempt's tree. `left`: written by the thread that ends it, before it tells that it is done.

    `end_tree`: ends it with so many seconds of grace, in any thread. None: the attempt never began, so there is none.
    `outcome`: what is known already; `lost`: why nothing is, in words. `overdue`: why we killed its worker. `troubles`: what a
    person should know of the end.
    """

    attempt: Attempt
    end_tree: Callable[[float], object] | None
    left: LeftBehind | None = None
    outcome: Outcome | None = None
    lost: str = ""
    overdue: Overdue | None = None
    troubles: list[str] = []


class DeadWorkers:
    """Of one run. `agent_task`: how what an agent told is read."""

    def __init__(self, run_dir: RunDir, agent_task: AgentTaskOf) -> None:
        self._run_dir = run_dir
        self._agent_task = agent_task
        self._threads = SideThreads(_PATIENCE_SECONDS)
        self._endings: dict[int, _Ending] = {}
        """By sequence."""

    def has_slot(self, slot: int) -> bool:
        """Whether what a dead worker left in `slot` is being ended."""
        return any(ending.attempt.slot == slot for ending in self._endings.values())

    def take_over(self, attempt: Attempt, words: str, overdue: Overdue | None = None) -> list[EngineEvent]:
        """Find out what the attempt came to whose worker is dead, as `words` say; what cannot be told at once comes later.

        `overdue`: why we killed its worker.
        """
        # The last word of a worker may stand in its log alone: it was killed before it could send it.
        lines = lines_of(self._run_dir, attempt.start.worker, attempt.start.sequence)
        # Somebody has removed or emptied the log: the attempt may have run and been paid for, and may run still.
        if lines is None:
            lost = f"nothing tells how it ended: the log of worker {attempt.start.worker} is gone or was emptied"
            self._begin_ending(attempt, (), overdue, lost)
            return [Noted(f"{attempt.name}: an attempt was started, and {lost}; ending what it may have left behind")]
        outcome = outcome_in(lines)
        if outcome is not None:
            return [OutcomeArrived(attempt.slot, attempt.start.sequence, outcome)]
        # Begun is logged before anything is spawned: without it there is no tree that could still run.
        if not lines:
            return [OutcomeArrived(attempt.slot, attempt.start.sequence, never_sent())]
        # An agent may run on without its worker, and would run beside the next attempt: its tree is ended first.
        self._begin_ending(attempt, lines, overdue, f"worker {attempt.start.worker} ended before the attempt did")
        return [Noted(f"{attempt.name}: {words}; ending what it left behind")]

    def tell_not_begun(self, attempt: Attempt, outcome: Outcome) -> None:
        """Have `take_in` tell `outcome`: its worker died before it could be sent, and that was told already."""
        self._endings[attempt.start.sequence] = _Ending(attempt, None, outcome=outcome)
        self._threads.tell_done(attempt.start.sequence)

    def hurry(self, attempt: Attempt, grace_at_most: float | None) -> bool:
        """Have its tree ended sooner, if it is being ended here. False: it is not."""
        ending = self._endings.get(attempt.start.sequence)
        if ending is None:
            return False
        # All that can be added is a second, less patient ending. The first sees that the tree is gone, reads what it left, and
        # tells; so the number of the second is none of an attempt.
        end_tree = ending.end_tree
        if grace_at_most is not None and end_tree is not None:
            grace = grace_of(attempt, grace_at_most)
            self._threads.begin_work(_NO_ATTEMPT, lambda: end_tree(grace))
        return True

    def fileno(self) -> int:
        """Readable when `take_in` has something to tell."""
        return self._threads.fileno()

    def take_in(self) -> list[EngineEvent]:
        """The attempts whose trees are gone. Raises what ending one raised: then it is not known to be gone."""
        endings = [self._endings.pop(number) for number in self._threads.take_done() if number != _NO_ATTEMPT]
        return [_end_of(ending) for ending in endings]

    @property
    def next_look(self) -> float | None:
        """When `look` is due (monotonic); None: no end waits for a thread."""
        return self._threads.next_look

    def look(self, now: float) -> list[EngineEvent]:
        """Begin ends that wait for a thread, if there is room for one by now; what a person should know of that."""
        words = self._threads.take_words()
        self._threads.begin_waiting(now)
        return [Noted(f"what a dead worker left behind is not ended yet: {words}")] if words else []

    def close(self) -> None:
        """Wait for none: what is not ended has no end recorded, so a resume ends it."""
        self._threads.close()

    def _begin_ending(self, attempt: Attempt, lines: Sequence[LogLine], overdue: Overdue | None, lost: str) -> None:
        folder = str(self._run_dir.worker_folder(attempt.start.worker))
        # The mark that it began with: that of an earlier supervisor, which ran inside another item, had a longer one than ours.
        begun = next((line for line in lines if isinstance(line, Begun)), None)
        mark = attempt.mark if begun is None else begun.mark
        # Not of a worker that was ended because it was stopped: that is its reason.
        troubles = [] if overdue is not None else _of_the_kernel(begun)

        def end_tree(grace_seconds: float) -> object:
            from orchestrator.workers.processes.dead_tree import end_tree_of_dead_worker

            while True:
                try:
                    return end_tree_of_dead_worker(
                        lines, mark=mark, grace_seconds=grace_seconds, folder=folder, tell=troubles.append
                    )
                except OSError as error:
                    # Without a descriptor nothing is known of processes: they are looked for until there is one.
                    if error.errno not in SHORTAGES:
                        raise
                    time.sleep(_SHORTAGE_PAUSE_SECONDS)

        # Asked for here and not on the thread: the profile and the history that it takes are the loop's.
        read_left = self._reader_of_left(attempt, lines)
        ending = _Ending(attempt, end_tree, lost=lost, overdue=overdue, troubles=troubles)

        def end_and_read() -> None:
            end_tree(attempt.limits.grace_seconds if overdue is None else overdue.grace_seconds)
            ending.left = read_left()

        self._endings[attempt.start.sequence] = ending
        self._threads.begin_work(attempt.start.sequence, end_and_read)

    def _reader_of_left(self, attempt: Attempt, lines: Sequence[LogLine]) -> Callable[[], LeftBehind]:
        """What tells, once the tree has ended, what is known of the attempt. It may be called in any thread."""
        # It reads streams, as workers do: few supervisors ever need it.
        from orchestrator.workers.agents.left_behind import LeftBehind, take_left_behind

        start, seen = attempt.start, _session_seen(lines)
        # Before its spawn the captures may be those of another attempt of the worker.
        if not any(isinstance(line, Spawned) for line in lines):
            return lambda: LeftBehind(agent=seen)
        task: AgentTask | None = None
        trouble = ""
        try:
            task = self._agent_task(start)
        except UserError as error:
            trouble = f"what it told cannot be read: {error.message}"
        if task is None and not trouble:
            return lambda: LeftBehind(agent=seen)
        folder = str(self._run_dir.worker_folder(start.worker))
        stdout_path, stderr_path = self._run_dir.output_paths(start.job, start.index, start.attempt)

        def read_left() -> LeftBehind:
            left = take_left_behind(folder, task, stdout_path, stderr_path, attempt.limits.max_output_bytes)
            # Of an agent that told nothing else, its session is known by the worker's log: the next attempt goes on in it.
            agent = seen if left.agent is None else left.agent
            if agent is not None and agent.session_id is None and seen is not None:
                agent = msgspec.structs.replace(agent, session_id=seen.session_id)
            return msgspec.structs.replace(left, agent=agent, trouble=left.trouble or trouble)

        return read_left


def _of_the_kernel(begun: Begun | None) -> list[str]:
    """In words what may explain the end of a worker that began an attempt so: that the kernel had no memory left."""
    if begun is None or begun.boot_id != boot_id():
        return []
    from orchestrator.workers.processes.oom_kills import killed_in_words, killed_since

    killed = killed_since(begun.oom_kills)
    return [killed_in_words(killed)] if killed else []


def _session_seen(lines: Sequence[LogLine]) -> AgentReport | None:
    """The session in which the agent's work goes on, if nothing else is known of it."""
    seen = [line for line in lines if isinstance(line, SessionSeen)]
    return AgentReport(agent=seen[-1].agent, session_id=seen[-1].session_id) if seen else None


def _end_of(ending: _Ending) -> AttemptOver:
    attempt, left = ending.attempt, ending.left
    if ending.outcome is not None:
        return OutcomeArrived(attempt.slot, attempt.start.sequence, ending.outcome)
    assert left is not None, "the tree is told gone once what it left was read"
    words = ending.lost
    if ending.overdue is not None:
        words = f"{_TOLD[ending.overdue.reason]}: {ending.overdue.words}"
    return AttemptLost(
        attempt.slot,
        attempt.start.sequence,
        "; ".join(filter(None, (words, *dict.fromkeys(ending.troubles), left.trouble))),
        left.agent,
        left.stdout,
        left.stderr,
        left.bug,
        None if ending.overdue is None else ending.overdue.reason,
    )
