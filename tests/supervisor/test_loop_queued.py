"""Starts that are queued behind others: by the real loop, on an engine without a process. Items are as short as can be."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable

import pytest
from drivers.loop_stories import AbandonedError, LoopStories, fan_out
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.control.messages import CancelRequest, Explain, Pause
from orchestrator.reading.item_result import item_results
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.load import read_history
from orchestrator.store.records import AttemptEnded, QueuedBegan, QueuedReturned, Started
from orchestrator.views.happenings import ItemEnded, ItemStarted

COUNT = 80
ITEMS = [f"a:{index}" for index in range(COUNT)]


@pytest.fixture(autouse=True)
def short_items(stories: LoopStories) -> None:
    stories.most_queued = 3


def end_all(engine: MemoryEngine) -> Step:
    """All that runs succeeds, as fast as it is started."""
    while True:
        for item in list(engine.running):
            engine.ok(item)
        yield


def until_queued(engine: MemoryEngine) -> Step:
    """All that runs succeeds until as much as can be is queued behind one that runs."""
    while len(engine.running) < 2 or len(engine.world.queued) < 3:
        for item in list(engine.running):
            engine.ok(item)
        yield


def all_ran_once(stories: LoopStories) -> None:
    assert Counter(stories.world.started) == Counter(ITEMS)
    assert stories.statuses("a") == ["succeeded"] * COUNT
    assert {each.attempt for each in stories.records if isinstance(each, AttemptEnded)} == {1}


def test_short_items_are_queued_and_each_runs_once_in_no_more_than_its_slots(stories: LoopStories) -> None:
    assert stories.run(fan_out(COUNT), end_all).exit_code == 0
    all_ran_once(stories)
    assert stories.world.most_at_once == 2
    assert sum(each.is_queued for each in stories.records if isinstance(each, Started)) > COUNT / 3


def test_queues_are_filled_before_they_run_dry_so_that_few_starts_wait_for_the_supervisor(stories: LoopStories) -> None:
    stories.run(fan_out(COUNT), end_all)
    waited = [each.index for each in stories.records if isinstance(each, Started) and not each.is_queued]
    # Two before anything is known, one for each slot at the end, and a few between where both slots end in one turn.
    assert len(waited) <= COUNT / 8, waited
    assert not any(isinstance(each, QueuedReturned) for each in stories.records)


def test_each_item_is_told_once_as_started_before_its_end(stories: LoopStories) -> None:
    stories.run(fan_out(COUNT), end_all)
    told = [(type(each).__name__, each.item) for each in stories.heard.told if getattr(each, "item", "") in ITEMS]
    assert sorted(told) == sorted([("ItemStarted", item) for item in ITEMS] + [("ItemEnded", item) for item in ITEMS])
    assert all(told.index(("ItemStarted", item)) < told.index(("ItemEnded", item)) for item in ITEMS)


def test_no_more_items_are_told_to_run_at_once_than_there_are_slots(stories: LoopStories) -> None:
    def whole_queues(engine: MemoryEngine) -> Step:
        while True:
            while engine.running:
                engine.ok(engine.running[0])
            yield

    stories.run(fan_out(COUNT), whole_queues)
    running: set[str] = set()
    for each in stories.heard.told:
        if isinstance(each, ItemStarted):
            running.add(each.item)
        elif isinstance(each, ItemEnded):
            running.remove(each.item)
        assert len(running) <= 2, running


def test_nothing_queued_begins_after_a_failure_and_a_resume_runs_all_that_was(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from until_queued(engine)
        failing, other = engine.running
        begun = len(engine.world.started)
        engine.fail(failing)
        engine.ok(other)
        yield
        yield
        assert (engine.running, engine.world.queued) == ([], [])
        assert len(engine.world.started) == begun

    report = stories.run(fan_out(COUNT), story)
    assert report.status == "failed"
    assert Counter(stories.statuses("a")).keys() == {"succeeded", "failed", "pending"}
    assert read_history(stories.run_dir).starts_without_end == {}
    assert stories.resume(end_all).exit_code == 0
    assert stories.statuses("a") == ["succeeded"] * COUNT
    assert Counter(Counter(stories.world.started).values()) == {1: COUNT - 1, 2: 1}


def pause(stories: LoopStories) -> Step:
    assert (yield from stories.ask(Pause())).ok


def drain(stories: LoopStories) -> Step:  # noqa: ARG001 (all are asked in one way)
    signal.raise_signal(signal.SIGTERM)
    yield


def cancel(stories: LoopStories) -> Step:
    assert (yield from stories.ask(CancelRequest(items=None))).ok


@pytest.mark.parametrize("stop", [pause, drain, cancel])
def test_nothing_queued_begins_after_a_stop(stories: LoopStories, stop: Callable[[LoopStories], Step]) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from until_queued(engine)
        begun = len(engine.world.started)
        yield from stop(stories)
        yield
        assert engine.world.queued == []
        for item in list(engine.running):
            engine.ok(item)
        yield
        yield
        assert len(engine.world.started) == begun

    stories.run(fan_out(COUNT), story)
    assert "running" not in stories.statuses("a")
    assert read_history(stories.run_dir).starts_without_end == {}


def test_one_that_lasts_is_seen_to_run_and_what_was_queued_behind_it_to_wait_and_starts_elsewhere(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from until_queued(engine)
        # The one that was queued first goes on, and lasts.
        engine.ok(engine.running[0])
        lasting = engine.running[-1]
        engine.lasts(lasting)
        yield
        counts = Counter(read_history(stories.run_dir).jobs["a"].counts())
        assert counts["running"] <= 2
        assert f"a:{[*stories.statuses('a')].index('running')}" in engine.running
        while len(engine.world.started) < COUNT:
            for item in set(engine.running) - {lasting}:
                engine.ok(item)
            yield
        assert lasting in engine.running
        engine.ok(lasting)
        yield from end_all(engine)

    assert stories.run(fan_out(COUNT), story).exit_code == 0
    all_ran_once(stories)
    assert [type(each) for each in stories.records if isinstance(each, QueuedBegan | QueuedReturned)].count(QueuedBegan) == 1


@pytest.mark.parametrize("is_in_checkpoint", [False, True])
def test_a_supervisor_that_is_gone_leaves_nothing_that_was_queued_behind(stories: LoopStories, is_in_checkpoint: bool) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from until_queued(engine)
        if is_in_checkpoint:
            signal.raise_signal(signal.SIGUSR1)
            yield
            yield
            assert engine.world.queued
        raise AbandonedError

    def on(engine: MemoryEngine) -> Step:
        assert len(engine.running) == 2
        yield from end_all(engine)

    stories.abandon(fan_out(COUNT), story)
    assert stories.resume(on).exit_code == 0
    all_ran_once(stories)


def test_an_item_that_is_cancelled_while_it_is_queued_never_begins(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from until_queued(engine)
        queued = engine.world.queued[-1]
        assert (yield from stories.ask(CancelRequest(items=[("a", int(queued[2:]))]))).ok
        yield
        cancelled.append(queued)
        yield from end_all(engine)

    cancelled: list[str] = []
    stories.run(fan_out(COUNT), story)
    assert Counter(stories.world.started) == Counter(ITEMS) - Counter(cancelled)
    assert Counter(stories.statuses("a")) == {"succeeded": COUNT - 1, "cancelled": 1}


def test_an_item_that_is_queued_has_not_begun_to_whoever_asks(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from until_queued(engine)
        queued = engine.world.queued[-1]
        (wait,) = (yield from stories.ask(Explain([("a", int(queued[2:]))]))).waits
        reader = RunReader.read(stories.run_dir)
        result = next(each for each in item_results(reader) if each["item"] == queued)
        told.append((wait.words, result["status"], result["attempts"], result["started_at"]))
        assert 1 <= sum(each["status"] == "running" for each in item_results(reader)) <= 2
        yield from end_all(engine)

    told: list[tuple[str, str, int, float | None]] = []
    stories.run(fan_out(COUNT), story)
    assert told == [("", "pending", 0, None)]
