"""One more time for items of a run that goes on: what runs again with them, and when it is too late."""

from __future__ import annotations

import pytest
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.events import ItemsReopened, Verdict
from orchestrator.core.job_rules import Halt, JobRules
from orchestrator.core.reopening import items_to_reopen, why_not_again
from orchestrator.core.states import Phase, Stop


def opened(*rules: JobRules, **counts: int) -> CoreDriver:
    """With a job `long` that goes on until it is let go."""
    return CoreDriver([*rules, single("long", len(rules))], counts, slots=4).open()


def race(job_id: str, order: int, **rules: object) -> JobRules:
    """Of which one success is enough."""
    return job(job_id, order, halt=Halt(is_now=True, why="success", count=1), **rules)


def refused(run: CoreDriver, *items: str) -> str:
    return why_not_again(run.state, [run.ref(item) for item in items])


def retry(run: CoreDriver, *items: str) -> None:
    assert refused(run, *items) == ""
    again, jobs = items_to_reopen(run.state, [run.ref(item) for item in items])
    names = {(order, index): f"{run.ids[order]}:{index}" for order, index in again}
    for name in names.values():
        run.ended.pop(name, None)
        run.closed.pop(name.partition(":")[0], None)
    for order in jobs:
        run.closed.pop(run.ids[order], None)
    run.feed(ItemsReopened({ref: run.last_attempt.get(name, 0) for ref, name in names.items()}, jobs))


def test_a_failed_item_runs_again_with_a_number_of_its_own_and_its_attempts_anew() -> None:
    run = opened(job("a", 0, continue_on_error=True, attempts=1), a=2)
    run.fail("a:0")
    run.succeed("a:1")
    retry(run, "a:0")
    assert run.running["a:0"][0] == 2
    run.succeed("a:0", "long:0")
    assert run.result == ("completed", None)


def test_what_was_skipped_behind_it_comes_to_its_turn_and_what_succeeded_stays() -> None:
    rules = [
        job("a", 0, max_failures=0),
        job("b", 1, needs=(0,)),
        single("c", 2, needs=(1,)),
        single("e", 3, needs=(0,), when_word="always"),
    ]
    run = opened(*rules, a=1, b=2)
    run.fail("a:0")
    assert (run.closed["a"], run.closed["b"], run.closed["c"]) == (Phase.FAILED, Phase.SKIPPED, Phase.SKIPPED)
    run.succeed("e:0")
    retry(run, "a:0")
    run.succeed("a:0", "b:0", "b:1", "c:0", "long:0")
    assert run.started.count("e:0") == 1
    assert run.result == ("completed", None)


def test_a_cancelled_item_runs_again_only_when_it_is_asked_for() -> None:
    run = opened(job("a", 0), a=2)
    run.cancel("a:0")
    assert ("a:0", "cancel", None) in run.asked_to_end
    run.end("a:0", Verdict.CANCELLED)
    run.succeed("a:1")
    retry(run, "a:0")
    run.succeed("a:0", "long:0")
    assert run.result == ("completed", None)


def test_an_item_that_runs_or_a_run_that_ends_is_too_late() -> None:
    run = opened(job("a", 0), job("b", 1, continue_on_error=True), a=1, b=2)
    assert refused(run, "a:0") == "a:0 runs: cancel it first, or wait for its end"
    run.fail("b:0")
    assert refused(run, "b:0") == ""
    run.stop(Stop.DRAIN)
    assert refused(run, "b:0") == "the run is ending: ask again once it has ended"


@pytest.mark.parametrize("state", ["pending", "waiting"])
def test_an_item_that_has_not_had_its_turn_needs_no_second_one(state: str) -> None:
    run = CoreDriver([job("a", 0, attempts=2, retry_delay=9.0)], {"a": 2}, slots=1).open()
    if state == "waiting":
        run.fail("a:0")
        assert items_to_reopen(run.state, [run.ref("a:0")]) == ((), ())
    else:
        assert items_to_reopen(run.state, [run.ref("a:1")]) == ((), ())


def test_a_retry_in_a_run_that_goes_on_has_the_losers_of_a_race_that_it_names_run_and_no_others() -> None:
    run = opened(race("a", 0), a=5)
    run.succeed("a:0")
    for item in ("a:1", "a:2", "a:3"):
        run.end(item, Verdict.CANCELLED)
    retry(run, "a:1", "a:4")
    run.succeed("a:1")
    assert "a:4" not in [item for item, _, _ in run.asked_to_end]
    run.succeed("a:4")
    assert (run.states_of("a")[2], run.closed["a"]) == ("cancelled", Phase.SUCCEEDED)


def test_what_is_asked_for_once_more_brings_along_nothing_of_a_race_behind_it_that_is_won() -> None:
    run = opened(single("first", 0), race("a", 1, needs=(0,), max_concurrency=1), a=3)
    run.succeed("first:0", "a:0")
    assert items_to_reopen(run.state, [run.ref("first:0")]) == (((0, 0),), ())
