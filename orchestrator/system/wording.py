"""How values are said to people: text that cannot drive a terminal, durations, counts, the title of an item."""

from __future__ import annotations

import time
from collections.abc import Mapping

_LABEL_WIDTH = 100
_LONGEST_MESSAGE = 2000

STATUS_WORDS = {"succeeded": "ok", "failed": "FAILED"}
"""What a line begins with; another status is said as it is."""


def shown(text: str, width: int | None = None) -> str:
    """`text` with everything that a terminal could obey written as an escape, cut to `width` characters.

    Item names come from strangers: control characters, direction marks, line separators and bytes that were not UTF-8 are told.
    """
    if not text.isprintable():
        text = "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)
    return text if width is None else cut(text, width)


def shown_message(text: str) -> str:
    """As `shown`, for a message that repeats what somebody typed: of one that is very long the beginning and the end."""
    half = _LONGEST_MESSAGE // 2
    return shown(text if len(text) <= _LONGEST_MESSAGE else f"{text[:half]}…{text[-half:]}")


def json_for_terminal(text: str) -> str:
    """A piece of JSON, or of lines, with everything that a terminal could obey as JSON has escapes for it; line ends stay."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else _json_escape(each) for each in text)


def _json_escape(character: str) -> str:
    import json

    return json.dumps(character)[1:-1] if character > "\x7f" else f"\\u{ord(character):04x}"


def cut(text: str, width: int) -> str:
    """At most `width` characters of `text`."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def title(item: str, label: str | None, width: int = _LABEL_WIDTH) -> str:
    """`port:3 tests/test_a.py`: an item's id and what people call it."""
    return f"{item} {shown(label, width)}" if label else item


def lasting(seconds: float) -> str:
    """A duration in at most two units: `0.3s`, `42s`, `3m 05s`, `2h 04m`, `3d 04h`."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def at_time(seconds: float) -> str:
    """A time (seconds since the epoch) in the local zone, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def sized(count: float) -> str:
    """A number of bytes: `512 B`, `3.4 MiB`."""
    if count < 1024:
        return f"{int(count)} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def dollars(amount: float | None) -> str:
    """An amount of money: `1.23 USD`, `0.0004 USD`; what is unknown is never 0."""
    if amount is None:
        return "an unknown amount"
    return f"{amount:.4f} USD" if 0 < amount < 0.01 else f"{amount:.2f} USD"


def spent(amount: float | None, unknown: int) -> str:
    """`spent 1.23 USD (2 of unknown cost)`: of the attempts whose cost is known, and how many others there were."""
    return f"spent {dollars(amount)}" + (f" ({unknown} of unknown cost)" if unknown and amount is not None else "")


def counted(counts: Mapping[str, int]) -> str:
    """`12 succeeded, 1 failed`: the states that occur; `no items` when none does."""
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "no items"


def after_attempts(message: str, attempts: int, attempt_class: str | None = None) -> str:
    """Why an item failed: the message, and how often it was tried when that was more than once.

    The message of a loop that gave up (`attempt_class`) tells its rounds itself.
    """
    said = shown(message, 300) or "failed"
    return f"{said} after {attempts} attempts" if attempts > 1 and attempt_class != "loop_failed" else said
