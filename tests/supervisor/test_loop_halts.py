"""A job that has had enough (`halt`), by the real loop on an engine without a process: also if its supervisor goes meanwhile."""

from __future__ import annotations

from collections import Counter

import pytest
from drivers.loop_stories import AbandonedError, LoopStories, fan_out
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.store.load import read_history
from orchestrator.store.records import ItemSettled

FAILED = "a:1 failed, and halts the run"


def told_of(stories: LoopStories) -> str:
    """Why the first item is what it is, as it is recorded."""
    record = read_history(stories.run_dir).jobs["a"].record(0)
    assert isinstance(record, ItemSettled)
    return record.message


def test_a_failure_ends_what_runs_and_the_record_of_that_tells_which_it_was(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a:0", "a:1")
        engine.fail("a:1")

    report = stories.run(fan_out(4, 'halt = "now"'), story)
    assert (report.status, report.exit_code) == ("failed", 1)
    assert stories.engine.asked == [("a:0", "cancel", None)]
    assert stories.statuses("a") == ["cancelled", "failed", "pending", "pending"]
    assert told_of(stories) == FAILED


def test_what_was_queued_when_a_failure_ended_what_ran_has_not_begun_and_a_resume_runs_it(stories: LoopStories) -> None:
    stories.most_queued = 3

    def story(engine: MemoryEngine) -> Step:
        while len(engine.running) < 2 or len(engine.world.queued) < 3:
            for item in list(engine.running):
                engine.ok(item)
            yield
        engine.fail(engine.running[0])

    def resumed(engine: MemoryEngine) -> Step:
        while True:
            for item in list(engine.running):
                engine.ok(item)
            yield

    stories.run(fan_out(40, 'halt = "now"'), story)
    ended = [each for each in stories.statuses("a") if each not in ("pending", "succeeded")]
    assert sorted(ended) == ["cancelled", "failed"]
    stories.resume(resumed)
    assert Counter(stories.statuses("a")) == {"succeeded": 39, "cancelled": 1}


@pytest.mark.parametrize(
    ("halt", "words", "statuses"),
    [
        ("now", FAILED, ["cancelled", "succeeded", "succeeded"]),
        ("now,success=1", "a:1 succeeded, which is enough", ["cancelled", "succeeded", "skipped"]),
    ],
)
def test_a_resume_ends_what_a_halt_was_about_to_end(stories: LoopStories, halt: str, words: str, statuses: list[str]) -> None:
    """Its supervisor goes when the halt is recorded, and nothing that it ends has ended."""

    def leaving(engine: MemoryEngine) -> Step:
        engine.obeys = False
        yield from engine.until_running("a:0", "a:1")
        engine.fail("a:1") if halt == "now" else engine.ok("a:1")
        while not read_history(stories.run_dir).cancelling:
            yield
        raise AbandonedError

    def resumed(engine: MemoryEngine) -> Step:
        while True:
            for item in set(engine.running) - {"a:0"}:
                engine.ok(item)
            yield

    stories.abandon(fan_out(3, f'halt = "{halt}"'), leaving)
    stories.resume(resumed)
    assert stories.engine.asked == [("a:0", "cancel", None)]
    assert stories.statuses("a") == statuses
    assert told_of(stories) == words
