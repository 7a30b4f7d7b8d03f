"""The text of `status`."""

from __future__ import annotations

from typing import Any

import pytest
from drivers.views_story import began, finished

from orchestrator.views.end_report import EndReport, RunningItem, ledger_line, status_lines
from orchestrator.views.failures import Failure, FailureGroups
from orchestrator.views.tables import aligned


def summary(status: str, **more: Any) -> dict[str, Any]:
    return {
        "run_id": "r1",
        "name": "tests",
        "status": status,
        "jobs_file": "/x/jobs.toml",
        "started_at": 1000.0,
        "finished_at": None,
        "counts": {},
        "error": None,
        "jobs": [
            {"id": "list", "status": "succeeded", "counts": {"succeeded": 1}},
            {"id": "port", "status": status, "counts": {}},
        ],
        **more,
    }


def test_a_run_that_goes_on_tells_what_runs_and_for_how_long() -> None:
    running = [RunningItem("port:0", "a", 2, 61.0)]
    lines = list(status_lines("orchestrate", summary("running"), running, [], 1065.0, is_alive=True))
    assert lines[0] == "run r1  tests  running"
    assert lines[1].endswith(", 1m 05s ago")
    assert "  list  succeeded    1 succeeded" in lines
    assert lines[-2:] == ["running now:", "  port:0 a  1m 01s  attempt 2"]


def test_a_failed_run_ends_with_what_failed_why_and_the_commands() -> None:
    told = summary("failed", finished_at=1010.0, counts={"failed": 12}, error={"item": "port:0", "message": "exit code 1"})
    failures = [Failure((1, index), f"port:{index}", None, f"exit code {index + 1}", 1) for index in range(10)]
    lines = list(status_lines("orchestrate", told, [], FailureGroups(failures).in_order(), 2000.0, is_alive=False))
    assert lines[-4:] == [
        "FAILED port:9: exit code 10",
        "       and 2 more",
        "see more: orchestrate results r1 --status failed",
        "go on with: orchestrate resume r1",
    ]
    assert not any(line.startswith("error") for line in lines), "the error is among the failures"


def test_a_run_that_lacks_what_a_halt_cancelled_goes_on_by_a_retry() -> None:
    jobs = [
        {"id": "a", "status": "failed", "counts": {"failed": 1, "pending": 2}},
        {"id": "race", "status": "succeeded", "counts": {"succeeded": 1, "cancelled": 1}},
        {"id": "b", "status": "cancelled", "counts": {"cancelled": 1}},
    ]
    for last, told in [(3, "retry r1 (resume leaves what was cancelled)"), (2, "resume r1")]:
        lines = list(status_lines("orchestrate", summary("failed", jobs=jobs[:last]), [], [], 2000.0, is_alive=False))
        assert lines[-1] == f"go on with: orchestrate {told}"


def test_no_resume_is_advised_where_only_cancelled_items_are_left() -> None:
    jobs = [{"id": "port", "status": "cancelled", "counts": {"succeeded": 1, "cancelled": 1}}]
    told = summary("failed", finished_at=1010.0, counts={"succeeded": 1, "cancelled": 1}, jobs=jobs)
    lines = list(status_lines("orchestrate", told, [], [], 2000.0, is_alive=False))
    assert not any("resume" in line for line in lines)


def test_a_run_that_failed_without_an_item_names_no_item_to_ask_about() -> None:
    report = EndReport("orchestrate")
    report.hear(began())
    lines = list(report.lines(finished("failed", {"item": None, "message": "the run's timeout passed"})))
    assert lines[0] == "FAILED the run: the run's timeout passed"
    assert not any("why" in line for line in lines)


def test_many_running_items_are_cut_short() -> None:
    running = [RunningItem(f"port:{index}", None, 1, 1.0) for index in range(500)]
    lines = list(status_lines("orchestrate", summary("running"), running, [], 1065.0, is_alive=True))
    assert lines[-1] == "  and 480 more"


def test_columns_are_as_wide_as_what_stands_in_them() -> None:
    assert list(aligned(["A", "LONG"], [["xx", "y"], ["z", ""]])) == ["A   LONG", "xx  y", "z"]


def ledger(**more: Any) -> dict[str, Any]:
    known = {"attempts": 208, "cost_usd": 4.12, "unknown_costs": 0, "tokens": 12345}
    saved = {"saved_by_replay_usd": 0.5, "saved_by_adoption_usd": 0.38, "paid_twice": 0, "unknown_paid_twice": 0}
    return {"ledger": {**known, **saved, **more}}


def test_the_ledger_says_what_was_spent_saved_and_paid_twice() -> None:
    assert ledger_line(ledger()) == "spent 4.12 USD in 208 attempts · saved 0.88 USD by replay and adoption · paid twice 0"
    assert ledger_line({"ledger": None}) is None


@pytest.mark.parametrize(
    ("twice", "lost", "words"),
    [
        (None, 1, "paid twice unknown (of 1 that was lost)"),
        (None, 3, "paid twice unknown (of 3 that were lost)"),
        (1, 3, "paid twice 1, unknown (of 3 that were lost)"),
    ],
)
def test_what_may_have_been_paid_twice_is_unknown_and_never_0(twice: int | None, lost: int, words: str) -> None:
    told = ledger_line(ledger(paid_twice=twice, unknown_paid_twice=lost))
    assert told is not None
    assert told.endswith(f" · {words}")


def test_the_ledger_tells_tokens_where_a_cost_is_unknown() -> None:
    told = ledger_line(ledger(attempts=1, cost_usd=None, unknown_costs=1))
    assert told is not None
    assert told.startswith("spent an unknown amount in 1 attempt · 12,345 tokens · saved")


def test_nothing_is_said_of_money_where_nobody_tells_of_it() -> None:
    nothing = {"cost_usd": None, "unknown_costs": 208, "tokens": None, "saved_by_replay_usd": 0.0, "saved_by_adoption_usd": 0.0}
    assert ledger_line(ledger(**nothing)) is None
    assert ledger_line(ledger(**nothing, unknown_paid_twice=1)) is not None


def test_a_run_that_is_paused_for_money_says_so_and_what_raises_the_budget() -> None:
    words = "budget: spent 19.80 of 20.00 USD"
    told = summary("paused", finished_at=1010.0, reason=words, **ledger())
    lines = list(status_lines("orchestrate", told, [], [], 2000.0, is_alive=False))
    assert words in lines
    assert "raise it with: orchestrate set r1 [JOB.]budget_usd=N (or budget_tokens=N)" in lines
    assert words not in list(status_lines("orchestrate", {**told, "status": "running"}, [], [], 2000.0, is_alive=True))
