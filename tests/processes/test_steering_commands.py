"""Steering from another shell: pause, cancel, slots while items run; who may ask, and what a stopped supervisor is asked."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from drivers.processes import no_process_left, wait_until
from drivers.run_driver import RunDriver
from drivers.steered_runs import IGNORE, gates, started, statuses, tell, write

from orchestrator.control.address import SOCKET_NAME
from orchestrator.control.client import ask
from orchestrator.control.messages import Pause, SetSlots, StopRequest

# Pause.


def test_a_paused_run_may_be_stopped(driver: RunDriver) -> None:
    write(driver, f"{IGNORE}; {driver.gated()}", run="slots = 1\ndrain_timeout = 0.2", keys="grace = 0.2")
    command = started(driver, "go:0")
    assert ask(driver.run_folder, Pause()).ok
    assert command.is_running
    assert ask(driver.run_folder, StopRequest()).ok
    driver.assert_exit(command, 143)
    assert statuses(driver) == ["interrupted", "pending"]
    driver.assert_tidy()


def test_a_pause_does_not_wait_for_a_backoff_and_the_resume_still_has_the_attempt(driver: RunDriver) -> None:
    write(driver, "test $ORCHESTRATE_ATTEMPT -gt 1", items=1, keys='attempts = 2\nretry = { delay = "1h" }')
    command = started(driver, "go:0")
    wait_until(lambda: statuses(driver) == ["waiting"], "it waits for its retry")
    tell(driver, "pause")
    driver.assert_exit(command, 3)
    assert driver.ask("status", driver.run_id)["status"] == "paused"
    driver.assert_tidy()
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    assert driver.result("go:0")["attempts"] == 2


def test_a_pause_lets_go_of_what_joined_and_the_resume_shares_what_came_of_it(driver: RunDriver) -> None:
    write(driver, driver.gated(), items=3, run="slots = 3", keys='token = "one"')
    command = started(driver, "go:0")
    wait_until(lambda: statuses(driver) == ["running", "waiting", "waiting"], "the others join")
    tell(driver, "pause")
    driver.open_gate()
    driver.assert_exit(command, 3)
    assert statuses(driver) == ["succeeded", "interrupted", "interrupted"]
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    assert [result["deduped_from"] for result in driver.results()] == [None, "crash/go:0", "crash/go:0"]
    driver.assert_each_ran_once(["go:0"])
    driver.assert_tidy()


def test_a_pause_leaves_the_holder_of_another_run_alone(driver: RunDriver) -> None:
    write(driver, driver.gated(), items=1, keys='token = "one"')
    holder = started(driver, "go:0")
    joiner = driver.launch("run", "jobs.toml", "--run-id", "joiner")
    second = RunDriver(driver.folder, driver.home, "joiner")
    wait_until(lambda: (second.run_folder / SOCKET_NAME).exists() and statuses(second) == ["waiting"], "it joins")
    assert ask(second.run_folder, Pause()).ok
    assert joiner.exit_code() == 3
    assert holder.is_running
    driver.open_gate()
    driver.assert_exit(holder, 0)
    driver.assert_each_ran_once(["go:0"])


# Cancel.


def test_a_cancelled_item_gives_its_slot_to_the_next_once_its_tree_is_gone(driver: RunDriver) -> None:
    daemon = f"setsid sh -c 'echo $$ > daemon; {IGNORE.replace(chr(39), chr(34))}; while :; do sleep 600; done' &"
    body = f"test $ORCHESTRATE_ITEM = go:1 && ! kill -0 $(cat daemon) || {{ {daemon} {IGNORE}; while :; do sleep 600; done; }}"
    driver.write(f'[run]\nslots = 1\n[jobs.go]\nfor_each = [0, 1]\ngrace = 0.2\nshell = """{driver.witnessed(body)}"""\n')
    command = started(driver, "go:0")
    wait_until(lambda: (driver.folder / "daemon").exists() and (driver.folder / "daemon").read_text(), "its daemon")
    tell(driver, "cancel", "go:0")
    driver.assert_exit(command, 1)
    assert statuses(driver) == ["cancelled", "succeeded"]
    driver.assert_exit(driver.launch("resume", driver.run_id), 1)
    assert driver.acts("begin") == {"go:0": 1, "go:1": 1}
    driver.assert_tidy()


def test_a_cancelled_backoff_and_a_cancelled_joiner_end_at_once(driver: RunDriver) -> None:
    driver.write(f"""
[jobs.again]
attempts = 2
continue_on_error = true
retry = {{ delay = "1h" }}
shell = '''{driver.witnessed("exit 3")}'''
[jobs.join]
for_each = [0, 1]
continue_on_error = true
token = "one"
shell = '''{driver.witnessed(driver.gated())}'''
""")
    command = started(driver, "again", "join:0")
    wait_until(lambda: statuses(driver) == ["waiting", "running", "waiting"], "two wait")
    tell(driver, "cancel", "again", "join:1")
    wait_until(lambda: statuses(driver) == ["cancelled", "running", "cancelled"], "they are cancelled")
    driver.open_gate()
    command.exit_code()
    assert statuses(driver) == ["cancelled", "succeeded", "cancelled"]
    assert driver.acts("begin") == {"again": 1, "join:0": 1}


# Slots.


def test_slots_are_set_up_and_down_while_items_run_and_outlive_the_supervisor(driver: RunDriver) -> None:
    items = write(driver, gates(driver, 6), items=6, run="slots = 1")
    command = started(driver, "go:0")
    assert ask(driver.run_folder, SetSlots(3)).ok
    driver.wait_for("begin", "go:1", "go:2")
    assert "3 items still run" in ask(driver.run_folder, SetSlots(1)).message, "fewer slots end nothing"
    driver.open_gate("gate-0")
    wait_until(lambda: statuses(driver)[0] == "succeeded", "go:0 ends")
    assert ask(driver.run_folder, SetSlots(2)).ok
    assert set(driver.acts("begin")) == {"go:0", "go:1", "go:2"}, "two run, which is all that may"
    driver.open_gate("gate-2")
    driver.wait_for("begin", "go:3")
    for slots in (5, 1, 4, 2):
        assert ask(driver.run_folder, SetSlots(slots)).ok
    driver.wait_for("begin", "go:4", "go:5")
    command.kill()
    resumed = driver.launch("resume", driver.run_id)
    wait_until(lambda: "resumed, 2 slots" in resumed.stderr, "it has as many slots as were set last")
    for index in (1, 3, 4, 5):
        driver.open_gate(f"gate-{index}")
    driver.assert_exit(resumed, 0)
    driver.assert_each_ran_once(items)
    driver.assert_tidy()


# Who may ask, and who answers.


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_nobody_else_may_use_the_control_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = """if True:
        import os, socket, sys
        user = int(sys.argv[2])
        if user:
            os.setgroups([]), os.setgid(user), os.setuid(user)
        socket.socket(socket.AF_UNIX).connect(sys.argv[1])
        print("in")
    """
    with (
        tempfile.TemporaryDirectory() as folder,  # pytest's own folder is closed to others anyway
        no_process_left(Path(folder) / "home"),
        closing(RunDriver(Path(folder), Path(folder) / "home")) as driver,
    ):
        os.chmod(folder, 0o755)
        monkeypatch.setenv("ORCHESTRATE_HOME", str(driver.home))
        write(driver, driver.gated(), items=1)
        command = started(driver, "go:0")
        socket_path = driver.run_folder / SOCKET_NAME
        assert stat.S_IMODE(os.stat(socket_path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(driver.run_folder).st_mode) == 0o700

        def tries(user: int) -> subprocess.CompletedProcess[str]:
            argv = [sys.executable, "-S", "-c", connect, str(socket_path), str(user)]
            return subprocess.run(argv, capture_output=True, text=True, timeout=60)

        assert tries(0).stdout == "in\n"
        for _ in ("its folder is closed", "and if somebody opens that, the socket is closed itself"):
            told = tries(65534)
            assert (told.stdout, "PermissionError" in told.stderr) == ("", True), told.stderr
            for path in (driver.home, driver.home / "runs", driver.run_folder):
                os.chmod(path, 0o755)
        driver.open_gate()
        driver.assert_exit(command, 0)


def test_commands_to_a_stopped_supervisor_say_so_in_time_and_do_nothing_later(driver: RunDriver) -> None:
    """Who is gone when it goes on may have been anybody, an item too."""
    write(driver, driver.gated())
    command = started(driver, "go:0")
    command.send(signal.SIGSTOP)
    words = [["flush"], ["stop"], ["pause"], ["set", "slots=2"], ["cancel", "go:1"], ["stop", "--wait"]]
    asked = [driver.launch(word, driver.run_id, *rest) for word, *rest in words]
    why = driver.launch("why", driver.run_id, "go:1")
    for each in asked:
        assert each.exit_code() == 75, each.stdout
        assert f"process {command.pid} is stopped (SIGSTOP)" in each.stderr, each.stderr
        assert "lets it go on, then ask again" in each.stderr
    assert why.exit_code() == 0, why.stderr
    assert f"process {command.pid} is stopped" in why.stdout
    assert driver.ask("status", driver.run_id)["status"] == "running"
    command.send(signal.SIGCONT)
    driver.assert_exit(driver.launch("set", driver.run_id, "slots=1"), 0)
    driver.open_gate(count=2)
    driver.assert_exit(command, 0)
    assert statuses(driver) == ["succeeded", "succeeded"]
    log = (driver.run_folder / "supervisor.log").read_text()
    assert log.count("that is gone wanted to steer this run, and was refused") == 1
