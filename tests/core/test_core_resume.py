"""A run that another supervisor began: what runs again, what never does, what already runs."""

from __future__ import annotations

import msgspec
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.events import ItemsListed, Verdict
from orchestrator.core.initial_state import open_run
from orchestrator.core.states import CANCELLED, FAILED, PENDING, SKIPPED, SUCCEEDED, AdoptedAttempt, ItemState, Phase, RestoredJob


def past(*states: ItemState, attempts: dict[int, int] | None = None, adopted: tuple[AdoptedAttempt, ...] = ()) -> RestoredJob:
    return RestoredJob([*states], attempts or {}, adopted)


def test_only_what_has_not_ended_runs() -> None:
    restored = {"a": past(SUCCEEDED, PENDING, SUCCEEDED, SKIPPED, CANCELLED, PENDING)}
    run = CoreDriver([job("a", 0)], slots=1, restored=restored).open()
    run.succeed_all()
    assert run.started == ["a:1", "a:5"]


def test_a_run_of_which_all_has_ended_finishes_at_once() -> None:
    restored = {"a": past(SUCCEEDED, SUCCEEDED), "b": past(SUCCEEDED)}
    run = CoreDriver([job("a", 0), job("b", 1, needs=(0,))], restored=restored).open()
    assert run.closed == {"a": Phase.SUCCEEDED, "b": Phase.SUCCEEDED}
    assert run.result == ("completed", None)


def test_nothing_starts_before_the_run_is_open() -> None:
    run = CoreDriver([job("a", 0)], slots=1, restored={"a": past(PENDING, PENDING, adopted=(AdoptedAttempt(0, 4, 0),))})
    run.succeed("a:0")
    assert not run.started
    run.open()
    assert run.started == ["a:1"]


def test_a_failed_item_that_is_kept_neither_halts_nor_runs_again() -> None:
    run = CoreDriver(
        [job("a", 0), job("b", 1), single("c", 2, needs=(0,))], slots=1, restored={"a": past(FAILED, PENDING)}
    ).open()
    run.succeed_all()
    assert run.started == ["a:1", "b:0"]
    assert run.closed == {"a": Phase.FAILED, "b": Phase.SUCCEEDED, "c": Phase.SKIPPED}
    assert run.result == ("failed", "a:0")


def test_kept_failures_count_against_max_failures() -> None:
    rules = [job("a", 0, max_failures=1)]
    run = CoreDriver(rules, slots=1, restored={"a": past(FAILED, PENDING, PENDING, PENDING)}).open()
    run.fail("a:1")
    assert run.states_of("a") == ["failed", "failed", "pending", "pending"]
    assert run.result == ("failed", "a:0")
    run = CoreDriver(rules, restored={"a": past(FAILED, FAILED, PENDING)}).open()
    assert not run.started
    assert run.result == ("failed", "a:0")


def test_attempt_numbers_go_on_and_the_budget_is_fresh() -> None:
    restored = {"a": past(PENDING, attempts={0: 3})}
    run = CoreDriver([single("a", 0, attempts=2, retry_delay=0.0)], restored=restored).open()
    assert run.running["a:0"][0] == 4
    run.fail("a:0")
    assert run.running["a:0"][0] == 5
    run.fail("a:0")
    assert run.result == ("failed", "a:0")


def test_an_adopted_attempt_holds_its_slot_and_its_place_in_the_window() -> None:
    restored = {"a": past(PENDING, PENDING, PENDING, adopted=(AdoptedAttempt(1, 2, 1),))}
    run = CoreDriver([job("a", 0, max_concurrency=2)], slots=3, restored=restored).open()
    assert run.running == {"a:1": (2, 1), "a:0": (1, 0)}
    run.succeed("a:1")
    assert run.running == {"a:0": (1, 0), "a:2": (1, 1)}


def test_adopted_attempts_count_against_the_slots_also_in_slots_that_this_run_does_not_have() -> None:
    adopted = (AdoptedAttempt(0, 1, 5), AdoptedAttempt(1, 1, 6), AdoptedAttempt(2, 1, 7))
    restored = {"a": past(*[PENDING] * 5, adopted=adopted)}
    run = CoreDriver([job("a", 0)], slots=2, restored=restored).open()
    assert not run.started
    run.succeed("a:0")
    assert not run.started
    run.succeed("a:1")
    assert run.started == ["a:3"]
    run.succeed("a:2")
    assert run.running == {"a:3": (1, 0), "a:4": (1, 1)}


def test_an_adopted_attempt_that_fails_is_tried_again_with_the_next_number() -> None:
    restored = {"a": past(PENDING, adopted=(AdoptedAttempt(0, 3, 0),))}
    run = CoreDriver([single("a", 0, attempts=2, retry_delay=0.0)], restored=restored)
    run.fail("a:0")
    run.open()
    assert run.running["a:0"][0] == 4


def test_an_adopted_attempt_that_was_being_drained_runs_again() -> None:
    restored = {"a": past(PENDING, adopted=(AdoptedAttempt(0, 1, 0),))}
    run = CoreDriver([single("a", 0)], restored=restored).open()
    run.end("a:0", Verdict.DRAINED)
    run.succeed("a:0")
    assert run.result == ("completed", None)


def test_a_restored_job_waits_again_for_what_it_needs_if_that_runs_again() -> None:
    restored = {"a": past(SUCCEEDED, PENDING), "b": past(SUCCEEDED, PENDING, attempts={1: 1})}
    run = CoreDriver([job("a", 0), job("b", 1, needs=(0,))], slots=2, durable_at_once=False, restored=restored).open()
    assert list(run.running) == ["a:1"]
    run.succeed("a:1")
    assert not run.running
    run.make_durable()
    assert list(run.running) == ["b:1"]
    assert run.running["b:1"][0] == 2
    run.succeed("b:1")
    assert run.result == ("completed", None)


def test_an_adopted_attempt_runs_on_although_what_its_job_needs_runs_again() -> None:
    restored = {"a": past(PENDING), "b": past(PENDING, PENDING, adopted=(AdoptedAttempt(0, 1, 0),))}
    rules = [job("a", 0), job("b", 1, needs=(0,), attempts=2, retry_delay=0.0)]
    run = CoreDriver(rules, slots=2, restored=restored).open()
    assert list(run.running) == ["b:0", "a:0"]
    run.fail("b:0")
    assert run.ended["b:0"] == "waiting"
    assert list(run.running) == ["a:0"]
    run.succeed("a:0")
    assert run.running == {"b:0": (2, 0), "b:1": (1, 1)}


def test_a_restored_job_is_skipped_if_what_it_needs_now_fails() -> None:
    restored = {"a": past(PENDING), "b": past(SUCCEEDED, PENDING)}
    run = CoreDriver([job("a", 0, max_failures=0), job("b", 1, needs=(0,))], restored=restored).open()
    run.fail("a:0")
    assert run.states_of("b") == ["succeeded", "skipped"]
    assert run.result == ("failed", "a:0")


def test_a_restored_chain_goes_on_where_it_was() -> None:
    restored = {"a": past(SUCCEEDED, SUCCEEDED, PENDING, FAILED), "b": past(SUCCEEDED, PENDING, PENDING, PENDING)}
    run = CoreDriver([job("a", 0, continue_on_error=True), job("b", 1, chain=(0,))], slots=4, restored=restored).open()
    assert list(run.running) == ["b:1", "a:2"]
    assert run.ended["b:3"] == "skipped"
    run.succeed("a:2", "b:1", "b:2")
    assert run.states_of("b") == ["succeeded", "succeeded", "succeeded", "skipped"]
    assert run.result == ("failed", "a:3")


def test_a_chain_that_was_not_listed_starts_with_what_its_parents_have_done() -> None:
    restored = {"a": past(SUCCEEDED, PENDING)}
    run = CoreDriver([job("a", 0), job("b", 1, chain=(0,))], {"b": 2}, slots=4, restored=restored).open()
    assert sorted(run.running) == ["a:1", "b:0"]


def gone(*states: ItemState, count: int) -> RestoredJob:
    return RestoredJob([*states], {}, (), gone=count)


def test_a_job_is_judged_without_the_items_that_left_its_list() -> None:
    rules = [job("a", 0), job("b", 1, needs=(0,))]
    for states, count, phase in (
        ((SKIPPED, SKIPPED), 2, Phase.SUCCEEDED),
        ((SKIPPED, SUCCEEDED), 1, Phase.SUCCEEDED),
        ((SKIPPED, SKIPPED), 1, Phase.SKIPPED),
    ):
        run = CoreDriver(rules, {"b": 1}, restored={"a": gone(*states, count=count)}).open()
        assert run.closed["a"] is phase
        assert run.started == (["b:0"] if phase is Phase.SUCCEEDED else [])


def test_the_share_of_failures_is_one_of_the_items_that_are_left() -> None:
    rules = [msgspec.structs.replace(job("a", 0), max_failures_percent=50.0)]
    restored = {"a": gone(SKIPPED, SKIPPED, PENDING, PENDING, count=2)}
    run = CoreDriver(rules, slots=2, restored=restored).open()
    run.fail("a:2", "a:3")
    assert run.closed == {"a": Phase.FAILED}


def test_a_list_that_is_evaluated_again_goes_on_with_what_its_items_were() -> None:
    run = CoreDriver([job("a", 0), job("b", 1, chain=(0,))], slots=2, list_at_once=False).open()
    assert run.to_list == ["a"]
    run.last_attempt["a:2"] = 3
    run.to_list.clear()
    run.feed(ItemsListed(0, 4, restored=RestoredJob([SUCCEEDED, SKIPPED, PENDING, PENDING], {2: 3}, (), gone=1)))
    assert (run.started, run.running["a:2"][0]) == (["a:2", "a:3"], 4)
    assert run.to_list == ["b"]
    run.to_list.clear()
    run.feed(ItemsListed(1, 4, restored=RestoredJob([SUCCEEDED, SKIPPED, PENDING, PENDING], {}, (), gone=1)))
    run.succeed("a:2", "a:3")
    run.succeed_all()
    assert run.started == ["a:2", "a:3", "b:2", "b:3"]
    assert run.result == ("completed", None)


def test_a_job_that_skips_items_as_another_one_closes_stays_open_until_that_is_durable() -> None:
    """Both had too many failures before, and closed in one step: what needs the second ran before its skip was on disk."""
    rules = [
        job("a", 0, max_failures=0),
        job("b", 1, chain=(0,), max_failures=0),
        single("clean", 2, needs=(1,), when_word="always"),
    ]
    restored = {id_: past(PENDING, FAILED) for id_ in ("a", "b")}
    run = CoreDriver(rules, slots=2, durable_at_once=False, restored=restored).open()
    assert (run.closed, run.started) == ({"a": Phase.FAILED}, [])
    run.make_durable("b:0")
    assert (run.closed["b"], run.started) == (Phase.FAILED, ["clean:0"])


def test_the_list_of_states_that_is_restored_is_not_copied() -> None:
    """A million items are 8 MB each time."""
    restored = past(SUCCEEDED, PENDING)
    assert open_run([job("a", 0)], slots=1, now=0.0, restored={0: restored}).jobs[0].items is restored.states
