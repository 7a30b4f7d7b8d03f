"""Which rules of a reading fit a JSON event."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ..protocol.reading import EventRule
from .event_fields import fields_at, has_one_of, texts_at
from .patterns import find

_MOST_TYPES = 100
"""Of events, whose rules are remembered: a stream may name ever new types, and call one by a megabyte."""
_LONGEST_TYPE = 200

_Rule = tuple[EventRule, list[tuple[str, re.Pattern[str]]]]


class EventRules:
    """The rules for events, asked with one event after another."""

    def __init__(self, rules: Sequence[EventRule]) -> None:
        self._rules = [(rule, _compiled(rule.match)) for rule in rules]
        self._rules_by_type: dict[str, Sequence[_Rule]] = {}

    def fitting(self, event: dict[str, Any]) -> Iterator[EventRule]:
        """The rules that fit the event, in order."""
        return (rule for rule, matches in self._candidates(event) if _fits(rule, matches, event))

    def _candidates(self, event: dict[str, Any]) -> Sequence[_Rule]:
        """Those that may fit it: its type rules out most of them, and is asked for once."""
        told = event.get("type")
        if not isinstance(told, str):
            return self._rules
        found = self._rules_by_type.get(told)
        if found is None:
            found = [each for each in self._rules if told in each[0].where.get("type", [told])]
            if len(self._rules_by_type) < _MOST_TYPES and len(told) <= _LONGEST_TYPE:
                self._rules_by_type[told] = found
        return found


def _compiled(patterns: dict[str, str]) -> list[tuple[str, re.Pattern[str]]]:
    return [(path, re.compile(pattern, re.S)) for path, pattern in patterns.items()]


def _fits(rule: EventRule, matches: Sequence[tuple[str, re.Pattern[str]]], event: dict[str, Any]) -> bool:
    return (
        all(has_one_of(event, path, values) for path, values in rule.where.items())
        and all(fields_at(event, path) for path in rule.present)
        and not any(fields_at(event, path) for path in rule.absent)
        and all(any(find(pattern, text) for text in texts_at(event, [path])) for path, pattern in matches)
        and not (rule.unless and all(has_one_of(event, path, values) for path, values in rule.unless.items()))
    )
