"""Stopping as commands from another shell: a run is ended in the time that was promised, whatever its items and its disk do."""

from __future__ import annotations

import json
import resource
import shlex
import signal
import statistics
import sys
import time
from contextlib import suppress

import psutil
import pytest
from drivers.processes import is_living, processes_of, sees_open_files, wait_until
from drivers.run_driver import Command, RunDriver, why
from drivers.steered_runs import IGNORE, gates, started, statuses, tell, write
from drivers.sweeps import sweep

from orchestrator.control.client import NoSupervisor, ask
from orchestrator.control.messages import CancelRequest, Flush, Pause, SetSlots, StopRequest

ORCHESTRATE = shlex.join([sys.executable, "-m", "orchestrator"])


# Flush.


@sees_open_files
def test_flush_is_quick_touches_no_child_and_comes_any_number_of_times(driver: RunDriver) -> None:
    signals = "HUP INT QUIT TERM USR1 USR2 CONT CHLD"
    traps = f'for name in {signals}; do trap "echo $name >> heard" $name; done; echo $$ > pid'
    (item,) = write(driver, f"{traps}; {driver.gated()}", items=1)
    command = started(driver, item)
    pid = int(wait_until(lambda: (driver.folder / "pid").exists() and (driver.folder / "pid").read_text(), "its pid"))
    assert "durable" in tell(driver, "flush")
    open_before = len(psutil.Process(command.pid).open_files())
    took = []
    for _ in range(100):
        began = time.monotonic()
        assert ask(driver.run_folder, Flush()).ok
        took.append(time.monotonic() - began)
    assert statistics.median(took) < 2, "under 2 s; single ones may meet a disk or a machine that is busy"
    assert len(psutil.Process(command.pid).open_files()) == open_before
    assert is_living(pid)
    assert statuses(driver) == ["running"]
    driver.open_gate()
    driver.assert_exit(command, 0)
    assert not (driver.folder / "heard").exists()
    driver.assert_each_ran_once([item])
    driver.assert_tidy()


def test_flushes_from_many_shells_at_once_are_all_answered(driver: RunDriver) -> None:
    write(driver, driver.gated(), items=1)
    command = started(driver, "go:0")
    flushes = [driver.launch("flush", driver.run_id) for _ in range(6)]
    assert [flush.exit_code() for flush in flushes] == [0] * 6
    driver.open_gate()
    driver.assert_exit(command, 0)


# Drain.


def test_a_draining_run_takes_outcomes_in_and_starts_nothing_more(driver: RunDriver) -> None:
    write(driver, gates(driver, 4), items=4, run="slots = 2")
    command = started(driver, "go:0", "go:1")
    assert "2 items still run" in tell(driver, "stop")
    driver.open_gate("gate-1")
    wait_until(lambda: statuses(driver)[1] == "succeeded", "the outcome that comes in a drain is recorded")
    assert ask(driver.run_folder, Flush()).ok
    assert ask(driver.run_folder, SetSlots(4)).ok
    assert "stopping already" in tell(driver, "pause", code=2)
    assert "1 item" in ask(driver.run_folder, StopRequest()).message, "a second time is no error, and ends nothing"
    assert command.is_running
    driver.open_gate("gate-0")
    driver.assert_exit(command, 143)
    assert statuses(driver) == ["succeeded", "succeeded", "pending", "pending"]
    assert set(driver.acts("begin")) == {"go:0", "go:1"}
    driver.assert_tidy()
    for index in (2, 3):
        driver.open_gate(f"gate-{index}")
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    driver.assert_each_ran_once(["go:0", "go:1", "go:2", "go:3"])


FORGET = "import os, time; os.closerange(0, 1024); time.sleep(600)"
UNRULY = {
    "deaf": f"{IGNORE}; while :; do sleep 600; done",
    "forks": f'{IGNORE}; f() {{ sh -c "{IGNORE}; sleep 600" & sleep 0.02; f; }}; f',
    "daemons": f'{IGNORE}; for n in 1 2 3; do setsid sh -c "{IGNORE}; sleep 600 & sleep 600" & done; sleep 600',
    "bare_daemons": f'{IGNORE}; (env -i setsid sh -c "{IGNORE}; sleep 600" > /dev/null 2>&1 &); sleep 600',
    "closes_all": f"{IGNORE}; exec {sys.executable} -S -c '{FORGET}'",
    "stops_itself": "kill -STOP $$; sleep 600",
    "stops_its_worker": f"{IGNORE}; kill -STOP $PPID; sleep 600",
    "kills_its_worker": f"{IGNORE}; read word < kill.fifo; kill -KILL $PPID; sleep 600",
}


@pytest.mark.parametrize(
    "request_",
    sweep([StopRequest(), StopRequest(now=True), CancelRequest()], quick=1),
    ids=["stop", "stop --now", "cancel"],
)
def test_a_run_ends_in_time_whatever_its_items_do(driver: RunDriver, request_: StopRequest | CancelRequest) -> None:
    # A worker that is killed may be replaced, and its item started once more, before the stop is asked for: then that waits.
    driver.gated("kill")
    jobs = "".join(f"[jobs.{name}]\ngrace = 0.3\nshell = {json.dumps(driver.witnessed(body))}\n" for name, body in UNRULY.items())
    driver.write(f"[run]\nslots = {len(UNRULY)}\ndrain_timeout = 0.3\n{jobs}[jobs.last]\nshell = 'echo begin last >> witness'\n")
    command = started(driver, *UNRULY)
    worker = driver.worker_of("kills_its_worker")
    driver.open_gate("kill")
    wait_until(lambda: not is_living(worker), "it has killed its worker")
    assert ask(driver.run_folder, request_).ok
    # Promised are drain_timeout and grace, 0.6 s; the rest is what a machine may take that has much else to do.
    driver.assert_exit(command, 4 if isinstance(request_, CancelRequest) else 143, limit=0.6 + 30)
    driver.assert_tidy()
    found = {result["item"]: result["status"] for result in driver.results()}
    end = "cancelled" if isinstance(request_, CancelRequest) else "interrupted"
    assert {name: found[name] for name in UNRULY} == dict.fromkeys(UNRULY, end)
    assert "last" not in driver.acts("begin")


def test_a_stop_and_a_signal_are_one_count(driver: RunDriver) -> None:
    write(driver, f"{IGNORE}; {driver.gated()}", keys='grace = "10m"')
    command = started(driver, "go:0")
    assert ask(driver.run_folder, StopRequest()).ok
    command.send(signal.SIGINT)
    driver.assert_exit(command, 143)
    assert statuses(driver) == ["interrupted", "pending"]
    driver.assert_tidy()


def test_a_stop_from_inside_an_item_with_control_is_obeyed_if_it_does_not_wait(driver: RunDriver) -> None:
    write(driver, f"{ORCHESTRATE} stop {driver.run_id} || exit 9", keys="control = true")
    driver.assert_exit(driver.run(), 143)
    assert statuses(driver) == ["succeeded", "pending"]
    driver.assert_tidy()


def test_who_waits_for_the_outer_run_is_refused_in_a_nested_one_too(driver: RunDriver) -> None:
    words = {"stop": "", "pause": 'env -i HOME="$HOME" ORCHESTRATE_HOME="$ORCHESTRATE_HOME" '}
    jobs = [
        f"[jobs.{word}]\ncontinue_on_error = true\nshell = '''{around}{ORCHESTRATE} {word} {driver.run_id} --wait'''\n"
        for word, around in words.items()
    ]
    driver.write("".join(jobs), "inner.toml")
    driver.write(f"[run]\nslots = 1\n[jobs.out]\nshell = '''{ORCHESTRATE} run inner.toml --run-id inner'''\n")
    driver.assert_exit(driver.run(), 1)
    for word in words:
        told = driver.launch("logs", "inner", word, "--stderr")
        assert told.exit_code() == 0
        assert f"inside an item of run {driver.run_id} is refused" in told.stdout
    assert driver.result("out")["status"] == "failed", "nobody stopped the run"


# Without workers (slots = 0): the loop goes on beside the attempt.


def test_a_run_without_workers_hears_other_shells_while_its_attempt_runs(driver: RunDriver) -> None:
    write(driver, gates(driver, 3), items=3, run="slots = 0", keys="grace = 0.2")
    command = started(driver, "go:0")
    for _ in range(3):
        assert "durable" in ask(driver.run_folder, Flush()).message
    assert why(driver.run_folder, "go:1"), "it says what the next one waits for"
    assert ask(driver.run_folder, CancelRequest([("go", 0)])).ok
    driver.wait_for("begin", "go:1")
    assert "1 item still runs" in ask(driver.run_folder, StopRequest()).message
    assert ask(driver.run_folder, Flush()).ok
    assert command.is_running
    driver.open_gate("gate-1")
    driver.assert_exit(command, 143)
    assert statuses(driver) == ["cancelled", "succeeded", "pending"]
    assert driver.acts("begin") == {"go:0": 1, "go:1": 1}
    driver.assert_tidy()


@pytest.mark.parametrize(
    ("request_", "code", "status"),
    [(StopRequest(now=True), 143, "interrupted"), (CancelRequest(), 4, "cancelled"), (Pause(), 3, "succeeded")],
    ids=["stop --now", "cancel", "pause"],
)
def test_a_run_without_workers_obeys_as_others_do(driver: RunDriver, request_: StopRequest, code: int, status: str) -> None:
    write(driver, f"{IGNORE if status != 'succeeded' else ':'}; {driver.gated()}", run="slots = 0", keys="grace = 0.2")
    command = started(driver, "go:0")
    assert ask(driver.run_folder, request_).ok
    if status == "succeeded":
        driver.open_gate()
    driver.assert_exit(command, code)
    assert statuses(driver) == [status, "pending"]
    driver.assert_tidy()


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit of another process")
def test_an_inline_attempt_ends_with_a_supervisor_that_cannot_write(driver: RunDriver) -> None:
    run = f"slots = 0\n[inputs.pad]\ndefault = '{'x' * 1500}'"
    write(driver, f"{IGNORE}; {driver.gated()}", run=run, keys='grace = "10m"')
    command = started(driver, "go:0")
    forbid_writing(command.pid)
    with suppress(NoSupervisor):
        ask(driver.run_folder, Flush())
    driver.assert_exit(command, 74)
    assert processes_of(driver.home) == []
    driver.open_gate(count=2)
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    assert statuses(driver) == ["succeeded", "succeeded"]


def test_an_item_of_a_run_without_workers_may_neither_flush_nor_stop_it(driver: RunDriver) -> None:
    scrubbed = f'env -i HOME="$HOME" ORCHESTRATE_HOME="$ORCHESTRATE_HOME" {ORCHESTRATE}'
    write(driver, f"{ORCHESTRATE} flush {driver.run_id} || {scrubbed} stop {driver.run_id} || exit 0", run="slots = 0")
    driver.assert_exit(driver.run(), 0)
    assert statuses(driver) == ["succeeded", "succeeded"]
    assert (
        f"item go:0 of run {driver.run_id} wanted to steer this run, and was refused"
        in (driver.run_folder / "supervisor.log").read_text()
    )
    driver.assert_tidy()


# A disk that fails while the run drains.


def forbid_writing(pid: int) -> None:
    """No file of the process may grow past 1 KiB from now on (EFBIG): there is room for its last words, and for no state."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1024, hard))


def last_words(command: Command) -> float:
    """CPU seconds of the process until its end, which must come long before the drain would be over."""
    process = psutil.Process(command.pid)
    wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE, "its end")
    spent = process.cpu_times()
    return float(spent.user + spent.system)


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit of another process")
@pytest.mark.parametrize("word", ["stop", pytest.param("pause", marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", sweep(["an outcome", "an end that was asked for", "a flush"], quick=1))
def test_a_draining_run_that_cannot_write_ends_soon_and_loses_nothing(driver: RunDriver, word: str, what: str) -> None:
    write(driver, driver.gated(), run=f"slots = 1\ndrain_timeout = 600\n[inputs.pad]\ndefault = '{'x' * 1500}'", keys="grace = 5")
    command = started(driver, "go:0")
    tell(driver, word)
    before = psutil.Process(command.pid).cpu_times()
    forbid_writing(command.pid)
    if what == "an outcome":
        driver.open_gate()
    elif what == "a flush":
        assert driver.launch("flush", driver.run_id).exit_code() != 0, "a flush that failed must not say that all is durable"
    else:
        command.send(signal.SIGINT)
        command.send(signal.SIGTERM)
    spent = last_words(command) - before.user - before.system
    assert spent < 1, f"{spent} s of CPU"
    driver.assert_exit(command, 74)
    assert "cannot write state" in command.stderr
    assert "Traceback" not in command.stderr
    driver.open_gate(count=3)
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    assert driver.acts("end") == {"go:0": 1, "go:1": 1}
    driver.assert_tidy()
