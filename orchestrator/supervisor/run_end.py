"""The end of a run: what is recorded and told of it, its exit code, the item that caused it to fail.

Promise: `RunEnded` is the last record, and it survives power loss before the supervisor exits.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Collection
from typing import Any, assert_never

import msgspec

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.listing import idle_pattern
from orchestrator.attempts.items.selection import Selector
from orchestrator.attempts.preparer import Preparer
from orchestrator.attempts.staleness import newly_stale
from orchestrator.core.decisions import FinishRun, RunVerdict
from orchestrator.core.states import ItemRef
from orchestrator.errors import ExitCode
from orchestrator.reading.run_reader import RunReader
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.store import records
from orchestrator.supervisor.run import Run
from orchestrator.supervisor.stops import Stops
from orchestrator.workers.faultpoints import fault_point

_STALE_NAMES = 5


class RunEnd:
    """Of one run. Nothing of it is in flight any more."""

    def __init__(
        self, run: Run, preparer: Preparer, contexts: ItemContexts, selector: Selector, tokens: TokenDesk, stops: Stops
    ) -> None:
        self._run = run
        self._contexts = contexts
        self._preparer = preparer
        self._selector = selector
        self._tokens = tokens
        self._stops = stops

    def record(self, finish: FinishRun, ran: Collection[str], before: records.RunEnded | None = None) -> int:
        """Record how the run ended; its exit code. `ran`: ids of the jobs of which items ran. Raises StateUnwritableError.

        `before`: how it had ended, where this session was only to cancel some items of it.
        """
        run = self._run
        exit_code = exit_code_of(finish.status, self._stops.first_signal, is_rejected=finish.is_rejected)
        error = error_of(run.reader, finish.error, is_timed_out=run.core.is_timed_out)
        self._mark_stale_items(ran)
        status, idle = finish.status, idle_pattern(run.reader, self._contexts, self._selector)
        if idle is not None and status == "completed":
            # Found out only now, when the lists are known: what was asked for is not there, so it was not done.
            status, exit_code, error = "failed", ExitCode.USAGE, {"error_message": f"{idle.message} ({idle.hint})"}
        elif idle is not None:
            run.tell.note(idle.message)
        ended = records.RunEnded(
            status=status,
            at=time.time(),
            exit_code=exit_code,
            reason=finish.reason,
            **error,
        )
        if before is not None and status == "interrupted":
            # Its other items stand where they stood, and nobody has stopped it: it is what it was.
            ended = msgspec.structs.replace(before, at=ended.at)
        run.recorder.add(ended)
        fault_point("supervisor.ending")
        # Other runs wait for what is published here, so it goes before our own last checkpoint, if one is taken.
        for note in self._tokens.finish_publishing():
            run.tell.note(note)
        run.recorder.end_session()
        fault_point("supervisor.ended")
        return ended.exit_code

    def _mark_stale_items(self, ran: Collection[str]) -> None:
        """Succeeded items that would render to something else now keep their outcome; people hear of them."""
        run = self._run
        stale = list(newly_stale(run.history, run.jobs, self._preparer, ran))
        for record in stale:
            run.recorder.add(record)
        if stale:
            names = ", ".join(run.reader.item_name(record.job, record.index) for record in stale[:_STALE_NAMES])
            names += ", …" if len(stale) > _STALE_NAMES else ""
            if len(stale) == 1:
                told, it = f"1 succeeded item is stale, its inputs have changed since it ran ({names})", "it"
            else:
                told, it = f"{len(stale)} succeeded items are stale, their inputs have changed since they ran ({names})", "them"
            run.tell.note(f"{told}; resume with --rerun-stale runs {it} again")


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


def error_of(reader: RunReader, error: ItemRef | None, *, is_timed_out: bool) -> dict[str, Any]:
    """What caused a run to fail, as `RunEnded` has it: the item, and why; the job alone if it could not be listed."""
    if error is None:
        return {"error_message": "the run's timeout passed"} if is_timed_out else {}
    order, index = error
    job_id = list(reader.history.header.jobs)[order]
    past = reader.history.jobs[job_id]
    if past.count is None:
        return {"error_item": job_id, "error_message": past.listing_failed}
    if past.growing is not None and past.status(index) is not records.Status.FAILED:
        from orchestrator.reading.unread_items import unread_items

        return {"error_item": job_id, "error_message": unread_items(reader, job_id)}
    from orchestrator.reading.item_result import shown_result

    result = shown_result(reader, job_id, index, with_output=False)
    return {
        "error_item": result["item"],
        "error_message": result["error"] or result["status"],
        "error_label": result["label"],
        "error_attempts": result["attempts"] or 0,
        "error_class": result["class"],
    }
