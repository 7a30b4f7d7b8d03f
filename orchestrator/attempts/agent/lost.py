"""How what an agent told is read whose worker was killed.

Promise: what it told of its costs is charged, less what its session had told before. What it wrote is the attempt's output; the
attempt stays lost.
"""

from __future__ import annotations

from orchestrator.attempts.agent.fallback import FindProfile
from orchestrator.reading.run_records import Records
from orchestrator.store.records import Started
from orchestrator.workers.protocol import AgentTask


class LostAgents:
    """Of one run. `find`: the profiles of its agents."""

    def __init__(self, records: Records, find: FindProfile) -> None:
        self._records = records
        self._find = find

    def task(self, start: Started) -> AgentTask | None:
        """How what the agent of this attempt wrote is read; None: nothing that it told counts.

        Raises UserError: its profile is gone, or wrong by now.
        """
        # What is played to an agent was told by that of another run.
        if start.agent is None or start.played is not None:
            return None
        # What its session had told before this attempt is charged already.
        ended = self._records.history.jobs[start.job].last_end(start.index) if start.session is not None else None
        before = ended.outcome.agent if ended is not None else None
        is_same = before is not None and before.session_id == start.session
        return AgentTask(
            agent=start.agent,
            model=start.model,
            reading=self._find(start.agent).reading,
            text_path="",
            session_id=start.session,
            usage_before=before.usage_told if before is not None and is_same else None,
            cost_before=before.cost_told if before is not None and is_same else None,
        )
