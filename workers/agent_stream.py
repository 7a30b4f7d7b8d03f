"""What an agent tells of its attempt, read while it writes: bytes in, findings out; at the end the class of the attempt.

Promise: however the stream is cut into chunks, the result is the same; whatever stands in it, nothing here raises; each byte
is looked at a bounded number of times, and a line may be as long as memory allows.

Invariant: `ok` needs a terminal event that says success, exit code 0, no error after all, and no signal of ours before that
event. What is not known is never a success. (A text has no terminal event: there it needs at least one line that says that a
call went well, and its profile demands a check.)

No clock, no disk, no process: the time comes in, and is only asked for where a text tells of a reset in its own words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from workers.event_fields import event_of, fields_at, has_one_of, number_at, number_of, texts_at
from workers.protocol import AttemptClass, EndReason, Usage
from workers.reading import EventMeaning, EventRule, LineMeaning, LineRule, Reading
from workers.reset_times import reset_in_text, reset_of_value

_LONGEST_MESSAGE = 500
_GATHERED_LINES = 50
_LAST_STDERR_BYTES = 64 * 1024
_LAST_STDERR_LINES = 20

_NUMBERS = (
    "turns",
    "cost_usd",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
_VAGUE = {
    AttemptClass.AGENT_FAILED: 0,
    AttemptClass.RATE_LIMIT: 1,
    AttemptClass.OVERLOADED: 1,
    AttemptClass.NETWORK: 1,
}
_OUR_END = {
    EndReason.TIMEOUT: (AttemptClass.TIMEOUT, "timed out"),
    EndReason.STALLED: (AttemptClass.STALLED, "wrote nothing for too long"),
    EndReason.EVENTS: (AttemptClass.STALLED, "wrote more events than an attempt may"),
    EndReason.CANCEL: (AttemptClass.CANCELLED, "cancelled"),
    EndReason.DRAIN: (AttemptClass.CANCELLED, "ended by a drain"),
    EndReason.MEMORY: (AttemptClass.MEMORY, "used more memory than it may"),
}


class Finding(NamedTuple):
    """A failure that is certain, though its CLI would go on trying. `resets_at`: seconds since the epoch, if it told."""

    attempt_class: AttemptClass
    message: str
    resets_at: float | None


class StreamVerdict(NamedTuple):
    """What an attempt came to. `structured` is the answer to a schema. None: not told, never 0 for that.

    `usage` and `cost_usd` are as the CLI told them, so sums over a session where its reading says so.
    """

    attempt_class: AttemptClass
    message: str
    text: str | None
    structured: Any
    usage: Usage | None
    cost_usd: float | None
    resets_at: float | None
    denials: list[str]
    turns: int | None


class AgentStream:
    """One attempt's output. `feed` it as it comes, then `classify`; attributes say what is known so far."""

    def __init__(self, task_reading: Reading, wall_now: Callable[[], float]) -> None:
        self.events = 0
        self.session_id: str | None = None
        self.model: str | None = None
        self.finding: Finding | None = None
        self.has_ended = False
        self._reading = task_reading
        self._now = wall_now
        self._rules = [(rule, _compiled(rule.match)) for rule in task_reading.events]
        self._class_rules = [(re.compile(rule.pattern, re.I), AttemptClass(rule.class_name)) for rule in task_reading.classes]
        self._resets = [re.compile(pattern, re.I) for pattern in task_reading.resets]
        self._out = _Lines(rule for rule in task_reading.lines if rule.stream == "stdout")
        self._err = _Lines(rule for rule in task_reading.lines if rule.stream == "stderr")
        self._answer: list[str] | None = None
        self._answer_is_parted = False
        self._is_in_answer = False
        self._structured: Any = None
        self._numbers: dict[str, float | int] = {}
        self._denials: list[str] = []
        self._resets_at: float | None = None
        self._failure: tuple[AttemptClass, str] | None = None
        self._has_failed = False
        self._retries = 0
        self._has_progressed = False
        self._succeeded = False
        self._is_torn = False
        self._is_closed = False
        self._has_live_stderr = False
        self._last_finding: Finding | None = None
        self._last_loose_line = ""

    def feed(self, chunk: bytes) -> None:
        """Take in what was written to stdout since the last time."""
        for line in self._out.complete(chunk):
            self._read_line(line)

    def feed_stderr(self, chunk: bytes) -> None:
        """Take in what was written to stderr since the last time. Who does not feed it live leaves it to `classify`."""
        self._has_live_stderr = True
        for line in self._err.complete(chunk):
            self._read_text(self._err, line)

    def close(self) -> None:
        """The stream has ended. A last line without a newline counts if it is whole."""
        if self._is_closed:
            return
        self._is_closed = True
        for lines in (self._out, self._err):
            rest = lines.take_rest()
            if not rest.strip():
                pass
            elif lines is self._out and self._reading.format == "json" and rest.lstrip().startswith(b"{"):
                self._is_torn = event_of(rest) is None
                if not self._is_torn:
                    self._read_line(rest)
            elif lines is self._out:
                self._read_line(rest)
            else:
                self._read_text(lines, rest)
            self._end_gathering(lines)

    def classify(self, *, exit_code: int | None, signal: int | None, ended_by: EndReason | None, stderr: bytes) -> StreamVerdict:
        """What the attempt came to. `exit_code` or `signal` is how the main process ended, `ended_by` why we ended it, if we
        did; `lingering` says that we did so after its terminal event. `stderr` is all of it, or its end.
        """
        if not self._has_live_stderr:
            self.feed_stderr(stderr)
        self.close()
        attempt_class, message = self._end_of(exit_code, signal, ended_by, stderr[-_LAST_STDERR_BYTES:])
        cost = self._numbers.get("cost_usd")
        turns = self._numbers.get("turns")
        return StreamVerdict(
            attempt_class=attempt_class,
            message=_short(message),
            text=None if self._answer is None else "".join(self._answer),
            structured=self._structured,
            usage=self._usage(),
            cost_usd=None if cost is None else float(cost),
            resets_at=self._resets_at,
            denials=list(self._denials),
            turns=None if turns is None else int(turns),
        )

    def _end_of(
        self, exit_code: int | None, signal: int | None, ended_by: EndReason | None, stderr: bytes
    ) -> tuple[AttemptClass, str]:
        if ended_by is EndReason.FINDING and self._last_finding is not None:
            return self._last_finding.attempt_class, self._last_finding.message
        if ended_by is not None and ended_by in _OUR_END:
            attempt_class, words = _OUR_END[ended_by]
            return attempt_class, f"{words}; it last told: {self._failure[1]}" if self._failure else words
        is_lingering = ended_by is EndReason.LINGERING
        if self._is_success and (exit_code == 0 or is_lingering):
            return AttemptClass.OK, "had told its success, did not exit, and was ended" if is_lingering else ""
        failed = self._failed_end(exit_code, signal, stderr)
        if self._denials and failed[0] in (AttemptClass.AGENT_FAILED, AttemptClass.PROTOCOL_ERROR):
            return AttemptClass.DENIED, f"{failed[1]}; not allowed: {', '.join(self._denials[:3])}"
        return failed

    @property
    def _is_success(self) -> bool:
        if self._has_failed or self._is_torn:
            return False
        if self._reading.format == "text":
            return self._has_progressed and self._failure is None
        return self._succeeded

    def _failed_end(self, exit_code: int | None, signal: int | None, stderr: bytes) -> tuple[AttemptClass, str]:
        if self._failure is not None and (self._has_failed or self._failure[0] is not AttemptClass.AGENT_FAILED):
            return self._failure
        how = f"ended by signal {signal}" if exit_code is None else f"exit code {exit_code}"
        if exit_code == 0:
            if self._is_torn:
                return AttemptClass.PROTOCOL_ERROR, "its output breaks off in the middle of an event"
            return AttemptClass.PROTOCOL_ERROR, f"{how}, and its output does not say that it succeeded"
        lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        told = " ".join(lines[-_LAST_STDERR_LINES:]) or self._last_loose_line
        last = lines[-1] if lines else self._last_loose_line
        message = f"{how}: {last}" if last else how
        if named := self._reading.exit_codes.get(str(exit_code)):
            return AttemptClass(named), message
        attempt_class = self._class_in(told) or AttemptClass.AGENT_FAILED
        if attempt_class is not AttemptClass.AGENT_FAILED and self._resets_at is None:
            self._resets_at = reset_in_text(told, self._resets, self._now())
        return attempt_class, message

    def _usage(self) -> Usage | None:
        told = {name: int(number) for name, number in self._numbers.items() if name.endswith("_tokens")}
        return Usage(**told) if told else None

    def _read_line(self, line: bytes) -> None:
        event = event_of(line) if self._reading.format == "json" else None
        if event is None:
            if line.strip():
                self.events += 1
                self._read_text(self._out, line)
            return
        self.events += 1
        for rule, matches in self._rules:
            if _fits(rule, matches, event):
                self._take(rule, event)
                self._hear(rule.means, self._event_class(rule, event), self._event_message(rule, event))

    def _take(self, rule: EventRule, event: dict[str, Any]) -> None:
        for name, paths in rule.take.items():
            if name in _NUMBERS:
                self._add_number(name, number_at(event, paths), adds=rule.adds)
            elif name == "structured":
                self._structured = next(iter(fields_at(event, paths[0])), self._structured)
            elif name == "resets_at":
                times = (reset_of_value(field) for path in paths for field in fields_at(event, path))
                self._resets_at = next((time for time in times if time is not None), self._resets_at)
            elif texts := texts_at(event, paths):
                self._take_text(name, texts)
        self._answer_is_parted |= rule.parts_answer

    def _take_text(self, name: str, texts: Sequence[str]) -> None:
        text = "".join(texts)
        match name:
            case "session" if text:
                self.session_id = text
            case "model" if text:
                self.model = text
            case "answer" if text or self._answer is None:
                # CLIs tell an empty answer beside a tool call: it does not take the place of words.
                self._answer = [text]
            case "answer_part" if text:
                if self._answer is None or self._answer_is_parted:
                    self._answer = []
                self._answer_is_parted = False
                self._answer.append(text)
            case "denials":
                self._denials += [_short(denial) for denial in texts if denial not in self._denials]
            case "resets_in":
                seconds = number_of(text)
                self._resets_at = self._resets_at if seconds is None else self._now() + seconds

    def _add_number(self, name: str, number: float | int | None, *, adds: bool) -> None:
        if number is not None:
            self._numbers[name] = number + (self._numbers.get(name, 0) if adds else 0)

    def _event_message(self, rule: EventRule, event: dict[str, Any]) -> str:
        return " ".join(texts_at(event, rule.take.get("message", ())))

    def _event_class(self, rule: EventRule, event: dict[str, Any]) -> AttemptClass | None:
        """None: it does not say why it failed, or did not fail."""
        if rule.class_name is not None:
            return AttemptClass(rule.class_name)
        if rule.means not in ("failure", "error", "retry"):
            return None
        if found := self._class_in(self._event_message(rule, event)):
            return found
        for path, classes in rule.classes.items():
            for field in texts_at(event, [path]):
                if field in classes:
                    return AttemptClass(classes[field])
        statuses = texts_at(event, [rule.status]) if rule.status else []
        named = next((self._reading.statuses[status] for status in statuses if status in self._reading.statuses), None)
        return None if named is None else AttemptClass(named)

    def _class_in(self, message: str) -> AttemptClass | None:
        return next((found for pattern, found in self._class_rules if pattern.search(message)), None)

    def _hear(self, means: EventMeaning | LineMeaning | None, attempt_class: AttemptClass | None, message: str) -> None:
        """What an event or a line means for the attempt as a whole."""
        match means:
            case "success" | "progress":
                self._has_progressed = True
                self._go_on()
            case "begin":
                self._succeeded = self.has_ended = False
            case "failure" | "error" | "retry":
                self._fail(attempt_class or AttemptClass.AGENT_FAILED, message)
        if means in ("success", "failure"):
            self.has_ended = True
            self._succeeded = means == "success"
        if means in ("failure", "error"):
            self._has_failed = True
        if means == "retry" and self._failure is not None:
            self._retries += 1
            if self._retries >= self._reading.patience.get(self._failure[0], 1):
                self.finding = self._last_finding = Finding(self._failure[0], _short(self._failure[1]), self._resets_at)

    def _go_on(self) -> None:
        """A call went well: what was tried again before it is past. What failed for good stays so."""
        self._retries = 0
        self.finding = None
        if not self._has_failed:
            self._failure = None
            self._resets_at = None

    def _fail(self, attempt_class: AttemptClass, message: str) -> None:
        """Keep what says most: a last word "the request failed" does not take the place of "the usage limit is reached"."""
        if self._failure is None or _VAGUE.get(attempt_class, 2) >= _VAGUE.get(self._failure[0], 2):
            self._failure = (attempt_class, message or (self._failure[1] if self._failure else ""))
        elif not self._failure[1]:
            self._failure = (self._failure[0], message)
        if self._resets_at is None:
            self._resets_at = reset_in_text(message, self._resets, self._now())

    def _read_text(self, lines: _Lines, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        rule, found = lines.rule_of(text)
        if rule is None or found is None:
            if lines.gathering is not None and text and len(lines.gathering) < _GATHERED_LINES:
                lines.gathering.append(text)
            elif lines is self._out:
                self._last_loose_line = text or self._last_loose_line
                if self._is_in_answer and self._answer is not None:
                    self._answer.append(text + "\n")
            return
        self._end_gathering(lines)
        for name, value in found.groupdict().items():
            if value is not None and name in _NUMBERS:
                self._add_number(name, number_of(value), adds=True)
            elif value is not None:
                self._take_text(name, [value])
        if rule.means == "answer_begins":
            self._is_in_answer, self._answer = True, []
        elif rule.means == "answer_ends":
            self._is_in_answer = False
        if rule.gathers:
            lines.gathering, lines.gathering_rule = [text], rule
        else:
            self._hear_line(rule, text)

    def _end_gathering(self, lines: _Lines) -> None:
        if lines.gathering is not None and lines.gathering_rule is not None:
            text, rule = " ".join(line.strip() for line in lines.gathering), lines.gathering_rule
            lines.gathering = lines.gathering_rule = None
            self._hear_line(rule, text)

    def _hear_line(self, rule: LineRule, text: str) -> None:
        named = None if rule.class_name is None else AttemptClass(rule.class_name)
        self._hear(rule.means, named or self._class_in(text), text)


class _Lines:
    """One stream cut into lines, its rules, and the lines of a message that goes over several."""

    def __init__(self, rules: Any) -> None:
        self.gathering: list[str] | None = None
        self.gathering_rule: LineRule | None = None
        self._rules: list[tuple[re.Pattern[str], LineRule]] = [(re.compile(rule.pattern), rule) for rule in rules]
        self._rest: list[bytes] = []

    def complete(self, chunk: bytes) -> list[bytes]:
        """The lines that end in `chunk`. What is behind them waits in pieces, so a long line costs no more than its length."""
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._rest, lines[0]])
            self._rest.clear()
        if rest:
            self._rest.append(rest)
        return lines

    def take_rest(self) -> bytes:
        rest = b"".join(self._rest)
        self._rest.clear()
        return rest

    def rule_of(self, text: str) -> tuple[LineRule | None, re.Match[str] | None]:
        for pattern, rule in self._rules:
            if found := pattern.search(text):
                return rule, found
        return None, None


def _compiled(patterns: dict[str, str]) -> list[tuple[str, re.Pattern[str]]]:
    return [(path, re.compile(pattern, re.S)) for path, pattern in patterns.items()]


def _fits(rule: EventRule, matches: Sequence[tuple[str, re.Pattern[str]]], event: dict[str, Any]) -> bool:
    return (
        all(has_one_of(event, path, values) for path, values in rule.where.items())
        and all(fields_at(event, path) for path in rule.present)
        and not any(fields_at(event, path) for path in rule.absent)
        and all(any(pattern.search(text) for text in texts_at(event, [path])) for path, pattern in matches)
        and not (rule.unless and all(has_one_of(event, path, values) for path, values in rule.unless.items()))
    )


def _short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"
