"""Durations and sizes: what people write is what is counted, and nothing that no clock or file could hold gets through."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from drivers.jobs_schema import accepts
from drivers.sweeps import examples
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.jobsfile.key_types import parse_max_failures
from orchestrator.jobsfile.language.quantities import (
    COUNT_FORM,
    DURATION_FORM,
    LARGEST_BYTES,
    LONGEST_SECONDS,
    MOST_STARTS,
    PERCENT_PATTERN,
    RATE_PATTERN,
    SIZE_FORM,
    parse_count,
    parse_duration,
    parse_limit,
    parse_percent,
    parse_rate,
    parse_size,
    parse_size_limit,
)
from orchestrator.jobsfile.model import MaxFailures

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.from_regex(r"[-+]?[0-9_.e]{0,9} ?[a-zA-Z%]{0,4}", fullmatch=True),
    st.lists(st.integers(), max_size=2),
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90),
        ("20m", 1200),
        ("2h", 7200),
        ("1d", 86400),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("1d2h3m4s", 93784),
        ("1.5h", 5400),
        (" 2h ", 7200),
        ("90", 90),
        (90, 90),
        (0.25, 0.25),
        (0, 0),
    ],
)
def test_a_duration_counts_seconds(written: Any, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            "s",
            "-1s",
            "1 h",
            "1x",
            "h1",
            "1h 30",
            "1e3",
            "nan",
            "inf",
            "\N{ARABIC-INDIC DIGIT ONE}s",
            "9" * 5000,
            "9" * 5000 + "d",
        ),
        *(-1, -0.5, math.nan, math.inf, -math.inf, 10**400, True, None, [], {}, LONGEST_SECONDS * 1.01),
    ],
)
def test_what_is_no_duration_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_duration(written)


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_the_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}s") == days * 86400 + hours * 3600 + minutes * 60 + seconds


@given(ANYTHING)
def test_a_duration_is_a_number_that_a_clock_can_hold_or_is_refused(written: Any) -> None:
    try:
        seconds = parse_duration(written)
    except ValueError:
        return
    assert isinstance(seconds, float)
    assert 0 <= seconds <= LONGEST_SECONDS


@pytest.mark.parametrize(("written", "limit"), [("0s", None), (0, None), ("1s", 1.0)])
def test_a_limit_of_zero_is_no_limit(written: Any, limit: float | None) -> None:
    assert parse_limit(written) == limit


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("10MiB", 10 * 1024**2),
        ("10MB", 10_000_000),
        ("10k", 10_240),
        ("10 K", 10_240),
        ("1G", 1024**3),
        ("1.5KiB", 1536),
        ("1.1MB", 1_100_000),
        ("7B", 7),
        ("7", 7),
        (0, 0),
        (4096, 4096),
        (LARGEST_BYTES, LARGEST_BYTES),
        (2**53 + 1, 2**53 + 1),
    ],
)
def test_a_size_counts_bytes(written: Any, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written",
    ["", "MB", "-1k", "1x", "1 0k", "nan", -1, 1.5, math.nan, math.inf, 2**63, 10**400, True, None, [], "9" * 5000],
)
def test_what_is_no_size_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_size(written)


@given(ANYTHING)
def test_a_size_is_a_number_that_a_file_can_have_or_is_refused(written: Any) -> None:
    try:
        size = parse_size(written)
    except ValueError:
        return
    assert isinstance(size, int)
    assert 0 <= size <= LARGEST_BYTES


@given(ANYTHING)
def test_a_count_is_at_least_one_or_is_refused(written: Any) -> None:
    try:
        count = parse_count(written)
    except ValueError:
        return
    assert count >= 1
    assert str(count) == str(written).strip().lstrip("0")


@pytest.mark.parametrize(("written", "count"), [(4, 4), ("4", 4), (" 16 ", 16)])
def test_a_count_may_be_written_as_a_string(written: Any, count: int) -> None:
    assert parse_count(written) == count


@pytest.mark.parametrize("written", [0, -1, "0", "-1", "four", "", "1.0", 1.0, True, None, "9" * 5000, "²"])
def test_what_is_no_count_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_count(written)


@given(st.floats(0, 100))
def test_a_percentage_is_read_back_as_written(percent: float) -> None:
    assert parse_percent(f"{percent:f}%") == float(f"{percent:f}")


@pytest.mark.parametrize("written", ["20", "-1%", "101%", "%", "x%", 20, None])
def test_what_is_no_percentage_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_percent(written)


def test_max_failures_is_a_number_of_items_or_a_share_of_them() -> None:
    assert parse_max_failures(0) == MaxFailures(count=0)
    assert parse_max_failures("20%") == MaxFailures(percent=20.0)
    for refused in (-1, True, 0.5, "3", [1]):
        with pytest.raises(ValueError, match=r"."):
            parse_max_failures(refused)


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("50/min", (50, 60)),
        ("5/s", (5, 1)),
        ("100/h", (100, 3600)),
        ("1000/day", (1000, 86400)),
        ("3/10s", (3, 10)),
        ("1/1h30m", (1, 5400)),
        ("1/500ms", (1, 0.5)),
        (" 2 / Minute ", (2, 60)),
        (f"{MOST_STARTS}/d", (MOST_STARTS, 86400)),
    ],
)
def test_a_rate_is_so_many_starts_in_so_many_seconds(written: str, rate: tuple[int, float]) -> None:
    assert parse_rate(written) == rate


@pytest.mark.parametrize(
    "written",
    [
        "",
        "5",
        "/s",
        "5/",
        "5/10",
        "0/s",
        "-1/s",
        "1.5/s",
        "5/0s",
        "5/month",
        "5/s/s",
        "5 per s",
        f"{MOST_STARTS + 1}/d",
        5,
        True,
        None,
    ],
)
def test_a_rate_refuses_what_gives_no_starts_or_no_time(written: Any) -> None:
    with pytest.raises(ValueError, match=r"rate|duration|number"):
        parse_rate(written)


@given(ANYTHING)
def test_a_rate_is_always_one_that_can_be_kept(written: Any) -> None:
    try:
        starts, seconds = parse_rate(written)
    except ValueError:
        return
    assert 1 <= starts <= MOST_STARTS
    assert 0 < seconds <= LONGEST_SECONDS


@pytest.mark.parametrize(("written", "limit"), [("2GiB", 2 * 1024**3), (0, None), ("0", None), (1, 1)])
def test_a_size_of_nothing_is_no_limit(written: Any, limit: int | None) -> None:
    assert parse_size_limit(written) == limit


WRITTEN = st.from_regex(r" ?[0-9]{0,3}(\.[0-9]{1,2})?( ?(ms|[smhdbkgtMKB%/]|i|min|hour)?){0,3} ?", fullmatch=True)
FORMS = [
    (parse_duration, DURATION_FORM),
    (parse_size, SIZE_FORM),
    (parse_count, COUNT_FORM),
    (parse_percent, {"type": "string", "pattern": PERCENT_PATTERN}),
    (parse_rate, {"type": "string", "pattern": RATE_PATTERN}),
]


@pytest.mark.parametrize(("parse", "form"), FORMS, ids=["duration", "size", "count", "percent", "rate"])
@examples(200)
@given(written=WRITTEN | st.integers(-2, 200) | st.floats(-2, 200).filter(lambda number: number % 1) | st.booleans() | st.none())
def test_editors_are_told_what_is_parsed(parse: Callable[[Any], Any], form: dict[str, Any], written: Any) -> None:
    """To JSON 1.0 is a whole number; a rate of no starts, or in no time, is left to the parser."""
    try:
        parse(written)
    except ValueError:
        assert not accepts(form, written) or (parse is parse_rate and re.search(r"^ ?0+ ?/|/ ?0", written))
    else:
        assert accepts(form, written)
