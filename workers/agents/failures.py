"""What went wrong in an agent's attempt so far, and whether its CLI would go on trying for too long.

States of an attempt, as its events tell them:

    well --retry--> trying --progress, success--> well
    trying --`patience` of its class is over--> found (its CLI has to be ended), --progress--> well
    any --error, failure--> failed for good
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..protocol import AttemptClass, ResetSource
from ..protocol.reading import EventRule, Reading
from .event_fields import fields_at, number_of, texts_at
from .patterns import find
from .reset_times import reset_in_text, reset_of_value

LONGEST_MESSAGE = 500

_VAGUE = {
    AttemptClass.AGENT_FAILED: 0,
    AttemptClass.RATE_LIMIT: 1,
    AttemptClass.OVERLOADED: 1,
    AttemptClass.NETWORK: 1,
}
_CLEAR = 2


class Finding(NamedTuple):
    """A failure that is certain, though its CLI would go on trying. `resets_at`: seconds since the epoch, if it told."""

    attempt_class: AttemptClass
    message: str
    resets_at: float | None


class Failure(NamedTuple):
    attempt_class: AttemptClass
    message: str


class Failures:
    """`current` is what says most of what went wrong; `is_final`: no success can follow it. `found` is the last finding, also
    when it was taken back."""

    def __init__(self, reading: Reading, wall_now: Callable[[], float]) -> None:
        self.current: Failure | None = None
        self.is_final = False
        self.finding: Finding | None = None
        self.found: Finding | None = None
        self.resets_at: float | None = None
        self.reset_source: ResetSource | None = None
        self._reading = reading
        self._now = wall_now
        self._retries = 0
        self._words = [(re.compile(rule.pattern, re.I), AttemptClass(rule.class_name)) for rule in reading.classes]
        self._resets = [re.compile(pattern, re.I) for pattern in reading.resets]

    def fail(self, attempt_class: AttemptClass | None, message: str) -> None:
        """Keep what says most: a last word "the request failed" does not take the place of "the usage limit is reached"."""
        named = attempt_class or AttemptClass.AGENT_FAILED
        before = self.current
        if before is None or _clarity(named) >= _clarity(before.attempt_class):
            self.current = Failure(named, message or (before.message if before else ""))
        elif not before.message:
            self.current = Failure(before.attempt_class, message)
        if self.resets_at is None and (when := self.reset_in(message)) is not None:
            self.resets_at, self.reset_source = when, "text"

    def fail_for_good(self, attempt_class: AttemptClass | None, message: str) -> None:
        """As `fail`, and nothing that follows makes it good again."""
        self.fail(attempt_class, message)
        self.is_final = True

    def retry(self, attempt_class: AttemptClass | None, message: str) -> None:
        """As `fail`, and the CLI would try again by itself."""
        self.fail(attempt_class, message)
        self._retries += 1
        if self.current is not None and self._retries >= self._reading.patience.get(self.current.attempt_class, 1):
            failed, words = self.current
            self.finding = self.found = Finding(failed, short(words), self.resets_at)

    def go_on(self) -> None:
        """A call went well: what was tried again before it is past."""
        self._retries = 0
        self.finding = None
        if not self.is_final:
            self.current = self.resets_at = self.reset_source = None

    def take_reset(self, event: dict[str, Any], paths: Iterable[str], *, is_from_now: bool) -> None:
        """Take the first field that holds the time of a reset, or the seconds until it."""
        for path in paths:
            for field in fields_at(event, path):
                seconds = number_of(str(field)) if is_from_now else None
                when = reset_of_value(field) if not is_from_now else None if seconds is None else self._now() + seconds
                if when is not None:
                    self.resets_at, self.reset_source = when, "field"
                    return

    def reset_in(self, message: str) -> float | None:
        """When a limit ends by the words of a message."""
        return reset_in_text(message, self._resets, self._now()) if message and self._resets else None

    def class_in(self, message: str) -> AttemptClass | None:
        """The class of a failure by its words; None if they say nothing."""
        return next((found for pattern, found in self._words if message and find(pattern, message)), None)

    def class_of(self, rule: EventRule, event: dict[str, Any], message: str) -> AttemptClass | None:
        """The class of a failure that an event tells of; None if it does not say why."""
        if rule.class_name is not None:
            return AttemptClass(rule.class_name)
        if found := self.class_in(message):
            return found
        for path, classes in rule.classes.items():
            for value in texts_at(event, [path]):
                if value in classes:
                    return AttemptClass(classes[value])
        for status in texts_at(event, [rule.status]) if rule.status else ():
            if status in self._reading.statuses:
                return AttemptClass(self._reading.statuses[status])
        return None


def short(message: str) -> str:
    """One line of at most `LONGEST_MESSAGE` characters."""
    line = " ".join(message.split())
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"


def _clarity(attempt_class: AttemptClass) -> int:
    return _VAGUE.get(attempt_class, _CLEAR)
