"""The supervisor's own deadline of each attempt, for what a worker cannot keep: a worker that is stopped keeps no limit at all.

Promise: a worker that is stopped (SIGSTOP; its own agent can do that) is continued, once. If it is found stopped again, or if its
agent lives on beyond its timeout, its grace and a patience, it is killed, and its attempt ends as timed out, or for the reason
that was given for its end. Invariant: a worker whose agent is gone is never killed here, however long it takes to settle
the rest.

It refuses to handle: the end of what a killed worker leaves (`dead_workers`); a debugger that holds a worker (state t).
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import msgspec

from orchestrator.engines.engine import Attempt, EngineEvent, Noted
from orchestrator.engines.worker_ends import lines_of
from orchestrator.store.records import WorkerStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.processes.identity import boot_id, is_stopped_process, process_state
from orchestrator.workers.processes.spawn import SHORTAGES
from orchestrator.workers.protocol import EndReason, Spawned, Start

LOOK_SECONDS = 5.0
"""How often the workers are looked at: one read of /proc for each that runs an attempt."""

CLOSE_LOOK_SECONDS = 1.0
"""How often while one is stopped, or has been asked to end its attempt."""

STOPPED_SECONDS = 5.0
"""For so long a worker must have been stopped: a stop of a moment is somebody's who knows what it is for."""

PATIENCE_SECONDS = 30.0
"""What a worker that runs has on top of timeout and grace: a machine may have much else to do."""

_MOST_PARTS = 4
"""An attempt may have a workspace to make, a setup, a warming and its agent, each with the whole timeout for itself."""


class Overdue(msgspec.Struct, frozen=True):
    """Why a worker was killed here: for which reason its attempt has ended, and what happened, in words.

    `grace_seconds`: what its processes have to end; less than the attempt's own grace if somebody wanted it to end sooner.
    """

    reason: EndReason
    words: str
    grace_seconds: float


class _Watched(msgspec.Struct):
    attempt: Attempt
    process: WorkerStarted
    timeout_at: float
    """From then on a worker that is stopped is given no time to go on by itself."""
    due_at: float
    """By then nothing of its agent shall live."""
    grace_seconds: float
    reason: EndReason = EndReason.TIMEOUT
    stopped_since: float | None = None
    is_continued: bool = False
    overdue: Overdue | None = None


class Deadlines:
    """Of attempts that workers of this machine run, for one run."""

    def __init__(self, run_dir: RunDir) -> None:
        self._run_dir = run_dir
        self._by_sequence: dict[int, _Watched] = {}
        self._look_at = 0.0

    def watch(self, attempt: Attempt, process: WorkerStarted, message: Start | None) -> None:
        """The attempt is its worker's from now on. `message`: what it was told; None: an earlier supervisor told it."""
        now, limits = time.monotonic(), attempt.limits
        timeout = limits.timeout_seconds
        timeout_at = due_at = float("inf")
        if timeout is not None:
            parts = _MOST_PARTS if message is None else _parts_of(message)
            timeout_at = now + timeout
            due_at = now + parts * (timeout + limits.grace_seconds) + PATIENCE_SECONDS
        if not self._by_sequence:
            self._look_at = now + LOOK_SECONDS
        self._by_sequence[attempt.start.sequence] = _Watched(attempt, process, timeout_at, due_at, limits.grace_seconds)

    def expect_end(self, attempt: Attempt, reason: EndReason, grace_seconds: float) -> None:
        """Its worker was asked to end it, and continued for that."""
        watched = self._by_sequence.get(attempt.start.sequence)
        if watched is not None and watched.overdue is None:
            watched.reason = reason
            watched.is_continued = True
            watched.grace_seconds = min(watched.grace_seconds, grace_seconds)
            now = time.monotonic()
            watched.due_at = min(watched.due_at, now + grace_seconds + PATIENCE_SECONDS)
            self._look_at = min(self._look_at, now + CLOSE_LOOK_SECONDS)

    def forget(self, attempt: Attempt) -> Overdue | None:
        """It has ended. Why its worker was killed, if it was killed here."""
        watched = self._by_sequence.pop(attempt.start.sequence, None)
        return None if watched is None else watched.overdue

    @property
    def next_look(self) -> float | None:
        """When `look` is due (monotonic seconds); None: nothing runs."""
        return self._look_at if self._by_sequence else None

    def look(self, now: float) -> list[EngineEvent]:
        """Continue or kill workers that need it; what a person should know of that. Nothing happens before `next_look`."""
        if not self._by_sequence or now < self._look_at:
            return []
        events: list[EngineEvent] = []
        for watched in self._by_sequence.values():
            if watched.overdue is not None:
                continue
            try:
                events += self._look_at_one(watched, now)
            except OSError as error:
                # Without a descriptor nothing can be seen just now.
                if error.errno not in SHORTAGES:
                    raise
        is_any_stopped = any(watched.stopped_since is not None for watched in self._by_sequence.values())
        # At a whole second, as other looks of the loop: one wake does for all.
        self._look_at = int(now) + (CLOSE_LOOK_SECONDS if is_any_stopped else LOOK_SECONDS)
        return events

    def _look_at_one(self, watched: _Watched, now: float) -> list[EngineEvent]:
        process = watched.process
        if process.boot_id != boot_id() or not (state := process_state(process.pid, process.start_ticks)):
            return []  # it is gone, and its socket or pidfd tells that
        if is_stopped_process(state):
            watched.stopped_since = now if watched.stopped_since is None else watched.stopped_since
            if now < min(watched.stopped_since + STOPPED_SECONDS, max(watched.timeout_at, watched.stopped_since)):
                return []
            return self._act(watched, now, "is stopped (SIGSTOP)", "was stopped (SIGSTOP) again after it had been continued")
        watched.stopped_since = None
        if now < watched.due_at:
            return []
        # Its agent is gone: it settles the rest, which may take long on a slow disk, and is not to be lost.
        if not self._has_living_agent(watched):
            watched.due_at = now + PATIENCE_SECONDS
            return []
        return self._act(watched, now, "does not keep its limits", "did not keep its limits")

    def _act(self, watched: _Watched, now: float, is_what: str, was_what: str) -> list[EngineEvent]:
        name, process = watched.attempt.name, watched.process
        who = f"worker {process.worker} (process {process.pid})"
        if not watched.is_continued:
            watched.is_continued = True
            watched.stopped_since = None
            watched.due_at = max(watched.due_at, now + watched.attempt.limits.grace_seconds + PATIENCE_SECONDS)
            _signal(process.pid, signal.SIGCONT)
            return [Noted(f"{name}: {who} {is_what}; it is continued, once")]
        watched.overdue = Overdue(watched.reason, f"its {who} {was_what}, and was killed", watched.grace_seconds)
        _signal(process.pid, signal.SIGKILL)
        return [Noted(f"{name}: {who} {was_what}; it is killed")]

    def _has_living_agent(self, watched: _Watched) -> bool:
        lines = lines_of(self._run_dir, watched.process.worker, watched.attempt.start.sequence) or []
        spawned = [line for line in lines if isinstance(line, Spawned)]
        return any(process_state(line.pid, line.start_ticks, line.ticks_more) not in ("", "Z", "X") for line in spawned[-1:])


def _signal(pid: int, number: signal.Signals) -> None:
    # One of an earlier supervisor may end, and be reaped, between the look and the signal: its pidfd tells that.
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _parts_of(message: Start) -> int:
    workspace = message.workspace
    has_own = workspace is not None and workspace.kind != "shared"
    has_setup = workspace is not None and workspace.setup is not None
    return 1 + has_own + has_setup + (message.config is not None)
