"""How failures are told: why, once, and those that are alike together."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from drivers.views_story import began, ended, finished, started

from orchestrator.views.failures import MOST_FAILURES, MOST_TAILS, Failure, FailureGroups, failure_lines
from orchestrator.views.outlet import Outlet
from orchestrator.views.plain_lines import PlainLines, Quiet
from orchestrator.views.terminal import LiveView

TAIL = ["Traceback", "ValueError: bad"]


def failure(index: int, message: str = "exit code 1", label: str | None = None, tail: list[str] | None = None) -> Failure:
    return Failure((0, index), f"port:{index}", label, message, 1, "command_failed", tail or [])


def groups_of(*failures: Failure) -> list[tuple[int, int]]:
    """First item and size of each group."""
    return [(group.first.place[1], group.count) for group in FailureGroups(failures).in_order()]


@pytest.mark.parametrize(
    ("one", "other", "are_alike"),
    [
        (failure(0), failure(1), True),
        (failure(0), failure(1, "exit code 2"), False),
        (failure(0, tail=TAIL), failure(1, tail=TAIL), True),
        (failure(0, tail=TAIL), failure(1, tail=["ValueError: bad"]), False),
        (failure(0, label="in/a.txt", tail=["in/a.txt:3: no"]), failure(1, label="in/b.txt", tail=["in/b.txt:3: no"]), True),
        (failure(0, tail=["port:0 is bad"]), failure(1, tail=["port:1 is bad"]), True),
        (failure(0, label="4", tail=["page 4 of 9"]), failure(1, label="51", tail=["page 51 of 9"]), True),
        (failure(0, "exit code 4", label="4"), failure(1, "exit code 5", label="5"), False),
        (failure(0, label="4", tail=["HTTP 404"]), failure(1, label="5", tail=["HTTP 505"]), False),
        (failure(0, tail=["1 failed in 0.12s"]), failure(1, tail=["1 failed in 3.5s"]), True),
        (failure(0, tail=["<A at 0x7f01>"]), failure(1, tail=["<A at 0x7f99>"]), True),
        (failure(0, tail=["HTTP 404"]), failure(1, tail=["HTTP 500"]), False),
    ],
)
def test_failures_are_alike_but_for_what_each_item_is_called_and_took(one: Failure, other: Failure, are_alike: bool) -> None:
    assert groups_of(one, other) == ([(0, 2)] if are_alike else [(0, 1), (1, 1)])


def test_the_first_of_a_group_is_the_first_in_item_order_whichever_came_first() -> None:
    failures = [failure(index) for index in range(50)]
    random.Random(3).shuffle(failures)
    (group,) = FailureGroups(failures).in_order()
    assert list(failure_lines([group], 50)) == [
        "FAILED port:0: exit code 1",
        "       and 49 more like this: port:1, port:2, port:3, …",
    ]


def test_ten_thousand_reasons_take_no_more_memory_and_lines_than_a_hundred() -> None:
    groups = FailureGroups(failure(index, f"reason {index}", tail=TAIL) for index in reversed(range(10_000)))
    kept = groups.in_order()
    assert [group.first.place[1] for group in kept] == list(range(100))
    lines = list(failure_lines(kept, 10_000))
    assert len(lines) == MOST_FAILURES * (1 + len(TAIL)) + 1
    assert lines[-1] == f"       and {10_000 - MOST_FAILURES} more"


def told_by(view: PlainLines | Quiet | LiveView, stream: io.StringIO, count: int, **more: Any) -> list[str]:
    view.hear(began())
    for index in range(count):
        view.hear(started(index))
        view.hear(ended(index, "failed", message="exit code 1", **more))
    view.hear(finished("failed", failed=count))
    view.close()
    return stream.getvalue().splitlines()


def test_why_is_told_of_the_first_as_it_happens_and_at_the_end_in_one_line() -> None:
    stream = io.StringIO()
    assert told_by(PlainLines(Outlet(stream), "orchestrate"), stream, 3, tail=TAIL)[1:] == [
        "FAILED port:0 exit code 1",
        "       | Traceback",
        "       | ValueError: bad",
        "FAILED port:1 exit code 1 (like port:0)",
        "FAILED port:2 exit code 1 (like port:0)",
        "FAILED port:0: exit code 1: ValueError: bad",
        "       and 2 more like this: port:1, port:2",
        "failed: 3 failed in 1m 03s · run r1",
        "  see more: orchestrate results r1 --status failed",
        "  go on with: orchestrate resume r1",
    ]


def test_who_hears_of_failures_at_the_end_alone_hears_why_there() -> None:
    stream = io.StringIO()
    assert told_by(Quiet(Outlet(stream), "orchestrate"), stream, 1, tail=TAIL)[:3] == [
        "FAILED port:0: exit code 1",
        "       | Traceback",
        "       | ValueError: bad",
    ]


def test_the_live_view_tells_why_once_too() -> None:
    stream = io.StringIO()
    text = "\n".join(told_by(LiveView(Outlet(stream), "orchestrate", force=True), stream, 2, tail=TAIL))
    assert text.count("| Traceback") == 1
    assert "FAILED port:1 exit code 1 (like port:0)" in text


def test_what_a_failure_is_like_is_the_one_that_was_told_whichever_is_the_first() -> None:
    groups, late, early = FailureGroups(), failure(7, tail=TAIL), failure(1, tail=TAIL)
    told = [*groups.lines_at_once(groups.add(late), late), *groups.lines_at_once(groups.add(early), early)]
    assert told[-1] == "FAILED port:1 exit code 1 (like port:7)"


def test_after_many_reasons_each_further_one_has_one_line() -> None:
    groups = FailureGroups()
    lines: list[str] = []
    for index in range(MOST_TAILS + 1):
        each = failure(index, tail=["Traceback", f"KeyError: k{index}"])
        lines += groups.lines_at_once(groups.add(each), each)
    assert len(lines) == 3 * MOST_TAILS + 1
    assert lines[-1] == f"FAILED port:{MOST_TAILS} exit code 1: KeyError: k{MOST_TAILS}"
