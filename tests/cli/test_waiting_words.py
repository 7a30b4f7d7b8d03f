"""What `why` says of items that wait: what the supervisor answers, which holder is stopped, what is left without an answer."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from drivers.store_samples import new_run, settled
from drivers.token_samples import living_holder, record, supervising, write

from orchestrator.cli import why_waiting
from orchestrator.cli.why_waiting import WaitExplanations, waiting_counts
from orchestrator.control.messages import CountWaiting, Explain, Reply, Request, WhyItWaits
from orchestrator.control.server import ControlServer
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_summary import run_summary
from orchestrator.reading.seen_statuses import job_counts
from orchestrator.store.records import ItemsListed, Status
from orchestrator.store.run_store import RunStore
from orchestrator.workers.log import LogWriter
from orchestrator.workers.processes.identity import start_ticks
from orchestrator.workers.protocol import Spawned

JOINS = msgspec.structs.replace(settled(0, Status.WAITING), message="r0/port:4 does the same work")


def waiting_run(tmp_path: Path, count: int = 1, token: str | None = None) -> RunReader:
    run_dir = new_run(tmp_path)
    store = RunStore.open(run_dir)
    store.append([ItemsListed(job="port", count=count), msgspec.structs.replace(JOINS, token=token)])
    store.close()
    reader = RunReader.read(run_dir)
    reader.alive = True
    return reader


@contextmanager
def answering(folder: Path, answer: Callable[[Request], Reply]) -> Iterator[None]:
    """A supervisor that answers what it is asked, in a thread of this process."""
    server = ControlServer(folder)
    ends, over = os.pipe()

    def serve() -> None:
        import select

        while True:
            ready, _, _ = select.select([ends, *server.filenos()], [], [], 30)
            assert ready, "nobody asked"
            if ends in ready:
                return
            for fileno in ready:
                for client, request, _ in server.poll(fileno):
                    server.answer(client, answer(request))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        os.close(over)
        thread.join(30)
        server.close()
        os.close(ends)


def explained(told: Callable[[int], WhyItWaits]) -> Callable[[Request], Reply]:
    def answer(request: Request) -> Reply:
        assert isinstance(request, Explain)
        return Reply(True, "", [told(index) for _, index in request.items])

    return answer


def test_a_stopped_holder_is_named_with_its_pid_and_a_running_one_too(tmp_path: Path) -> None:
    reader = waiting_run(tmp_path)
    with subprocess.Popen(["sleep", "600"]) as stopped, subprocess.Popen(["sleep", "600"]) as running:
        try:
            stopped.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, stopped.pid, os.WSTOPPED)
            wait = WhyItWaits("r0/port:4 does the same work", [running.pid, stopped.pid, running.pid, stopped.pid])
            with answering(reader.run_dir.path, explained(lambda _: wait)):
                words = WaitExplanations(reader, [("port", 0)]).words("port", 0)
        finally:
            for process in (stopped, running):
                process.kill()
    assert words == (
        f"r0/port:4 does the same work; held by process {running.pid}; process {stopped.pid} is stopped (SIGSTOP) and holds on: "
        f"kill -CONT {stopped.pid} lets it go on, cancel ends it"
    )


def test_a_stopped_agent_of_the_tokens_holder_is_named_although_nobody_answers(tmp_path: Path) -> None:
    reader = waiting_run(tmp_path, token="work")
    reader.alive = False
    with subprocess.Popen(["sleep", "600"]) as agent:
        try:
            folder = tmp_path / "runs" / "r1" / "workers" / "0"
            folder.mkdir(parents=True)
            log = LogWriter(str(folder / "log"))
            log.append(Spawned(sequence=7, pid=agent.pid, start_ticks=start_ticks(agent.pid) or -1))
            log.close()
            write(tmp_path, record("work", "held", holder=living_holder()))
            with supervising(tmp_path):
                assert WaitExplanations(reader, []).words("port", 0) == "r0/port:4 does the same work"
                agent.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, agent.pid, os.WSTOPPED)
                words = WaitExplanations(reader, []).words("port", 0)
        finally:
            agent.kill()
    assert f"process {agent.pid} is stopped (SIGSTOP)" in words
    assert str(os.getpid()) not in words, "its supervisor is not stopped"


def test_a_thousand_items_are_asked_for_in_answers_that_fit_a_socket(tmp_path: Path) -> None:
    reader = waiting_run(tmp_path, count=1000)
    items = [("port", index) for index in range(1000)]
    with answering(reader.run_dir.path, explained(lambda index: WhyItWaits(f"word {index} " + "x" * 900))):
        waits = WaitExplanations(reader, items)
    assert all(waits.words(*item).startswith(f"word {item[1]} ") for item in items)


def test_without_an_answer_the_record_tells_and_the_silence_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why_waiting, "_PATIENCE_SECONDS", 0.1)
    reader = waiting_run(tmp_path)
    server = ControlServer(reader.run_dir.path)
    try:
        words = WaitExplanations(reader, [("port", 0)]).words("port", 0)
    finally:
        server.close()
    assert words == "r0/port:4 does the same work; run r1: its supervisor does not answer"


def test_a_supervisor_of_another_version_is_no_reason_to_fail(tmp_path: Path) -> None:
    reader = waiting_run(tmp_path)
    with answering(reader.run_dir.path, lambda _: Reply(False, "not understood")):
        assert WaitExplanations(reader, [("port", 0)]).words("port", 0) == "r0/port:4 does the same work"


def test_a_run_without_a_supervisor_is_not_asked(tmp_path: Path) -> None:
    reader = waiting_run(tmp_path)
    reader.alive = False
    assert WaitExplanations(reader, [("port", 0)]).words("port", 0) == "r0/port:4 does the same work"


def test_what_the_supervisor_knows_to_wait_is_counted_as_waiting_and_no_longer_as_pending(tmp_path: Path) -> None:
    reader = waiting_run(tmp_path, count=5)
    reader.history.header.jobs["port"] = True
    assert job_counts(reader, "port") == {"pending": 4, "waiting": 1}, "that is what the records tell"

    def answer(request: Request) -> Reply:
        assert request == CountWaiting()
        return Reply(True, "", waiting={"port": 3})

    with answering(reader.run_dir.path, answer):
        waiting = waiting_counts(reader)
    assert waiting == {"port": 3}
    assert job_counts(reader, "port", 3) == {"pending": 2, "waiting": 3}
    assert run_summary(reader, waiting)["counts"]["waiting"] == 3
    assert job_counts(reader, "port", 9) == {"waiting": 5}, "never more than there are"
    assert waiting_counts(reader) == {}, "nobody answers"
