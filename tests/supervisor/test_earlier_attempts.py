"""What came of an item's earlier attempts is told with the last one, also after a checkpoint has let their own ends go."""

from __future__ import annotations

import pytest
from drivers.loop_stories import LoopStories
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.cli.entry import main

JOBS = """
[jobs.a]
attempts = 2
retry = { delay = "0s" }
command = ["work"]
"""


def test_why_tells_of_each_earlier_attempt(
    stories: LoopStories, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def story(engine: MemoryEngine) -> Step:
        for end in (engine.lose, lambda item: engine.fail(item, 3), engine.ok):
            yield from engine.until_running("a")
            end("a")
            yield

    assert stories.run(JOBS, story).exit_code == 0
    monkeypatch.setenv("ORCHESTRATE_HOME", str(stories.folder / "home"))
    assert main(["why", "r", "a"]) == 0
    told = [line.strip() for line in capsys.readouterr().out.splitlines() if "before, " in line]
    assert told == ["before, attempt 1: lost: the machine is gone", "before, attempt 2: command_failed, exit code 3"]


def test_no_more_than_the_newest_ten_are_kept(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        for _ in range(12):
            yield from engine.until_running("a")
            engine.fail("a")
            yield
        yield from engine.until_running("a")
        engine.ok("a")

    assert stories.run(JOBS.replace("attempts = 2", "attempts = 13"), story).exit_code == 0
    ended = stories.last_end("a")
    assert [each.attempt for each in ended.earlier] == list(range(3, 13))
