"""What comes before the agent of an attempt: the setup of a new workspace, and the warming of a folder for what its CLI keeps.

Both write to the captures of the attempt. What one that went well wrote is dropped: the agent's output begins empty. Of one that
fails it is the output of the attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from .attempt_end import AttemptEnd, end_of, not_started, with_oom_kills_told
from .course import Course, timeout_at
from .files.capture import CaptureFile
from .files.given import script_file
from .interruption import Interrupted, heeding
from .processes.runner import ProcessRunner, Spawn
from .processes.spawn import CannotStart
from .processes.surroundings import Bounds, Control
from .protocol import AttemptClass, ConfigTask, Start
from .shell import SHELL

if TYPE_CHECKING:
    from .files.config_folder import ConfigFolder
    from .workspaces.workspace import Workspace

_WARMING_PAUSE_SECONDS = 0.1


class PreparationRunner:
    """Prepares attempts, one after another, with the files of one worker's `folder`. `captures` are stdout and stderr."""

    def __init__(
        self, folder: str, control: Control, processes: ProcessRunner, captures: tuple[CaptureFile, CaptureFile]
    ) -> None:
        self._folder = folder
        self._control = control
        self._processes = processes
        self._captures = captures

    def enter_workspace(self, workspace: Workspace, start: Start, locks: Sequence[int], course: Course) -> None:
        """Have a workspace to work in, or say in `course` why there is none."""

        def set_up(script: str) -> AttemptEnd:
            argv = [*SHELL, script_file(script, self._folder)]
            spawned = self._processes.start(start, argv, None, self._open_captures(), locks)
            end = self._run_setup(spawned, start, course)
            course.timeout_at = timeout_at(start)
            return end

        # A copy or a checkout may take long: it has the attempt's timeout, too, as the setup has by itself.
        course.timeout_at = timeout_at(start)
        try:
            with heeding(partial(course.wait_unless_ended, self._control, start)):
                course.end = workspace.enter(set_up)
        except Interrupted:
            course.heed_asked_end(start, "while its workspace was made")
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
        course.timeout_at = timeout_at(start)
        try:
            course.config = config = self._wait_for_config_folder(start, task, course)
            if config is None:
                course.heed_asked_end(start, "before it started")
                return start
            if task.is_own:
                start = msgspec.structs.replace(start, env={**start.env, task.variable: config.path})
            # A client that finds its folder empty fills it: two that do so at once get in each other's way.
            if config.needs_warming:
                outputs = self._open_captures()
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
                return ConfigFolder.take_folder(task, session_id)
            except BeingWarmed:
                if not course.wait_unless_ended(self._control, start, _WARMING_PAUSE_SECONDS):
                    return None

    def let_go_of_config(self, config: ConfigFolder, course: Course) -> None:
        """Let go of the folder of `take_config_folder`."""
        course.config = None
        try:
            config.let_go()
        except OSError as error:
            words = f"a login that was renewed could not be kept: {error.strerror}"
            course.end = course.end.but(course.end.attempt_class, words)

    def _run_setup(self, spawned: Spawn, start: Start, course: Course) -> AttemptEnd:
        try:
            watch = self._processes.watch(spawned, start, self._captures, Bounds(timeout_at(start)))
            course.end = end_of(watch.run(), watch.ended_by, start, watch.used_bytes)
            course.end = with_oom_kills_told(course.end, course.oom_kills)
        except OSError as error:
            # No OSError: the caller would take it for "not started".
            raise RuntimeError("what comes before the agent could not be watched") from error
        course.add_process(watch)
        if course.is_well:
            for capture in self._captures:
                capture.empty()
        else:
            course.take_captures(self._captures, start)
        return course.end

    def _open_captures(self) -> tuple[int, int]:
        stdout, stderr = self._captures
        return stdout.open(), stderr.open()
