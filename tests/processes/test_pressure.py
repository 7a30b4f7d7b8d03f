"""A machine without room: for open files, for processes, for memory. Fewer items at once, each of them in the end, none twice."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from drivers.processes import LIMIT_SECONDS, no_process_left, wait_until
from drivers.run_driver import Command, RunDriver, why

from orchestrator.control.client import ask
from orchestrator.control.messages import Flush
from orchestrator.store.load import read_history
from orchestrator.store.run_dir import RunDir

SLOTS = 16


def limited(driver: RunDriver, limit: str, *, before: Sequence[str] = ()) -> Command:
    """The run under `limit` (shell), which the command `before` may start."""
    shell = ["/bin/sh", "-c", f'{limit}; exec "$@"', "sh"]
    return driver.launch("run", "jobs.toml", "--run-id", driver.run_id, "--resume", before=[*before, *shell])


def write(driver: RunDriver, body: str, *, items: int = 40, keys: str = "", more: str = "") -> list[str]:
    job = f"for_each = {list(range(items))}\n{keys}\nshell = '''{driver.witnessed(body)}'''\n"
    driver.write(f"[run]\nslots = {SLOTS}\n{more}\n[jobs.go]\n{job}")
    return [f"go:{index}" for index in range(items)]


def assert_all_done_once(driver: RunDriver, items: list[str]) -> None:
    driver.assert_each_ran_once(items)
    assert [result["status"] for result in driver.results()] == ["succeeded"] * len(items)
    assert driver.acts("begin") == dict.fromkeys(items, 1)
    numbers = list(read_history(RunDir(driver.run_folder)).workers)
    assert len(numbers) == len(set(numbers))
    driver.assert_tidy()


# Open files.


def test_few_open_files_mean_fewer_at_once_and_never_too_few_for_the_state(driver: RunDriver) -> None:
    """Tokens, a pool with a rate, large outputs: each item costs several descriptors, and so do the records of its end."""
    body = f"head -c 9000 /dev/zero; {driver.gated()}"
    keys = 'token = "t{{ item }}"\npool = "p"'
    items = write(driver, body, keys=keys, more=f'[pools.p]\nslots = {SLOTS}\nrate = "1000/s"')
    command = limited(driver, "ulimit -n 64")
    wait_until(lambda: "Too many open files" in command.stderr or not command.is_running, "it finds that out")
    wait_until(lambda: "open file" in why(driver.run_folder, "go:39"), "`why` says so")
    wait_until(lambda: len(driver.acts("begin")) > 1, "more than one runs")
    assert len(driver.acts("begin")) < SLOTS
    for _ in range(3):
        assert ask(driver.run_folder, Flush()).ok, "there is always room for the state"
    flushes = [driver.launch("flush", driver.run_id) for _ in range(2)]
    assert [flush.exit_code() for flush in flushes] == [0] * 2
    driver.open_gate(count=40)
    driver.assert_exit(command, 0)
    assert_all_done_once(driver, items)


def test_requests_that_find_no_descriptor_do_not_end_the_run(driver: RunDriver) -> None:
    """Whoever holds a connection and asks nothing makes room for the next."""
    items = write(driver, driver.gated(), items=1)
    command = limited(driver, "ulimit -n 64")
    driver.wait_for("begin", "go:0")
    idle = []
    try:
        for _ in range(100):
            idle.append(socket.socket(socket.AF_UNIX))
            idle[-1].settimeout(LIMIT_SECONDS)
            idle[-1].connect(str(driver.run_folder / "control.sock"))
        assert "is running" in why(driver.run_folder, "go:0") or why(driver.run_folder, "go:0") == ""
    finally:
        for each in idle:
            each.close()
    driver.open_gate()
    driver.assert_exit(command, 0)
    assert_all_done_once(driver, items)


# Processes.


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may become a user that nobody else is")
def test_a_user_who_may_have_few_processes_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv of util-linux lets another user read this Python wherever it stands; it is not here")
    user = 100_000 + os.getpid()  # also another run of this test at the same time is somebody else
    with (
        tempfile.TemporaryDirectory() as name,
        no_process_left(Path(name) / "home"),
        closing(RunDriver(Path(name), Path(name) / "home")) as driver,
    ):
        items = write(driver, ":", items=14)  # a shell that has to fork would fail by itself
        for path in (driver.folder, *driver.folder.iterdir()):
            os.chown(path, user, user)
        monkeypatch.setenv("ORCHESTRATE_HOME", str(driver.home))
        monkeypatch.setenv("HOME", name)
        become = [
            f"--reuid={user}",
            f"--regid={user}",
            "--clear-groups",
            "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search",
        ]
        # The syncer's and the publisher's threads count, too: one worker and its agent have to fit.
        command = limited(driver, ":", before=[setpriv, *become, "prlimit", "--nproc=12"])
        driver.assert_exit(command, 0)
        assert re.search("tried again|no room on this machine", command.stderr), "the limit is felt"
        assert_all_done_once(driver, items)


@pytest.mark.parametrize("error", ["EAGAIN", *(pytest.param(error, marks=pytest.mark.slow) for error in ("EMFILE", "ENOMEM"))])
def test_an_agent_that_cannot_be_spawned_waits_until_it_can(driver: RunDriver, error: str) -> None:
    """The third spawn of every worker fails. No item has more than its one attempt, and none is lost or done twice."""
    items = write(driver, ":", items=12)
    command = driver.run("--slots", "2", "--progress", "lines", worker_fault=f"worker.spawn:3:{error}")
    driver.assert_exit(command, 0)
    assert "no room on this machine just now" in command.stderr
    assert_all_done_once(driver, items)


def test_a_worker_that_dies_before_it_has_begun_costs_no_attempt_and_no_loss(driver: RunDriver) -> None:
    """Each worker does one item, and is killed as it begins its next one."""
    items = write(driver, ":", items=6)
    command = driver.run("--slots", "1", "--progress", "lines", worker_fault="worker.log.write:4")
    driver.assert_exit(command, 0)
    assert "it was not begun: worker 0 was ended by signal 9" in command.stderr
    assert_all_done_once(driver, items)


# Memory.


def test_too_little_free_memory_holds_starts_back_and_says_so(driver: RunDriver) -> None:
    more = 'min_free_memory = "4000TiB"'
    items = write(driver, ":", items=2, more=more)
    command = driver.run()
    wait_until(lambda: "memory" in why(driver.run_folder, "go:0"), "it waits for memory")
    told = driver.launch("why", driver.run_id, "go:0")
    assert told.exit_code() == 0
    assert "it waits for free memory (less than min_free_memory is left)" in told.stdout
    assert not driver.acts("begin")
    assert driver.launch("stop", driver.run_id, "--wait").exit_code() == 0
    driver.assert_exit(command, 143)
    text = (driver.run_folder / "jobs.toml").read_text()
    (driver.folder / "jobs.toml").write_text(text.replace(more, 'min_free_memory = "1MiB"'))
    driver.assert_exit(driver.launch("run", "jobs.toml", "--run-id", "second"), 0)
    driver.assert_each_ran_once(items)


def test_a_tree_that_outgrows_its_memory_is_ended_and_says_so(driver: RunDriver) -> None:
    grow = f"{sys.executable} -S -c 'import time; held = bytearray(60 << 20); time.sleep(600)'"
    driver.write(
        "[jobs.big]\nmemory = '40MiB'\nattempts = 2\ncontinue_on_error = true\n"
        f'shell = """echo begin big $ORCHESTRATE_ATTEMPT >> {driver.witness}; {grow} & wait"""\n'
        "[jobs.small]\nmemory = '40MiB'\ncommand = ['sleep', '0.5']\n"
    )
    driver.assert_exit(driver.run(), 1)
    big = driver.result("big")
    assert big["status"] == "failed"
    assert "more than memory = 40 MiB" in big["error"], big["error"]
    told = driver.launch("why", driver.run_id, "big")
    assert told.exit_code() == 0
    assert "more than memory = 40 MiB" in told.stdout
    assert driver.result("small")["status"] == "succeeded"
    driver.assert_tidy()
