"""What a run came to, at the least cost: what was kept of it, if nothing was recorded since."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.reading.run_reader import has_its_copies
from orchestrator.reading.told_items import Told
from orchestrator.store.checkpoint import read_header
from orchestrator.store.kept_summary import kept_summary
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.holders import SeenLocks, is_locked


def summary_of(run_dir: RunDir, locks: SeenLocks | None = None) -> dict[str, Any]:
    """The object of `status --json`. Records are read only if something came since the run's last supervisor ended.

    `locks`: as they were seen a moment ago, for who asks of many runs.

    Raises UserError (no such run), StateRefusedError.
    """
    kept = None if is_locked(run_dir.supervisor_lock, locks) else kept_summary(run_dir)
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
    kept = None if is_locked(run_dir.supervisor_lock) else kept_summary(run_dir)
    if kept is None or kept.told is None or not has_its_copies(run_dir, read_header(run_dir.checkpoint)):
        return None
    try:
        return kept.summary, msgspec.convert(kept.told, Told)
    except msgspec.ValidationError:
        return None
