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
from functools import partial
from typing import TYPE_CHECKING

from .action import ActionRunner, is_plain
from .attempt_end import not_started
from .course import RSS_UNIT_BYTES, Course
from .faultpoints import fault_point
from .files import creates
from .files.capture import CaptureFile
from .interruption import Interrupted, heeding
from .locks import unlock
from .log import LOG_NAME, LogWriter
from .preparation import PreparationRunner
from .processes.identity import boot_id
from .processes.oom_kills import oom_kills
from .processes.reaping import Reaped
from .processes.runner import ProcessRunner
from .processes.surroundings import Control
from .protocol import AttemptClass, Begun, Check, Ended, LogLine, Outcome, Start, WorkspaceTask

if TYPE_CHECKING:
    from .check import CheckRunner
    from .workspaces.workspace import Workspace


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
        self._processes = ProcessRunner(folder, control, strangers, self._append, self._keep_log_error)
        self._captures = (CaptureFile(f"{folder}/stdout"), CaptureFile(f"{folder}/stderr"))
        self._preparations = PreparationRunner(folder, control, self._processes, self._captures)
        self._actions = ActionRunner(folder, self._processes, self._captures, self._append)
        self._checks: CheckRunner | None = None

    def run(self, start: Start, locks: Sequence[int]) -> Outcome:
        """Run one attempt. `locks` are its lock descriptors; `let_go_of_locks` follows, its outcome is in the log by then."""
        started_at = time.time()
        began = time.monotonic()
        self.log_error = None
        if start.secrets:
            from .secrets import with_secrets

            start = with_secrets(start)
        # Forget outcomes that stand in the journal, else the log would grow with every attempt.
        if start.recorded_through >= self._last_sequence and self._log is not None:
            self._log.forget()
        # Before anything is started: a resume finds by this line what a kill leaves behind.
        killed = oom_kills()
        self._append(Begun(sequence=start.sequence, boot_id=boot_id(), mark=start.mark, holding=start.holding, oom_kills=killed))
        fault_point("worker.begun")
        course = Course(oom_kills=killed)
        used: Reaped | None = None
        if is_plain(start) and self.log_error is None:
            used = self._actions.run_plain(start, locks, course)
        else:
            self._carry_out(start, locks, course)
        finished_at, seconds = time.time(), time.monotonic() - began
        if used is None:
            outcome = _outcome_of(course, started_at, finished_at, seconds)
        else:
            outcome = _plain_success(used, started_at, finished_at, seconds)
        if start.agent is not None:
            _keep_record(start, outcome)
        # Before anything is unlocked or told: a kill from here on loses nothing.
        self.log_error = None
        self._append(Ended(sequence=start.sequence, outcome=outcome))
        self._last_sequence = start.sequence
        fault_point("worker.logged")
        return outcome

    def close(self) -> None:
        """Let go of all files. The process is what it was again, but for its current directory."""
        for capture in self._captures:
            capture.forget()
        if self._checks is not None:
            self._checks.close()
        if self._log is not None:
            self._log.close()
        self._processes.close()

    def let_go_of_locks(self, locks: Sequence[int], kept: int) -> None:
        """Unlock all but the last `kept`. Those are only closed, unless no supervisor is left that would unlock them."""
        self._processes.let_go_of_locks()
        if kept and self._control.is_supervisor_gone():
            kept = 0
        for place, lock in enumerate(locks):
            if place < len(locks) - kept:
                unlock(lock)
            else:
                os.close(lock)

    def _carry_out(self, start: Start, locks: Sequence[int], course: Course) -> None:
        """The steps of an attempt, each done if the one before went well."""
        # An agent that is never started has used nothing: that is known, and no unknown cost.
        if start.agent is not None:
            from .agents.report import report_of_none

            course.agent = report_of_none(start.agent)
        workspace = None if start.workspace is None else _workspace(start, start.workspace)
        if self.log_error is not None:
            # After a kill an agent that no line of the log leads to could not be found: it must not start.
            course.end = not_started("the worker's log cannot be written", self.log_error)
        # Have everything that the agent stands on, then the agent itself.
        if workspace is not None and course.is_well:
            self._preparations.enter_workspace(workspace, start, locks, course)
        if start.config is not None and course.is_well:
            start = self._preparations.take_config_folder(start, start.config, locks, course)
        if course.is_well:
            self._actions.run_action(start, locks, course)
        # Before the check, which may take long: other attempts wait for the folder.
        if course.config is not None:
            self._preparations.let_go_of_config(course.config, course)
        # Confirm a success, then settle what it promised: a success that the check refuses leaves no file behind.
        if start.check is not None and course.is_well:
            self._check(start, start.check, locks, course)
        try:
            self._settle(start, workspace, course)
        except OSError:
            raise
        except Exception as error:
            course.meet_bug(error, "what it left")

    def _settle(self, start: Start, workspace: Workspace | None, course: Course) -> None:
        """What becomes of the files that the attempt promised, and of its workspace."""
        if start.creates:
            if start.made_note is not None and course.is_well:
                from .files.made_note import remove_note

                # Another run may have made the files meanwhile, and noted what they were made of: no longer so in a moment.
                with suppress(OSError):
                    remove_note(start.made_note)
            course.end, course.unproven = creates.settle(start.creates, course.end, course.promised_before)
            if start.made_note is not None and course.is_well:
                from .files.made_note import leave_note

                if words := leave_note(start.made_note):
                    course.end = course.end._replace(message="; ".join(filter(None, (course.end.message, words))))
        # Last: the workspace of a success is committed, and perhaps removed.
        if workspace is not None:
            self._finish_workspace(start, workspace, course)
            if start.agent is not None and start.agent.expect == "change" and not workspace.has_changed:
                course.refuse_success('nothing was changed, and expect = "change"')

    def _finish_workspace(self, start: Start, workspace: Workspace, course: Course) -> None:
        live_patch, most = f"{self._folder}/patch", start.limits.max_output_bytes
        try:
            with heeding(partial(course.wait_unless_given_up, self._control, start)):
                course.end, course.workspace = workspace.finish(course.end, live_patch, most)
        except Interrupted:
            # The work is done and stays where it is: a later attempt goes on there.
            course.heed_asked_end(start, "while its changes were kept")
            course.end, course.workspace = workspace.finish(course.end, live_patch, most)

    def _check(self, start: Start, check: Check, locks: Sequence[int], course: Course) -> None:
        from .check import CheckRunner

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


def _plain_success(used: Reaped, started_at: float, finished_at: float, seconds: float) -> Outcome:
    """Of a command that exited with 0, and wrote nothing."""
    return Outcome(
        attempt_class=AttemptClass.OK,
        started_at=started_at,
        finished_at=finished_at,
        duration_seconds=seconds,
        exit_code=0,
        cpu_seconds=used.cpu_seconds,
        max_rss_bytes=used.max_rss * RSS_UNIT_BYTES,
    )


def _outcome_of(course: Course, started_at: float, finished_at: float, seconds: float) -> Outcome:
    return Outcome(
        attempt_class=course.end.attempt_class,
        started_at=started_at,
        finished_at=finished_at,
        duration_seconds=seconds,
        exit_code=course.end.exit_code,
        signal=course.end.signal,
        ended_by=course.end.ended_by,
        message=course.end.message,
        stdout=course.stdout,
        stderr=course.stderr,
        cpu_seconds=course.cpu_seconds,
        max_rss_bytes=course.max_rss_bytes,
        leftovers=course.leftovers,
        agent=course.agent,
        check=course.check,
        workspace=course.workspace,
        bug=course.bug,
        unproven=course.unproven,
    )


def _keep_record(start: Start, outcome: Outcome) -> None:
    """Keep the record for a capsule. A record that cannot be written is passed over: the outcome counts for more, and the capsule
    tells that the record is missing."""
    from .agents.attempt_record import keep_record

    with suppress(OSError):
        keep_record(start, outcome)


def _workspace(start: Start, task: WorkspaceTask) -> Workspace:
    # Most attempts have no workspace, and should not pay for the import.
    from .workspaces.workspace import Workspace

    return Workspace(task, start.mark)
