"""The reader of JSON lines and of text: bytes in, findings out; at the end the class of the attempt.

Promise: however the stream is cut into chunks, the result is the same; whatever stands in it, nothing here raises; each byte
is looked at a bounded number of times. A line of more than `LONGEST_LINE_BYTES` is not read, which is told.

Invariant: `ok` needs a last terminal event that says success, no work behind it, exit code 0, no error that is final, and no
signal of ours before that event. What is not known is never a success. (A text has no terminal event: there it needs at least
one line that says that a call went well and none after it that says otherwise, and its profile demands a check.)

No clock, no disk, no process: the time comes in, and is only asked for where a text tells of a reset in its own words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..protocol import AttemptClass, EndReason
from ..protocol.reading import EventMeaning, EventRule, LineMeaning, Reading
from ..wording import size_in_words
from .ending import Ending
from .event_fields import event_of, texts_at
from .event_rules import EventRules
from .failures import Failures, Finding, short
from .lines import LONGEST_LINE_BYTES, KnownLine, Lines
from .notes import Notes
from .stream_reader import AgentTold
from .told import ToldSoFar

_LAST_STDERR_BYTES = 64 * 1024
_LAST_STDERR_LINES = 20

_OUR_END = {
    EndReason.TIMEOUT: (AttemptClass.TIMEOUT, "timed out"),
    EndReason.STALLED: (AttemptClass.STALLED, "wrote nothing for too long"),
    EndReason.EVENTS: (AttemptClass.STALLED, "wrote more events than an attempt may"),
    EndReason.CANCEL: (AttemptClass.CANCELLED, "cancelled"),
    EndReason.DRAIN: (AttemptClass.CANCELLED, "ended by a drain"),
    EndReason.MEMORY: (AttemptClass.MEMORY, "used more memory than it may"),
}


class AgentStream:
    """The `StreamReader` of JSON lines and of text, by the rules of a reading."""

    dialogue = None

    def __init__(self, task_reading: Reading, wall_now: Callable[[], float]) -> None:
        self.events = 0
        self._reading = task_reading
        self._rules = EventRules(task_reading.events)
        self._out = Lines(rule for rule in task_reading.lines if rule.stream == "stdout")
        self._err = Lines(rule for rule in task_reading.lines if rule.stream == "stderr")
        self._failures = Failures(task_reading, wall_now)
        self._told = ToldSoFar()
        self._ending = Ending()
        self._notes = Notes()
        self._has_progressed = False
        self._is_torn = False
        self._is_closed = False
        self._is_stderr_live = False
        self._last_words = ""

    @property
    def has_ended(self) -> bool:
        """See `StreamReader`."""
        return self._ending.has_ended

    @property
    def is_waiting(self) -> bool:
        """See `StreamReader`."""
        return self._ending.is_waiting

    @property
    def session_id(self) -> str | None:
        return self._told.session_id

    @property
    def model(self) -> str | None:
        return self._told.model

    @property
    def finding(self) -> Finding | None:
        """See `StreamReader`."""
        return self._failures.finding

    @property
    def last_failure(self) -> str:
        """See `StreamReader`."""
        current = self._failures.current
        return "" if current is None else short(current.message)

    def feed(self, data: bytes) -> None:
        """See `StreamReader`."""
        skipped = self._out.skipped
        for line in self._out.complete(data):
            self._read_line(line)
        self.events += self._out.skipped - skipped

    def feed_stderr(self, data: bytes) -> None:
        """See `StreamReader`."""
        self._is_stderr_live = True
        for line in self._err.complete(data):
            self._read_text(self._err, line)

    def close(self) -> None:
        """Both streams have ended. A last line without a newline counts if it is whole."""
        if self._is_closed:
            return
        self._is_closed = True
        rest = self._out.take_rest()
        # A line that is too long to be read may as well be half of one.
        self._is_torn = rest is None or (
            self._reading.format == "json" and rest.lstrip().startswith(b"{") and event_of(rest) is None
        )
        if rest is not None and not self._is_torn:
            self._read_line(rest)
        self._read_text(self._err, self._err.take_rest() or b"")
        for lines in (self._out, self._err):
            for known in lines.end():
                self._hear_line(known)

    def classify(self, *, exit_code: int | None, signal: int | None, ended_by: EndReason | None, stderr: bytes) -> AgentTold:
        """See `StreamReader`."""
        # Stderr without rules was not read along: a line that says why it failed stands there all the same.
        if not self._is_stderr_live:
            self.feed_stderr(stderr)
        self.close()
        attempt_class, message = self._end_of(exit_code, signal, ended_by, stderr[-_LAST_STDERR_BYTES:])
        told, skipped, is_well = self._told, self._skipped_in_words(), attempt_class is AttemptClass.OK
        # Ended behind a first success, in the middle of more: what that is to cost was never told, and a part would pass for all.
        is_partial = not is_well and self._ending.is_at_work_again
        return AgentTold(
            attempt_class=attempt_class,
            message="; ".join(filter(None, (short(message), "" if is_well else skipped))),
            text=told.answer,
            structured=told.structured,
            usage=None if is_partial else told.usage,
            cost_usd=None if is_partial else told.cost_usd,
            resets_at=self._failures.resets_at,
            reset_source=self._failures.reset_source,
            denials=list(told.denials),
            turns=told.turns,
            notes=[*self._notes.of_success(told, len(self._ending.open_tasks)), *filter(None, [skipped])] if is_well else [],
        )

    def _skipped_in_words(self) -> str:
        count = self._out.skipped + self._err.skipped
        lines = "1 line" if count == 1 else f"{count} lines"
        return f"{lines} of more than {size_in_words(LONGEST_LINE_BYTES)} not read" if count else ""

    def _end_of(
        self, exit_code: int | None, signal: int | None, ended_by: EndReason | None, stderr: bytes
    ) -> tuple[AttemptClass, str]:
        # What we ended it for counts for more than what it told, and that for more than how it exited.
        failures = self._failures
        if ended_by is EndReason.FINDING and failures.found is not None:
            return failures.found.attempt_class, failures.found.message
        if ended_by is not None and ended_by in _OUR_END:
            attempt_class, words = _OUR_END[ended_by]
            return attempt_class, f"{words}; it last told: {failures.current.message}" if failures.current else words
        is_lingering = ended_by is EndReason.LINGERING
        # Its success is not its last word: it waited for what is not done.
        if is_lingering and self._ending.is_waiting and (left := len(self._ending.open_tasks)):
            return AttemptClass.STALLED, f"waited for {left} of its tasks, which told nothing more, and was ended"
        if self._is_success and (exit_code == 0 or is_lingering):
            return AttemptClass.OK, "told its success, did not exit, and was ended" if is_lingering else ""
        attempt_class, message = self._failed_end(exit_code, signal, stderr)
        if self._told.denials and attempt_class in (AttemptClass.AGENT_FAILED, AttemptClass.PROTOCOL_ERROR):
            return AttemptClass.DENIED, f"{message}; not allowed: {', '.join(self._told.denials[:3])}"
        return attempt_class, message

    @property
    def _is_success(self) -> bool:
        if self._failures.is_final or self._is_torn:
            return False
        if self._reading.format == "text":
            return self._has_progressed and self._failures.current is None
        return self._ending.has_succeeded

    def _failed_end(self, exit_code: int | None, signal: int | None, stderr: bytes) -> tuple[AttemptClass, str]:
        # A failure that it told, if the failure is final or has a name; a vague one may be made clearer by what follows.
        failures = self._failures
        if failures.current is not None and (
            failures.is_final or failures.current.attempt_class is not AttemptClass.AGENT_FAILED
        ):
            return failures.current
        how = f"ended by signal {signal}" if exit_code is None else f"exit code {exit_code}"
        # It exited as after a success, and told none.
        if exit_code == 0:
            if self._is_torn:
                return AttemptClass.PROTOCOL_ERROR, "its output breaks off in the middle of an event"
            return AttemptClass.PROTOCOL_ERROR, f"{how}, and its output does not say that it succeeded"
        # Its last words on stderr, else the last line of text, often say why.
        lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        lines = lines[-_LAST_STDERR_LINES:] or ([self._last_words] if self._last_words else [])
        message = f"{how}: {lines[-1]}" if lines else how
        if named := self._reading.exit_codes.get(str(exit_code)):
            return AttemptClass(named), message
        if found := failures.class_in(" ".join(lines)):
            # The same words may tell when the limit ends.
            failures.fail(found, " ".join(lines))
            return found, message
        return AttemptClass.AGENT_FAILED, message

    def _read_line(self, line: bytes) -> None:
        event = event_of(line) if self._reading.format == "json" else None
        if event is None:
            self.events += bool(line.strip())
            self._read_text(self._out, line)
            return
        self.events += 1
        for rule in self._rules.fitting(event):
            self._apply(rule, event)

    def _apply(self, rule: EventRule, event: dict[str, Any]) -> None:
        message = rule.words or ""
        for name, paths in rule.take.items():
            if name == "message":
                message = " ".join(texts_at(event, paths)) or message
            elif name == "task":
                continue
            elif name in ("resets_at", "resets_in"):
                self._failures.take_reset(event, paths, is_from_now=name == "resets_in")
            else:
                self._told.take_value(name, paths, event, adds=rule.adds)
        if rule.parts_answer:
            self._told.part_answer()
        # Of events alone: what stderr tells may have been written before them.
        self._ending.hear(rule.means)
        match rule.means:
            case "failure" | "error" | "retry":
                self._hear(rule.means, self._failures.class_of(rule, event, message), message)
            case "task_opened" | "task_closed" | "tasks_open":
                self._ending.hear_of_tasks(rule.means, texts_at(event, rule.take.get("task", [])))
            case "trouble":
                self._notes.trouble(message, texts_at(event, rule.take.get("task", [])))
            case "mended":
                self._notes.mend(message)
            case _:
                self._hear(rule.means, None, message)

    def _read_text(self, lines: Lines, line: bytes) -> None:
        for read in lines.read(line.decode("utf-8", "replace").rstrip()):
            if isinstance(read, KnownLine):
                self._hear_line(read)
            elif lines is self._out:
                self._last_words = read or self._last_words
                self._told.take_line(read)

    def _hear_line(self, known: KnownLine) -> None:
        for name, text in known.groups.items():
            self._told.take_text(name, text)
        if known.rule.means == "answer_begins":
            self._told.begin_lines()
        elif known.rule.means == "answer_ends":
            self._told.end_lines()
        named = None if known.rule.class_name is None else AttemptClass(known.rule.class_name)
        self._hear(known.rule.means, named or self._failures.class_in(known.text), known.text)

    def _hear(self, means: EventMeaning | LineMeaning | None, attempt_class: AttemptClass | None, message: str) -> None:
        """What an event or a line means for the attempt as a whole."""
        match means:
            case "success" | "progress":
                self._has_progressed = True
                self._failures.go_on()
            case "failure" | "error":
                self._failures.fail_for_good(attempt_class, message)
            case "retry":
                self._failures.retry(attempt_class, message)
