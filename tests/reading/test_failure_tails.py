"""The last lines of what a failed attempt wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from drivers.store_samples import ended

from orchestrator.jobsfile.load import load_text
from orchestrator.reading.failure_tails import LONGEST_LINE, MOST_LINES, FailureTails
from orchestrator.store.records import AttemptEnded
from orchestrator.store.run_dir import RunDir, create_run_dir
from orchestrator.workers.protocol import EMPTY_CAPTURE, AgentReport, AttemptClass, Capture

JOBS = '[jobs.go]\ncommand = ["true"]\nenv = { API_KEY = "hunter2-hunter2" }\n'
BLOCK = "-----BEGIN PRIVATE KEY-----\n" + 12 * ("b64+" * 16 + "\n") + "-----END PRIVATE KEY-----\n"


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    (tmp_path / "home").mkdir()
    return create_run_dir(tmp_path / "home", "r1")


@pytest.fixture
def tails(run_dir: RunDir) -> FailureTails:
    return FailureTails(run_dir, load_text(JOBS, path="/x/jobs.toml", folder="/x"))


def said(text: str | bytes) -> Capture:
    data = text.encode() if isinstance(text, str) else text
    return Capture(size=len(data), inline=data)


def failed(child: str = "", **more: Any) -> AttemptEnded:
    told = {"attempt_class": AttemptClass.COMMAND_FAILED, "message": "exit code 1", "stdout": EMPTY_CAPTURE, **more}
    return msgspec.structs.replace(ended(0), child=child, outcome=msgspec.structs.replace(ended(0).outcome, **told))


@pytest.mark.parametrize(
    ("told", "lines"),
    [
        ({"stderr": said("a\n\n b  \n")}, ["a", " b"]),
        ({"stderr": said("why\n"), "stdout": said("out\n")}, ["why"]),
        ({"stderr": said("\n \n"), "stdout": said("out\n")}, ["out"]),
        ({"stdout": said("".join(f"{n}\n" for n in range(99)))}, [str(n) for n in range(99 - MOST_LINES, 99)]),
        ({"stderr": said("10%\r50%\r99%\nlost\r\n")}, ["99%", "lost"]),
        ({"stderr": said("\x1b[1;31mred\x1b[0m\tx\n")}, ["red x"]),
        ({"stderr": said(b"\xff\x00\n")}, ["\\xff\x00"]),
        ({"stderr": said("x" * 999)}, ["x" * (LONGEST_LINE - 1) + "…"]),
        ({"stderr": said("key hunter2-hunter2\n")}, ["key [redacted:API_KEY]"]),
        ({"stderr": said(f"{BLOCK}refused\n")}, ["[redacted:private key]", "refused"]),
        ({"stderr": said("no such file\n"), "message": "exit code 1: no such file"}, []),
        ({"stderr": said("why\n"), "attempt_class": AttemptClass.OK}, []),
        ({"stderr": said("why\n"), "child": "gone"}, []),
        (
            {"stderr": said("it went well\n"), "check": said("1 failed\n"), "attempt_class": AttemptClass.CHECK_FAILED},
            ["1 failed"],
        ),
        ({"stdout": said('{"type":"x"}\n'), "agent": AgentReport(agent="claude", text=said("I can not\n"))}, ["I can not"]),
        ({}, []),
    ],
)
def test_the_lines_that_say_most_are_taken(tails: FailureTails, told: dict[str, Any], lines: list[str]) -> None:
    assert tails.of(failed(**told)) == lines


def test_of_a_large_file_only_the_end_is_read_and_no_half_of_a_secret_is_shown(
    tails: FailureTails, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_dir.path / "err"
    # The key ends within the last lines, and begins far before the bytes that would be looked at for ten lines.
    path.write_bytes(b"x" * (1 << 20) + b"\n" + BLOCK.encode() + b"refused\n")
    capture = Capture(size=path.stat().st_size, path=str(path), sha256="0")
    assert tails.of(failed(stderr=capture))[-2:] == ["[redacted:private key]", "refused"]
    asked: list[int] = []
    monkeypatch.setattr("orchestrator.reading.failure_tails.capture_end", lambda *given: asked.append(given[2]) or b"")
    assert tails.of(failed(stderr=capture)) == []
    assert [each < 1 << 17 for each in asked] == [True]


@pytest.mark.parametrize("lost", ["missing", "folder", "shorter"])
def test_what_cannot_be_read_has_no_lines(tails: FailureTails, run_dir: RunDir, lost: str) -> None:
    path = run_dir.path / "err"
    if lost == "folder":
        path.mkdir()
    elif lost == "shorter":
        path.touch()
    assert tails.of(failed(stderr=Capture(size=1 << 20, path=str(path), sha256="0"))) == []
