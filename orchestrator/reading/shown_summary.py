"""The summary of a run as it stands, at the least cost: what was kept of it, if nothing was recorded since."""

from __future__ import annotations

from typing import Any

from orchestrator.store.kept_summary import kept_summary
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.holders import is_locked


def summary_of(run_dir: RunDir) -> dict[str, Any]:
    """The object of `status --json`. Records are read only if something came since the run's last supervisor ended.

    Raises UserError (no such run), StateRefusedError.
    """
    kept = None if is_locked(run_dir.supervisor_lock) else kept_summary(run_dir)
    if kept is not None:
        return kept
    # Late: a list of runs that have all ended needs nothing of it.
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.reading.run_summary import run_summary

    return run_summary(RunReader.read(run_dir))
