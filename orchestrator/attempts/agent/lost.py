"""What is known of an agent whose worker was killed: the session that its log tells, and what stands in its captures.

Promise: what it told of its costs is charged, less what its session had told before; what it wrote is the attempt's output. The
attempt stays lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from orchestrator.attempts.agent.fallback import FindProfile
from orchestrator.attempts.flight import Flight
from orchestrator.errors import UserError
from orchestrator.reading.run_reader import RunReader
from orchestrator.workers.protocol import AgentReport, AgentTask, LogLine, SessionSeen, Spawned

if TYPE_CHECKING:
    from orchestrator.workers.agents.left_behind import LeftBehind


class LostAgents:
    """Of one run. `find`: the profiles of its agents."""

    def __init__(self, reader: RunReader, find: FindProfile) -> None:
        self._reader = reader
        self._find = find

    def left_by(self, flight: Flight, lines: Iterable[LogLine]) -> Callable[[], LeftBehind]:
        """What tells, once the tree of its dead worker has ended, what is known of the attempt. It may be called in any thread.

        `lines`: what its worker logged of it.
        """
        from orchestrator.workers.agents.left_behind import (  # reads streams, as workers do: few supervisors ever need it
            LeftBehind,
            take_left_behind,
        )

        start = flight.start
        lines = list(lines)
        seen = _session_seen(lines)
        # Before its spawn the captures may be those of another; what is played to an agent was told by another run's.
        if start.agent is None or start.played is not None or not any(isinstance(line, Spawned) for line in lines):
            return lambda: LeftBehind(agent=seen)
        task: AgentTask | None = None
        trouble = ""
        try:
            task = self._task(flight, start.agent)
        except UserError as error:
            trouble = f"what it told cannot be read: {error.message}"
        folder = str(self._reader.run_dir.worker_folder(start.worker))
        stdout_path, stderr_path = self._reader.run_dir.output_paths(start.job, start.index, start.attempt)

        def take() -> LeftBehind:
            left = take_left_behind(folder, task, stdout_path, stderr_path, flight.job.limits.max_output_bytes)
            agent = seen if left.agent is None else left.agent
            if agent is not None and agent.session_id is None and seen is not None:
                agent = msgspec.structs.replace(agent, session_id=seen.session_id)
            return msgspec.structs.replace(left, agent=agent, trouble=left.trouble or trouble)

        return take

    def _task(self, flight: Flight, agent: str) -> AgentTask:
        """How what it wrote is read. Raises UserError: its profile is gone, or wrong by now."""
        start = flight.start
        ended = self._reader.history.jobs[start.job].last_end(start.index) if start.session is not None else None
        before = ended.outcome.agent if ended is not None else None
        is_same = before is not None and before.session_id == start.session
        return AgentTask(
            agent=agent,
            model=start.model,
            reading=self._find(agent).reading,
            text_path="",
            session_id=start.session,
            usage_before=before.usage_told if before is not None and is_same else None,
            cost_before=before.cost_told if before is not None and is_same else None,
        )


def _session_seen(lines: Iterable[LogLine]) -> AgentReport | None:
    """The session in which its work goes on, if nothing else is known of it."""
    seen = [line for line in lines if isinstance(line, SessionSeen)]
    return AgentReport(agent=seen[-1].agent, session_id=seen[-1].session_id) if seen else None
