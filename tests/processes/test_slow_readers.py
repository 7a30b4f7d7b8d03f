"""Whoever reads what a run tells may stand still, lag or leave: the run ends, and a reader that lags misses nothing."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from drivers.processes import LIMIT_SECONDS, wait_until

from orchestrator.reading.run_reader import RunReader
from orchestrator.store.run_dir import RunDir

ITEMS = 4000
"""Enough to fill a pipe (64 KiB) twice over, by lines as by events."""


@pytest.fixture
def run_dir(home: Path, tmp_path: Path) -> RunDir:
    """Where the run `r` will be. All of its items are skipped, and each is told."""
    (tmp_path / "items").write_text("".join(f"{number}\n" for number in range(ITEMS)))
    (tmp_path / "jobs.toml").write_text("""
[jobs.port]
for_each = { lines = "items" }
when = "{{ false }}"
command = ["true"]
""")
    return RunDir(home / "runs" / "r")


@contextmanager
def supervised(folder: Path, *options: str, stdout: int, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """The run of these jobs goes on; `stdout` and `stderr` are given to it, and closed here."""
    argv = [sys.executable, "-m", "orchestrator", "run", "jobs.toml", "--run-id", "r", *options]
    process = subprocess.Popen(argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
    try:
        yield process
    finally:
        process.kill()
        process.wait(LIMIT_SECONDS)


def wait_for_end(run_dir: RunDir) -> None:
    """The run is over, as its records say, and nobody holds it."""

    def is_over() -> bool:
        return run_dir.checkpoint.exists() and RunReader.read(run_dir).history.ended is not None

    wait_until(is_over, "the run ends although nobody reads")


def test_a_run_ends_although_nobody_reads_its_events_and_a_late_reader_has_them_all(run_dir: RunDir, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with supervised(tmp_path, "--events", "--quiet", stdout=writing, stderr=subprocess.DEVNULL) as process:
        os.close(writing)
        wait_for_end(run_dir)
        assert process.poll() is None, "it waits for its reader, which has most of the events to come"
        with open(reading, "rb") as lines:
            events = [json.loads(line) for line in lines]
        assert process.wait(LIMIT_SECONDS) == 0
    assert [event["item"] for event in events if event["event"] == "item_ended"] == [f"port:{index}" for index in range(ITEMS)]
    assert (events[0]["event"], events[-1]["event"]) == ("run_began", "run_finished")
    assert not [event for event in events if event["event"] == "note"]


def test_a_run_ends_although_nobody_reads_its_lines_and_a_late_reader_has_them_all(run_dir: RunDir, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with supervised(tmp_path, "--progress", "lines", stdout=subprocess.DEVNULL, stderr=writing) as process:
        os.close(writing)
        wait_for_end(run_dir)
        with open(reading, encoding="utf-8") as said:
            lines = said.read().splitlines()
        assert process.wait(LIMIT_SECONDS) == 0
    assert len([line for line in lines if line.startswith("skipped port:")]) == ITEMS
    assert lines[-1].startswith(f"completed: {ITEMS} skipped in ")


def test_a_run_ends_although_its_terminal_stands_still(run_dir: RunDir, tmp_path: Path) -> None:
    screen, terminal = os.openpty()
    termios.tcflow(terminal, termios.TCOOFF)
    with supervised(tmp_path, "--progress", "lines", stdout=subprocess.DEVNULL, stderr=terminal) as process:
        wait_for_end(run_dir)
        termios.tcflow(terminal, termios.TCOON)
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # the last one who has it open has left
            while more := os.read(screen, 1 << 16):
                shown += more
        assert process.wait(LIMIT_SECONDS) == 0
    os.close(screen)
    assert shown.count(b"skipped port:") == ITEMS
    assert b"completed: " in shown.splitlines()[-1]


def test_readers_that_leave_change_neither_the_run_nor_its_exit_code(run_dir: RunDir, tmp_path: Path) -> None:
    (events, told), (lines, said) = os.pipe(), os.pipe()
    with supervised(tmp_path, "--events", "--progress", "lines", stdout=told, stderr=said) as process:
        os.close(told)
        os.close(said)
        with open(events, "rb") as first, open(lines, "rb") as second:
            assert b"run_began" in first.readline()
            assert second.readline().startswith(b"run r jobs")
        assert process.wait(LIMIT_SECONDS) == 0
    history = RunReader.read(run_dir).history
    assert history.ended is not None
    assert history.ended.status == "completed"


@pytest.mark.usefixtures("home")
def test_events_and_lines_in_one_pipe_keep_the_order_in_which_things_happened(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text("""
[jobs.port]
for_each = [0, 1, 2, 3, 4, 5]
command = ["true"]
""")
    reading, writing = os.pipe()
    with supervised(tmp_path, "--events", "--progress", "lines", stdout=writing, stderr=writing) as process:
        os.close(writing)
        with open(reading, "rb") as pipe:
            told = pipe.read().decode().splitlines()
        assert process.wait(LIMIT_SECONDS) == 0
    ends = [(place, json.loads(line)) for place, line in enumerate(told) if line.startswith('{"event":"item_ended"')]
    assert len(ends) == 6
    for place, event in ends:
        assert f" {event['item']} " in told[place + 1], "the line of an item stands behind its event, and nothing between them"
