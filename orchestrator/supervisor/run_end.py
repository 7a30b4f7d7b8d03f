"""How a run ended, in an exit code and in words."""

from __future__ import annotations

import signal
from typing import assert_never

from orchestrator.core.decisions import RunVerdict
from orchestrator.core.states import ItemRef
from orchestrator.errors import ExitCode
from orchestrator.reading.item_result import item_fields
from orchestrator.reading.run_reader import RunReader


def exit_code_of(status: RunVerdict, stop_signal: signal.Signals | None, *, is_rejected: bool = False) -> int:
    """The exit code of section 7. `stop_signal`: the first that asked for a stop (`orchestrate stop` counts as SIGTERM).

    `is_rejected`: a gate was, and that ended the run.
    """
    if status == "completed":
        return ExitCode.COMPLETED
    if stop_signal is not None:
        return 128 + stop_signal  # it comes before what else holds of a run that is not complete
    if is_rejected:
        return ExitCode.REJECTED
    match status:
        case "failed":
            return ExitCode.FAILED
        case "paused":
            return ExitCode.PAUSED
        case "cancelled":
            return ExitCode.CANCELLED
        case "interrupted":
            return 128 + signal.SIGTERM  # a dead run of which some items were cancelled: nobody sent a signal
        case unknown:
            assert_never(unknown)


def error_in_words(reader: RunReader, error: ItemRef | None, *, is_timed_out: bool) -> tuple[str | None, str | None]:
    """The item that caused a run to fail, and why; the job alone if it could not be listed."""
    if error is None:
        return None, "the run's timeout passed" if is_timed_out else None
    order, index = error
    job_id = list(reader.history.header.jobs)[order]
    past = reader.history.jobs[job_id]
    if past.count is None:
        return job_id, past.listing_failed
    result = item_fields(reader, job_id, index)
    return result["item"], result["error"] or result["status"]
