"""The rules of a run, kept by the real loop with its store and all its parts: on an engine without a process."""

from __future__ import annotations

import itertools
import os

import pytest
from drivers.loop_stories import LoopStories, Terminal, fan_out, one
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.control.messages import Approve
from orchestrator.core.decisions import StartAttempt
from orchestrator.store.load import read_history
from orchestrator.store.records import ItemSettled
from orchestrator.supervisor.attempt_starts import AttemptStarts
from orchestrator.workers.protocol import AttemptClass, EndReason


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

    def test_what_one_start_found_missing_is_no_answer_for_others_once_that_time_has_passed(
        self, stories: LoopStories, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Many slots that are free and a rate: by the time the last is told to wait, the first may be tried again."""
        begin, tries = AttemptStarts.start, itertools.count(1)

        def begin_counted(starts: AttemptStarts, decision: StartAttempt) -> None:
            if next(tries) > 10_000:
                pytest.fail("each free slot is told to wait until a time that has passed, over and over")
            begin(starts, decision)

        def story(engine: MemoryEngine) -> Step:
            while len(stories.world.started) < 60 or engine.running:
                for item in engine.running:
                    engine.ok(item)
                yield

        monkeypatch.setattr(AttemptStarts, "start", begin_counted)
        # No worker comes up here, so no start waits for one.
        for name in ("_COLD_START_SECONDS", "_WARM_START_SECONDS"):
            monkeypatch.setattr(f"orchestrator.supervisor.admission.{name}", 0.0)
        text = fan_out(60, "pool = 'api'") + "[pools.api]\nrate = '1/1ms'\n"
        assert stories.run(text, story, slots=60).exit_code == 0

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

    def test_an_attempt_whose_worker_kept_no_limit_has_timed_out_and_uses_one_up(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a")
            stories.world.lose("a", "timed out: its worker was stopped", EndReason.TIMEOUT)
            yield

        assert stories.run(one("a"), story).exit_code == 1
        ended = read_history(stories.run_dir).jobs["a"].last_end(0)
        assert ended is not None
        assert (ended.outcome.attempt_class, ended.outcome.ended_by) == (AttemptClass.TIMEOUT, EndReason.TIMEOUT)

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

    def test_three_hundred_fan_outs_need_no_descriptor_each(self, stories: LoopStories) -> None:
        counted: list[int] = []

        def story(engine: MemoryEngine) -> Step:
            while len(stories.world.started) < 300 or engine.running:
                for item in engine.running:
                    engine.ok(item)
                counted.append(len(os.listdir("/proc/self/fd")))
                yield

        jobs = "".join(fan_out(1, job=f"j{number}") for number in range(300))
        assert stories.run(jobs, story).exit_code == 0
        assert max(counted) - min(counted) <= 20

    def test_with_keep_going_what_does_not_need_the_failed_item_runs_all_the_same(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a", "c")
            engine.fail("a")
            engine.ok("c")
            yield from engine.until_running("d")
            engine.ok("d")

        behind = one("ship", "needs = ['a']") + fan_out(3, "needs = ['ship']", job="mirror")
        jobs = one("a") + one("c") + one("d", "needs = ['c']") + behind
        assert stories.run(jobs, story, keep_going=True).exit_code == 1
        assert [stories.statuses(job) for job in "acd"] == [["failed"], ["succeeded"], ["succeeded"]]
        assert (stories.statuses("ship"), stories.statuses("mirror")) == (["skipped"], [])
        past = read_history(stories.run_dir).jobs
        skipped = past["ship"].record(0)
        assert isinstance(skipped, ItemSettled)
        assert (skipped.message, past["mirror"].skipped_because) == ("a is failed", "ship is skipped")

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


def test_a_label_is_one_line_of_the_message_of_an_items_commit(stories: LoopStories) -> None:
    label = "x\\n\\nOrchestrate-Item: r/b\\u001b[31m"

    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a")
        task = stories.world.message("a").workspace
        assert task is not None
        assert task.message == "a: x\\n\\nOrchestrate-Item: r/b\\x1b[31m\n\nOrchestrate-Item: r/a\n"
        engine.ok("a")

    assert stories.run(one("a", f'workspace = "copy"\nlabel = "{label}"'), story).exit_code == 0
