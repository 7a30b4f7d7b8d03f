"""Runs of short items of which starts are queued, to which anything happens: each item runs as often as its ends say."""

from __future__ import annotations

import signal
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from drivers.loop_stories import AbandonedError, LoopStories, fan_out
from drivers.memory_engine import MemoryEngine, Step
from drivers.sweeps import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from orchestrator.control.messages import CancelRequest, Pause, SetSlots
from orchestrator.runs.commands import RunReport
from orchestrator.store.load import read_history
from orchestrator.store.records import AttemptEnded

COUNT = 60
KEYS = "attempts = 3\nretry = { delay = '0s' }\ncontinue_on_error = true"


def end_all(engine: MemoryEngine) -> Step:
    while True:
        for item in list(engine.running):
            engine.ok(item)
        yield


class RandomRun:
    """One run, under one supervisor after the other; `data` says what happens to it."""

    def __init__(self, data: st.DataObject, stories: LoopStories) -> None:
        self._data = data
        self._stories = stories
        stories.most_queued = 3
        self.cancelled: set[str] = set()

    def play(self) -> None:
        """Until all that can has succeeded."""
        report: RunReport | None = None
        with suppress(AbandonedError):
            report = self._stories.run(fan_out(COUNT, KEYS), self._story)
        for _ in range(2):
            if report is None or report.status not in ("completed", "cancelled"):
                report = None
                with suppress(AbandonedError):
                    report = self._stories.resume(self._story, slots=self._data.draw(st.sampled_from([1, 2, 4])))
        if report is None or report.status not in ("completed", "cancelled"):
            self._stories.resume(end_all)

    def check(self) -> None:
        """What ran, and what is recorded of it, are the same."""
        statuses = self._stories.statuses("a")
        assert set(statuses) <= {"succeeded", "cancelled"}
        assert {f"a:{index}" for index, each in enumerate(statuses) if each == "cancelled"} <= self.cancelled
        ends = [each for each in self._stories.records if isinstance(each, AttemptEnded)]
        assert Counter(self._stories.world.started) == Counter(f"a:{each.index}" for each in ends)
        well = Counter(each.index for each in ends if each.status.value == "succeeded")
        assert well == Counter(index for index, each in enumerate(statuses) if each == "succeeded")
        assert read_history(self._stories.run_dir).starts_without_end == {}

    def _story(self, engine: MemoryEngine) -> Step:
        acts = [self._succeed] * 5 + [self._fail, self._lose, self._lasts, self._tells, self._give_back, self._checkpoint]
        acts += [self._cancel, self._set_slots]
        for _ in range(self._data.draw(st.integers(5, 30))):
            yield from self._data.draw(st.sampled_from(acts))(engine)
        how = self._data.draw(st.sampled_from(["killed", "killed", "paused", "to the end"]))
        if how == "killed":
            raise AbandonedError
        if how == "paused":
            yield from self._stories.ask(Pause())
        yield from end_all(engine)

    def _one(self, engine: MemoryEngine) -> list[str]:
        return [self._data.draw(st.sampled_from(engine.running))] if engine.running else []

    def _succeed(self, engine: MemoryEngine) -> Step:
        for _ in range(self._data.draw(st.integers(1, 4))):
            for item in list(engine.running):
                engine.ok(item)
        yield

    def _fail(self, engine: MemoryEngine) -> Step:
        for item in self._one(engine):
            engine.fail(item)
        yield

    def _lose(self, engine: MemoryEngine) -> Step:
        for item in self._one(engine):
            engine.lose(item)
        yield

    def _lasts(self, engine: MemoryEngine) -> Step:
        for item in self._one(engine):
            engine.lasts(item)
        yield

    def _tells(self, engine: MemoryEngine) -> Step:
        for item in self._one(engine):
            engine.tells(item)
        yield

    def _give_back(self, engine: MemoryEngine) -> Step:
        engine.world.recall()
        yield

    def _checkpoint(self, _engine: MemoryEngine) -> Step:
        signal.raise_signal(signal.SIGUSR1)
        yield

    def _set_slots(self, _engine: MemoryEngine) -> Step:
        yield from self._stories.ask(SetSlots(self._data.draw(st.sampled_from([1, 2, 3, 5]))))

    def _cancel(self, engine: MemoryEngine) -> Step:
        of = engine.world.queued or engine.running
        if of:
            item = self._data.draw(st.sampled_from(of))
            self.cancelled.add(item)
            yield from self._stories.ask(CancelRequest(items=[("a", int(item.removeprefix("a:")))]))
        yield


def play(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        run = RandomRun(data, LoopStories(Path(folder), patch))
        run.play()
        run.check()


@examples(16, *HealthCheck, derandomize=True)
@given(st.data())
def test_whatever_happens_each_item_runs_as_often_as_its_ends_say(data: st.DataObject) -> None:
    play(data)


@pytest.mark.slow
@examples(300, *HealthCheck)
@given(st.data())
def test_whatever_happens_in_hundreds_of_runs_each_item_runs_as_often_as_its_ends_say(data: st.DataObject) -> None:
    play(data)
