"""Run one attempt from its `Start` to its outcome on disk.

Order, and why: `Begun` is logged before the agent starts (a resume knows what to look for), `Spawned` at once after, `Ended`
before anything is unlocked or told (a kill in between loses nothing), and the locks go only when the tree is confirmed ended
(no second agent beside the first). Whatever goes wrong with an attempt is its outcome; an exception from here is our bug.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from workers import creates
from workers.capture import CaptureFile, keep_bytes
from workers.course import Course
from workers.faultpoints import fault_point
from workers.given import script_file
from workers.identity import boot_id
from workers.locks import unlock
from workers.log import LOG_NAME, LogWriter
from workers.process import ProcessRunner, Spawn
from workers.protocol import AgentTask, AttemptClass, Begun, Check, Ended, LogLine, Outcome, SessionSeen, Start
from workers.spawn import SHORTAGES, CannotStart
from workers.verdict import Verdict, verdict_of
from workers.watch import Control

if TYPE_CHECKING:
    from workers.agent_watch import AgentWatch
    from workers.checking import CheckRunner
    from workers.workspaces import Workspace

_FOREVER = float("inf")
_FOR_NO_REASON = (AttemptClass.COMMAND_FAILED, AttemptClass.AGENT_FAILED, AttemptClass.PROTOCOL_ERROR)


class AttemptRunner:
    """Runs attempts, one after another, with the files of one worker's `folder` (absolute, made already).

    `control` is where a running attempt waits; a SIGCHLD handler must be installed that wakes it. The process becomes a subreaper
    and every child it gets is the attempt's; only `strangers` (see `tree.children_now`) are left alone. The current directory
    changes with each attempt. After `run`, `log_error` tells why the outcome may be missing in the log.
    """

    def __init__(self, folder: str, control: Control, strangers: frozenset[int] = frozenset()) -> None:
        self.log_error: OSError | None = None
        self._folder = folder
        self._control = control
        self._log: LogWriter | None = None
        self._last_sequence = -1
        self._stdout = CaptureFile(f"{folder}/stdout")
        self._stderr = CaptureFile(f"{folder}/stderr")
        self._processes = ProcessRunner(folder, control, strangers, self._append, self._keep_log_error)
        self._checks: CheckRunner | None = None

    def run(self, start: Start, locks: Sequence[int]) -> Outcome:
        """Run one attempt. `locks` are its lock descriptors: let go and closed here, after its outcome is in the log."""
        started_at = time.time()
        began = time.monotonic()
        self.log_error = None
        if start.recorded_through >= self._last_sequence and self._log is not None:
            self._log.forget()
        self._append(Begun(sequence=start.sequence, boot_id=boot_id(), mark=start.mark, holding=start.holding))
        fault_point("worker.begun")
        course = self._carry_out(start, locks)
        outcome = Outcome(
            attempt_class=course.verdict.attempt_class,
            started_at=started_at,
            finished_at=time.time(),
            duration_seconds=time.monotonic() - began,
            exit_code=course.verdict.exit_code,
            signal=course.verdict.signal,
            ended_by=course.verdict.ended_by,
            message=course.verdict.message,
            stdout=course.stdout,
            stderr=course.stderr,
            cpu_seconds=course.cpu_seconds,
            max_rss_bytes=course.max_rss_bytes,
            leftovers=course.leftovers,
            agent=course.agent,
            check=course.check,
            workspace=course.workspace,
        )
        self.log_error = None
        self._append(Ended(sequence=start.sequence, outcome=outcome))
        self._last_sequence = start.sequence
        fault_point("worker.logged")
        self._let_go(locks, start.kept_locks)
        return outcome

    def close(self) -> None:
        """Let go of all files. The process is what it was again, but for its current directory."""
        self._stdout.forget()
        self._stderr.forget()
        if self._checks is not None:
            self._checks.close()
        if self._log is not None:
            self._log.close()
        self._processes.close()

    def _let_go(self, locks: Sequence[int], kept: int) -> None:
        """Unlock all but the last `kept`: those are only closed, unless nobody is left who would unlock them."""
        if kept and self._control.is_supervisor_gone():
            kept = 0
        for place, lock in enumerate(locks):
            if place < len(locks) - kept:
                unlock(lock)
            else:
                os.close(lock)

    def _carry_out(self, start: Start, locks: Sequence[int]) -> Course:
        """The steps of an attempt, each done if the one before went well."""
        course = Course()
        if start.agent is not None:
            from workers.agent_report import report_of_none

            course.agent = report_of_none(start.agent)
        workspace = _workspace(start)
        if self.log_error is not None:
            # An agent that no record leads to could not be found after a kill: it must not start.
            course.verdict = _not_started("the worker's log cannot be written", self.log_error)
        if course.is_well and workspace is not None:
            self._enter(workspace, start, locks, course)
        if course.is_well:
            self._act(start, locks, course)
        if course.is_well and start.check is not None:
            self._check(start, start.check, locks, course)
        if start.creates is not None:
            course.verdict = creates.settle(start.creates, course.verdict)
        if workspace is not None:
            course.verdict, course.workspace = workspace.finish(course.verdict, f"{self._folder}/patch", start.max_output_bytes)
        return course

    def _enter(self, workspace: Workspace, start: Start, locks: Sequence[int], course: Course) -> None:
        """Have a workspace to work in. Its setup writes to the same captures as the agent, which does not see what it wrote."""

        def set_up(script: str) -> Verdict:
            argv = ["/bin/sh", script_file(script, self._folder)]
            spawned = self._processes.start(start, argv, None, (self._stdout.open(), self._stderr.open()), locks)
            return self._run_setup(spawned, start, course)

        try:
            course.verdict = workspace.enter(set_up)
        except CannotStart as error:
            course.verdict = Verdict(AttemptClass.CANNOT_START, str(error))
        except OSError as error:
            course.verdict = _not_started("the workspace cannot be made", error)
        if course.is_well:
            course.heed_asked_end(start, "before it started")

    def _run_setup(self, spawned: Spawn, start: Start, course: Course) -> Verdict:
        timeout_at = _FOREVER if start.timeout_seconds is None else time.monotonic() + start.timeout_seconds
        streams = (self._stdout, self._stderr)
        try:
            watch = self._processes.watch(spawned, start, streams, timeout_at=timeout_at)
            verdict = verdict_of(watch.run(), watch.ended_by, start, watch.used_bytes)
        except OSError as error:
            raise RuntimeError("the setup of a workspace could not be watched") from error  # it must not read as "not started"
        course.add(watch)
        if verdict.attempt_class is AttemptClass.OK:
            for capture in streams:
                capture.empty()
        else:
            self._take(start, course)
        return verdict

    def _act(self, start: Start, locks: Sequence[int], course: Course) -> None:
        """The agent, or the command: from its spawn to the end of its tree, and what it wrote."""
        onlooker = None if start.agent is None else self._agent_watch(start, start.agent)
        if start.timeout_seconds is not None:
            course.timeout_at = time.monotonic() + start.timeout_seconds
        try:
            spawned = self._spawn(start, locks)
        except (CannotStart, OSError) as error:
            course.verdict = (
                Verdict(AttemptClass.CANNOT_START, str(error))
                if isinstance(error, CannotStart)
                else _not_started("the attempt's files cannot be written", error)
            )
            return
        watch = self._processes.watch(
            spawned,
            start,
            (self._stdout, self._stderr) if onlooker is None else onlooker.streams,
            timeout_at=course.timeout_at,
            stall_seconds=start.stall_timeout_seconds,
            onlooker=onlooker,
        )
        if start.agent is not None and start.agent.session_id is not None:
            self._append(SessionSeen(sequence=start.sequence, agent=start.agent.agent, session_id=start.agent.session_id))
        if locks:
            # 25 ms, once, for `unlock`: now, while the first agent works, not before it starts nor when it has ended. If it
            # fails, for want of a descriptor, `unlock` will tell.
            with suppress(OSError, ImportError):
                import filelock  # noqa: F401
        course.verdict = verdict_of(watch.run(), watch.ended_by, start, watch.used_bytes)
        course.add(watch)
        try:
            if start.agent is not None and onlooker is not None:
                self._report(start.agent, onlooker, course)
            self._take(start, course)
        except OSError as error:
            # Neither file is used again: what stands in it must not become the next attempt's output.
            self._stdout.forget()
            self._stderr.forget()
            course.verdict = course.verdict.but(AttemptClass.STATE_ERROR, f"the output could not be kept: {error.strerror}")
        if course.verdict.attempt_class in _FOR_NO_REASON and _is_disk_full(self._folder):
            # It may have failed for that alone, and its output may lack its end: no verdict on the command.
            course.verdict = course.verdict.but(AttemptClass.STATE_ERROR, "the disk that takes its output is full")

    def _spawn(self, start: Start, locks: Sequence[int]) -> Spawn:
        """Start the agent. Raises CannotStart, or OSError: our own files cannot be written, or the machine has no room."""
        argv = start.argv if start.script is None else [*start.argv, script_file(start.script, self._folder)]
        outputs = (self._stdout.open(), self._stderr.open())
        if start.creates is not None:
            creates.clear(start.creates)
        return self._processes.start(start, argv, start.stdin, outputs, locks)

    def _agent_watch(self, start: Start, task: AgentTask) -> AgentWatch:
        # Commands do not pay for it.
        from workers.agent_watch import AgentWatch

        def tell_session(session_id: str) -> None:
            self._append(SessionSeen(sequence=start.sequence, agent=task.agent, session_id=session_id))
            fault_point("worker.session")

        return AgentWatch(task, self._stdout, self._stderr, tell_session)

    def _report(self, task: AgentTask, onlooker: AgentWatch, course: Course) -> None:
        """What the agent told becomes the verdict, and its report. Raises OSError if its answer cannot be kept."""
        from workers.agent_report import answer_of, report_of

        course.verdict, told = onlooker.verdict(course.verdict)
        course.agent = report_of(task, onlooker.stream, told)
        text = keep_bytes(answer_of(told), f"{self._folder}/text", task.text_path)
        course.agent = msgspec.structs.replace(course.agent, text=text)

    def _take(self, start: Start, course: Course) -> None:
        is_sole_writer = not course.leftovers
        course.stdout = self._stdout.take(start.stdout_path, start.max_output_bytes, is_sole_writer=is_sole_writer)
        course.stderr = self._stderr.take(start.stderr_path, start.max_output_bytes, is_sole_writer=is_sole_writer)

    def _check(self, start: Start, check: Check, locks: Sequence[int], course: Course) -> None:
        from workers.checking import CheckRunner

        self._checks = self._checks or CheckRunner(self._folder, self._control, self._processes)
        self._checks.run(start, check, locks, course)

    def _append(self, line: LogLine) -> None:
        try:
            if self._log is None:
                self._log = LogWriter(f"{self._folder}/{LOG_NAME}")
            self._log.append(line)
        except OSError as error:
            self.log_error = error

    def _keep_log_error(self, error: OSError) -> None:
        self.log_error = error


def _workspace(start: Start) -> Workspace | None:
    if start.workspace is None:
        return None
    from workers.workspaces import Workspace  # an import that most attempts have no use for

    return Workspace(start.workspace, start.mark)


def _not_started(what: str, error: OSError) -> Verdict:
    if error.errno in SHORTAGES:
        return Verdict(AttemptClass.SHORTAGE, f"no room on this machine just now: {error.strerror}")
    return Verdict(AttemptClass.STATE_ERROR, f"{what}: {error.strerror}")


def _is_disk_full(folder: str) -> bool:
    """Whether nothing more can be written there. A file system that does not tell its size is not full."""
    found = os.statvfs(folder)
    return found.f_blocks > 0 and (found.f_bfree if os.geteuid() == 0 else found.f_bavail) == 0
