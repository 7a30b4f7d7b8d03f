"""An agent that asks and is answered on its stdin while it runs: the place for it, with a reader that only these tests have.

The agents here are shell scripts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from drivers.answering_reader import AnsweringReader
from drivers.processes import sees_open_files, wait_until
from drivers.worker_driver import WorkerDriver

from orchestrator.workers import launch
from orchestrator.workers.agents import formats
from orchestrator.workers.agents.dialogue_pipe import DialoguePipe
from orchestrator.workers.agents.watch import AgentWatch
from orchestrator.workers.attempt_end import AttemptEnd
from orchestrator.workers.files.capture import CaptureFile
from orchestrator.workers.protocol import AgentTask, AttemptClass, EndReason
from orchestrator.workers.protocol.reading import Format, Reading

ASKING = 'read prompt; echo "ask $prompt"; read first; echo "ask $first"; read second; echo "bye"; cat; echo "$second" >&2'
"""Ends only when its stdin does, and tells on stderr what it was told last."""


@pytest.fixture
def captures(tmp_path: Path) -> Iterator[list[CaptureFile]]:
    made = [CaptureFile(str(tmp_path / name)) for name in ("stdout", "stderr")]
    yield made
    for capture in made:
        capture.forget()


def task() -> AgentTask:
    return AgentTask(agent="asking", reading=Reading(), text_path="")


def test_each_format_that_a_profile_may_name_has_a_reader() -> None:
    assert set(formats.READERS) == set(get_args(Format))


class TestTheWatchOfADialogue:
    def test_what_the_agent_asks_is_answered_and_its_stdin_ends_with_the_dialogue(
        self, captures: list[CaptureFile], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(formats.READERS, "json", AnsweringReader)
        stdout, stderr = captures
        outputs = [capture.open() for capture in captures]
        watch = AgentWatch(task(), stdout, stderr, lambda _: None)
        given = watch.open_dialogue("tea")
        assert given is not None
        agent = subprocess.Popen(["sh", "-c", ASKING], stdin=given, stdout=outputs[0], stderr=outputs[1])
        os.close(given)
        try:
            wait_until(lambda: watch.look_at_streams() or agent.poll() is not None, "the agent has ended")
        finally:
            agent.kill()
            agent.wait()
            watch.close()
        assert stdout.read_at(0, 1000) == b"ask tea\nask tea for you\nbye\n"
        assert stderr.read_at(0, 1000) == b"tea for you for you\n"

    def test_a_reader_that_says_nothing_keeps_no_pipe(self, captures: list[CaptureFile]) -> None:
        watch = AgentWatch(task(), *captures, lambda _: None)
        assert watch.open_dialogue("tea") is None
        watch.close()


class TestThePipe:
    @pytest.fixture
    def reader(self) -> AnsweringReader:
        return AnsweringReader()

    def test_what_an_agent_does_not_read_yet_waits_and_arrives_in_order(self, reader: AnsweringReader) -> None:
        pipe = DialoguePipe(reader)
        said = "".join(f"line {number}\n" for number in range(100_000))
        reader.begin(said)
        assert pipe.write_due(), "far more than a pipe holds"
        reader.is_over = True
        heard = b""
        while pipe.write_due():
            heard += os.read(pipe.their_end, 1 << 20)
        while part := os.read(pipe.their_end, 1 << 20):
            heard += part
        assert heard.decode() == f"{said}\n"
        os.close(pipe.their_end)

    def test_an_agent_that_closed_its_stdin_is_told_nothing_more(self, reader: AnsweringReader) -> None:
        pipe = DialoguePipe(reader)
        os.close(pipe.their_end)
        reader.begin("tea")
        assert not pipe.write_due()
        assert not pipe.write_due()
        pipe.close()


WORKER = """
import sys
sys.path.insert(0, {tests!r})
from drivers.answering_reader import AnsweringReader
from orchestrator.workers.agents import formats
from orchestrator.workers.__main__ import main
formats.READERS["json"] = AnsweringReader
main()
"""


class TestAWorker:
    @pytest.fixture
    def worker(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerDriver]:
        """A worker that has the reader of these tests in place of ours."""
        program = tmp_path / "worker.py"
        program.write_text(WORKER.format(tests=str(Path(__file__).parents[1])))
        monkeypatch.setattr(launch, "worker_argv", lambda folder: [sys.executable, str(program), folder])
        monkeypatch.setattr(launch, "fork_worker", lambda *_: None)
        driver = WorkerDriver(tmp_path)
        yield driver
        driver.close()

    def attempt(self, worker: WorkerDriver, script: str, **settings: Any) -> Any:
        agent = AgentTask(agent="asking", reading=Reading(), text_path=str(worker.root / "answer"))
        return worker.run("sh", "-c", script, stdin="tea", agent=agent, **settings)

    @sees_open_files
    def test_an_attempt_that_is_a_dialogue_comes_to_its_end(self, worker: WorkerDriver) -> None:
        outcome = self.attempt(worker, ASKING)
        assert (outcome.attempt_class, outcome.stderr.inline) == (AttemptClass.OK, b"tea for you for you\n")
        assert outcome.agent.text.inline == b"ask tea\nask tea for you\nbye"
        again = self.attempt(worker, ASKING)
        assert again.attempt_class is AttemptClass.OK, "the next attempt has a pipe of its own"
        descriptors = {os.readlink(f"/proc/{worker.pid}/fd/{number}") for number in os.listdir(f"/proc/{worker.pid}/fd")}
        assert sum(name.startswith("pipe:") for name in descriptors) == 1, "its own, for wake-ups"

    def test_an_agent_that_waits_for_an_answer_that_never_comes_is_ended_by_its_limits(self, worker: WorkerDriver) -> None:
        outcome = self.attempt(worker, "read prompt; echo hm; read answer; echo bye", timeout_seconds=0.5)
        assert (outcome.attempt_class, outcome.ended_by) == (AttemptClass.TIMEOUT, EndReason.TIMEOUT)

    def test_a_dialogue_with_an_agent_that_cannot_start_leaves_nothing(self, worker: WorkerDriver) -> None:
        outcome = worker.run("no-such-program", stdin="tea", agent=task())
        assert outcome.attempt_class is AttemptClass.CANNOT_START
        assert self.attempt(worker, ASKING).attempt_class is AttemptClass.OK


def test_an_attempt_end_is_what_its_reader_says(captures: list[CaptureFile], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats.READERS, "json", AnsweringReader)
    for capture in captures:
        capture.open()
    watch = AgentWatch(task(), *captures, lambda _: None)
    end, told = watch.classify_end(AttemptEnd(AttemptClass.OK, "", 0))
    assert (end.attempt_class, told.text) == (AttemptClass.PROTOCOL_ERROR, "")
