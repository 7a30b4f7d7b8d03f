"""Gates: they hold nothing, others go on, the run pauses when nothing else can run, and a choice brings about what it says."""

from __future__ import annotations

import pytest
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.events import GateEnd, Verdict
from orchestrator.core.job_rules import JobRules
from orchestrator.core.states import Phase, Stop


def gate(job_id: str, order: int, **rules: object) -> JobRules:
    return single(job_id, order, is_gate=True, **rules)


def chain_gate(job_id: str, order: int, parent: int, **rules: object) -> JobRules:
    return job(job_id, order, is_gate=True, chain=(parent,), **rules)


def test_a_run_pauses_at_a_gate_and_nothing_behind_it_starts() -> None:
    run = CoreDriver([single("a", 0), gate("g", 1, needs=(0,)), single("b", 2, needs=(1,))]).open()
    run.succeed("a:0")
    assert (run.asked, run.started) == (["g:0"], ["a:0"])
    assert run.result == ("paused", None)


def test_an_approved_gate_lets_the_next_start() -> None:
    run = CoreDriver([gate("g", 0), single("b", 1, needs=(0,))], is_attended=True).open()
    assert run.finish is None
    run.choose("g:0", GateEnd.APPROVED)
    run.succeed("b:0")
    assert run.result == ("completed", None)


def test_a_gate_takes_no_slot_and_others_go_on_beside_it() -> None:
    run = CoreDriver([gate("g", 0), job("a", 1)], {"a": 3}, slots=1).open()
    assert run.asked == ["g:0"]
    run.succeed_all()
    assert run.started == ["a:0", "a:1", "a:2"]
    assert run.result == ("paused", None)


def test_a_gate_in_a_chain_stops_its_own_item_alone() -> None:
    rules = [job("a", 0), chain_gate("g", 1, 0), job("b", 2, chain=(1,))]
    run = CoreDriver(rules, dict.fromkeys("agb", 3), slots=3, is_attended=True).open()
    run.succeed("a:0", "a:1", "a:2")
    assert run.asked == ["g:0", "g:1", "g:2"]
    run.choose("g:1", GateEnd.APPROVED)
    assert list(run.running) == ["b:1"]
    run.succeed("b:1")
    run.leave_alone()
    assert run.result == ("paused", None)


def test_who_leaves_the_terminal_pauses_the_run() -> None:
    run = CoreDriver([gate("g", 0)], is_attended=True).open()
    assert run.finish is None
    run.leave_alone()
    assert run.result == ("paused", None)


def test_a_rejection_aborts_the_run_even_if_errors_are_tolerated() -> None:
    rules = [gate("g", 0, continue_on_error=True), single("b", 1, needs=(0,)), single("c", 2, needs=(0,), when_word="always")]
    run = CoreDriver(rules, is_attended=True).open()
    run.choose("g:0", GateEnd.REJECTED)
    run.succeed("c:0")
    assert run.result == ("failed", "g:0")
    assert run.finish is not None
    assert run.finish.is_rejected


def test_a_rejection_may_skip_what_stands_behind_the_gate() -> None:
    run = CoreDriver([gate("g", 0, on_reject="skip"), single("b", 1, needs=(0,))], is_attended=True).open()
    run.choose("g:0", GateEnd.REJECTED)
    assert run.closed == {"g": Phase.SKIPPED, "b": Phase.SKIPPED}
    assert run.result == ("completed", None)


def test_a_rejection_may_ask_again() -> None:
    run = CoreDriver([gate("g", 0, on_reject="retry")], is_attended=True).open()
    run.choose("g:0", GateEnd.REJECTED)
    run.choose("g:0", GateEnd.REJECTED)
    run.choose("g:0", GateEnd.APPROVED)
    assert run.asked == ["g:0"] * 3
    assert run.result == ("completed", None)


def test_a_rejection_may_go_back_to_a_job_and_all_on_the_way_runs_again() -> None:
    rules = [
        single("before", 0),
        job("draft", 1, needs=(0,), attempts=2, retry_delay=0.0),
        single("beside", 2, needs=(1,)),
        single("check", 3, needs=(1,)),
        gate("g", 4, needs=(3,), on_reject="retry", retry_from=1),
        single("ship", 5, needs=(4,)),
    ]
    run = CoreDriver(rules, {"draft": 2}, is_attended=True).open()
    run.succeed("before:0")
    run.fail("draft:0")
    run.succeed_all()
    for times in (1, 2):
        before = len(run.started)
        run.choose("g:0", GateEnd.REJECTED)
        assert len(run.asked) == times, "asked again before what it asks about was done again"
        run.succeed_all()
        assert run.started[before:] == ["draft:0", "draft:1", "check:0"]
    run.choose("g:0", GateEnd.APPROVED)
    run.succeed_all()
    assert run.asked == ["g:0"] * 3
    assert run.last_attempt["draft:0"] == 4, "attempts go on counting"
    assert run.result == ("completed", None)


def test_in_a_chain_only_the_item_that_was_rejected_goes_back() -> None:
    rules = [job("draft", 0), job("check", 1, chain=(0,)), chain_gate("g", 2, 1, on_reject="retry", retry_from=0)]
    run = CoreDriver(rules, dict.fromkeys(("draft", "check", "g"), 3), is_attended=True).open()
    run.succeed_all()
    run.choose("g:0", GateEnd.APPROVED)
    before = len(run.started)
    run.choose("g:1", GateEnd.REJECTED)
    run.succeed_all()
    assert run.started[before:] == ["draft:1", "check:1"]
    run.choose("g:2", GateEnd.APPROVED)
    run.choose("g:1", GateEnd.APPROVED)
    assert run.asked == ["g:0", "g:1", "g:2", "g:1"]
    assert run.result == ("completed", None)


def test_an_item_that_failed_may_be_sent_back_and_counts_no_more() -> None:
    rules = [job("a", 0, max_failures=1), gate("g", 1, needs=(0,), on_reject="retry", retry_from=0)]
    run = CoreDriver(rules, {"a": 2}, is_attended=True).open()
    run.fail("a:0")
    run.succeed("a:1")
    run.choose("g:0", GateEnd.REJECTED)
    run.fail("a:1")
    run.succeed("a:0")
    run.choose("g:0", GateEnd.APPROVED)
    assert run.result == ("completed", None)


@pytest.mark.parametrize(("how", "status"), [(Stop.PAUSE, "paused"), (Stop.DRAIN, "interrupted")])
def test_a_stop_leaves_the_question_open(how: Stop, status: str) -> None:
    run = CoreDriver([gate("g", 0)], is_attended=True).open()
    run.stop(how)
    assert (run.ended["g:0"], run.result) == ("interrupted", (status, None))


def test_a_halt_takes_the_question_back() -> None:
    run = CoreDriver([gate("g", 0), single("a", 1)], is_attended=True).open()
    run.fail("a:0")
    assert run.ended["g:0"] == "interrupted"
    assert run.result == ("failed", "a:0")


def test_an_answer_that_comes_too_late_changes_nothing() -> None:
    run = CoreDriver([gate("g", 0), single("a", 1)], is_attended=True).open()
    run.cancel("g:0")
    run.choose("g:0", GateEnd.APPROVED)
    assert run.ended["g:0"] == "cancelled"


@pytest.mark.parametrize(("how", "status"), [(GateEnd.SKIPPED, "skipped"), (GateEnd.REFUSED, "failed")])
def test_a_gate_may_need_no_answer(how: GateEnd, status: str) -> None:
    run = CoreDriver([gate("g", 0)], ask_at_once=False).open()
    assert run.finish is None, "paused before the question was out"
    run.choose("g:0", how)
    assert (run.ended["g:0"], run.result[0]) == (status, "failed" if how is GateEnd.REFUSED else "completed")


def test_a_child_run_that_is_paused_waits_for_a_choice_and_takes_its_slot_anew() -> None:
    run = CoreDriver([job("child", 0)], {"child": 2}, slots=1).open()
    run.end("child:0", Verdict.PAUSED)
    assert list(run.running) == ["child:1"]
    run.succeed("child:1")
    assert (run.ended["child:0"], run.result) == ("waiting", ("paused", None))


def test_a_child_run_whose_gate_is_answered_goes_on_while_others_run() -> None:
    run = CoreDriver([job("child", 0)], {"child": 2}, slots=1).open()
    run.answer_child("child:0")
    assert list(run.running) == ["child:0"], "it waits for nothing"
    run.end("child:0", Verdict.PAUSED)
    run.answer_child("child:0")
    run.succeed("child:1")
    run.succeed("child:0")
    assert run.started == ["child:0", "child:1", "child:0"]
    assert run.result == ("completed", None)
