"""Ids of jobs as people write them, in a run and what it keeps: by the real loop, on an engine without a process."""

from __future__ import annotations

from drivers.loop_stories import LoopStories
from drivers.memory_engine import MemoryEngine, Step

TEXT = """
[jobs.Build]
for_each = [0, 1]
command = ["make"]

[jobs.Build-1]
for_each = [2, 3]
command = ["make"]

[jobs.lint-and-test]
command = ["work", "{{ jobs.Build.outputs | length }}", "{{ jobs['Build-1'].succeeded | length }}"]
"""


def test_ids_with_capitals_and_hyphens_name_jobs_items_and_their_files(stories: LoopStories) -> None:
    words: list[str] = []

    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("Build:0", "Build:1", "Build-1:0", "Build-1:1")
        for item in list(engine.world.running):
            engine.ok(item)
        yield from engine.until_running("lint-and-test")
        words.extend(engine.world.message("lint-and-test").argv)
        engine.ok("lint-and-test")

    assert stories.run(TEXT, story, slots=4).exit_code == 0
    assert words == ["work", "2", "2"]
    # A later list of Build would be called Build-1.jsonl.
    assert sorted(path.name for path in (stories.run_dir.path / "items").iterdir()) == ["Build-1.0.jsonl", "Build.jsonl"]
    assert stories.run_dir.items("Build", 1) != stories.run_dir.items("Build-1", 0)
