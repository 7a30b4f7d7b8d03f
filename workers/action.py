"""What an attempt is for: its agent or its command; before it the setup of a new workspace and the warming of a config folder.

All of them write to the same two captures, one after another; what a setup or a warming that went well wrote is dropped. What an
agent tells becomes the end of the attempt and the report on it (`agents.watch`, `agents.report`): commands do not pay for the
import of these modules.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from .attempt_end import AttemptEnd, end_of
from .course import Course
from .faultpoints import fault_point
from .files import creates
from .files.capture import CaptureFile, keep_bytes
from .files.given import script_file
from .processes.runner import ProcessRunner, Spawn
from .processes.spawn import SHORTAGES, CannotStart
from .processes.surroundings import Bounds, Control
from .protocol import AgentTask, AttemptClass, ConfigTask, LogLine, SessionSeen, Start

if TYPE_CHECKING:
    from .agents.watch import AgentWatch
    from .files.config_folder import ConfigFolder
    from .workspaces.workspace import Workspace

_FOREVER = float("inf")
_WARMING_PAUSE_SECONDS = 0.1
_FOR_NO_REASON = (AttemptClass.COMMAND_FAILED, AttemptClass.AGENT_FAILED, AttemptClass.PROTOCOL_ERROR)


class ActionRunner:
    """Runs actions, one after another, with the files of one worker's `folder`. `append` writes a line to the worker's log."""

    def __init__(self, folder: str, control: Control, processes: ProcessRunner, append: Callable[[LogLine], None]) -> None:
        self._folder = folder
        self._control = control
        self._processes = processes
        self._append = append
        self._stdout = CaptureFile(f"{folder}/stdout")
        self._stderr = CaptureFile(f"{folder}/stderr")
        self._config: ConfigFolder | None = None

    def enter_workspace(self, workspace: Workspace, start: Start, locks: Sequence[int], course: Course) -> None:
        """Have a workspace to work in, or say in `course` why there is none."""

        def set_up(script: str) -> AttemptEnd:
            argv = ["/bin/sh", script_file(script, self._folder)]
            spawned = self._processes.start(start, argv, None, (self._stdout.open(), self._stderr.open()), locks)
            return self._run_setup(spawned, start, course)

        try:
            course.end = workspace.enter(set_up)
        except CannotStart as error:
            course.end = AttemptEnd(AttemptClass.CANNOT_START, str(error))
        except OSError as error:
            course.end = not_started("the workspace cannot be made", error)
        if course.is_well:
            course.heed_asked_end(start, "before it started")

    def take_config_folder(self, start: Start, task: ConfigTask, locks: Sequence[int], course: Course) -> Start:
        """Have a folder for what the agent's CLI keeps, warmed if it is new, or say in `course` why there is none.

        Returns the start, with the folder in its environment. The folder is held until `let_go_of_config`.
        """
        # Waiting for the folder and warming it have the attempt's timeout, too; the agent's own begins when it starts.
        course.timeout_at = _timeout_at(start)
        try:
            self._config = config = self._wait_for_config_folder(start, task, course)
            if config is None:
                course.heed_asked_end(start, "before it started")
                return start
            if task.is_own:
                start = msgspec.structs.replace(start, env={**start.env, task.variable: config.path})
            # A client that finds its folder empty fills it: two that do so at once get in each other's way.
            if config.needs_warming:
                outputs = (self._stdout.open(), self._stderr.open())
                inherited = [*locks, *config.locks]
                end = self._run_setup(self._processes.start(start, task.warm, None, outputs, inherited), start, course)
                if not course.is_well:
                    course.end = end._replace(message=f"warming {config.path} ({' '.join(task.warm)}): {end.message}")
                    return start
                config.note_warmed()
            config.share()
        except CannotStart as error:
            course.end = AttemptEnd(AttemptClass.CANNOT_START, str(error))
        except OSError as error:
            course.end = not_started(f"{task.folder} cannot be used", error)
        # An end that came while the folder was warmed: the agent must not start any more.
        if course.is_well:
            course.heed_asked_end(start, "before it started")
        return start

    def _wait_for_config_folder(self, start: Start, task: ConfigTask, course: Course) -> ConfigFolder | None:
        """The folder, once nobody warms it; None if the attempt's end came first (`course.asked_end`). Raises OSError."""
        from .files.config_folder import BeingWarmed, ConfigFolder

        session_id = start.agent.session_id if start.agent is not None else None
        while True:
            try:
                return ConfigFolder.take(task, session_id)
            except BeingWarmed:
                if not course.wait_unless_ended(self._control, start, _WARMING_PAUSE_SECONDS):
                    return None

    def let_go_of_config(self, course: Course) -> None:
        """Let go of the folder of `take_config_folder`, if there is one."""
        config, self._config = self._config, None
        try:
            if config is not None:
                config.let_go()
        except OSError as error:
            words = f"a login that was renewed could not be kept: {error.strerror}"
            course.end = course.end.but(course.end.attempt_class, words)

    def run_action(self, start: Start, locks: Sequence[int], course: Course) -> None:
        """From the spawn of the agent or command to the end of its tree, and what it wrote and told."""
        onlooker = None if start.agent is None else self._agent_watch(start, start.agent)
        try:
            self._run_action(start, locks, onlooker, course)
        finally:
            if onlooker is not None:
                onlooker.close()

    def _run_action(self, start: Start, locks: Sequence[int], onlooker: AgentWatch | None, course: Course) -> None:
        # The attempt's time begins with its agent: a setup and a warming had theirs.
        course.timeout_at = _timeout_at(start)
        try:
            spawned = self._spawn(start, locks, onlooker)
        except CannotStart as error:
            course.end = AttemptEnd(AttemptClass.CANNOT_START, str(error))
            return
        except OSError as error:
            course.end = not_started("the attempt's files cannot be written", error)
            return
        # Record the process and watch it. From here on nothing that goes wrong may read as "not started".
        watch = self._processes.watch(
            spawned,
            start,
            (self._stdout, self._stderr) if onlooker is None else onlooker.streams,
            Bounds(course.timeout_at, start.limits.stall_timeout_seconds),
            onlooker,
        )
        # A session that is resumed is known before the agent tells it: a kill right now must not lose it.
        if start.agent is not None and start.agent.session_id is not None:
            self._append(SessionSeen(sequence=start.sequence, agent=start.agent.agent, session_id=start.agent.session_id))
        if locks:
            # Import what `unlock` needs (25 ms, once) while the first agent works: not before it starts, nor when it has ended.
            # If the import fails for want of a descriptor, `unlock` will tell.
            with suppress(OSError, ImportError):
                import filelock  # noqa: F401
        course.end = end_of(watch.run(), watch.ended_by, start, watch.used_bytes)
        course.add_process(watch)
        # The report comes before the captures are cut and moved: it reads what is left to read of them.
        if start.agent is not None and onlooker is not None:
            self._report(start.agent, onlooker, course)
        self._take_captures(start, course)
        if course.end.attempt_class in _FOR_NO_REASON and _is_disk_full(self._folder):
            # It may have failed for want of space alone, and its output may lack its end: that says nothing of the command.
            course.end = course.end.but(AttemptClass.STATE_ERROR, "the disk that takes its output is full")

    def close(self) -> None:
        """Let go of the captures."""
        self._stdout.forget()
        self._stderr.forget()

    def _run_setup(self, spawned: Spawn, start: Start, course: Course) -> AttemptEnd:
        streams = (self._stdout, self._stderr)
        try:
            watch = self._processes.watch(spawned, start, streams, Bounds(_timeout_at(start)))
            course.end = end_of(watch.run(), watch.ended_by, start, watch.used_bytes)
        except OSError as error:
            # No OSError: the caller would take it for "not started".
            raise RuntimeError("what comes before the agent could not be watched") from error
        course.add_process(watch)
        if course.is_well:
            for capture in streams:
                capture.empty()
        else:
            self._take_captures(start, course)
        return course.end

    def _spawn(self, start: Start, locks: Sequence[int], onlooker: AgentWatch | None) -> Spawn:
        """Raises CannotStart, or OSError: our own files cannot be written, or the machine has no room."""
        argv = start.argv if start.script is None else [*start.argv, script_file(start.script, self._folder)]
        outputs = (self._stdout.open(), self._stderr.open())
        if start.creates is not None:
            creates.clear(start.creates)
        inherited = locks if self._config is None else [*locks, *self._config.locks]
        given: str | int | None = onlooker.open_dialogue(start.stdin or "") if onlooker is not None else None
        return self._processes.start(start, argv, start.stdin if given is None else given, outputs, inherited)

    def _agent_watch(self, start: Start, task: AgentTask) -> AgentWatch:
        from .agents.watch import AgentWatch

        def tell_session(session_id: str) -> None:
            if self._config is not None:
                # Without the note a resume does not find the session, and begins another.
                with suppress(OSError):
                    self._config.note_session(session_id)
            self._append(SessionSeen(sequence=start.sequence, agent=task.agent, session_id=session_id))
            fault_point("worker.session")

        return AgentWatch(task, self._stdout, self._stderr, tell_session)

    def _report(self, task: AgentTask, onlooker: AgentWatch, course: Course) -> None:
        """What the agent told becomes the end of the attempt, and its report."""
        from .agents.report import answer_of, report_of

        course.end, told = onlooker.classify_end(course.end)
        course.agent = report_of(task, onlooker.reader, told)
        try:
            text = keep_bytes(answer_of(told), f"{self._folder}/text", task.text_path)
        except OSError as error:
            course.end = course.end.but(AttemptClass.STATE_ERROR, f"its answer could not be kept: {error.strerror}")
        else:
            course.agent = msgspec.structs.replace(course.agent, text=text)

    def _take_captures(self, start: Start, course: Course) -> None:
        """Cut both captures to what is kept, and move them to their final places."""
        is_sole_writer = not course.leftovers
        try:
            course.stdout = self._stdout.take(start.stdout_path, start.limits.max_output_bytes, is_sole_writer=is_sole_writer)
            course.stderr = self._stderr.take(start.stderr_path, start.limits.max_output_bytes, is_sole_writer=is_sole_writer)
        except OSError as error:
            # Neither file is used again: what stands in it must not become the next attempt's output.
            self._stdout.forget()
            self._stderr.forget()
            course.end = course.end.but(AttemptClass.STATE_ERROR, f"the output could not be kept: {error.strerror}")


def not_started(what: str, error: OSError) -> AttemptEnd:
    """Nothing was started: for want of room, or because `what` went wrong."""
    if error.errno in SHORTAGES:
        return AttemptEnd(AttemptClass.SHORTAGE, f"no room on this machine just now: {error.strerror}")
    return AttemptEnd(AttemptClass.STATE_ERROR, f"{what}: {error.strerror}")


def _timeout_at(start: Start) -> float:
    return _FOREVER if start.limits.timeout_seconds is None else time.monotonic() + start.limits.timeout_seconds


def _is_disk_full(folder: str) -> bool:
    """Whether nothing more can be written there. A file system that does not tell its size is not full."""
    found = os.statvfs(folder)
    return found.f_blocks > 0 and (found.f_bfree if os.geteuid() == 0 else found.f_bavail) == 0
