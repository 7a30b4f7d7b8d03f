"""A list of items that was removed or damaged costs what needs its values, and no more; an update makes it anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from drivers.loop_stories import AbandonedError, LoopStories
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.reading.item_result import shown_result
from orchestrator.reading.run_reader import RunReader
from orchestrator.runs.commands import UpdateRequest
from orchestrator.store.settings_records import Selection

JOBS = """
[jobs.a]
for_each = {values}
command = ["work", "{{{{ item }}}}"]
[jobs.after]
needs = ["a"]
command = ["work"]
[jobs.told]
needs = ["a"]
when = "always"
command = ["work", "{{{{ jobs.a.results | length }}}}"]
[jobs.other]
command = ["work"]
"""
VALUES = ["x", "y", "z", "w"]
CHAIN = """
[jobs.a]
for_each = VALUES
command = ["work", "{{ item.n }}"]
[jobs.b]
for_each = { job = "a" }
command = ["more", "{{ item.n }}"]
"""


def gone(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    os.truncate(path, 9)


def changed(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"w", b"v"))


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def leaving(engine: MemoryEngine) -> Step:
    """Item 0 has succeeded, two run, and the last has not begun."""
    yield from engine.until_running("a:0", "a:1")
    engine.ok("a:0")
    yield from engine.until_running("a:1", "a:2")
    raise AbandonedError


def letting_end(engine: MemoryEngine) -> Step:
    """All that runs succeeds, as long as the run goes on."""
    while True:
        for item in engine.running:
            engine.ok(item)
        yield


def damage(stories: LoopStories, lose: Callable[[Path], None]) -> None:
    lose(stories.run_dir.items("a", 0))


@pytest.mark.parametrize("lose", [gone, truncated, changed, a_pipe])
def test_a_lost_list_fails_what_needs_its_values_and_an_update_makes_it_anew(
    stories: LoopStories, lose: Callable[[Path], None]
) -> None:
    stories.abandon(JOBS.format(values=VALUES), leaving, keep_going=True)
    damage(stories, lose)
    assert stories.resume(letting_end).exit_code == 1
    assert stories.statuses("a") == ["succeeded", "succeeded", "succeeded", "failed"]
    assert [stories.statuses(job) for job in ("after", "told", "other")] == [["skipped"], ["failed"], ["succeeded"]]
    reader = RunReader.read(stories.run_dir)
    told = [shown_result(reader, *item) for item in (("a", 0), ("a", 3), ("told", 0))]
    assert [each["label"] for each in told] == ["x", None, None]
    for each in told:
        assert each["error"].startswith(str(stories.run_dir.items("a", 0)))
        assert each["error"].endswith("; orchestrate resume r --update lists the items anew and keeps what succeeded")
    before = len(stories.world.started)
    assert stories.resume(letting_end, update=UpdateRequest()).exit_code == 0
    assert stories.world.started[before:] == ["a:3", "after", "told"]
    assert [RunReader.read(stories.run_dir).value("a", index) for index in range(4)] == VALUES


def test_what_had_succeeded_is_found_again_in_another_list(stories: LoopStories) -> None:
    stories.abandon(JOBS.format(values=VALUES), leaving, keep_going=True)
    damage(stories, gone)
    stories.resume(letting_end)
    before = len(stories.world.started)
    (stories.folder / "jobs.toml").write_text(JOBS.format(values=["new", "z", "x"]))
    assert stories.resume(letting_end, update=UpdateRequest()).exit_code == 0
    assert stories.world.started[before:] == ["a:3", "after", "told"]
    reader = RunReader.read(stories.run_dir)
    assert [reader.value("a", index) for index in range(4)] == ["x", None, "z", "new"]
    assert stories.statuses("a") == ["succeeded", "skipped", "succeeded", "succeeded"]


@pytest.mark.parametrize("lost", [["a"], ["b"], ["a", "b"]])
def test_the_values_of_a_chain_are_those_of_the_jobs_beside_it(stories: LoopStories, lost: list[str]) -> None:
    stories.abandon(CHAIN.replace("VALUES", "[{n = 1}, {n = 2}]"), up_to_the_second, slots=1)
    for job in lost:
        gone(stories.run_dir.items(job, 0))
    (stories.folder / "jobs.toml").write_text(CHAIN.replace("VALUES", "[{n = 2}, {n = 1}]"))
    before = len(stories.world.started)
    assert stories.resume(letting_end, slots=1, update=UpdateRequest()).exit_code == 0
    assert stories.world.started[before:] == [], "what ran goes on, what had succeeded stays"
    reader = RunReader.read(stories.run_dir)
    assert [reader.value(job, index)["n"] for job in "ab" for index in range(2)] == [1, 2, 1, 2]


def up_to_the_second(engine: MemoryEngine) -> Step:
    """The first item is through the chain, the second is in its last job."""
    while engine.running != ["b:1"]:
        for item in engine.running:
            engine.ok(item)
        yield
    raise AbandonedError


def test_a_list_that_was_damaged_before_it_was_recorded_is_made_once_more(stories: LoopStories) -> None:
    (stories.run_dir.path / "items").mkdir(parents=True, exist_ok=True)

    def spoil(engine: MemoryEngine) -> Step:
        yield from engine.until_running("other")
        stories.run_dir.items("a", 0).write_bytes(b'"x"\n')
        engine.ok("other")
        yield from letting_end(engine)

    text = JOBS.format(values=VALUES).replace("for_each", 'needs = ["other"]\nfor_each')
    assert stories.run(text, spoil).exit_code == 0
    assert stories.statuses("a") == ["succeeded"] * 4


def test_what_was_selected_of_a_lost_list_stays_selected(stories: LoopStories) -> None:
    def leaving_early(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a:3")
        engine.lose("a:3")
        raise AbandonedError

    stories.abandon(JOBS.format(values=VALUES), leaving_early, keep_going=True, selection=Selection(only=("a:w",)))
    damage(stories, gone)
    assert stories.resume(letting_end).exit_code == 1
    assert stories.statuses("a") == ["skipped", "skipped", "skipped", "failed"]
    assert stories.resume(letting_end, update=UpdateRequest()).exit_code == 0
    assert stories.statuses("a") == ["skipped", "skipped", "skipped", "succeeded"]
