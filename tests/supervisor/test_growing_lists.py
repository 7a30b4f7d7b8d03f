"""A run over lines that still come, by the real loop and store: a real pipe, and no process."""

from __future__ import annotations

import io
import os
import re
import select
from collections.abc import Iterable, Iterator
from zlib import crc32

import pytest
from drivers.loop_stories import AbandonedError, LoopStories
from drivers.memory_engine import MemoryEngine, Step, Story
from drivers.processes import LIMIT_SECONDS

from orchestrator.cli.each_lines import item_lines
from orchestrator.errors import StateUnwritableError, UserError
from orchestrator.reading.run_reader import RunReader
from orchestrator.runs import commands
from orchestrator.runs.commands import EachRequest, RunReport, UpdateRequest, run_each
from orchestrator.store.list_records import ListGrew
from orchestrator.store.records import ItemsListed
from orchestrator.store.settings_records import RunOptions
from orchestrator.supervisor import growth
from orchestrator.system.coming_input import ComingInput
from orchestrator.views.listeners import Listeners
from orchestrator.workers.faultpoints import arm

TEXT = """
name = "each"
[jobs.each]
for_each = { lines = "items.txt" }
command = ["work", "{{ item }}"]
"""


class Lines:
    """What is written to stdin, and the run that reads it."""

    def __init__(self, stories: LoopStories) -> None:
        self.stories = stories
        self.reader, self.writer = os.pipe()
        # The number of descriptors stays the same when the run lets go of the pipe.
        self.spare = os.open(os.devnull, os.O_RDONLY)

    def say(self, text: str) -> None:
        """Write it, and wait until the loop has news of it."""
        os.write(self.writer, text.encode())
        self.wait()

    def end(self) -> None:
        os.close(self.writer)
        self.writer = -1

    def wait(self, seconds: float = LIMIT_SECONDS) -> None:
        """Until the thread that reads tells the loop."""
        growth = self.stories.loop._parts.growth
        assert growth is not None
        select.select(growth.filenos(), [], [], seconds)

    def close(self) -> None:
        for fd in (self.reader, self.writer):
            if fd >= 0:
                os.close(fd)

    def run(self, story: Story, *, keep_going: bool = False, slots: int = 2) -> RunReport:
        stream = ComingInput(self.reader)
        request = EachRequest(
            jobs_text=TEXT,
            lines=self.values(item_lines(io.BufferedReader(stream), lambda _: None)),
            coming=stream,
            folder=str(self.stories.folder),
            options=RunOptions(slots=slots, keep_going=keep_going),
            run_id="r",
        )

        def told(engine: MemoryEngine) -> Step:
            os.close(self.spare)
            yield from story(engine)

        with self.stories._on_stage(told):
            return run_each(self.stories.folder / "home", request, Listeners([self.stories.heard]))

    def values(self, lines: Iterable[str]) -> Iterable[str]:
        """The items that the lines make."""
        return lines

    def until_read(self, count: int) -> Step:
        """Let the loop turn until so many items are recorded."""
        while self.stories.loop._run.history.jobs["each"].count != count:
            self.wait(0.01)
            yield

    def until_let_go(self) -> Step:
        """Let the loop turn until what is written reaches nobody."""
        while True:
            try:
                os.write(self.writer, b"more\n")
            except BrokenPipeError:
                return
            yield


@pytest.fixture
def lines(stories: LoopStories, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    monkeypatch.setattr(commands, "_PATIENCE_SECONDS", 0.0)
    # A disk would take most of the time.
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda _fd: None)
    lines = Lines(stories)
    yield lines
    lines.close()


def letting_end(engine: MemoryEngine) -> Step:
    while True:
        for item in engine.running:
            engine.ok(item)
        yield


def test_an_item_ends_before_the_next_line_has_come(lines: Lines, stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        lines.say("a\n")
        yield from engine.until_running("each:0")
        engine.ok("each:0")
        yield from engine.until_running()
        lines.say("b\nc")
        yield from engine.until_running("each:1")
        lines.end()
        lines.wait()
        yield from engine.until_running("each:1", "each:2")
        yield from letting_end(engine)

    report = lines.run(story)
    assert (report.exit_code, report.status) == (0, "completed")
    assert stories.statuses("each") == ["succeeded"] * 3
    assert [*RunReader.read(stories.run_dir).values("each")] == ["a", "b", "c"]
    told = [each for each in stories.records if isinstance(each, ListGrew | ItemsListed)]
    assert (told[0], told[-1]) == (ListGrew(job="each", count=0, size=0, crc=0), ItemsListed(job="each", count=3))


def test_no_line_is_read_while_many_items_have_not_ended(
    lines: Lines, stories: LoopStories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "MOST_UNENDED", 8)

    def story(engine: MemoryEngine) -> Step:
        lines.say("x\n" * 100)
        yield from lines.until_read(8)
        for index in range(4):
            yield from engine.until_running(f"each:{index}")
            engine.ok(f"each:{index}")
        yield from engine.until_running("each:4")
        assert stories.loop._run.history.jobs["each"].count == 8, "half of them have to end first"
        engine.ok("each:4")
        yield from lines.until_read(8 + 5)
        lines.end()
        yield from letting_end(engine)

    assert lines.run(story, slots=1).exit_code == 0
    assert stories.statuses("each") == ["succeeded"] * 100


def test_a_failure_halts_the_run_and_the_writer_hears_of_it(lines: Lines, stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        lines.say("a\nb\n")
        yield from engine.until_running("each:0", "each:1")
        engine.fail("each:0")
        yield from lines.until_let_go()
        engine.ok("each:1")
        yield

    report = lines.run(story)
    assert (report.exit_code, report.summary["error"]["item"]) == (1, "each:0")
    before = len(stories.world.started)
    report = stories.resume(letting_end)
    assert stories.world.started[before] == "each:0"
    assert (report.exit_code, report.status) == (1, "failed")
    assert report.summary["error"]["message"].startswith("its lines were not read to their end, ")


def abandoned(lines: Lines) -> None:
    """Its supervisor is gone when the first of two items has succeeded."""

    def story(engine: MemoryEngine) -> Step:
        lines.say("a\nb\n")
        yield from lines.until_read(2)
        yield from engine.until_running("each:0")
        engine.ok("each:0")
        yield from engine.until_running("each:1")
        raise AbandonedError

    with pytest.raises(AbandonedError):
        lines.run(story, slots=1)


def test_a_resume_runs_what_was_recorded_and_fails_and_an_update_takes_all_lines(lines: Lines, stories: LoopStories) -> None:
    abandoned(lines)
    list_file = stories.run_dir.items("each", 0)
    recorded = list_file.read_bytes()
    list_file.write_bytes(recorded + b'"torn')
    for _ in range(2):
        report = stories.resume(letting_end)
        words = "its lines were not read to their end, 2 items known; give all of them: orchestrate resume r --update < LINES"
        assert (report.exit_code, report.summary["error"]["message"]) == (1, words)
        assert stories.statuses("each") == ["succeeded"] * 2
        assert list_file.read_bytes() == recorded
    before = len(stories.world.started)
    assert stories.resume(letting_end, update=UpdateRequest(lines=lambda: ["a", "b", "c"])).exit_code == 0
    assert stories.world.started[before:] == ["each:2"]
    assert [*RunReader.read(stories.run_dir).values("each")] == ["a", "b", "c"]


def test_an_update_with_the_lines_that_are_known_makes_the_run_complete(lines: Lines, stories: LoopStories) -> None:
    abandoned(lines)
    with pytest.raises(UserError, match="lacks lines, and stdin has none"):
        stories.resume(letting_end, update=UpdateRequest(lines=list))
    assert stories.resume(letting_end, update=UpdateRequest(lines=lambda: ["a", "b"])).exit_code == 0
    assert stories.statuses("each") == ["succeeded"] * 2


def test_lines_that_were_all_read_before_that_was_recorded_are_all(lines: Lines, stories: LoopStories) -> None:
    abandoned(lines)
    list_file = stories.run_dir.items("each", 0)
    list_file.write_bytes(b'"a"\n"b"\n"c"\n{"count":3,"crc":CRC}\n'.replace(b"CRC", b"%d" % crc32(b'"a"\n"b"\n"c"\n')))
    assert stories.resume(letting_end).exit_code == 0
    assert stories.statuses("each") == ["succeeded"] * 3


def test_a_disk_that_is_full_ends_the_session_and_what_was_recorded_stays(lines: Lines, stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        lines.say("a\n")
        yield from engine.until_running("each:0")
        engine.ok("each:0")
        yield from engine.until_running()
        arm("growing_list.written:1:ENOSPC")
        lines.say("b\n")
        while True:
            yield

    try:
        with pytest.raises(StateUnwritableError, match=re.escape(str(stories.run_dir.items("each", 0)))):
            lines.run(story)
    finally:
        arm(None)
    assert stories.resume(letting_end).exit_code == 1
    assert stories.statuses("each") == ["succeeded"]
    assert stories.run_dir.items("each", 0).read_bytes() == b'"a"\n'


def test_what_cannot_be_read_is_told_and_what_was_read_before_runs(
    lines: Lines, stories: LoopStories, monkeypatch: pytest.MonkeyPatch
) -> None:
    def values(of: Iterable[str]) -> Iterator[str]:
        for line in of:
            if line == "bad":
                raise UserError("item 2 has 1 values, and {2} is wanted", "look at --colsep")
            yield line

    monkeypatch.setattr(lines, "values", values)

    def story(engine: MemoryEngine) -> Step:
        lines.say("a\nbad\nc\n")
        yield from lines.until_let_go()
        yield from letting_end(engine)

    assert lines.run(story).exit_code == 1
    assert stories.statuses("each") == ["succeeded"]
    assert "each: item 2 has 1 values, and {2} is wanted: look at --colsep" in stories.notes()
