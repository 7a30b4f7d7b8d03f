"""Regular expressions that are compiled when they are first used: a run of one item uses few of all that its modules have."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


def lazy_pattern(source: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """What `re.compile` gives, at its first use. A mistake in `source` is told then: a test compiles all of them."""
    return cast("re.Pattern[AnyStr]", _Pattern(source, flags))


class _Pattern:
    """Has no attribute of a pattern until it is asked for one; then it keeps that of the compiled one."""

    def __init__(self, source: str | bytes, flags: int) -> None:
        self._source, self._flags = source, flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(self._source, self._flags), name)  # compiled once: `re` remembers it
        setattr(self, name, found)
        return found
