"""A list that grows while its items run: what keeps its job open, and what ends it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drivers.core_driver import CoreDriver, job

from orchestrator.core.costs import Bounds, Cost
from orchestrator.core.events import Verdict
from orchestrator.core.states import PENDING, SUCCEEDED, Phase, RestoredJob, Stop


def growing(count: int = 0, slots: int = 2, **rules: object) -> CoreDriver:
    run = CoreDriver([job("a", 0, **rules)], list_at_once=False, slots=slots)
    run.open()
    run.begin_list("a", count)
    return run


def test_items_start_as_they_come_and_the_job_ends_with_its_list() -> None:
    run = growing()
    assert run.started == []
    run.add_items("a", 1)
    run.succeed("a:0")
    assert (run.finish, run.closed) == (None, {})
    run.add_items("a", 3)
    assert list(run.running) == ["a:1", "a:2"]
    run.succeed_all()
    assert run.finish is None
    run.end_list("a")
    assert (run.result, run.started) == (("completed", None), ["a:0", "a:1", "a:2", "a:3"])


def test_a_list_that_ends_before_its_items_do_is_as_any_other() -> None:
    run = growing(3)
    run.end_list("a")
    run.succeed_all()
    assert (run.result, run.closed) == (("completed", None), {"a": Phase.SUCCEEDED})


def test_a_list_that_ends_without_an_item_is_done() -> None:
    run = growing()
    run.end_list("a")
    assert (run.result, run.closed) == (("completed", None), {"a": Phase.SUCCEEDED})


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda run: run.fail("a:0"), ("failed", "a:0")),
        (lambda run: run.stop(Stop.PAUSE), ("paused", None)),
        (lambda run: run.stop(Stop.DRAIN), ("interrupted", None)),
        (lambda run: run.stop(Stop.NOW), ("interrupted", None)),
        (lambda run: run.cancel(), ("cancelled", None)),
    ],
)
@pytest.mark.parametrize("left", [0, 3])
def test_a_run_that_is_to_end_waits_for_no_more_items(
    end: Callable[[CoreDriver], None], status: tuple[str, str | None], left: int
) -> None:
    run = growing(2 + left)
    run.succeed("a:1")
    if left:
        run.succeed("a:2", "a:3")
    end(run)
    run.succeed_all()
    assert run.result == status
    assert "a" not in run.closed
    # What was read meanwhile is told all the same, and nothing comes of it.
    run.add_items("a", 2)
    run.end_list("a")


def test_more_failures_than_are_allowed_close_the_job_although_more_may_come() -> None:
    run = growing(3, slots=1, max_failures=1)
    run.fail("a:0", "a:1")
    assert (run.result, run.states_of("a")) == (("failed", "a:0"), ["failed", "failed", "pending"])


def test_a_share_of_all_items_is_judged_when_all_are_known() -> None:
    run = growing(1, max_failures_percent=50.0)
    run.fail("a:0")
    run.add_items("a", 1)
    run.succeed("a:1")
    run.end_list("a")
    assert run.result == ("completed", None)
    run = growing(3, slots=1, max_failures_percent=30.0)
    run.fail("a:0")
    run.end_list("a")
    run.succeed("a:1")
    assert (run.result, run.states_of("a")) == (("failed", "a:0"), ["failed", "succeeded", "pending"])


def test_without_money_a_run_pauses_although_more_may_come() -> None:
    run = CoreDriver([job("a", 0, is_paid=True)], list_at_once=False, budget=Bounds(nano_usd=10))
    run.open()
    run.begin_list("a", 3)
    run.end("a:0", Verdict.SUCCEEDED, Cost(nano_usd=9))
    assert run.result == ("paused", None)


def test_items_that_cannot_be_read_fail_their_job_once_those_that_are_known_have_ended() -> None:
    run = growing(2)
    run.end_list("a", is_whole=False)
    run.succeed_all()
    assert (run.result, run.closed) == (("failed", "a:0"), {"a": Phase.FAILED})


@pytest.mark.parametrize("states", [[], [SUCCEEDED, SUCCEEDED], [SUCCEEDED, PENDING]])
def test_a_resume_runs_what_is_known_of_a_list_that_was_cut_and_fails(states: list[object]) -> None:
    run = CoreDriver([job("a", 0)], restored={"a": RestoredJob(states, {}, is_cut=True)}).open()  # type: ignore[arg-type]
    run.succeed_all()
    assert (run.result, run.closed) == (("failed", "a:0"), {"a": Phase.FAILED})
