"""A run of which all has succeeded is resumed: it is told as ever, and its records are neither read nor written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest
from drivers.loop_stories import LoopStories, fan_out, one
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.errors import StateRefusedError
from orchestrator.runs import next_session
from orchestrator.store import run_store
from orchestrator.store.settings_records import SlotsSet
from orchestrator.views.happenings import Happening

TEXT = fan_out(3) + one("last", 'needs = ["a"]')


@pytest.fixture
def stories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopStories:
    return LoopStories(tmp_path, monkeypatch)


def all_succeed(engine: MemoryEngine) -> Step:
    for item in ("a:0", "a:1", "a:2", "last"):
        while item not in engine.running:
            yield
        engine.ok(item)


def nothing(_engine: MemoryEngine) -> Step:
    yield from ()


def told(happenings: Iterable[Happening]) -> list[object]:
    """What was told, but for the time."""
    objects = [(type(each).__name__, msgspec.to_builtins(each)) for each in happenings]
    for _, each in objects:
        each.update(at=0)
        each.get("summary", {}).update(finished_at=0)
    return objects


def resumed(stories: LoopStories, **options: object) -> list[object]:
    """What a resume tells."""
    stories.heard.told.clear()
    report = stories.resume(nothing, **options)
    assert report.exit_code == 0
    return told(stories.heard.told)


def test_it_tells_what_a_session_tells_and_has_none(stories: LoopStories, monkeypatch: pytest.MonkeyPatch) -> None:
    stories.run(TEXT, all_succeed)
    (stories.folder / "jobs.toml").write_text(TEXT + "# edited since\n")
    with monkeypatch.context() as patched:
        patched.setattr(run_store, "load_run", None)
        before = stories.run_dir.checkpoint.stat(), len(stories.records), len(stories.engines)
        short = resumed(stories)
        assert (stories.run_dir.checkpoint.stat(), len(stories.records), len(stories.engines)) == before
    stories.run_dir.summary.unlink()
    assert short == resumed(stories)
    assert len(stories.engines) == 2
    # That session has kept what the run came to: now it is told again without one.
    assert short == resumed(stories)
    assert len(stories.engines) == 2


def lose_power(_stories: LoopStories, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setattr(next_session, "boot_id", lambda: "another boot")
    return {}


def ask_for_stale_ones(_stories: LoopStories, _monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    return {"rerun_stale": True}


def record_more(stories: LoopStories, _monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    stories._append(SlotsSet(slots=2))
    return {}


def have_workspaces(stories: LoopStories, _monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    stories.run_dir.workspaces.mkdir()
    return {}


@pytest.mark.parametrize("change", [lose_power, ask_for_stale_ones, record_more, have_workspaces])
def test_where_a_session_could_find_more_there_is_one(
    stories: LoopStories,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[LoopStories, pytest.MonkeyPatch], dict[str, object]],
) -> None:
    stories.run(TEXT, all_succeed)
    resumed(stories, **change(stories, monkeypatch))
    assert len(stories.engines) == 2


def test_an_item_that_was_skipped_has_its_turn_once_more(stories: LoopStories) -> None:
    stories.run(one("a", 'when = "{{ false }}"'), nothing)
    resumed(stories)
    assert len(stories.engines) == 2


def test_a_copy_of_the_jobs_file_that_is_lost_is_told(stories: LoopStories) -> None:
    stories.run(TEXT, all_succeed)
    stories.run_dir.jobs_toml(0).write_text("[jobs.other]\n")
    with pytest.raises(StateRefusedError, match="own copy cannot be read"):
        stories.resume(nothing)
