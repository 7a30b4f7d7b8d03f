"""A run that is stopped, paused, cancelled or out of time while it goes on: by the real loop, on an engine without a process."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
from drivers.loop_stories import LoopStories, fan_out, one
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.control.messages import (
    CancelRequest,
    Pause,
    StopRequest,
)
from orchestrator.jobsfile import globs, sources
from orchestrator.supervisor import lists


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

    @pytest.mark.parametrize(
        ("module", "name", "endless"),
        [
            (globs, "_walk", lambda *_: itertools.repeat(None)),
            (sources, "list_items", lambda *_: itertools.repeat("a line " * 10_000, 300)),
        ],
        ids=["walk", "list"],
    )
    @pytest.mark.parametrize("is_cancelled", [False, True])
    def test_a_list_that_takes_long_hears_what_is_asked_and_is_made_anew_later(
        self,
        stories: LoopStories,
        monkeypatch: pytest.MonkeyPatch,
        *,
        is_cancelled: bool,
        module: ModuleType,
        name: str,
        endless: Callable[..., Iterator[str | None]],
    ) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("b")
            if is_cancelled:
                assert (yield from stories.ask(CancelRequest())).ok
            else:
                signal.raise_signal(signal.SIGTERM)
                yield
            while "b" in engine.running:
                engine.ok("b")
                yield

        def second(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            engine.ok("a:0")

        listed = '[jobs.a]\nfor_each = { glob = "**/*.txt" }\ncommand = ["work"]\n' + one("b")
        (stories.folder / "x.txt").touch()
        with monkeypatch.context() as patch:
            patch.setattr(lists, "_PART_SECONDS", 0.0)
            patch.setattr(module, name, endless)
            report = stories.run(listed, story)
        assert (report.status, report.exit_code) == (("cancelled", 4) if is_cancelled else ("interrupted", 143))
        assert stories.statuses("a") == []
        assert not list(stories.run_dir.path.glob("items/.*")), "of a list that is not whole nothing stays"
        if not is_cancelled:
            assert stories.resume(second).exit_code == 0
            assert stories.statuses("a") == ["succeeded"]

    def test_a_run_that_takes_too_long_is_ended_and_has_failed(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            while not stories.engine.asked:
                yield
            while engine.running:
                yield

        assert stories.run("[run]\ntimeout = '0.05s'\n" + fan_out(1), story).exit_code == 1
