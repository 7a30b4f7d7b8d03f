"""A supervisor that is killed while its lines still come: nothing that was recorded is lost, and nothing runs twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from drivers.command_line import RunCli
from drivers.processes import LIMIT_SECONDS, wait_until
from drivers.sweeps import sweep

LINES = ["a", "b", "c", "d"]
POINTS = [
    "growing_list.synced:2",
    *(f"growing_list.written:{number}" for number in (1, 2, 4, 5)),
    *(f"growing_list.synced:{number}" for number in (1, 4, 5)),
    *(f"supervisor.recorded:{number}" for number in range(3, 9)),
    "growth.ended",
]


@pytest.mark.parametrize("point", sweep(POINTS, quick=1))
def test_a_run_that_was_killed_while_its_lines_came_is_made_whole_by_an_update(
    run_cli: RunCli, home: Path, tmp_path: Path, point: str
) -> None:
    ran, journal = tmp_path / "ran", home / "runs" / "e" / "journal-1.jsonl"
    script = ["sh", "-c", 'echo "$1" >> ran', "sh", "{}"]
    each = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "each", "--run-id", "e", "-j1", "--", *script],
        cwd=tmp_path,
        env={**os.environ, "ORCHESTRATE_FAULT": point},
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert each.stdin is not None
    wait_until(lambda: journal.exists() and b'"grew"' in journal.read_bytes(), "the list has begun")
    with suppress(BrokenPipeError):
        for number, line in enumerate(LINES, start=1):
            each.stdin.write(f"{line}\n".encode())
            each.stdin.flush()
            wait_until(lambda: each.poll() is not None or (ran.exists() and len(ran.read_text()) >= 2 * number), "it has run")  # noqa: B023
    with suppress(BrokenPipeError):
        each.stdin.close()
    assert each.wait(LIMIT_SECONDS) == -signal.SIGKILL
    # The last write is that of the last line: then all lines stand there, whether that is recorded or not.
    is_whole = point in ("growing_list.written:5", "growing_list.synced:5", "growth.ended")
    before = run_cli("resume", "e")
    assert before.returncode == (0 if is_whole else 1), before.stderr
    known = ran.read_text().split() if ran.exists() else []
    assert known == LINES[: len(known)]
    if not is_whole:
        assert f"{len(known)} item" in before.stderr, "what was recorded has run, and no more"
        assert run_cli("resume", "e", "--update", stdin="".join(f"{line}\n" for line in LINES)).returncode == 0
    assert ran.read_text().split() == LINES
