"""Lines without a terminal: calm as long as all goes well, and now and then how far the run is."""

from __future__ import annotations

import io

import pytest
from drivers.views_story import began, ended, finished, listed, started

from orchestrator.views.happenings import Charged, Happening, ItemRetrying, JobClosed, JobGrew
from orchestrator.views.outlet import Outlet
from orchestrator.views.plain_lines import PlainLines
from orchestrator.views.progress import Progress


def lines_of(*happenings: Happening) -> list[str]:
    return told_since(100.0, *happenings)


def told_since(heard_since: float, *happenings: Happening) -> list[str]:
    progress = Progress(lambda: heard_since)
    return [line for happening in happenings if (line := progress.line_after(happening)) is not None]


def ends(count: int, seconds: float, **more: object) -> list[Happening]:
    """So many ends, one each so many seconds; the run began at 100."""
    return [ended(index, at=100.0 + seconds * (index + 1), **more) for index in range(count)]


@pytest.mark.parametrize(
    ("count", "seconds", "told"),
    [
        (100, 0.1, []),  # over in ten seconds: the end tells
        (100, 1.0, [30, 60, 90]),  # every half minute, for a tenth is sooner
        (100, 10.0, [10, 20, 30, 40, 50, 60, 70, 80, 90]),  # every tenth, for half a minute is sooner
        (3, 60.0, [1, 2]),
        (1, 60.0, []),
    ],
)
def test_a_line_comes_with_each_tenth_or_each_half_minute_whichever_is_later(count: int, seconds: float, told: list[int]) -> None:
    lines = lines_of(began(), listed(count), *ends(count, seconds))
    assert [int(line.partition(" of ")[0]) for line in lines] == told


def test_a_line_says_how_many_failed_how_long_it_takes_and_what_was_spent() -> None:
    charged = Charged(item=None, job=None, cost_usd=1.0, spent_usd=1.23, unknown_costs=0, attempts=2, at=110.0)
    unknown = Charged(item=None, job=None, cost_usd=None, spent_usd=None, unknown_costs=2, attempts=2, at=110.0)
    failed = ended(0, "failed", at=140.0)
    assert lines_of(began(), listed(10, succeeded=4), charged, failed) == [
        "5 of 10 (50%), 1 failed · 40s · about 3m 20s left · spent 1.23 USD"
    ]
    assert lines_of(began(["port", "next"]), listed(2), unknown, failed) == [
        "1 of 2 (50%), 1 failed · 40s · about 40s left or more"
    ]


def test_a_list_that_grows_has_more_than_is_known_and_its_ends_count() -> None:
    grew = JobGrew(job="port", count=4, is_growing=True)
    lines = lines_of(began(), grew, ended(0, at=140.0), JobGrew(job="port", count=8, is_growing=False), ended(1, at=180.0))
    assert lines == ["1 of 4 (25%) · 40s · about 2m 00s left or more", "2 of 8 (25%) · 1m 20s · about 4m 00s left"]


def test_how_long_a_run_takes_yet_is_told_by_what_has_ended_since_it_is_heard_of() -> None:
    """Of a run that began at 100 and is looked at since 1000."""
    before = [ended(0, "failed", at=500.0), listed(1000, failed=1, succeeded=9)]
    assert told_since(1000.0, began(), *before, ended(10, at=1010.0)) == []
    many = [ended(10, at=1010.0), listed(1000, failed=1, succeeded=109), ended(110, at=1040.0)]
    assert told_since(1000.0, began(), *before, *many) == ["111 of 1000 (11%), 1 failed · 15m 40s · about 5m 52s left"]


def test_items_that_a_gate_has_sent_back_are_counted_anew() -> None:
    lines = lines_of(began(), listed(10), *ends(5, 1.0), listed(10, succeeded=1), ended(2, at=200.0))
    assert lines[0].startswith("2 of 10 (20%)")


def test_a_run_that_goes_well_has_a_first_and_a_last_line() -> None:
    stream = io.StringIO()
    view = PlainLines(Outlet(stream), "orchestrate")
    retrying = ItemRetrying(item="port:1", job="port", label=None, attempt=1, message="x", wait_s=1.0, at=1.0)
    skipped = JobClosed(job="other", status="skipped", message="not wanted")
    story = (began(), listed(2), started(0), ended(0), retrying, ended(1), skipped, finished(succeeded=2))
    for happening in story:
        view.hear(happening)
    view.close()
    assert stream.getvalue().splitlines() == ["run r1 tests: 2 slots", "completed: 2 succeeded in 1m 03s · run r1"]
