"""The rules of a run, kept by the real loop with its store and all its parts: on an engine without a process."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from drivers.loop_stories import AbandonedError, LoopStories, Terminal
from drivers.memory_engine import MemoryEngine, Step, outcome

from orchestrator.control.messages import (
    Approve,
    CancelRequest,
    Explain,
    Flush,
    Pause,
    RetryRequest,
    SetBudget,
    SetSlots,
    StopRequest,
)
from orchestrator.workers.protocol import AgentReport, AttemptClass


@pytest.fixture
def stories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopStories:
    return LoopStories(tmp_path, monkeypatch)


def fan_out(count: int, keys: str = "", job: str = "a") -> str:
    return f"[jobs.{job}]\nfor_each = {list(range(count))}\ncommand = ['work']\n{keys}\n"


def one(job: str, keys: str = "") -> str:
    return f"[jobs.{job}]\ncommand = ['work']\n{keys}\n"


class TestOrder:
    def test_items_start_in_their_order_through_a_sliding_window(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            engine.ok("a:1")
            yield from engine.until_running("a:0", "a:2")
            engine.ok("a:0")
            yield from engine.until_running("a:2", "a:3")
            engine.ok("a:2")
            engine.ok("a:3")
            yield from engine.until_running("a:4")
            engine.ok("a:4")

        report = stories.run(fan_out(5, "max_concurrency = 2"), story, slots=4)
        assert report.exit_code == 0
        assert stories.statuses("a") == ["succeeded"] * 5
        assert stories.world.most_at_once == 2

    def test_no_more_run_at_once_than_the_run_has_slots(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            while len(stories.world.started) < 6 or engine.running:
                for item in engine.running:
                    engine.ok(item)
                yield

        assert stories.run(fan_out(6), story, slots=3).exit_code == 0
        assert stories.world.most_at_once == 3
        assert stories.world.started == [f"a:{index}" for index in range(6)]

    def test_a_job_starts_once_what_it_needs_has_succeeded_and_sees_its_outputs(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            engine.ok("a:1", "one")
            yield from engine.until_running("a:0")
            engine.ok("a:0", "zero")
            yield from engine.until_running("b")
            assert stories.world.message("b").argv == ["say", "zero,one"]
            engine.ok("b")

        text = fan_out(2) + "[jobs.b]\ncommand = ['say', \"{{ jobs.a.outputs | join(',') }}\"]\n"
        assert stories.run(text, story).exit_code == 0

    def test_an_item_of_a_chain_starts_once_its_own_parent_is_durable(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            engine.ok("a:1", "one")
            yield from engine.until_running("a:0", "a:2")
            yield from stories.flush()
            assert engine.running == ["a:0", "a:2"], "both slots are taken"
            engine.ok("a:2")
            yield from engine.until_running("a:0", "b:1")
            engine.ok("b:1")
            yield from engine.until_running("a:0", "b:2")
            engine.ok("a:0")
            yield from engine.until_running("b:2", "b:0")
            engine.ok("b:2")
            engine.ok("b:0")

        chain = "[jobs.b]\nfor_each = { job = 'a' }\ncommand = ['work', '{{ item }}']\n"
        assert stories.run(fan_out(3) + chain, story).exit_code == 0

    def test_an_urgent_job_goes_before_one_that_stands_above_it(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("b:0")
            engine.ok("b:0")
            yield from engine.until_running("b:1")
            engine.ok("b:1")
            yield from engine.until_running("a:0")
            engine.ok("a:0")

        assert stories.run(fan_out(1) + fan_out(2, "priority = 5", job="b"), story, slots=1).exit_code == 0


class TestFailures:
    def test_an_attempt_that_failed_is_made_again_as_often_as_the_job_says(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            for attempt in (1, 2, 3):
                yield from engine.until_running("a")
                assert stories.world.message("a").attempt == attempt
                engine.fail("a")
                yield

        assert stories.run(one("a", "attempts = 3\nretry = { delay = '0s' }"), story).exit_code == 1
        assert stories.ends() == [("a", 0, "waiting"), ("a", 0, "waiting"), ("a", 0, "failed")]

    def test_a_lost_attempt_is_made_again_and_counts_for_none(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a")
            engine.lose("a")
            yield
            yield from engine.until_running("a")
            engine.ok("a")

        assert stories.run(one("a"), story).exit_code == 0
        assert stories.world.started == ["a", "a"]

    def test_the_first_failure_lets_what_runs_finish_and_starts_nothing_more(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            engine.fail("a:1")
            yield from engine.until_running("a:0")
            for _ in range(5):
                yield
            assert engine.running == ["a:0"]
            engine.ok("a:0")

        report = stories.run(fan_out(3), story)
        assert (report.exit_code, report.status) == (1, "failed")
        assert stories.statuses("a") == ["succeeded", "failed", "pending"]
        assert report.summary["error"]["item"] == "a:1"

    def test_the_first_failure_that_counts_is_the_first_in_the_file(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            engine.fail("a:1")
            yield from engine.until_running("a:0")
            engine.fail("a:0")

        assert stories.run(fan_out(2), story).summary["error"]["item"] == "a:0"

    def test_with_keep_going_what_does_not_need_the_failed_item_runs_all_the_same(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a", "c")
            engine.fail("a")
            engine.ok("c")
            yield from engine.until_running("d")
            engine.ok("d")

        assert stories.run(one("a") + one("c") + one("d", "needs = ['c']"), story, keep_going=True).exit_code == 1
        assert [stories.statuses(job) for job in "acd"] == [["failed"], ["succeeded"], ["succeeded"]]

    def test_continue_on_error_runs_what_needs_the_job_all_the_same(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            engine.fail("a:0")
            engine.ok("a:1")
            yield from engine.until_running("b")
            engine.ok("b")

        assert stories.run(fan_out(2, "continue_on_error = true") + one("b", "needs = ['a']"), story).exit_code == 1
        assert stories.statuses("b") == ["succeeded"]

    def test_one_failure_more_than_the_job_allows_ends_it(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            engine.fail("a:0")
            yield from engine.until_running("a:1", "a:2")
            engine.fail("a:1")
            yield from engine.until_running("a:2")
            engine.ok("a:2")

        assert stories.run(fan_out(4, "max_failures = 1"), story).exit_code == 1
        assert stories.statuses("a")[:3] == ["failed", "failed", "succeeded"]
        assert "a:3" not in stories.world.started


class TestTokens:
    def test_an_item_joins_the_work_of_another_of_its_run_and_takes_no_slot(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "b")
            engine.ok("b")
            yield from engine.until_running("a:0")
            engine.ok("a:0", "done")

        report = stories.run(fan_out(3, "token = 'ship'") + one("b"), story)
        assert report.exit_code == 0
        assert stories.world.started == ["a:0", "b"]
        assert stories.statuses("a") == ["succeeded"] * 3

    def test_a_failure_is_shared_and_nobody_tries_it_again(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            engine.fail("a:0")

        assert stories.run(fan_out(2, "token = 'ship'\ncontinue_on_error = true"), story).exit_code == 1
        assert stories.statuses("a") == ["failed", "failed"]
        assert stories.world.started == ["a:0"]

    def test_a_cancelled_holder_is_followed_by_one_that_joined(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            assert (yield from stories.ask(CancelRequest([("a", 0)]))).ok
            yield from engine.until_running("a:1")
            engine.ok("a:1")

        stories.run(fan_out(2, "token = 'ship'"), story)
        assert stories.statuses("a") == ["cancelled", "succeeded"]

    def test_one_that_joins_waits_through_the_backoff_of_the_other(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            engine.fail("a:0")
            yield
            yield from engine.until_running("a:0")
            engine.ok("a:0")

        keys = "token = 'ship'\nattempts = 2\nretry = { delay = '0s' }"
        assert stories.run(fan_out(2, keys), story).exit_code == 0
        assert stories.world.started == ["a:0", "a:0"]


GATE = "[jobs.go]\ngate = 'Ship it?'\nneeds = ['a']\n"


class TestGates:
    def test_a_gate_without_a_terminal_pauses_the_run_and_an_answer_lets_the_resume_go_on(self, stories: LoopStories) -> None:
        def first(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a")
            engine.ok("a")

        def second(engine: MemoryEngine) -> Step:
            yield from engine.until_running("b")
            engine.ok("b")

        def asked_again(_engine: MemoryEngine) -> Step:
            yield

        assert stories.run(one("a") + GATE + one("b", "needs = ['go']"), first).exit_code == 3
        assert stories.resume(asked_again).exit_code == 3, "nobody has answered"
        stories.answer("go", "approve")
        assert stories.resume(second).exit_code == 0
        assert stories.statuses("go") == ["succeeded"]

    def test_somebody_at_the_terminal_answers(self, stories: LoopStories) -> None:
        terminal = Terminal()

        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a")
            engine.ok("a")
            yield from terminal.until_asked("Ship it?")
            terminal.say("approve")
            yield from engine.until_running("b")
            engine.ok("b")

        text = one("a") + GATE + one("b", "needs = ['go']")
        with terminal:
            assert stories.run(text, story, asker=terminal).exit_code == 0

    def test_a_gate_holds_no_slot_and_is_approved_from_elsewhere_while_others_run(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a", "c")
            engine.ok("a")
            while not (yield from stories.ask(Approve([("go", 0)]))).ok:
                yield
            yield from engine.until_running("c", "b")
            engine.ok("b")
            engine.ok("c")

        assert stories.run(one("a") + GATE + one("b", "needs = ['go']") + one("c"), story).exit_code == 0

    def test_a_rejected_gate_ends_the_run_with_its_own_code(self, stories: LoopStories) -> None:
        terminal = Terminal()

        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a")
            engine.ok("a")
            yield from terminal.until_asked("Ship it?")
            terminal.say("reject")
            yield

        with terminal:
            assert stories.run(one("a") + GATE, story, asker=terminal).exit_code == 5


class TestStops:
    def test_a_drain_starts_nothing_more_and_waits_for_what_runs(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            signal.raise_signal(signal.SIGINT)
            yield
            yield
            engine.ok("a:0")
            yield
            yield
            assert engine.running == ["a:1"]
            engine.ok("a:1")

        report = stories.run(fan_out(3), story)
        assert (report.status, report.exit_code) == ("interrupted", 130)
        assert stories.statuses("a") == ["succeeded", "succeeded", "pending"]
        assert stories.engine.asked == []

    def test_a_drain_that_takes_too_long_asks_what_runs_to_end(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            signal.raise_signal(signal.SIGTERM)
            while engine.running:
                yield

        report = stories.run("[run]\ndrain_timeout = '0s'\n" + fan_out(1), story)
        assert report.exit_code == 143
        assert stories.engine.asked == [("a:0", "drain", None)]
        assert stories.statuses("a") == ["interrupted"]

    def test_a_second_signal_ends_what_runs_at_once(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            signal.raise_signal(signal.SIGINT)
            yield
            signal.raise_signal(signal.SIGINT)
            while engine.running:
                yield

        assert stories.run(fan_out(3), story).exit_code == 130
        assert [grace for _, _, grace in stories.engine.asked] == [1.0, 1.0]
        assert stories.statuses("a") == ["interrupted", "interrupted", "pending"]

    def test_a_third_signal_kills(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            engine.obeys = False
            yield from engine.until_running("a:0")
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
                yield
            while engine.running:
                yield

        assert stories.run(fan_out(1), story).exit_code == 130
        assert [grace for _, _, grace in stories.engine.asked] == [1.0, 0.0]

    @pytest.mark.parametrize("is_now", [False, True])
    def test_a_stop_that_is_asked_for_is_a_drain_or_ends_at_once(self, stories: LoopStories, *, is_now: bool) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            assert (yield from stories.ask(StopRequest(now=is_now))).ok
            if not is_now:
                engine.ok("a:0")
            while engine.running:
                yield

        assert stories.run(fan_out(2), story, slots=1).exit_code == 143
        assert stories.statuses("a") == ["interrupted" if is_now else "succeeded", "pending"]

    def test_a_pause_lets_what_runs_finish_and_a_resume_goes_on(self, stories: LoopStories) -> None:
        def first(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            assert (yield from stories.ask(Pause())).ok
            engine.ok("a:0")

        def second(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:1")
            engine.ok("a:1")

        assert stories.run(fan_out(2), first, slots=1).exit_code == 3
        assert stories.resume(second).exit_code == 0

    def test_a_cancelled_run_ends_what_runs_and_never_starts_the_rest(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            assert (yield from stories.ask(CancelRequest())).ok
            while engine.running:
                yield

        assert stories.run(fan_out(2), story, slots=1).exit_code == 4
        assert stories.statuses("a") == ["cancelled", "pending"]
        assert stories.engine.asked == [("a:0", "cancel", None)]

    def test_a_run_that_takes_too_long_is_ended_and_has_failed(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            while not stories.engine.asked:
                yield
            while engine.running:
                yield

        assert stories.run("[run]\ntimeout = '0.05s'\n" + fan_out(1), story).exit_code == 1


class TestRequests:
    @pytest.mark.parametrize("way", ["asked", "by a signal"])
    def test_a_flush_makes_durable_what_has_ended_and_disturbs_nothing(self, stories: LoopStories, way: str) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            engine.ok("a:0")
            yield from engine.until_running("a:1", "a:2")
            before = stories.generation()
            if way == "asked":
                assert (yield from stories.ask(Flush())).ok
            else:
                signal.raise_signal(signal.SIGUSR1)
            while stories.generation() == before:
                yield
            assert engine.running == ["a:1", "a:2"]
            engine.ok("a:1")
            engine.ok("a:2")

        assert stories.run(fan_out(3), story).exit_code == 0
        assert stories.engine.asked == []

    def test_more_slots_are_used_at_once_and_fewer_once_they_are_free(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            assert (yield from stories.ask(SetSlots(3))).ok
            yield from engine.until_running("a:0", "a:1", "a:2")
            assert (yield from stories.ask(SetSlots(1))).ok
            engine.ok("a:0")
            engine.ok("a:1")
            yield from engine.until_running("a:2")
            for _ in range(5):
                yield
            assert engine.running == ["a:2"]
            engine.ok("a:2")
            yield from engine.until_running("a:3")
            engine.ok("a:3")

        assert stories.run(fan_out(4), story, slots=1).exit_code == 0

    def test_somebody_may_ask_why_an_item_waits(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            reply = yield from stories.ask(Explain([("a", 0), ("a", 1)]))
            assert [why.words for why in reply.waits] == ["", "it waits for a slot: all are in use"]
            engine.ok("a:0")
            yield from engine.until_running("a:1")
            engine.ok("a:1")

        assert stories.run(fan_out(2), story, slots=1).exit_code == 0

    def test_an_item_runs_once_more_while_the_run_goes_on(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            engine.fail("a:0")
            yield from engine.until_running("a:1")
            assert (yield from stories.ask(RetryRequest([("a", 0)]))).ok
            yield from engine.until_running("a:1", "a:0")
            engine.ok("a:0")
            engine.ok("a:1")

        assert stories.run(fan_out(2, "continue_on_error = true"), story).exit_code == 0
        assert stories.statuses("a") == ["succeeded", "succeeded"]


AGENT = "agent = 'fake'\nprompt = 'work'\n"


def paid(usd: float) -> AgentReport:
    return AgentReport(agent="fake", cost_usd=usd, cost_told=usd)


class TestBudgets:
    def test_nothing_starts_that_would_go_beyond_the_budget_until_it_is_raised(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            stories.world.end("a:0", outcome(AttemptClass.OK, "done", exit_code=0, agent=paid(0.6)))
            while stories.world.running or "a:0" not in stories.world.started:
                yield

        def resumed(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:1")
            stories.world.end("a:1", outcome(AttemptClass.OK, "done", exit_code=0, agent=paid(0.6)))
            yield

        stories.add_agent()
        text = f"[run]\nbudget_usd = 1.0\n[jobs.a]\nfor_each = [0, 1]\n{AGENT}"
        assert stories.run(text, story).exit_code == 3
        assert stories.statuses("a") == ["succeeded", "pending"]
        stories.set_budget(SetBudget("budget_usd", 5.0), instead_of=1.0)
        assert stories.resume(resumed).exit_code == 0
        assert stories.world.started == ["a:0", "a:1"]


class TestResume:
    def test_what_still_runs_is_taken_over_and_not_started_again(self, stories: LoopStories) -> None:
        def leaving(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            raise AbandonedError

        def resumed(engine: MemoryEngine) -> Step:
            yield
            engine.ok("a:1")
            yield from engine.until_running("a:0", "a:2")
            engine.ok("a:0")
            engine.ok("a:2")

        stories.abandon(fan_out(3), leaving)
        assert stories.resume(resumed).exit_code == 0
        assert stories.world.started == ["a:0", "a:1", "a:2"]
        assert stories.statuses("a") == ["succeeded"] * 3

    def test_what_ended_meanwhile_is_taken_in_and_not_done_again(self, stories: LoopStories) -> None:
        def leaving(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            raise AbandonedError

        def resumed(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:1")
            engine.ok("a:1")

        stories.abandon(fan_out(2), leaving)
        stories.world.end("a:0", outcome(AttemptClass.OK, "done", exit_code=0))
        stories.world.lose("a:1")
        assert stories.resume(resumed).exit_code == 0
        assert stories.world.started == ["a:0", "a:1", "a:1"]

    @pytest.mark.parametrize("moment", range(1, 9))
    def test_a_supervisor_that_goes_at_any_turn_loses_nothing_and_starts_nothing_twice(
        self, stories: LoopStories, moment: int
    ) -> None:
        """Each of its turns is left once; what runs then ends while nobody looks."""

        def finishing(engine: MemoryEngine) -> Step:
            while not all(status == "succeeded" for status in stories.statuses("a") or ["not listed"]):
                for item in engine.running:
                    engine.ok(item)
                yield

        def leaving(engine: MemoryEngine) -> Step:
            for turn, _ in enumerate(finishing(engine)):
                if turn == moment:
                    raise AbandonedError
                yield
            raise AbandonedError

        stories.abandon(fan_out(10), leaving, slots=1)
        for item in stories.world.running:
            stories.world.end(item, outcome(AttemptClass.OK, "done", exit_code=0))
        assert stories.resume(finishing).exit_code == 0
        assert sorted(stories.world.started) == [f"a:{index}" for index in range(10)]
        assert sorted(stories.ends()) == [("a", index, "succeeded") for index in range(10)]
