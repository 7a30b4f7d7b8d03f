"""Ending an attempt: the whole tree, whatever it does to get away, and what its end is then called."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from drivers.processes import is_living, pids_in, wait_until
from drivers.sweeps import sweep
from drivers.worker_driver import WorkerDriver

from orchestrator.workers.protocol import AttemptClass, EndReason

DETACHED = {
    "a background process": "sleep 600 & echo $! >> pids",
    "a new session": "setsid sh -c 'echo $$ >> pids; exec sleep 600' & while ! test -s pids; do :; done",
    "a double fork": "(sh -c 'echo $$ >> pids; exec sleep 600' &) ; while ! test -s pids; do :; done",
    "a daemon without an environment": (
        "(env -i setsid sh -c 'echo $$ >> pids; exec sleep 600' </dev/null >/dev/null 2>&1 200>&- &);"
        " while ! test -s pids; do :; done"
    ),
    "a stopped process": "sh -c 'echo $$ >> pids; kill -STOP $$; sleep 600' & while ! test -s pids; do :; done",
}
DEAF = "trap '' TERM; echo $$ >> pids; while :; do sleep 600; done"


@pytest.mark.parametrize("script", DETACHED.values(), ids=DETACHED.keys())
def test_what_an_item_leaves_behind_ends_with_it(worker: WorkerDriver, script: str) -> None:
    outcome = worker.shell(script)
    (pid,) = pids_in(worker.root / "pids", 1)
    assert not is_living(pid)
    assert (outcome.attempt_class, outcome.leftovers) == (AttemptClass.OK, 1)


@pytest.mark.parametrize("script", sweep((pytest.param(script, id=name) for name, script in DETACHED.items()), quick=2))
def test_a_timeout_ends_the_whole_tree(worker: WorkerDriver, script: str) -> None:
    outcome = worker.shell(f"{script}; exec sleep 600", timeout_seconds=1.0)
    (pid,) = pids_in(worker.root / "pids", 1)
    assert not is_living(pid)
    assert (outcome.attempt_class, outcome.ended_by, outcome.message) == (
        AttemptClass.TIMEOUT,
        EndReason.TIMEOUT,
        "timed out after 1s",
    )
    assert outcome.signal == signal.SIGTERM


def test_a_tree_that_ignores_sigterm_is_killed_after_its_grace(worker: WorkerDriver) -> None:
    outcome = worker.shell(DEAF, timeout_seconds=0.3, grace_seconds=0.5)
    assert (outcome.attempt_class, outcome.signal) == (AttemptClass.TIMEOUT, signal.SIGKILL)
    assert outcome.duration_seconds >= 0.8
    assert not is_living(pids_in(worker.root / "pids", 1)[0])


def test_a_leftover_that_ignores_sigterm_is_killed_after_its_grace(worker: WorkerDriver) -> None:
    outcome = worker.shell(f'setsid sh -c "{DEAF.replace("$$", "$PPID")}" & while ! test -s pids; do :; done', grace_seconds=0.3)
    assert outcome.attempt_class is AttemptClass.OK
    assert outcome.leftovers >= 1
    assert worker.run("true").attempt_class is AttemptClass.OK


def test_a_tree_that_forks_while_it_is_killed_ends(worker: WorkerDriver) -> None:
    code = "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nfor _ in range(3): os.fork()\n"
    code += "while True:\n pid = os.fork()\n if pid: os._exit(0)\n os.setsid()\n"
    outcome = worker.run(sys.executable, "-S", "-c", code, grace_seconds=0.1, timeout_seconds=0.5)
    assert outcome.leftovers > 0
    assert worker.run("true").leftovers == 0


def test_end_stops_a_running_attempt(worker: WorkerDriver) -> None:
    start = worker.start("sleep", "600")
    worker.agent()
    worker.end(start)
    outcome = worker.outcome()
    assert (outcome.attempt_class, outcome.ended_by, outcome.message) == (AttemptClass.CANCELLED, EndReason.CANCEL, "cancelled")


def test_what_we_ended_is_no_success_even_with_exit_0(worker: WorkerDriver) -> None:
    start = worker.start("sh", "-c", "trap 'exit 0' TERM; echo $$ >> pids; while :; do sleep 0.01; done")
    pids_in(worker.root / "pids", 1)
    worker.end(start, EndReason.DRAIN)
    outcome = worker.outcome()
    assert (outcome.attempt_class, outcome.exit_code, outcome.ended_by) == (AttemptClass.CANCELLED, 0, EndReason.DRAIN)


def test_a_second_end_with_a_shorter_grace_kills_at_once(worker: WorkerDriver) -> None:
    start = worker.start("sh", "-c", DEAF)
    pids_in(worker.root / "pids", 1)
    worker.end(start, EndReason.DRAIN, grace=600)
    worker.end(start, EndReason.CANCEL, grace=0)
    outcome = worker.outcome()
    assert (outcome.signal, outcome.ended_by) == (signal.SIGKILL, EndReason.DRAIN)


def test_a_second_end_with_a_longer_grace_changes_nothing(worker: WorkerDriver) -> None:
    start = worker.start("sh", "-c", DEAF)
    pids_in(worker.root / "pids", 1)
    worker.end(start, grace=0.2)
    worker.end(start, grace=600)
    assert worker.outcome().signal == signal.SIGKILL


def test_an_end_for_another_attempt_is_ignored(worker: WorkerDriver) -> None:
    os.mkfifo(worker.root / "go")
    start = worker.start("sh", "-c", "read line < go")
    worker.end(start, grace=0, sequence=start.sequence + 1)
    worker.end(start, grace=0, sequence=start.sequence - 1)
    (worker.root / "go").write_text("go\n")
    assert worker.outcome().attempt_class is AttemptClass.OK


def test_a_late_end_is_ignored_by_an_idle_worker(worker: WorkerDriver) -> None:
    start = worker.start("true")
    worker.outcome()
    worker.end(start)
    assert worker.run("true").attempt_class is AttemptClass.OK


def test_a_stopped_agent_hears_its_end(worker: WorkerDriver) -> None:
    start = worker.start("sh", "-c", "kill -STOP $$")
    agent = worker.agent()
    wait_until(lambda: f"{agent.pid} (sh) T" in Path(f"/proc/{agent.pid}/stat").read_text(), "the agent is stopped")
    worker.end(start)
    assert worker.outcome().signal == signal.SIGTERM


def test_sigterm_ends_the_attempt_and_then_the_worker(worker: WorkerDriver) -> None:
    worker.start("sleep", "600")
    worker.agent()
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.outcome().attempt_class is AttemptClass.CANCELLED
    assert worker.wait_exit() == 0


def test_an_agent_that_a_sweep_ended_before_its_worker_heard_of_it_did_not_fail(worker: WorkerDriver) -> None:
    """A service manager signals one process after the other, in any order: here the worker learns of both at once."""
    worker.start("sleep", "600")
    agent = worker.agent()
    os.kill(worker.pid, signal.SIGSTOP)
    os.kill(agent.pid, signal.SIGTERM)
    wait_until(lambda: not is_living(agent.pid), "the agent has died")
    os.kill(worker.pid, signal.SIGTERM)
    os.kill(worker.pid, signal.SIGCONT)
    outcome = worker.outcome()
    assert (outcome.attempt_class, outcome.ended_by) == (AttemptClass.CANCELLED, EndReason.DRAIN)
    assert worker.wait_exit() == 0


def test_an_agent_that_somebody_ended_alone_has_failed(worker: WorkerDriver) -> None:
    worker.start("sleep", "600")
    os.kill(worker.agent().pid, signal.SIGTERM)
    outcome = worker.outcome()
    assert (outcome.attempt_class, outcome.signal) == (AttemptClass.COMMAND_FAILED, signal.SIGTERM)
    assert worker.run("true").attempt_class is AttemptClass.OK


def test_sigterm_ends_an_idle_worker(worker: WorkerDriver) -> None:
    worker.run("true")
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait_exit() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_the_terminals_signals_do_not_reach_an_attempt(worker: WorkerDriver, number: signal.Signals) -> None:
    os.mkfifo(worker.root / "go")
    worker.start("sh", "-c", "read line < go")
    worker.agent()
    os.kill(worker.pid, number)
    (worker.root / "go").write_text("go\n")
    assert worker.outcome().attempt_class is AttemptClass.OK
    assert os.getsid(worker.pid) == worker.pid


def test_orphans_are_taken_in_while_the_agent_runs(worker: WorkerDriver) -> None:
    os.mkfifo(worker.root / "go")
    worker.start("sh", "-c", "(sh -c 'echo $$ >> pids' &); read line < go")
    (pid,) = pids_in(worker.root / "pids", 1)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the zombie is gone")
    (worker.root / "go").write_text("go\n")
    assert worker.outcome().leftovers == 0


def test_the_timeout_counts_from_each_start(worker: WorkerDriver) -> None:
    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        assert worker.run("true", timeout_seconds=1.0).attempt_class is AttemptClass.OK
    assert worker.run("true", timeout_seconds=1.0).attempt_class is AttemptClass.OK
