"""When a limit ends, from the words that providers use for it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from drivers.recorded_agents import reading_of
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.workers.agents.reset_times import reset_in_text, reset_of_value

PATTERNS = [re.compile(pattern, re.I) for pattern in reading_of("claude").resets]
NOW = datetime(2026, 11, 20, 21, 46, 52, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _local_time_is_new_yorks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where it is 16:46:52 now."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def told(text: str, now: datetime = NOW) -> datetime | None:
    when = reset_in_text(text, PATTERNS, now.timestamp())
    return None if when is None else datetime.fromtimestamp(when, UTC)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "minute"),
    [
        ("You've hit your session limit · resets 11:46pm (UTC)", utc(2026, 11, 20, 23, 46)),
        ("resets 9pm (UTC)", utc(2026, 11, 21, 21, 0)),
        ("resets 12am (UTC)", utc(2026, 11, 21, 0, 0)),
        ("resets 12pm (UTC)", utc(2026, 11, 21, 12, 0)),
        ("Your limit resets at 3am (America/New_York).", utc(2026, 11, 21, 8, 0)),
        ("resets Nov 25, 3pm (UTC)", utc(2026, 11, 25, 15, 0)),
        ("resets Jan 2, 3pm (UTC)", utc(2027, 1, 2, 15, 0)),
        ("You\u2019ve hit your usage limit … or try again at 11:46 PM.", utc(2026, 11, 21, 4, 46)),
        ("try again at 4:00 PM.", utc(2026, 11, 21, 21, 0)),
        ("try again at Jan 1st, 2100 12:00 AM.", utc(2100, 1, 1, 5, 0)),
        ("try again at Nov 22nd, 2026 1:07 PM.", utc(2026, 11, 22, 18, 7)),
    ],
)
def test_words_tell_the_next_such_minute_which_counts_when_it_is_over(text: str, minute: datetime) -> None:
    assert told(text) == minute + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Claude AI usage limit reached|1795218409", utc(2026, 11, 20, 23, 46, 49)),
        ('{"type":"usage_limit_reached","resets_at":4102444800,"plan":1}', utc(2100, 1, 1)),
        ("Please retry in 34.5s.", NOW + timedelta(seconds=34.5)),
        ("Your quota will reset after 5h3m12s.", NOW + timedelta(hours=5, minutes=3, seconds=12)),
        ("Try again in 2 hours and nothing else", NOW + timedelta(hours=2)),
        ("try again in 4 days 2 hours 30 minutes", NOW + timedelta(days=4, hours=2, minutes=30)),
        ("429 Too Many Requests (retry-after: 17)", NOW + timedelta(seconds=17)),
    ],
)
def test_words_tell_a_time_to_the_second(text: str, expected: datetime) -> None:
    assert told(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "try again later",
        "resets 25:99pm (UTC)",
        "try again at Feb 31st, 2027 1:00 AM.",
        "the test resets 3 counters",
        "resets soon",
    ],
)
def test_words_that_are_no_time_tell_none(text: str) -> None:
    assert told(text) is None


def test_a_minute_that_is_not_over_or_has_just_gone_by_is_not_taken_for_tomorrows() -> None:
    """People are shown whole minutes: a reset at 23:46:49 is told as 11:46pm, also by a clock that is a little ahead."""
    assert told("resets 11:46pm (UTC)", utc(2026, 11, 20, 23, 46, 30)) == utc(2026, 11, 20, 23, 47)
    assert told("resets 11:46pm (UTC)", utc(2026, 11, 20, 23, 47, 59)) == utc(2026, 11, 20, 23, 47)
    assert told("resets 11:46pm (UTC)", utc(2026, 11, 20, 23, 50, 0)) == utc(2026, 11, 21, 23, 47)


def test_a_zone_that_nobody_knows_is_local_time() -> None:
    assert told("resets 11pm (Nowhere/Atall)") == utc(2026, 11, 21, 4, 1)


def test_the_next_time_of_day_is_right_when_the_clocks_change() -> None:
    """In the night to 2026-11-01 New York goes from UTC-4 to UTC-5."""
    assert told("resets 8am (America/New_York)", utc(2026, 10, 31, 20, 0)) == utc(2026, 11, 1, 13, 1)
    assert told("try again at 8:00 AM.", utc(2026, 10, 31, 20, 0)) == utc(2026, 11, 1, 13, 1)


@given(
    now=st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1)),
    hour=st.integers(1, 12),
    minute=st.integers(0, 59),
    pm=st.booleans(),
)
def test_a_time_of_day_is_always_the_next_one(now: datetime, hour: int, minute: int, pm: bool) -> None:
    here = now.replace(tzinfo=ZoneInfo("Europe/Berlin"))
    when = reset_in_text(f"resets {hour}:{minute:02}{'pm' if pm else 'am'} (Europe/Berlin)", PATTERNS, here.timestamp())
    assert when is not None
    assert -60 < when - here.timestamp() <= 25 * 3600 + 60


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1795218409, 1795218409.0),
        (1795218409000, 1795218409.0),
        ("1795218409", 1795218409.0),
        ("2026-11-20T23:46:49Z", 1795218409.0),
        ("2026-11-20T23:46:49", 1795218409.0),
        (0, None),
        (-5, None),
        (True, None),
        ("soon", None),
        (None, None),
        ([1795218409], None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
    ],
)
def test_a_field_holds_a_time_in_any_of_the_usual_forms(value: object, expected: float | None) -> None:
    assert reset_of_value(value) == expected
