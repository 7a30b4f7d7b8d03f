"""When a limit ends, from what an agent wrote of it: "try again at 11:46 PM.", "resets 11pm (America/New_York)", an epoch.

A pattern tells its parts by named groups: `hour` `minute` `ampm` `month` (a name or number) `day` `year` `zone`, or `epoch`
(seconds), or a time from now: `days` `hours` `minutes` `seconds`. A time of day without a date, or a date without a year,
means the next such time; without a zone it is local time, which is what people are shown.

A time of day is the minute in which the limit ends (23:46:49 is told as 11:46pm), so the end of that minute counts: an attempt at
its beginning would come too early, and be told the same again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from .patterns import find

RESET_GROUPS = frozenset(
    ["hour", "minute", "ampm", "month", "day", "year", "zone", "epoch", "days", "hours", "minutes", "seconds"]
)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MINUTE_SECONDS = 60.0
_JUST_OVER_SECONDS = 60.0
"""A minute that is over for less than this is the one that is meant, not tomorrow's."""
_FIRST_MILLISECONDS = 1e11
"""An epoch from here on is in milliseconds (as seconds it would be the year 5138)."""
_LAST_EPOCH = 253_402_300_799.0


def reset_in_text(text: str, patterns: Sequence[re.Pattern[str]], now: float) -> float | None:
    """Seconds since the epoch, by the first pattern that is found and makes sense; None if none does."""
    for pattern in patterns:
        if found := find(pattern, text):
            parts = {name: value for name, value in found.groupdict().items() if value}
            try:
                when = _time_of(parts, now)
            except (ValueError, OverflowError, OSError):
                continue  # "25:99", a 31st of February: no time.
            if when is not None:
                return when
    return None


def reset_of_value(value: object) -> float | None:
    """A field that holds a time: epoch seconds or milliseconds (a number, or one as text), or ISO 8601."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _iso(str(value))
    if not isinstance(value, int | float) or not 0 < value < _LAST_EPOCH * 1000:
        return None
    return float(value) / 1000 if value >= _FIRST_MILLISECONDS else float(value)


def _iso(text: str) -> float | None:
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _time_of(parts: dict[str, str], now: float) -> float | None:
    if "epoch" in parts:
        return reset_of_value(parts["epoch"])
    if span := {name: float(parts[name]) for name in ("days", "hours", "minutes", "seconds") if name in parts}:
        return now + timedelta(**span).total_seconds()
    if "hour" not in parts and "day" not in parts:
        return None
    zone = _zone(parts.get("zone"))
    here = datetime.fromtimestamp(now, zone)
    clock = here.replace(hour=_hour(parts), minute=int(parts.get("minute", 0)), second=0, microsecond=0, tzinfo=zone)
    if "day" not in parts:
        return _next_of([clock, clock + timedelta(days=1)], now)
    month = _month(parts["month"]) if "month" in parts else here.month
    years = [int(parts["year"])] if "year" in parts else [here.year, here.year + 1]
    return _next_of([clock.replace(year=year, month=month, day=int(parts["day"])) for year in years], now)


def _next_of(times: Sequence[datetime], now: float) -> float:
    """The end of the first minute that is not over, else of the last. A naive time is local: each day has its own offset."""
    seconds = [time.timestamp() + _MINUTE_SECONDS for time in times]
    return next((second for second in seconds if second > now - _JUST_OVER_SECONDS), seconds[-1])


def _hour(parts: dict[str, str]) -> int:
    hour = int(parts.get("hour", 0))
    match parts.get("ampm", "").lower().replace(".", ""):
        case "am":
            return 0 if hour == 12 else hour
        case "pm":
            return 12 if hour == 12 else hour + 12
        case _:
            return hour


def _month(name: str) -> int:
    return int(name) if name.isdecimal() else _MONTHS.index(name[:3].lower()) + 1


def _zone(name: str | None) -> tzinfo | None:
    """None is local time: also for a name that this machine does not know."""
    if name is None:
        return None
    if name.upper() in ("UTC", "GMT", "Z"):
        return UTC
    import zoneinfo  # Hardly ever needed.

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None
