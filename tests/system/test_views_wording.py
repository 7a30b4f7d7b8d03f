"""Values said to people: exact, short, and unable to drive a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.system.wording import (
    after_attempts,
    counted,
    dollars,
    for_terminal,
    harmless_json,
    iso_time,
    lasting,
    shown,
    sized,
    spent,
    title,
)


@given(st.text(st.characters()))
def test_nothing_that_is_shown_can_drive_a_terminal(text: str) -> None:
    assert shown(text).isprintable()


@given(st.text(st.characters()))
def test_data_keep_their_lines_and_blanks_and_nothing_else_that_is_not_printable(text: str) -> None:
    told = for_terminal(text)
    assert all(each.isprintable() or each in "\n\t" or unicodedata.category(each) == "Zs" for each in told)
    assert for_terminal(told) == told
    assert told.count("\n") == text.count("\n")


@given(st.recursive(st.text(), lambda below: st.lists(below) | st.dictionaries(st.text(), below)))
def test_harmless_json_has_the_same_value(value: object) -> None:
    told = harmless_json(json.dumps(value, ensure_ascii=False).encode()).decode()
    assert json.loads(told) == value
    assert all(each.isprintable() or unicodedata.category(each) == "Zs" for each in told)


def test_data_are_told_by_their_bytes_where_they_are_no_text() -> None:
    text = b"\t\x1b[31m\xff caf\xc3\xa9\xc2\x9b1m\r\n".decode("utf-8", "surrogateescape")
    assert for_terminal(text) == "\t\\x1b[31m\\xff café\\x9b1m\\r\n"
    told = harmless_json('"\x7f\x9b\u202e\U000e0001 é 😀"'.encode()).decode()
    assert told == r'"\u007f\u009b\u202e\udb40\udc01 é 😀"'


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_what_is_shown_fits_its_width(text: str, width: int) -> None:
    assert len(shown(text, width)) <= width


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain é 字", "plain é 字"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
    ],
)
def test_escapes_say_what_was_there(text: str, said: str) -> None:
    assert shown(text) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1.0, "0.0s"),
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (42.9, "42s"),
        (60, "1m 00s"),
        (3599.9, "59m 59s"),
        (3600, "1h 00m"),
        (86399, "23h 59m"),
        (90000, "1d 01h"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 30, "3.0 GiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes(count: int, said: str) -> None:
    assert sized(count) == said


def test_a_long_label_is_cut_and_none_is_left_out() -> None:
    assert title("port:3", None) == "port:3"
    assert title("port:3", "a" * 300) == "port:3 " + "a" * 99 + "…"


def test_states_without_items_are_not_counted() -> None:
    assert counted({"succeeded": 2, "failed": 0}) == "2 succeeded"
    assert counted({}) == "no items"


def test_the_number_of_attempts_is_told_when_there_were_several() -> None:
    assert after_attempts("exit code 3", 1) == "exit code 3"
    assert after_attempts("exit code 3", 3) == "exit code 3 after 3 attempts"
    said = "repeat.until is not true after 3 rounds"
    assert after_attempts(said, 3, "loop_failed") == said, "a loop that gave up tells its rounds itself"


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0.0, "0.00 USD"),
        (0.0004, "0.0004 USD"),
        (0.01, "0.01 USD"),
        (1.234, "1.23 USD"),
        (1234.5, "1234.50 USD"),
        (None, "an unknown amount"),
    ],
)
def test_amounts_of_money(amount: float | None, said: str) -> None:
    assert dollars(amount) == said


@pytest.mark.parametrize(
    ("amount", "unknown", "said"),
    [(1.23, 0, "spent 1.23 USD"), (1.23, 2, "spent 1.23 USD (2 of unknown cost)"), (None, 2, "spent an unknown amount")],
)
def test_what_is_unknown_is_never_said_to_be_nothing(amount: float | None, unknown: int, said: str) -> None:
    assert spent(amount, unknown) == said


def test_a_time_is_iso_8601_to_the_millisecond() -> None:
    assert iso_time(None) is None
    assert iso_time(0.0) == "1970-01-01T00:00:00.000Z"
    assert iso_time(1796076090.2823193) == "2026-11-30T22:01:30.282Z"
    assert iso_time(1796076090.9996) == "2026-11-30T22:01:31.000Z"
