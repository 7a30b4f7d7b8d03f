"""Looks at large sources, beside the loop: by the real loop, on an engine without a process."""

from __future__ import annotations

import threading

import pytest
from drivers.loop_stories import LoopStories, fan_out, one
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.attempts import looks, sources
from orchestrator.control.messages import StopRequest

JOBS = one("made", "creates = 'out'\nsources = ['big']\ncreates_when = 'changed'") + fan_out(2, "priority = -1", job="other")


@pytest.fixture
def is_read(stories: LoopStories, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The source is read to its end when this is set."""
    for name in ("big", "out"):
        (stories.folder / name).touch()
    read = threading.Event()
    digest = sources._digest

    def read_slowly(place: str, path: str) -> str:
        # A loop that reads it itself would wait for ever: the story could not go on.
        assert read.wait(20)
        return digest(place, path)

    monkeypatch.setattr(looks, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(sources, "_digest", read_slowly)
    return read


def test_other_items_start_and_end_while_sources_are_read(stories: LoopStories, is_read: threading.Event) -> None:
    def story(engine: MemoryEngine) -> Step:
        for item in ("other:0", "other:1"):
            yield from engine.until_running(item)
            engine.ok(item)
        is_read.set()
        yield from engine.until_running("made")
        engine.ok("made")

    assert stories.run(JOBS, story, slots=1).exit_code == 0


def test_a_stop_waits_for_no_look(stories: LoopStories, is_read: threading.Event) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("other:0")
        assert (yield from stories.ask(StopRequest(now=True))).ok
        while engine.running:
            yield

    assert stories.run(JOBS, story, slots=1).exit_code == 143
    assert not is_read.is_set()
    is_read.set()
    assert stories.statuses("made") == ["interrupted"]
