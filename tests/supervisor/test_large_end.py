"""The end of a session that did little in a large run: its checkpoint is not written again."""

from __future__ import annotations

from pathlib import Path

import pytest
from drivers.loop_stories import LoopStories, fan_out
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.reading.shown_summary import summary_of
from orchestrator.store import run_store
from orchestrator.store.kept_summary import kept_summary

ITEMS = 60


@pytest.fixture
def stories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopStories:
    """A run of which one item has failed, and whose checkpoint is a large one."""
    stories = LoopStories(tmp_path, monkeypatch)
    stories.run(fan_out(ITEMS, "continue_on_error = true"), one_fails)
    monkeypatch.setattr(run_store, "SMALLEST_JOURNAL_BYTES", stories.run_dir.checkpoint.stat().st_size)
    return stories


def one_fails(engine: MemoryEngine) -> Step:
    for index in range(ITEMS):
        while f"a:{index}" not in engine.running:
            yield
        if index == 7:
            engine.fail("a:7")
        else:
            engine.ok(f"a:{index}")


def it_succeeds(engine: MemoryEngine) -> Step:
    while "a:7" not in engine.running:
        yield
    engine.ok("a:7")


def test_what_it_did_is_durable_in_the_journal_and_told_afterwards(stories: LoopStories, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stories.run_dir.checkpoint.stat()
    synced: list[int] = []
    make_durable = run_store.RunStore.make_durable

    def counted(store: run_store.RunStore) -> None:
        make_durable(store)
        synced.append(store.durable_through())

    monkeypatch.setattr(run_store.RunStore, "make_durable", counted)
    assert stories.resume(it_succeeds).exit_code == 0
    assert stories.run_dir.checkpoint.stat() == before
    assert len(synced) == 1
    assert stories.statuses("a") == ["succeeded"] * ITEMS
    assert kept_summary(stories.run_dir) is not None
    assert summary_of(stories.run_dir)["counts"] == {"succeeded": ITEMS}


def test_a_checkpoint_that_was_removed_meanwhile_is_put_back(stories: LoopStories) -> None:
    def lose(engine: MemoryEngine) -> Step:
        yield from it_succeeds(engine)
        stories.run_dir.checkpoint.unlink()

    assert stories.resume(lose).exit_code == 0
    assert stories.statuses("a") == ["succeeded"] * ITEMS


def test_the_next_generation_begins_when_the_journal_has_grown(stories: LoopStories, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "JOURNAL_GROWTH", 1000)
    before = stories.generation()
    assert stories.resume(it_succeeds).exit_code == 0
    assert stories.generation() == before + 1
