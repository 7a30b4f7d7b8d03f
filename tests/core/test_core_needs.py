"""What waits for what: needs, skipping, durability, chains."""

from __future__ import annotations

import pytest
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.events import Declined, Verdict
from orchestrator.core.states import Phase


def test_a_job_starts_only_when_all_of_what_it_needs_is_durable() -> None:
    rules = [job("a", 0), job("b", 1), single("c", 2, needs=(0, 1))]
    run = CoreDriver(rules, {"a": 2}, slots=4, durable_at_once=False).open()
    run.succeed("a:0", "a:1", "b:0")
    run.make_durable("a:0", "b:0")
    assert "c:0" not in run.started
    run.make_durable("a:1")
    assert list(run.running) == ["c:0"]


def test_skipping_goes_down_the_needs_but_stops_at_a_job_with_its_own_when() -> None:
    rules = [
        job("a", 0),
        single("b", 1, needs=(0,)),
        job("c", 2, needs=(1,)),
        single("d", 3, needs=(2,), has_own_when=True),
        single("e", 4, needs=(3,)),
    ]
    run = CoreDriver(rules, {"c": 3}).open()
    run.decline("a:0", Declined.SKIPPED)
    assert run.closed == {"a": Phase.SKIPPED, "b": Phase.SKIPPED, "c": Phase.SKIPPED}
    assert run.ended["b:0"] == "skipped"
    assert run.messages["b:0"] == "a is skipped"
    run.succeed("d:0", "e:0")
    assert run.result == ("completed", None)


def test_a_job_of_which_some_items_were_skipped_has_succeeded() -> None:
    run = CoreDriver([job("a", 0), single("b", 1, needs=(0,))], {"a": 2}).open()
    run.decline("a:0", Declined.SKIPPED)
    run.succeed("a:1")
    assert run.closed["a"] is Phase.SUCCEEDED
    assert list(run.running) == ["b:0"]


def test_a_chain_has_no_barrier() -> None:
    run = CoreDriver([job("a", 0), job("b", 1, chain=(0,))], {"a": 3, "b": 3}, slots=3).open()
    run.succeed("a:1")
    assert list(run.running) == ["a:0", "a:2", "b:1"]
    run.succeed("b:1", "a:2", "a:0")
    run.succeed("b:0", "b:2")
    assert run.result == ("completed", None)


def test_a_chain_item_waits_until_its_parent_is_durable() -> None:
    run = CoreDriver([job("a", 0), job("b", 1, chain=(0,))], {"a": 2, "b": 2}, slots=3, durable_at_once=False).open()
    run.succeed("a:0", "a:1")
    assert run.started == ["a:0", "a:1"]
    run.make_durable("a:1")
    assert list(run.running) == ["b:1"]


def test_a_chain_over_two_parents_joins_by_index() -> None:
    rules = [job("a", 0), job("b", 1), job("c", 2, chain=(0, 1))]
    run = CoreDriver(rules, {"a": 2, "b": 2, "c": 2}, slots=4).open()
    run.succeed("a:0", "b:1")
    assert "c:0" not in run.started
    run.succeed("b:0")
    assert list(run.running) == ["a:1", "c:0"]
    run.succeed("a:1")
    assert list(run.running) == ["c:0", "c:1"]


def test_a_chain_over_a_chain_skips_where_its_grandparent_failed() -> None:
    rules = [job("a", 0, continue_on_error=True), job("b", 1, chain=(0,)), job("c", 2, chain=(1,))]
    run = CoreDriver(rules, {"a": 2, "b": 2, "c": 2}, slots=4).open()
    run.fail("a:0")
    run.succeed("a:1", "b:1", "c:1")
    assert run.states_of("b") == run.states_of("c") == ["skipped", "succeeded"]
    assert run.messages["b:0"] == "a:0 is failed"
    assert run.messages["c:0"] == "b:0 is skipped"
    assert run.closed == {"a": Phase.FAILED, "b": Phase.SUCCEEDED, "c": Phase.SUCCEEDED}
    assert run.result == ("failed", "a:0")


@pytest.mark.parametrize(
    ("word", "states"),
    [
        (None, ["succeeded", "skipped", "skipped", "skipped"]),
        ("always", ["succeeded", "succeeded", "succeeded", "succeeded"]),
        ("failed", ["skipped", "succeeded", "skipped", "skipped"]),
    ],
)
def test_a_chain_looks_at_what_became_of_each_parent_item(word: str | None, states: list[str]) -> None:
    rules = [job("a", 0, continue_on_error=True), job("b", 1, chain=(0,), when_word=word)]
    run = CoreDriver(rules, {"a": 4, "b": 4}, slots=4).open()
    run.succeed("a:0")
    run.fail("a:1")
    run.decline("a:2", Declined.SKIPPED)
    run.cancel("a:3")
    run.end("a:3", Verdict.CANCELLED)
    run.succeed_all()
    assert run.states_of("b") == states


def test_a_chain_over_a_job_that_failed_too_often_ends_with_it() -> None:
    rules = [job("a", 0, max_failures=0), job("b", 1, chain=(0,)), single("c", 2, needs=(1,))]
    run = CoreDriver(rules, {"a": 5, "b": 5}, slots=2).open()
    run.succeed("a:0")
    run.fail("a:1")
    run.succeed_all()
    assert run.states_of("b") == ["succeeded", "skipped", "succeeded", "skipped", "skipped"]
    assert run.closed["a"] is Phase.FAILED
    assert run.closed["b"] is Phase.SUCCEEDED
    assert run.result == ("failed", "a:1")


def test_a_chain_over_a_job_whose_list_could_not_be_made_is_skipped() -> None:
    rules = [job("a", 0, continue_on_error=True), job("b", 1, chain=(0,), when_word="always")]
    run = CoreDriver(rules, list_at_once=False).open()
    run.fail_listing("a")
    assert run.closed == {"a": Phase.FAILED, "b": Phase.SKIPPED}
    assert run.result == ("failed", "a:0")


def test_a_chain_with_needs_waits_for_them_too() -> None:
    rules = [job("a", 0), job("setup", 1), job("b", 2, chain=(0,), needs=(1,))]
    run = CoreDriver(rules, {"a": 2, "b": 2}, slots=3).open()
    run.succeed("a:0", "a:1")
    assert "b" not in run.to_list
    assert list(run.running) == ["setup:0"]
    run.succeed("setup:0")
    assert list(run.running) == ["b:0", "b:1"]


def test_after_a_halt_a_cleanup_chain_follows_what_ran_and_lets_its_dependents_run() -> None:
    rules = [
        job("a", 0),
        job("clean", 1, chain=(0,), when_word="always"),
        single("report", 2, needs=(1,), when_word="always"),
    ]
    run = CoreDriver(rules, {"a": 4, "clean": 4}, slots=2).open()
    run.fail("a:0")
    run.succeed("a:1", "clean:0", "clean:1")
    assert list(run.running) == ["report:0"], "the items of `clean` whose parents never ran are at rest"
    run.succeed("report:0")
    assert run.states_of("clean") == ["succeeded", "succeeded", "pending", "pending"]
    assert run.result == ("failed", "a:0")


def test_after_a_halt_a_cleanup_job_waits_until_the_chain_it_needs_is_skipped_durably() -> None:
    rules = [job("a", 0), job("b", 1, chain=(0,)), single("clean", 2, needs=(1,), when_word="always")]
    run = CoreDriver(rules, {"a": 2, "b": 2}, slots=2, durable_at_once=False).open()
    run.fail("a:0", "a:1")
    assert "b:0" not in run.ended
    run.make_durable("a:0", "a:1")
    assert (run.ended["b:0"], run.ended["b:1"]) == ("skipped", "skipped")
    assert not run.running
    run.make_durable("b:0", "b:1")
    assert list(run.running) == ["clean:0"]


def test_after_a_halt_a_cleanup_job_waits_while_a_parent_of_the_chain_it_needs_still_runs() -> None:
    rules = [job("a", 0), job("b", 1, chain=(0,)), single("clean", 2, needs=(1,), when_word="always"), job("c", 3)]
    run = CoreDriver(rules, {"a": 1, "b": 1, "c": 1}, slots=2).open()
    run.fail("c:0")
    assert list(run.running) == ["a:0"]
    run.succeed("a:0")
    assert list(run.running) == ["clean:0"]
    assert run.states_of("b") == ["pending"]


def test_a_chain_item_waits_for_the_record_of_every_parent_not_only_of_the_last() -> None:
    rules = [job("a", 0), job("b", 1), job("c", 2, chain=(0, 1))]
    run = CoreDriver(rules, slots=2, durable_at_once=False).open()
    run.succeed("a:0", "b:0")
    run.make_durable("b:0")
    assert not run.running
    run.make_durable("a:0")
    assert list(run.running) == ["c:0"]
