"""Workers that are forked from a warm process: each is what a started worker is, and needs the warm process no more."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec.msgpack
import pytest
from drivers.worker_driver import WorkerDriver

from orchestrator.workers import loop, warm_process
from orchestrator.workers.byte_text import encode_message, message_decoder
from orchestrator.workers.processes.siblings import can_fork_siblings
from orchestrator.workers.protocol import Recall

pytestmark = pytest.mark.skipif(not can_fork_siblings(), reason="workers are started here")

MakeWorker = Callable[[], WorkerDriver]

LOOK = r"""
cd /proc/$PPID
tr '\0' '\n' < cmdline
tr '\0' '\n' < environ | sort
ls -l fd/0 fd/1 fd/2 fd/3 fd/4 | sed -n 's|.* \(fd/[0-9] -> [a-z/]*\).*|\1|p'
sed -n -E 's/^(Umask|Threads|PPid|SigBlk|SigIgn|SigCgt):.*(.{1,7})$/\1 \2/p' status
cut -d ' ' -f 4-6 stat | sed "s| $PPID $PPID\$| leads its group and its session|"
cat limits
"""
"""As an item sees its worker. Of the signals without glibc's own."""


@pytest.fixture
def make_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeWorker]:
    """Each of them in a folder of its own; with a warm process of the test's own."""
    monkeypatch.setattr(warm_process, "_current", [])
    monkeypatch.setattr(warm_process, "_is_refused", False)
    made: list[WorkerDriver] = []

    def make() -> WorkerDriver:
        made.append(WorkerDriver(tmp_path / f"stage-{len(made)}"))
        return made[-1]

    yield make
    for driver in made:
        driver.close()
    warm_process.let_go_of_warm_process()


def warm_pid() -> int:
    return warm_process._current[0]._pid


def test_a_forked_worker_is_what_a_started_one_is(make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    make_worker()
    # A limit that this process has had for a moment only is that of a worker which it starts now.
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (8_192_000, hard))
    try:
        forked = make_worker()
        monkeypatch.setattr(warm_process, "_is_refused", True)
        started = make_worker()
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))
    told = [(worker.shell(LOOK).stdout.inline or b"").decode().replace(worker.root.name, "STAGE") for worker in (forked, started)]
    assert told[0] == told[1]
    assert "leads its group and its session" in told[0]
    assert "8192000" in told[0]


def test_a_worker_needs_the_warm_process_no_more_and_the_next_one_gets_another(make_worker: MakeWorker) -> None:
    first = make_worker()
    gone = warm_pid()
    os.kill(gone, signal.SIGKILL)
    os.waitid(os.P_PID, gone, os.WEXITED | os.WNOWAIT)
    assert first.run("true").exit_code == 0
    assert make_worker().run("true").exit_code == 0
    assert warm_pid() != gone
    with pytest.raises(ChildProcessError):
        os.waitpid(gone, os.WNOHANG)


def test_one_that_was_asked_to_end_before_it_made_a_worker_is_replaced(make_worker: MakeWorker) -> None:
    warm_process._current.append(warm_process._started())
    gone = warm_pid()
    warm_process.end_warm_process()
    os.waitid(os.P_PID, gone, os.WEXITED | os.WNOWAIT)
    assert make_worker().run("true").exit_code == 0
    assert warm_pid() != gone


def test_a_warm_process_that_does_not_answer_is_killed(make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    # One that works has let go of the socket of the warm process, whose end tells that this is gone.
    assert make_worker().run("true").exit_code == 0
    stopped = warm_pid()
    os.kill(stopped, signal.SIGSTOP)
    os.waitid(os.P_PID, stopped, os.WSTOPPED | os.WNOWAIT)
    monkeypatch.setattr(warm_process, "_LONGEST_WAIT_MS", 0)
    assert make_worker().run("true").exit_code == 0
    with pytest.raises(ChildProcessError):
        os.waitpid(stopped, os.WNOHANG)


def test_where_none_comes_up_workers_are_started_and_none_is_tried_again(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_process, "_argv", lambda: ["python", "-c", ""])
    assert make_worker().run("true").exit_code == 0
    assert (warm_process._current, warm_process._is_refused) == ([], True)


def test_it_ends_when_its_supervisor_is_gone(make_worker: MakeWorker) -> None:
    make_worker()
    warm_process._current[0]._connection.close()
    assert os.waitstatus_to_exitcode(os.waitpid(warm_pid(), 0)[1]) == 0
    warm_process._current.clear()


def test_a_fork_of_this_process_does_not_use_its_parents(make_worker: MakeWorker) -> None:
    make_worker()
    warm_process._current[0].owner = -1  # as it looks to a fork
    theirs = warm_pid()
    assert make_worker().run("true").exit_code == 0
    os.kill(theirs, 0)
    os.kill(theirs, signal.SIGKILL)
    os.waitpid(theirs, 0)


def test_what_each_worker_would_make_for_its_first_attempt_is_made_before_it_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_decode", message_decoder(loop._Message))
    loop.make_ready()
    monkeypatch.setattr(msgspec.msgpack, "Decoder", None)
    assert loop._decode(encode_message(Recall())) == Recall()
