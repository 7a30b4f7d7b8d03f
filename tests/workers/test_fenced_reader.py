"""A reader of a stream that has a bug: its attempt is a failure of its own, beside a worker, inline, and when it was lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drivers.fake_agents import claude_reading
from drivers.fenced_bugs import fenced_in

import orchestrator
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.agents import formats
from orchestrator.workers.agents.fenced_reader import FencedReader
from orchestrator.workers.agents.left_behind import take_left_behind
from orchestrator.workers.agents.stream import AgentStream
from orchestrator.workers.agents.stream_reader import AgentTold
from orchestrator.workers.protocol import AgentTask, AttemptClass
from orchestrator.workers.protocol.reading import Reading

INIT = b'{"type":"system","subtype":"init","session_id":"s-1","model":"m"}\n'
STRANGE = b'{"type":"strange"}\n'
RESULT = b'{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"s-1","total_cost_usd":0.25}\n'


class Buggy(AgentStream):
    """Stumbles over some bytes; `is_worse`: and can never say what the attempt came to."""

    stumbles_over = STRANGE.rstrip()
    is_worse = False

    def feed(self, data: bytes) -> None:
        if self.stumbles_over in data:
            raise OverflowError("int too large to convert to float")
        super().feed(data)

    def classify(self, **how: Any) -> AgentTold:
        if self.is_worse:
            raise ZeroDivisionError("division by zero")
        return super().classify(**how)


@pytest.fixture
def buggy(monkeypatch: pytest.MonkeyPatch) -> Callable[[Reading, Callable[[], float]], Buggy]:
    """The reader of JSON in this process."""
    monkeypatch.setitem(formats.READERS, "json", Buggy)
    return Buggy


def classified(reader: FencedReader) -> AgentTold:
    return reader.classify(exit_code=0, signal=None, ended_by=None, stderr=b"")


@pytest.mark.usefixtures("buggy")
def test_what_it_can_read_is_known_and_its_attempt_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = formats.reader_of(claude_reading(), lambda: 0.0)
    for data in (INIT, STRANGE, RESULT):
        reader.feed(data)
    told = classified(reader)
    assert (reader.session_id, reader.has_ended, told.cost_usd, told.text) == ("s-1", True, 0.25, "done")
    assert told.attempt_class is AttemptClass.PROTOCOL_ERROR
    assert told.message == (
        "what it wrote could not be judged: our bug (OverflowError: int too large to convert to float); "
        "its traceback is in supervisor.log"
    )
    assert "raise OverflowError" in reader.bug
    monkeypatch.setattr(Buggy, "is_worse", True)
    worse = formats.reader_of(claude_reading(), lambda: 0.0)
    worse.feed(RESULT)
    told = classified(worse)
    assert (told.attempt_class, told.cost_usd, "ZeroDivisionError" in worse.bug) == ("protocol_error", None, True)


@pytest.mark.usefixtures("buggy")
def test_of_a_lost_agent_its_bug_is_told_and_its_streams_are_kept(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(INIT + STRANGE + RESULT)
    (tmp_path / "stderr").write_bytes(b"")
    task = AgentTask(agent="claude", reading=claude_reading(), text_path="")
    left = take_left_behind(str(tmp_path), task, f"{tmp_path}/0-1.stdout", f"{tmp_path}/0-1.stderr", 1 << 20)
    assert left.trouble.startswith("what it wrote could not be judged: our bug (OverflowError")
    assert "raise OverflowError" in left.bug
    assert left.stdout.inline == INIT + STRANGE + RESULT


@pytest.mark.our_bug
@pytest.mark.parametrize("is_worse", [False, True])
@pytest.mark.usefixtures("buggy", "witness")
def test_a_run_goes_on_beside_an_attempt_with_a_bug_and_a_resume_judges_it_the_same(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, *, is_worse: bool
) -> None:
    monkeypatch.setattr(Buggy, "is_worse", is_worse)
    (tmp_path / "jobs.toml").write_text("""
run.slots = 0
[jobs.a]
agent = "fake"
prompt = "fake: ok"
attempts = 1
continue_on_error = true
[jobs.b]
command = ["true"]
""")
    monkeypatch.setattr(Buggy, "stumbles_over", b"nothing of it" if is_worse else b'"type"')
    assert orchestrator.run(tmp_path / "jobs.toml", run_id="r", home=home).exit_code == 1
    for _ in range(2):
        a, b = (RunReader.read(RunDir.of(home, "r")).history.jobs[job].last_end(0) for job in "ab")
        assert a is not None
        assert b is not None
        assert (a.outcome.attempt_class, b.outcome.attempt_class) == ("protocol_error", "ok")
        assert ("ZeroDivisionError" if is_worse else "OverflowError") in fenced_in(home)
        assert orchestrator.resume("r", home=home).exit_code == 1
