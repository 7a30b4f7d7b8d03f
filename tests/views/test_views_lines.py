"""Plain lines and the end report, as cron mails them."""

from __future__ import annotations

import io
import os
import random

import pytest
from drivers.views_story import began, ended, finished, listed, started

from orchestrator.views.happenings import Happening, ItemRetrying, ItemWaiting, JobClosed, Noted
from orchestrator.views.listener import Listener
from orchestrator.views.outlet import Outlet
from orchestrator.views.plain_lines import EachLine, PlainLines, Quiet


def said_by(kind: type[PlainLines] | type[Quiet], *happenings: Happening, program: str = "orchestrate") -> list[str]:
    stream = io.StringIO()
    view: Listener = kind(Outlet(stream), program)
    for happening in happenings:
        view.hear(happening)
        view.refresh(0.0)
    view.close()
    return stream.getvalue().splitlines()


def test_each_item_that_ends_has_one_line() -> None:
    lines = said_by(
        EachLine,
        began(),
        listed(5),
        started(3),
        ended(3, label="tests/test_a.py"),
        ended(4, "failed", label="tests/test_b.py", message="exit code 3", attempts=3),
        ended(5, "skipped", message="`when` is false", attempts=0, duration_s=None),
        ended(6, message="out.o exists", attempts=0, duration_s=None),
        ended(7, "cancelled"),
    )
    assert lines == [
        "run r1 tests: 2 slots",
        "ok  port:3 tests/test_a.py 2.1s",
        "FAILED port:4 tests/test_b.py exit code 3 after 3 attempts",
        "skipped port:5: `when` is false",
        "ok  port:6 (out.o exists)",
        "cancelled port:7",
    ]


def test_quiet_tells_a_warning_and_no_other_note() -> None:
    told = said_by(Quiet, began(), Noted(message="port has no items", at=1.0), Noted(message="no file", at=1.0, is_warning=True))
    assert told == ["note: no file"]


def test_notes_retries_and_a_list_that_failed_are_told() -> None:
    retrying = ItemRetrying(item="port:1", job="port", label="b", attempt=1, message="exit code 9", wait_s=10.0, at=1.0)
    lines = said_by(
        EachLine,
        began(is_resumed=True),
        retrying,
        Noted(message="port has no items", at=1.0),
        JobClosed(job="port", status="failed", message="for_each: no such file"),
        JobClosed(job="other", status="succeeded"),
    )
    assert lines == [
        "run r1 tests: resumed, 2 slots",
        "retry port:1 b exit code 9, attempt 2 in 10s",
        "note: port has no items",
        "FAILED port: for_each: no such file",
    ]


def test_an_item_that_shares_an_outcome_says_whose_and_not_how_long_it_took() -> None:
    lines = said_by(
        EachLine,
        ItemWaiting(item="port:1", job="port", label="b", message="r0/port:4 does the same work", at=1.0),
        ended(1, label="b", attempts=0, deduped_from="r0/port:4"),
        ended(2, "failed", message="exit code 7", exit_code=7, attempts=0, deduped_from="r0/port:5"),
    )
    assert lines == ["ok  port:1 b (shared from r0/port:4)", "FAILED port:2 exit code 7 (shared from r0/port:5)"]


def test_the_end_of_a_good_run_is_one_line() -> None:
    assert said_by(PlainLines, began(), ended(0), finished(succeeded=1))[-1] == "completed: 1 succeeded in 1m 03s · run r1"


def test_the_end_report_names_what_failed_why_and_the_log_command() -> None:
    lines = said_by(
        PlainLines,
        began(),
        ended(0, "failed", message="exit code 1"),
        finished("failed", failed=1),
        program="orchestrate --home '/a b'",
    )
    assert lines[-4:] == [
        "FAILED port:0: exit code 1",
        "failed: 1 failed in 1m 03s · run r1",
        "  see more: orchestrate --home '/a b' logs r1 port:0",
        "  go on with: orchestrate --home '/a b' resume r1",
    ]


def test_the_first_ten_reasons_in_item_order_are_told_and_the_rest_counted() -> None:
    jobs = ("first", "last")
    failures = [ended(index, "failed", job=job, message=f"{job} {index}") for job in jobs for index in range(12)]
    random.Random(7).shuffle(failures)
    lines = said_by(Quiet, began(["first", "last"]), *failures, finished("failed", failed=24))
    assert [line for line in lines if line.startswith("FAILED")] == [
        f"FAILED first:{index}: first {index}" for index in range(10)
    ]
    assert "       and 14 more" in lines
    assert "  see more: orchestrate results r1 --status failed" in lines


def test_an_item_that_never_started_has_no_log_to_point_to() -> None:
    refused = ended(2, "failed", message="label: item is undefined", attempts=0)
    assert "  see more: orchestrate why r1 port:2" in said_by(Quiet, began(), refused, finished("failed", failed=1))


def test_an_error_that_is_no_items_is_told_too() -> None:
    error = {"item": "port", "message": "for_each: no such file"}
    assert "FAILED port: for_each: no such file" in said_by(Quiet, began(), finished("failed", error=error))


@pytest.mark.parametrize("alike", [1, 2, 9])
def test_an_item_that_failed_the_run_as_others_did_is_told_once(alike: int) -> None:
    """Those before it may fail; it may not."""
    borne = [ended(index, "failed", job="borne", message="exit code 1") for index in range(alike)]
    error = {"item": "last:0", "message": "exit code 1"}
    done = finished("failed", error=error, failed=alike + 1)
    lines = said_by(Quiet, began(["borne", "last"]), *borne, ended(0, "failed", job="last", message="exit code 1"), done)
    assert [line for line in lines if line.startswith("FAILED")] == ["FAILED borne:0: exit code 1"]
    assert lines[1].startswith(f"       and {alike} more like this: ")


def test_quiet_says_nothing_of_a_success() -> None:
    assert said_by(Quiet, began(), started(0), ended(0), Noted(message="x", at=1.0), finished(succeeded=1)) == []


def test_hostile_names_arrive_escaped() -> None:
    lines = said_by(
        PlainLines, began(), ended(0, "failed", label="\x1b]0;owned\x07\nok  port:1", message="\x1b[2J"), finished("failed")
    )
    assert lines[1] == "FAILED port:0 \\x1b]0;owned\\x07\\nok  port:1 \\x1b[2J"
    assert all(line.isprintable() for line in lines)


def test_a_label_that_the_terminals_encoding_cannot_say_is_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="strict", write_through=True)
    EachLine(Outlet(stream), "orchestrate").hear(ended(0, label="naïve"))
    assert raw.getvalue() == b"ok  port:0 na\\xefve 2.1s\n"


@pytest.mark.parametrize("kind", [PlainLines, Quiet])
def test_a_reader_that_has_gone_does_not_end_the_run(kind: type[PlainLines] | type[Quiet]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", buffering=1, closefd=False) as stream:
        view = kind(Outlet(stream), "orchestrate")
        for happening in (began(), ended(0, "failed", message="x"), finished("failed", failed=1)):
            view.hear(happening)
        view.close()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)  # what is still buffered must find somewhere to go
    os.close(writing)


def test_a_process_without_stderr_can_be_shown_to() -> None:
    PlainLines(Outlet(None), "orchestrate").hear(began())
