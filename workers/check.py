"""The check of an attempt: a script that confirms a success, with what is left of the attempt's time.

Promise: an attempt that has a check is a success only if the check exited with 0. What ended a check that we ended (timeout,
cancel, drain, memory) is what the attempt came to. A machine that has no room for one process more just now is waited for: the
agent has done its work, and has been paid.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from .attempt_end import AttemptEnd, end_of, with_oom_kills_told
from .check_output import CheckOutput
from .course import Course
from .files.given import script_file
from .processes.oom_kills import oom_kills
from .processes.runner import ProcessRunner, Spawn
from .processes.spawn import SHORTAGES, CannotStart
from .processes.surroundings import Bounds, Control
from .protocol import AttemptClass, Check, Start
from .shell import SHELL, script_argv

_LONGEST_ARGUMENT = 64 * 1024
_SHORTAGE_SECONDS = 30.0
_SHORTAGE_PAUSE_SECONDS = 0.5


class CheckRunner:
    """Runs checks, one after another, with the files of one worker's `folder`."""

    def __init__(self, folder: str, control: Control, processes: ProcessRunner) -> None:
        self._folder = folder
        self._control = control
        self._processes = processes
        self._output = CheckOutput(f"{folder}/check")

    def run(self, start: Start, check: Check, locks: Sequence[int], course: Course) -> None:
        """Confirm the success that `course` is so far, or say in it why it is none."""
        # An end that came while the agent exited by itself: no check any more.
        course.heed_asked_end(start, "before its check")
        if not course.is_well:
            return
        killed_before = oom_kills()
        # Start it. That it does not start takes the success away: an unconfirmed success is none.
        try:
            spawned = self._start(start, check, locks, course)
        except CannotStart as error:
            course.end = course.end.but(AttemptClass.CHECK_FAILED, f"check: {error}")
            return
        except OSError as error:
            is_shortage = error.errno in SHORTAGES
            attempt_class = AttemptClass.SHORTAGE if is_shortage else AttemptClass.STATE_ERROR
            course.end = course.end.but(attempt_class, f"check: could not be started: {error.strerror}")
            return
        if spawned is None:
            course.heed_asked_end(start, "before its check")
            return
        # The rest of the attempt's time bounds it; silence does not, for a test may well say nothing for long.
        watch = self._processes.watch(spawned, start, [self._output], Bounds(course.timeout_at))
        found = end_of(watch.run(), watch.ended_by, start, watch.used_bytes)
        found = with_oom_kills_told(found, killed_before)
        course.add_process(watch)
        course.end = _confirmed(course.end, found)
        # It may have failed for want of space alone: that says nothing of what the agent did.
        if course.end.attempt_class is AttemptClass.CHECK_FAILED and self._output.is_disk_full():
            course.end = course.end.but(AttemptClass.STATE_ERROR, "the disk that takes its output is full")
        # Take the output also of a check that went well, else the next one would write behind it.
        try:
            output = self._output.take_capture(check.path, start.limits.max_output_bytes, is_sole_writer=not watch.leftovers)
        except OSError as error:
            self._output.forget()
            course.miss_file("check: its output", error)
            return
        if not course.is_well:
            course.check = output

    def close(self) -> None:
        """Let go of the file."""
        self._output.forget()

    def _start(self, start: Start, check: Check, locks: Sequence[int], course: Course) -> Spawn | None:
        """Start it; None if the attempt's end came first (`course.asked_end`). Raises CannotStart, OSError."""
        if len(check.script) < _LONGEST_ARGUMENT:
            argv = script_argv(check.script)
        else:
            argv = [*SHELL, script_file(check.script, self._folder)]
        # The agent has done its work, and has been paid: wait for room rather than call it a failure.
        give_up_at = time.monotonic() + _SHORTAGE_SECONDS
        while True:
            try:
                output = self._output.open()
                return self._processes.start(start, argv, None, (output, output), locks)
            except OSError as error:
                if error.errno not in SHORTAGES or time.monotonic() >= give_up_at:
                    raise
            if not course.wait_unless_ended(self._control, start, _SHORTAGE_PAUSE_SECONDS):
                return None


def _confirmed(end: AttemptEnd, found: AttemptEnd) -> AttemptEnd:
    """The end of the attempt: `end` is the agent's, a success, and `found` is what its check came to."""
    if found.attempt_class is AttemptClass.OK:
        return end
    ours = found.ended_by is not None
    attempt_class = found.attempt_class if ours else AttemptClass.CHECK_FAILED
    return end._replace(attempt_class=attempt_class, message=f"check: {found.message}", ended_by=found.ended_by)
