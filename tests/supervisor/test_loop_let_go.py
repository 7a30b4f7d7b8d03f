"""A run that ends with an error lets go of all that it holds: the program around it goes on, and may resume it."""

from __future__ import annotations

from collections import Counter

import pytest
from drivers.loop_stories import AbandonedError, LoopStories, fan_out, open_files
from drivers.memory_engine import MemoryEngine, Step
from drivers.sweeps import sweep

from orchestrator.errors import StateUnwritableError

JOBS = fan_out(3, "pool = 'p'\ntoken = 'work {{ item }}'") + "[pools.p]\nslots = 2\n"
WRITES = {"list": 3, "starts": 4, "ends": 5, "last ends": 6, "end of the run": 7}
"""The writes of the journal, by what they record."""


def work(engine: MemoryEngine) -> Step:
    """Each attempt succeeds as soon as it runs."""
    while True:
        for item in list(engine.running):
            engine.ok(item)
        yield


@pytest.mark.parametrize("write", sweep(sorted(WRITES, key="starts".__ne__), quick=1))
def test_a_run_that_cannot_write_lets_go_of_what_it_took_and_this_process_resumes_it(
    stories: LoopStories, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    monkeypatch.setenv("ORCHESTRATE_FAULT", f"journal.write:{WRITES[write]}:ENOSPC")
    before = open_files()
    with pytest.raises(StateUnwritableError):
        stories.run(JOBS, work)
    assert not stories.world.running
    assert open_files() - before == Counter()
    monkeypatch.delenv("ORCHESTRATE_FAULT")
    assert stories.resume(work).exit_code == 0


def test_a_session_that_cannot_begin_lets_go_of_what_it_had_made(stories: LoopStories) -> None:
    stories.abandon(JOBS, leave)
    socket = stories.run_dir.path / "control.sock"
    socket.mkdir()
    before = open_files()
    with pytest.raises(StateUnwritableError, match="cannot listen there"):
        stories.resume(work)
    assert open_files() - before == Counter()
    socket.rmdir()
    assert stories.resume(work).exit_code == 0


def leave(_engine: MemoryEngine) -> Step:
    """The supervisor is gone without a word, and what ran goes on."""
    yield
    raise AbandonedError
