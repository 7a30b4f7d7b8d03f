"""Which engine a run has: the one place that names them. A further engine is a module here and a line in `choose_engine`."""

from __future__ import annotations

from orchestrator.engines.engine import AgentTaskOf, Engine
from orchestrator.store.run_dir import RunDir


def choose_engine(slots: int, run_dir: RunDir, next_worker: int, agent_task: AgentTaskOf) -> Engine:
    """The engine for so many slots (0: inline). Its first worker is `next_worker`, a number never used before in this run.

    `agent_task`: how what the agent of a lost attempt told is read.
    """
    if slots == 0:
        from orchestrator.engines.inline import InlineEngine

        return InlineEngine(run_dir, next_worker, agent_task)
    from orchestrator.engines.local import LocalEngine

    return LocalEngine(run_dir, next_worker, agent_task)
