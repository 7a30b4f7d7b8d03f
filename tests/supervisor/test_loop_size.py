"""A large run by the real loop, store and parts: what an item costs, counted in calls and in objects, ten times the size."""

from __future__ import annotations

import cProfile
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drivers.loop_stories import LoopStories, fan_out
from drivers.memory_engine import MemoryEngine, Step

ITEMS = 20
"""Of each job."""


class Forgotten(list[Any]):
    """What the driver of the test would keep of each item, and is not the run's."""

    def append(self, _one: object) -> None:
        """It is not kept."""

    def __iadd__(self, _more: object) -> Forgotten:  # type: ignore[misc,override]
        return self


def all_go_well(stories: LoopStories, engine: MemoryEngine, started: float, *, to_the_end: bool) -> Step:
    """Each attempt succeeds, until so many items have started; `to_the_end`: and have ended."""
    while len(stories.world.started) < started or (to_the_end and engine.running):
        for item in engine.running:
            engine.ok(item)
        yield


def calls_of(stories: LoopStories, text: str, story: Callable[[MemoryEngine], Step], items: int, slots: int) -> int:
    """Calls of Python's functions and its own in a run of the jobs file `text`, whose items all succeed."""
    profile = cProfile.Profile()
    profile.enable()
    try:
        report = stories.run(text, story, slots=slots)
    finally:
        profile.disable()
    assert report.exit_code == 0
    assert report.summary["counts"] == {"succeeded": items}
    return sum(entry.callcount for entry in profile.getstats())


def cost_of_item(folder: Path, monkeypatch: pytest.MonkeyPatch, jobs: int) -> tuple[float, float]:
    """In a run of so many jobs: calls an item, of Python's functions and its own; objects more that are kept for each item."""
    folder.mkdir()
    stories = LoopStories(folder, monkeypatch)
    stories.records = Forgotten()
    stories.heard.told = Forgotten()
    kept: list[int] = []
    number = jobs * ITEMS

    def story(engine: MemoryEngine) -> Step:
        for part in (0.4, 0.9):
            yield from all_go_well(stories, engine, number * part, to_the_end=False)
            gc.collect()
            kept.append(len(gc.get_objects()))
        yield from all_go_well(stories, engine, number, to_the_end=True)

    text = "".join(fan_out(ITEMS, job=f"j{each}") for each in range(jobs))
    calls = calls_of(stories, text, story, number, slots=64)
    return calls / number, (kept[1] - kept[0]) / (number / 2)


def calls_of_run(folder: Path, monkeypatch: pytest.MonkeyPatch, items: int) -> int:
    """As of `calls_of`: of a run of one job whose items are done four at a time."""
    folder.mkdir()
    stories = LoopStories(folder, monkeypatch)

    def story(engine: MemoryEngine) -> Step:
        yield from all_go_well(stories, engine, items, to_the_end=True)

    return calls_of(stories, fan_out(items), story, items, slots=4)


CALLS_OF_AN_ITEM = 465
"""Measured, and a tenth more: from the decision that an item starts to the record of its end, and its line in the checkpoint."""


def test_a_plain_item_takes_no_more_calls_than_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it fails: `python -m cProfile -s tottime -m orchestrator run …` tells which part does more than before.

    What every item of a job has in common is to be worked out once for the job; what few items need is asked for where it is
    known that they do. If the item must cost more, say in the commit what for, and write the new number here.
    """
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda _fd: None)
    # The first run in a process loads what later ones find loaded.
    _, few, many = (calls_of_run(tmp_path / str(count), monkeypatch, count) for count in (4, 40, 140))
    assert (many - few) / 100 <= CALLS_OF_AN_ITEM


@pytest.mark.slow
def test_an_item_costs_the_same_among_a_hundred_thousand_in_five_thousand_jobs_as_in_a_tenth_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That what is written survives a power loss is told by other tests; a disk would take most of the time of this one.
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda _fd: None)
    calls, objects = cost_of_item(tmp_path / "small", monkeypatch, 500)
    more_calls, more_objects = cost_of_item(tmp_path / "large", monkeypatch, 5000)
    assert more_calls <= calls * 1.1
    assert more_objects <= max(objects * 1.1, 3.0)
