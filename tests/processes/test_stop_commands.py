"""Stopping as commands from another shell: a run is ended in the time that was promised, whatever its items and its disk do."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import stat
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from drivers.processes import is_living, no_process_left, processes_of, sees_open_files, wait_until
from drivers.run_driver import Command, RunDriver, why
from drivers.sweeps import sweep

from orchestrator.control.address import SOCKET_NAME
from orchestrator.control.client import NoSupervisor, ask
from orchestrator.control.messages import CancelRequest, Flush, Pause, SetSlots, StopRequest

ORCHESTRATE = shlex.join([sys.executable, "-m", "orchestrator"])


def write(driver: RunDriver, body: str, *, items: int = 2, run: str = "slots = 1", keys: str = "") -> list[str]:
    """A run of `items` equal items; their names."""
    driver.write(f"[run]\n{run}\n[jobs.go]\nfor_each = {list(range(items))}\n{keys}\nshell = '''{driver.witnessed(body)}'''\n")
    return [f"go:{index}" for index in range(items)]


def gates(driver: RunDriver, count: int) -> str:
    """Shell: each item waits at a gate of its own, `gate-INDEX`."""
    for index in range(count):
        driver.gated(f"gate-{index}")
    return f'read word < {shlex.quote(str(driver.folder))}/gate-"${{ORCHESTRATE_ITEM#*:}}".fifo'


def started(driver: RunDriver, *items: str) -> Command:
    command = driver.run()
    driver.wait_for("begin", *items)
    return command


def tell(driver: RunDriver, *words: str, code: int = 0) -> str:
    """Have a command run to its end; what it printed."""
    command = driver.launch(words[0], driver.run_id, *words[1:])
    assert command.exit_code() == code, command.stdout + command.stderr
    return command.stdout or command.stderr


def statuses(driver: RunDriver) -> list[str]:
    return [result["status"] for result in driver.results()]


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


IGNORE = "trap '' TERM HUP INT"
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
