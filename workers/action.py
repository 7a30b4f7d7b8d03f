"""What an attempt is for: its agent or its command, from its spawn to what it wrote and told.

What an agent tells becomes the end of the attempt and the report on it (`agents.watch`, `agents.report`): commands do not pay for
the import of these modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from .attempt_end import AttemptEnd, accepted, end_of, not_started, with_oom_kills_told
from .course import Course, timeout_at
from .faultpoints import fault_point
from .files import creates
from .files.capture import CaptureFile, keep_bytes
from .files.given import script_file
from .processes.reaping import Reaped
from .processes.runner import ProcessRunner, Spawn
from .processes.spawn import CannotStart
from .processes.surroundings import Bounds
from .processes.watch import Watch
from .protocol import AgentTask, AttemptClass, LogLine, SessionSeen, Start

if TYPE_CHECKING:
    from .agents.watch import AgentWatch


def is_plain(start: Start) -> bool:
    """Whether an attempt is nothing but a command, of which nobody waits for more than that it ends.

    Most of a long list are that: they pay for what they need, and not for being asked step by step what else they might.
    """
    return not (
        start.agent is not None
        or start.script is not None
        or start.stdin is not None
        or start.creates
        or start.check is not None
        or start.workspace is not None
        or start.config is not None
        or start.limits.stall_timeout_seconds is not None
        or start.limits.memory_bytes is not None
    )


class ActionRunner:
    """Runs actions, one after another, with the files of one worker's `folder`. `append` writes a line to the worker's log.

    `captures` are stdout and stderr.
    """

    def __init__(
        self,
        folder: str,
        processes: ProcessRunner,
        captures: tuple[CaptureFile, CaptureFile],
        append: Callable[[LogLine], None],
    ) -> None:
        self._folder = folder
        self._processes = processes
        self._stdout, self._stderr = self._captures = captures
        self._append = append

    def run_action(self, start: Start, locks: Sequence[int], course: Course) -> None:
        """From the spawn of the agent or command to the end of its tree, and what it wrote and told."""
        onlooker = None if start.agent is None else self._agent_watch(start, start.agent, course)
        try:
            self._run_action(start, locks, onlooker, course)
        finally:
            if onlooker is not None:
                onlooker.close()

    def run_plain(self, start: Start, locks: Sequence[int], course: Course) -> Reaped | None:
        """As `run_action`, of a start that `is_plain`. If it exits with 0 and writes nothing: what it used, and that is all."""
        course.timeout_at = timeout_at(start)
        spawned = self._spawn(start, locks, None, course)
        if spawned is None:
            return None
        found = self._processes.watch_command(spawned, start, self._captures, Bounds(course.timeout_at))
        if isinstance(found, Watch):
            self._see_end(start, found, None, course)
            return None
        if self._stdout.stayed_empty() and self._stderr.stayed_empty() and not self._stdout.is_disk_full():
            return found
        course.end = end_of(found.status, None, start, 0)
        course.add_usage(found.cpu_seconds, found.max_rss)
        course.take_captures(self._captures, start)
        return None

    def _run_action(self, start: Start, locks: Sequence[int], onlooker: AgentWatch | None, course: Course) -> None:
        # The attempt's time begins with its agent: a setup and a warming had theirs.
        course.timeout_at = timeout_at(start)
        spawned = self._spawn(start, locks, onlooker, course)
        if spawned is None:
            return
        # Record the process and watch it. From here on nothing that goes wrong may read as "not started".
        watch = self._processes.watch(
            spawned,
            start,
            self._captures if onlooker is None else onlooker.streams,
            Bounds(course.timeout_at, start.limits.stall_timeout_seconds),
            onlooker,
        )
        # A session that is resumed is known before the agent tells it: a kill right now must not lose it.
        if start.agent is not None and start.agent.session_id is not None:
            self._append(SessionSeen(sequence=start.sequence, agent=start.agent.agent, session_id=start.agent.session_id))
        self._see_end(start, watch, onlooker, course)

    def _see_end(self, start: Start, watch: Watch, onlooker: AgentWatch | None, course: Course) -> None:
        """From the watch over the process to what it wrote and told."""
        course.end = end_of(watch.run(), watch.ended_by, start, watch.used_bytes)
        if start.limits.ok_exit_codes:
            course.end = accepted(course.end, start)
        course.add_process(watch)
        # The report comes before the captures are cut and moved: it reads what is left to read of them.
        if start.agent is not None and onlooker is not None:
            try:
                self._report(start.agent, onlooker, course)
            except OSError:
                raise
            except Exception as error:
                course.meet_bug(error, "what its agent told")
        if not course.is_well:
            course.end = with_oom_kills_told(course.end, course.oom_kills)
        course.take_captures(self._captures, start)

    def _spawn(self, start: Start, locks: Sequence[int], onlooker: AgentWatch | None, course: Course) -> Spawn | None:
        """The process that was started; None: none was, and `course` tells why."""
        try:
            return self._try_to_spawn(start, locks, onlooker, course)
        except CannotStart as error:
            course.end = AttemptEnd(AttemptClass.CANNOT_START, str(error))
        except OSError as error:
            course.end = not_started("the attempt's files cannot be written", error)
        return None

    def _try_to_spawn(self, start: Start, locks: Sequence[int], onlooker: AgentWatch | None, course: Course) -> Spawn:
        """Raises CannotStart, or OSError: our own files cannot be written, or the machine has no room."""
        argv = start.argv if start.script is None else [*start.argv, script_file(start.script, self._folder)]
        outputs = (self._stdout.open(), self._stderr.open())
        if start.creates:
            course.promised_before = creates.clear(start.creates)
            if start.made_note is not None:
                from .files.made_note import remove_note

                remove_note(start.made_note)
        inherited = locks if course.config is None else [*locks, *course.config.locks]
        given: str | int | None = onlooker.open_dialogue(start.stdin or "") if onlooker is not None else None
        return self._processes.start(start, argv, start.stdin if given is None else given, outputs, inherited)

    def _agent_watch(self, start: Start, task: AgentTask, course: Course) -> AgentWatch:
        from .agents.watch import AgentWatch

        def tell_session(session_id: str) -> None:
            if course.config is not None:
                # Without the note a resume does not find the session, and begins another.
                with suppress(OSError):
                    course.config.note_session(session_id)
            self._append(SessionSeen(sequence=start.sequence, agent=task.agent, session_id=session_id))
            fault_point("worker.session")

        return AgentWatch(task, self._stdout, self._stderr, tell_session)

    def _report(self, task: AgentTask, onlooker: AgentWatch, course: Course) -> None:
        """What the agent told becomes the end of the attempt, and its report."""
        from .agents.report import answer_of, report_of, report_of_unknown

        # Until it is known what the agent told: it has worked, and that was not for nothing.
        course.agent = report_of_unknown(task, onlooker.reader.session_id)
        course.end, told = onlooker.classify_end(course.end)
        course.agent = report_of(task, onlooker.reader, told)
        course.bug = onlooker.reader.bug
        answer = answer_of(told)
        if task.expect == "answer" and (not answer.strip() or told.turns == 0):
            # Without a turn the words are the client's: "Unknown command: /revew".
            what = "it took no turn" if answer.strip() else "nothing was said"
            course.refuse_success(f'{what}, and expect = "answer"')
        try:
            text = keep_bytes(answer, f"{self._folder}/text", task.text_path)
        except OSError as error:
            course.miss_file("its answer", error)
        else:
            course.agent = msgspec.structs.replace(course.agent, text=text)
