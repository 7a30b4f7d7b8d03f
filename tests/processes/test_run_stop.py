"""The ways to stop a run: drain, at once, cancel, flush, Ctrl-C. What is stopped can be resumed, and nothing stays behind."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys

import pytest
from drivers.processes import LIMIT_SECONDS, is_living, wait_until
from drivers.run_driver import Command, RunDriver
from drivers.sweeps import sweep

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def write_two(driver: RunDriver, *, slots: int = 1, keys: str = "", run: str = "", before: str = ":") -> None:
    """go:0 stands at a gate, go:1 waits for its slot."""
    body = f"{before}; test $ORCHESTRATE_ITEM = go:1 || {driver.gated()}"
    driver.write(f"[run]\nslots = {slots}\n{run}\n[jobs.go]\nfor_each = [0, 1]\n{keys}\nshell = '''{driver.witnessed(body)}'''\n")


def started(driver: RunDriver, *arguments: str) -> Command:
    command = driver.run(*arguments)
    driver.wait_for("begin", "go:0")
    return command


def wait_for_drain(command: Command) -> None:
    wait_until(lambda: "stopping: nothing more starts" in command.stderr, "the drain begins")


def statuses(driver: RunDriver) -> list[str]:
    return [result["status"] for result in driver.results()]


@pytest.mark.parametrize("number", sweep(CODES, quick=1), ids=lambda number: number.name)
def test_the_first_signal_drains(driver: RunDriver, number: signal.Signals) -> None:
    write_two(driver)
    command = started(driver)
    command.send(number)
    wait_for_drain(command)
    driver.open_gate()
    assert command.exit_code() == CODES[number], command.stderr
    assert statuses(driver) == ["succeeded", "pending"]
    assert driver.ask("status", driver.run_id)["status"] == "interrupted"
    assert f"orchestrate resume {driver.run_id}" in command.stderr
    driver.assert_tidy()
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    driver.assert_each_ran_once(["go:0", "go:1"])


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGTERM, signal.SIGHUP))],
    ids=lambda number: number.name,
)
def test_the_second_signal_ends_at_once(driver: RunDriver, number: signal.Signals) -> None:
    write_two(driver, keys='grace = "10m"', before="trap '' TERM")
    command = started(driver)
    command.send(number)
    wait_for_drain(command)
    command.send(number)
    assert command.exit_code() == CODES[number], command.stderr
    assert statuses(driver) == ["interrupted", "pending"]
    driver.assert_tidy()
    driver.open_gate()
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    assert driver.acts("end") == {"go:0": 1, "go:1": 1}


def test_a_drain_that_takes_too_long_ends_the_tree(driver: RunDriver) -> None:
    """drain_timeout, SIGTERM, grace, SIGKILL."""
    before = "trap 'echo term >> heard' TERM; sh -c 'trap \"\" TERM; echo $$ > deaf; while :; do sleep 600; done' &"
    write_two(driver, keys="grace = 0.3", run="drain_timeout = 0.3", before=f"{before} while :; do wait; done")
    command = started(driver)
    deaf = int(wait_until(lambda: (driver.folder / "deaf").exists() and (driver.folder / "deaf").read_text(), "the deaf child"))
    command.send(signal.SIGTERM)
    assert command.exit_code() == 143, command.stderr
    assert (driver.folder / "heard").read_text() == "term\n"
    assert not is_living(deaf)
    assert statuses(driver) == ["interrupted", "pending"]
    assert driver.result("go:0")["signal"] == signal.SIGKILL
    driver.assert_tidy()


def test_a_drain_ends_the_wait_for_a_retry(driver: RunDriver) -> None:
    driver.write(f"""
[jobs.again]
attempts = 2
retry = {{ delay = "1h" }}
shell = '''{driver.witnessed("exit 3")}'''
""")
    command = driver.run()
    driver.wait_for("begin", "again")
    wait_until(lambda: driver.ask("status", driver.run_id)["counts"].get("waiting") == 1, "it waits for its retry")
    command.send(signal.SIGINT)
    assert command.exit_code() == 130, command.stderr
    assert driver.ask("status", driver.run_id)["status"] == "interrupted"
    driver.assert_tidy()


def test_flush_and_sigusr1_disturb_nothing(driver: RunDriver) -> None:
    write_two(driver, slots=2)
    command = started(driver)
    driver.wait_for("end", "go:1")
    wait_until(lambda: driver.result("go:1")["status"] == "succeeded", "it is recorded")
    flush = driver.launch("flush", driver.run_id)
    assert flush.exit_code() == 0, flush.stderr
    assert "durable (generation 2)" in flush.stdout
    command.send(signal.SIGUSR1)
    wait_until(lambda: (driver.run_folder / "journal-3.jsonl").exists(), "the checkpoint that SIGUSR1 asks for")
    assert b'"succeeded":1' in (driver.run_folder / "checkpoint.json").read_bytes()
    assert command.is_running
    driver.open_gate()
    driver.assert_exit(command, 0)
    driver.assert_each_ran_once(["go:0", "go:1"])


def test_what_was_flushed_survives_a_kill(driver: RunDriver) -> None:
    write_two(driver)
    command = started(driver)
    assert driver.launch("flush", driver.run_id).exit_code() == 0
    command.kill()
    command = driver.launch("resume", driver.run_id)
    driver.open_gate()
    driver.assert_exit(command, 0)
    driver.assert_each_ran_once(["go:0", "go:1"])


@pytest.mark.parametrize("now", [False, True], ids=["drain", "now"])
def test_stop(driver: RunDriver, now: bool) -> None:
    write_two(driver)
    command = started(driver)
    stop = driver.launch("stop", driver.run_id, *(["--now"] if now else []))
    assert stop.exit_code() == 0, stop.stderr
    if not now:
        driver.open_gate()
    assert command.exit_code() == 143, command.stderr
    assert statuses(driver) == ["interrupted" if now else "succeeded", "pending"]
    driver.assert_tidy()
    driver.open_gate()
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    assert driver.acts("end") == {"go:0": 1, "go:1": 1}


def test_cancel_of_a_living_run(driver: RunDriver) -> None:
    write_two(driver)
    command = started(driver)
    cancel = driver.launch("cancel", driver.run_id)
    assert cancel.exit_code() == 0, cancel.stderr
    assert command.exit_code() == 4, command.stderr
    assert driver.result("go:0")["status"] == "cancelled"
    assert driver.ask("status", driver.run_id)["status"] == "cancelled"
    assert "go:1" not in driver.acts("begin")
    driver.assert_tidy()


def test_cancel_of_a_dead_run_ends_what_its_workers_run(driver: RunDriver) -> None:
    write_two(driver, before="sleep 600 & setsid sleep 600 & true")
    command = started(driver)
    worker = driver.worker_of("go:0")
    command.kill()
    assert is_living(worker)
    cancel = driver.launch("cancel", driver.run_id)
    assert cancel.exit_code() == 0, cancel.stderr
    assert cancel.stdout == f"run {driver.run_id} had no living supervisor; it is cancelled now\n"
    assert not is_living(worker)
    assert driver.result("go:0")["status"] == "cancelled"
    assert driver.ask("status", driver.run_id)["status"] == "cancelled"
    driver.assert_tidy()


def test_cancel_of_one_item_of_a_dead_run_starts_nothing(driver: RunDriver) -> None:
    write_two(driver)
    command = started(driver)
    worker = driver.worker_of("go:0")
    command.kill()
    cancel = driver.launch("cancel", driver.run_id, "go:0")
    assert cancel.exit_code() == 0, cancel.stderr
    assert not is_living(worker)
    assert statuses(driver) == ["cancelled", "pending"]
    driver.assert_tidy()
    driver.launch("resume", driver.run_id).exit_code()
    assert statuses(driver) == ["cancelled", "succeeded"]
    assert driver.acts("begin") == {"go:0": 1, "go:1": 1}


def test_stop_and_flush_of_a_dead_run_say_so(driver: RunDriver) -> None:
    write_two(driver)
    started(driver).kill()
    for word in ("stop", "flush"):
        command = driver.launch(word, driver.run_id)
        assert command.exit_code() == 0
        assert command.stdout == f"run {driver.run_id} has no living supervisor: nothing to {word}\n"
    driver.open_gate()
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    driver.assert_each_ran_once(["go:0", "go:1"])


def test_signals_to_a_run_without_workers(driver: RunDriver) -> None:
    """slots = 0: the supervisor waits for its own child, and hears signals all the same."""
    write_two(driver, slots=0)
    command = started(driver)
    command.send(signal.SIGTERM)
    driver.open_gate()
    assert command.exit_code() == 143, command.stderr
    assert statuses(driver) == ["succeeded", "pending"]
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    driver.assert_each_ran_once(["go:0", "go:1"])


def test_ctrl_c_on_a_terminal_drains_and_the_items_do_not_hear_it(driver: RunDriver) -> None:
    setsid = shutil.which("setsid")
    if sys.platform != "linux" or setsid is None:
        pytest.skip("setsid of util-linux gives a process a terminal of its own; it is not here")
    write_two(driver, before="trap 'echo int >> heard' INT")
    ours, theirs = pty.openpty()
    argv = [setsid, "--ctty", sys.executable, "-m", "orchestrator", "run", "jobs.toml", "--run-id", driver.run_id]
    said = b""
    try:
        with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, cwd=driver.folder) as process:
            os.close(theirs)
            os.set_blocking(ours, False)

            def hears(word: bytes) -> bool:
                nonlocal said
                # EIO: nobody has the other end open any more.
                with contextlib.suppress(OSError):
                    said += os.read(ours, 65536)
                return word in said

            try:
                driver.wait_for("begin", "go:0")
                os.write(ours, b"\x03")
                wait_until(lambda: hears(b"nothing more starts"), "the drain begins")
                driver.open_gate()
                wait_until(lambda: hears(b"orchestrate resume") and process.poll() is not None, "its last word")
                assert process.wait(LIMIT_SECONDS) == 130
            finally:
                process.kill()
    finally:
        os.close(ours)
    assert not (driver.folder / "heard").exists()
    assert statuses(driver) == ["succeeded", "pending"]
    driver.assert_tidy()
