"""How a worker ended, in words; and the outcome of an attempt that its worker had not begun by then.

Promise: an attempt that was never begun is told as that, by whatever its worker died: a signal, an exit code, a loader or an
interpreter that found no memory to come up. What a worker said as it broke is for people alone; nothing is decided by it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from orchestrator.store.records import Started
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.launch import CRASH_LOG_NAME
from orchestrator.workers.log import LOG_NAME, find_log
from orchestrator.workers.protocol import AttemptClass, Ended, EndReason, LeftAlone, LogLine, Outcome, Returned

_LAST_WORDS_BYTES = 2000
_LONGEST_LAST_WORDS = 300
_LAST_LINES = 3
_SAY_NOTHING = ("Current thread 0x", "<no Python frame>", "Python runtime state")
"""How lines begin with which an interpreter that does not come up surrounds its reason."""


def lines_of(run_dir: RunDir, worker: int, sequence: int) -> list[LogLine] | None:
    """What the worker has logged of the attempt `sequence`. Empty: it has not begun it, so nothing was started.

    None: its log is gone or was emptied, so nobody knows.
    """
    lines = find_log(str(run_dir.worker_folder(worker) / LOG_NAME))
    if lines is None:
        return None
    own = [line for line in lines if line.sequence == sequence]
    # What never reached it, it could not give back by name.
    if not own and any(isinstance(line, LeftAlone) for line in lines):
        return [Returned(sequence=sequence)]
    return own


def outcome_in(lines: Sequence[LogLine]) -> Outcome | None:
    """What these lines of an attempt tell that it came to: its end, or that it was queued and given back. None: neither."""
    for line in lines:
        if isinstance(line, Ended):
            return line.outcome
        if isinstance(line, Returned):
            return never_sent()
    return None


def logged_outcome(run_dir: RunDir, start: Started) -> Outcome | None:
    """What the attempt came to, if its worker left that in its log."""
    return outcome_in(lines_of(run_dir, start.worker, start.sequence) or [])


def end_in_words(run_dir: RunDir, worker: int, code: int | None) -> str:
    """`worker 3 exited with 1; see …/crash.log`. `code`: negative of a signal; None: nobody could find it out."""
    if code is None:
        return f"worker {worker} ended; somebody else in this process waited for it"
    if code < 0:
        return f"worker {worker} was ended by signal {-code}"
    return f"worker {worker} exited with {code}; see {run_dir.worker_folder(worker)}/{CRASH_LOG_NAME}"


def not_begun(run_dir: RunDir, worker: int, words: str) -> Outcome:
    """The outcome of an attempt that the worker, which ended as `words` say, had not begun."""
    said = _last_words(run_dir, worker)
    return _nothing_done(AttemptClass.NOT_BEGUN, f"it was not begun: {words}" + (f" ({said})" if said else ""))


def never_sent() -> Outcome:
    """The outcome of an attempt whose supervisor ended before a worker had it."""
    return _nothing_done(AttemptClass.NOT_BEGUN, "it was not begun when its supervisor ended", EndReason.DRAIN)


def shortage(error: OSError) -> Outcome:
    """The outcome of an attempt that could not be sent to its worker."""
    return _nothing_done(AttemptClass.SHORTAGE, f"no room on this machine just now for a worker: {error.strerror}")


def _nothing_done(attempt_class: AttemptClass, message: str, ended_by: EndReason | None = None) -> Outcome:
    now = time.time()
    return Outcome(
        attempt_class=attempt_class, started_at=now, finished_at=now, duration_seconds=0.0, message=message, ended_by=ended_by
    )


def _last_words(run_dir: RunDir, worker: int) -> str:
    """The end of what the worker said as it broke, in one line."""
    try:
        with (run_dir.worker_folder(worker) / CRASH_LOG_NAME).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LAST_WORDS_BYTES))
            said = file.read().decode(errors="replace")
    except OSError:
        # It has none, or no descriptor is left to read it: what is told without it is true as well.
        return ""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith(_SAY_NOTHING)]
    return "; ".join(lines[-_LAST_LINES:])[-_LONGEST_LAST_WORDS:]
