"""`each` over lines that still come."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from drivers.command_line import RunCli
from drivers.processes import LIMIT_SECONDS, wait_until

EACH = [sys.executable, "-m", "orchestrator", "each", "--run-id", "e"]


def begin(folder: Path, *words: str, stdin: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*EACH, *words], cwd=folder, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_an_item_has_ended_before_the_next_line_comes(run_cli: RunCli, home: Path, tmp_path: Path) -> None:
    with begin(tmp_path, "--", "sh", "-c", 'echo "said $1"; echo "$1" >> ran', "sh", "{}") as each:
        assert each.stdin is not None
        assert each.stdout is not None
        for line in ("one", "two"):
            each.stdin.write(f"{line}\n".encode())
            each.stdin.flush()
            assert each.stdout.readline() == f"said {line}\n".encode()
        assert '"status":"running","counts":{"succeeded":2}' in run_cli("status", "e", "--json").stdout
        each.stdin.write(b"three")
        each.stdin.close()
        assert each.stdout.read() == b"said three\n"
        assert each.wait(LIMIT_SECONDS) == 0
    assert (tmp_path / "ran").read_text() == "one\ntwo\nthree\n"
    assert (home / "runs" / "e" / "items" / "each.jsonl").read_bytes().startswith(b'"one"\n"two"\n"three"\n{"count":3,')


@pytest.mark.usefixtures("home")
def test_a_producer_without_an_end_is_let_go_of_when_an_item_fails(tmp_path: Path) -> None:
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as producer:
        assert producer.stdout is not None
        words = ["-j2", "--", "sh", "-c", 'echo >> ran; test "$(wc -l < ran)" -lt 5']
        with begin(tmp_path, *words, stdin=producer.stdout) as each:
            producer.stdout.close()
            _, told = each.communicate(timeout=LIMIT_SECONDS)
            assert each.returncode == 1, told
        assert producer.wait(LIMIT_SECONDS) == -signal.SIGPIPE
    assert len((tmp_path / "ran").read_text()) < 10


@pytest.mark.slow
def test_a_signal_ends_a_run_that_waits_for_lines(run_cli: RunCli, tmp_path: Path) -> None:
    with begin(tmp_path, "--", "sh", "-c", 'echo "$1" >> ran', "sh", "{}") as each:
        assert each.stdin is not None
        each.stdin.write(b"a\nb\n")
        each.stdin.flush()
        wait_until(lambda: (tmp_path / "ran").exists() and len((tmp_path / "ran").read_text()) == 4, "both items have run")
        each.send_signal(signal.SIGINT)
        assert each.wait(LIMIT_SECONDS) == 128 + signal.SIGINT
    told = run_cli("resume", "e")
    words = "its lines were not read to their end, 2 items known; give all of them: orchestrate resume e --update < LINES"
    assert (told.returncode, words in told.stderr) == (1, True), told.stderr
    assert run_cli("resume", "e", "--update", stdin="a\nb\nc\n").returncode == 0
    assert sorted((tmp_path / "ran").read_text().split()) == ["a", "b", "c"]
