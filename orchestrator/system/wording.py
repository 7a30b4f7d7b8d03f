"""How values are said to people: text that cannot drive a terminal, durations, counts, the title of an item.

What a terminal could obey, or show otherwise than it is, are all characters that are not printable: C0 and C1 controls, direction
marks, line and paragraph separators, characters without a width, halves of characters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache

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


def shell_word(text: str) -> str:
    """`text` as a person has to type it into a shell."""
    import shlex  # Most runs have nothing to type.

    return shlex.quote(text)


def error_in_words(error: Exception) -> str:
    """Its kind and what it says, as it stands at the end of a traceback."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def for_terminal(text: str) -> str:
    """Data as a terminal cannot obey it: as `shown`, but line ends, tabs and blanks of any width stay.

    A byte that was no UTF-8 (a lone surrogate, as `surrogateescape` decodes it) is told as the byte: `\\x9b`.
    """
    return text if text.isprintable() else text.translate(_TERMINAL_ESCAPES)


def harmless_json(data: bytes) -> bytes:
    """JSON (whole characters) in which all that a terminal could obey stands as JSON's own escape: it has the same value."""
    # JSON that is ASCII has no other control than DEL: all others are escaped by whoever writes it.
    if data.isascii() and b"\x7f" not in data:
        return data
    text = data.decode()
    return data if text.isprintable() else text.translate(_JSON_ESCAPES).encode()


class _Escapes(dict[int, str]):
    """Code point -> what is written for it, worked out when it is first asked for: for `str.translate`."""

    def __init__(self, escape: Callable[[str], str]) -> None:
        super().__init__({ord(each): each for each in "\n\t"})
        self._escape = escape

    def __missing__(self, code: int) -> str:
        import unicodedata

        each = chr(code)
        told = self[code] = each if each.isprintable() or unicodedata.category(each) == "Zs" else self._escape(each)
        return told


def _terminal_escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


_TERMINAL_ESCAPES = _Escapes(_terminal_escape)
_JSON_ESCAPES = _Escapes(_json_escape)


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


def iso_time(seconds: float | None) -> str | None:
    """A time (seconds since the epoch) as ISO 8601 in UTC, to the millisecond: `2026-11-30T22:04:05.125Z`."""
    if seconds is None:
        return None
    # Rounded before it is cut into seconds: 1.9996 is 2.000, and not 1.1000.
    rounded = round(seconds * 1000)
    whole = rounded // 1000
    return _to_the_second(whole) + _thousandths(rounded - 1000 * whole)


# Both are looked up: a list of a million items has two million times, few of them in another second than the one before.
@lru_cache(64)
def _to_the_second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


@lru_cache(1000)
def _thousandths(number: int) -> str:
    return f".{number:03d}Z"


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


def how_many(count: int, what: str) -> str:
    """`1 item`, `3 items`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def counted(counts: Mapping[str, int]) -> str:
    """`12 succeeded, 1 failed`: the states that occur; `no items` when none does."""
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "no items"


def after_attempts(message: str, attempts: int, attempt_class: str | None = None) -> str:
    """Why an item failed: the message, and how often it was tried when that was more than once.

    The message of a loop that gave up (`attempt_class`) tells its rounds itself.
    """
    said = shown(message, 300) or "failed"
    return f"{said} after {attempts} attempts" if attempts > 1 and attempt_class != "loop_failed" else said
