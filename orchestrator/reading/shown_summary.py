"""What a run came to, at the least cost: what was kept of it, if nothing was recorded since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.store.kept_summary import KeptSummary, kept_summary
from orchestrator.store.known_runs import Birth, recorded_birth
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.holders import SeenLocks, is_locked

if TYPE_CHECKING:
    from orchestrator.reading.told_items import Told

_MOST_JOBS = 100


class KeptSummaries:
    """What was kept of many runs, each read once, as they are when their births are asked for."""

    def __init__(self) -> None:
        self._held: dict[str, KeptSummary] = {}

    def birth(self, run_dir: RunDir) -> Birth:
        """As `recorded_birth`, from the run's summary if there is one."""
        kept = kept_summary(run_dir)
        if kept is None:
            return recorded_birth(run_dir)
        # That of thousands of jobs is read once more when it is shown: all of them need not be in memory.
        if len(kept.summary["jobs"]) <= _MOST_JOBS:
            self._held[run_dir.run_id] = kept
        summary = kept.summary
        return Birth(summary["started_at"], summary["parent"], summary["jobs_file"], summary["name"])

    def take(self, run_dir: RunDir) -> KeptSummary | None:
        """The summary of the run, which is let go of; None: there is none."""
        return self._held.pop(run_dir.run_id, None) or kept_summary(run_dir)


def summary_of(run_dir: RunDir, summaries: KeptSummaries | None = None, locks: SeenLocks | None = None) -> dict[str, Any]:
    """The object of `status --json`. Records are read only if something came since the run's last supervisor ended.

    For who asks of many runs: `summaries`, and `locks` as they were seen since these were read.

    Raises UserError (no such run), StateRefusedError.
    """
    kept = None if is_locked(run_dir.supervisor_lock, locks) else (summaries or KeptSummaries()).take(run_dir)
    if kept is not None:
        return kept.summary
    # Late: a list of runs that have all ended needs nothing of it.
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.reading.run_summary import run_summary

    return run_summary(RunReader.read(run_dir))


def told_again(run_dir: RunDir) -> tuple[dict[str, Any], Told] | None:
    """The object of `status --json` and what people are told besides, as they were kept; None: the records have to be read.

    They have to if the run's own copies of what it was made of are not as they were: people are told so.
    """
    from orchestrator.reading.run_reader import has_its_copies
    from orchestrator.reading.told_items import Told
    from orchestrator.store.checkpoint import read_header

    kept = None if is_locked(run_dir.supervisor_lock) else kept_summary(run_dir)
    if kept is None or kept.told is None or not has_its_copies(run_dir, read_header(run_dir.checkpoint)):
        return None
    try:
        return kept.summary, msgspec.convert(kept.told, Told)
    except msgspec.ValidationError:
        return None
