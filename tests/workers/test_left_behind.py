"""What an agent left whose worker was killed: no process, one folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drivers.fake_agents import claude_reading

from orchestrator.workers.agents.left_behind import LeftBehind, take_left_behind
from orchestrator.workers.protocol import EMPTY_CAPTURE, AgentTask, Usage

INIT = b'{"type":"system","subtype":"init","session_id":"s-1","model":"m"}\n'
RESULT = (
    b'{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"s-1","total_cost_usd":0.25,'
    b'"usage":{"input_tokens":10,"output_tokens":5}}\n'
)
LIMIT = 1 << 20


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    folder = tmp_path / "workers" / "0"
    folder.mkdir(parents=True)
    (folder / "stdout").write_bytes(INIT + RESULT)
    (folder / "stderr").write_bytes(b"")
    return folder


def take(folder: Path, task: AgentTask | None, limit: int = LIMIT) -> LeftBehind:
    outputs = folder.parent.parent / "outputs" / "job"
    return take_left_behind(str(folder), task, f"{outputs}/0-1.stdout", f"{outputs}/0-1.stderr", limit)


def task(**more: object) -> AgentTask:
    return AgentTask(agent="claude", reading=claude_reading(), text_path="", **more)  # type: ignore[arg-type]


def test_what_it_told_is_known_and_what_it_wrote_is_kept(worker: Path) -> None:
    left = take(worker, task())
    assert left.agent is not None
    assert (left.agent.session_id, left.agent.model, left.agent.cost_usd, left.agent.cost_told) == ("s-1", "m", 0.25, 0.25)
    assert left.agent.usage is not None
    assert (left.agent.usage.input_tokens, left.agent.usage.output_tokens) == (10, 5)
    assert left.stdout.path is not None
    assert Path(left.stdout.path).read_bytes() == left.stdout.inline == INIT + RESULT
    assert (left.stderr, left.trouble) == (EMPTY_CAPTURE, "")


@pytest.mark.parametrize("limit", [LIMIT, 100])
def test_who_is_killed_in_the_middle_takes_it_once_more(worker: Path, limit: int) -> None:
    (worker / "stderr").write_bytes(b"careful\n")
    first = take(worker, None, limit)
    assert not (worker / "stdout").exists()
    again = take(worker, None, limit)
    assert (again.stdout, again.stderr, first.stderr.inline) == (first.stdout, first.stderr, b"careful\n")
    assert first.stdout.is_cut == (limit == 100)


def test_what_its_worker_had_kept_already_is_read_where_it_lies(worker: Path) -> None:
    take(worker, None)
    (worker / "stdout").touch()  # of a next attempt, which has written nothing
    left = take(worker, task())
    assert left.agent is not None
    assert (left.agent.cost_usd, left.stdout.inline) == (0.25, INIT + RESULT)


def test_of_sums_over_a_session_what_it_had_told_before_is_taken_off(worker: Path) -> None:
    reading = claude_reading()
    reading = type(reading)(events=reading.events, is_cost_cumulative=True, is_usage_cumulative=True)
    before = Usage(input_tokens=4, output_tokens=5)
    resumed = AgentTask(agent="a", reading=reading, text_path="", session_id="s-1", usage_before=before, cost_before=0.2)
    report = take(worker, resumed).agent
    assert report is not None
    assert report.cost_usd == pytest.approx(0.05)
    assert report.usage is not None
    assert (report.usage.input_tokens, report.usage.output_tokens, report.is_resumed) == (6, 0, True)
    assert report.cost_told == 0.25


def test_an_agent_that_told_no_costs_by_then_has_unknown_ones(worker: Path) -> None:
    (worker / "stdout").write_bytes(INIT)
    report = take(worker, task()).agent
    assert report is not None
    assert (report.session_id, report.cost_usd) == ("s-1", None)


def test_a_stream_that_is_large_is_read_to_its_end_and_cut_only_then(worker: Path) -> None:
    with open(worker / "stdout", "wb") as file:
        file.write(INIT)
        for _ in range(6):
            file.write(b'{"type":"noise","text":"' + b"x" * (1 << 20) + b'"}\n')
        file.write(RESULT)
    left = take(worker, task())
    assert left.agent is not None
    assert (left.agent.cost_usd, left.agent.events) == (0.25, 8)
    assert (left.stdout.is_cut, left.stdout.inline) == (True, None)
    assert left.stdout.path is not None
    assert LIMIT < os.path.getsize(left.stdout.path) == left.stdout.size < LIMIT + 100


def test_a_file_that_cannot_be_kept_is_told_and_what_was_read_counts(worker: Path) -> None:
    (worker.parent.parent / "outputs").write_text("no folder")
    left = take(worker, task())
    assert left.agent is not None
    assert left.agent.cost_usd == 0.25
    words = f"{worker.parent.parent}/outputs is no folder any more: move away what stands there"
    assert left.trouble == f"what it left could not be kept: {words}"


def test_numbers_that_nothing_can_hold_are_not_told(worker: Path) -> None:
    (worker / "stdout").write_bytes(INIT + RESULT.replace(b"0.25", b"9" * 400).replace(b"10", b"NaN"))
    left = take(worker, task())
    assert left.agent is not None
    assert left.agent.usage is not None
    assert (left.agent.cost_usd, left.agent.usage.input_tokens, left.agent.usage.output_tokens) == (None, None, 5)
    assert (left.trouble, left.bug) == ("", "")
