"""Workers are killed with SIGKILL: their agent's tree is ended before the item runs again, and what had ended never does."""

from __future__ import annotations

import contextlib
import os
import random
import signal

import pytest
from drivers.batch import ITEMS, OTHERS, assert_every_result_is_there, let_end, write_batch
from drivers.processes import is_living, wait_until
from drivers.run_driver import KILLED, Command, RunDriver
from drivers.sweeps import sweep

ONCE_POINTS = ["worker.begun", "worker.logged", "worker.sent"]
"""Before the agent starts, and after its outcome is in the log: a kill there makes no item run twice."""

AGAIN_POINTS = ["worker.spawned", "worker.capture"]
"""In between: an item whose outcome was not left runs again."""


WITH_SUPERVISOR = {"worker.spawned", "worker.logged"}
"""Points of both kinds at which worker and supervisor are killed also where the slow tests are not run."""

KILLS = [
    pytest.param(point, both, id=f"{point} {'worker and supervisor' if both else 'worker'}", marks=marks)
    for point in (*ONCE_POINTS, *AGAIN_POINTS)
    for both in (False, True)
    for marks in ([pytest.mark.slow] if both and point not in WITH_SUPERVISOR else [],)
]


@pytest.mark.parametrize(("point", "with_supervisor"), sweep(KILLS, quick=4))
def test_workers_killed_at_each_point(driver: RunDriver, point: str, with_supervisor: bool) -> None:
    write_batch(driver)
    # Each worker dies at its second attempt; a worker that comes in its place, too.
    command = driver.run(worker_fault=f"{point}:2", fault="supervisor.outcome:5" if with_supervisor else "")
    if not with_supervisor:
        driver.open_gate(count=10)
        command.exit_code()
    else:
        assert let_end(driver, command) == KILLED
        driver.open_gate(count=10)
    driver.assert_exit(driver.run(), 0)
    assert_every_result_is_there(driver)
    if point in ONCE_POINTS:
        driver.assert_each_ran_once(ITEMS)
    else:
        assert set(driver.acts("end")) == set(ITEMS)
        assert max(driver.acts("begin").values()) <= 4


def kill_at_random(driver: RunDriver, seed: int) -> None:
    """Six sessions; in each a worker, the supervisor, or both are killed when the dice say so."""
    dice = random.Random(seed)
    write_batch(driver)
    killed: set[int] = set()
    for _ in range(6):
        command = driver.run()
        wait_for_bytes(driver, command, dice.randrange(100, 2500))
        whom = dice.choice(["worker", "supervisor", "both"])
        workers = [] if whom == "supervisor" else driver.living_workers()
        if whom != "worker":
            command.kill()
        for worker in dice.sample(workers, min(1, len(workers))):
            # An idle one ends as soon as its supervisor is gone.
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
                killed.add(worker)
        if command.is_running and dice.random() < 0.5:
            command.kill()
        driver.open_gate(count=dice.choice([0, 0, 1]))
        if command.is_running:
            command.kill()
    recorded = [result["item"] for result in driver.results() if result["status"] == "succeeded"]
    before = driver.acts("begin")
    driver.open_gate(count=9)
    driver.assert_exit(driver.run(), 0)
    assert_every_result_is_there(driver)
    after = driver.acts("begin")
    assert sum(after.values()) <= len(ITEMS) + len(killed), "more ran again than workers were killed"
    assert all(after[item] == before[item] for item in recorded), "what was recorded ran again"


def wait_for_bytes(driver: RunDriver, command: Command, count: int) -> None:
    """Until the run has written `count` bytes more, is over, or has nothing to do but to wait at the gate."""
    goal = driver.bytes_written() + count
    wait_until(
        lambda: not command.is_running or driver.bytes_written() >= goal or not (set(OTHERS) - set(driver.acts("end"))),
        f"{count} bytes more",
    )


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_kills_of_workers_and_supervisors_at_random_times(driver: RunDriver, seed: int) -> None:
    kill_at_random(driver, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_many_kills_of_workers_and_supervisors_at_random_times(driver: RunDriver, seed: int) -> None:
    kill_at_random(driver, seed)


TREE = """
for pid in $(cat pids 2>/dev/null); do
  grep -qs '^State:.[^Z]' /proc/$pid/status && echo $pid >> still_there
done
echo $$ >> pids
sh -c 'echo $$ >> pids; exec sleep 600' &
setsid sh -c 'echo $$ >> pids; exec sleep 600' &
(sh -c 'echo $$ >> pids; exec sleep 600' &)
(setsid sh -c 'trap "" TERM; echo $$ >> pids; while :; do sleep 600; done' &)
"""
"""Leaves four processes beside its own; tells which processes of an earlier attempt it met alive."""


def write_tree(driver: RunDriver) -> None:
    driver.write(f"[run]\nslots = 1\n[jobs.tree]\ngrace = 0.2\nshell = '''{driver.witnessed(TREE + driver.gated())}'''\n")


def pids(driver: RunDriver, count: int) -> list[int]:
    path = driver.folder / "pids"
    wait_until(lambda: path.exists() and path.read_text().count("\n") >= count, f"{count} pids")
    return [int(word) for word in path.read_text().split()]


def test_the_tree_of_a_killed_worker_is_ended_before_its_item_runs_again(driver: RunDriver) -> None:
    write_tree(driver)
    command = driver.run()
    first = pids(driver, 5)
    os.kill(driver.worker_of("tree"), signal.SIGKILL)
    driver.wait_for("begin", "tree", times=2)
    assert [pid for pid in first if is_living(pid)] == []
    assert len(pids(driver, 10)) == 10
    driver.open_gate()
    driver.assert_exit(command, 0)
    assert not (driver.folder / "still_there").exists()
    assert (driver.acts("begin")["tree"], driver.acts("end")["tree"], driver.result("tree")["attempts"]) == (2, 1, 2)
    driver.assert_tidy()


def test_worker_and_supervisor_killed_and_the_tree_is_ended_by_the_resume(driver: RunDriver) -> None:
    write_tree(driver)
    command = driver.run()
    first = pids(driver, 5)
    worker = driver.worker_of("tree")
    command.kill()
    os.kill(worker, signal.SIGKILL)
    assert all(is_living(pid) for pid in first), "nobody was there to end them"
    command = driver.launch("resume", driver.run_id)
    driver.wait_for("begin", "tree", times=2)
    assert [pid for pid in first if is_living(pid)] == []
    pids(driver, 10)
    driver.open_gate()
    driver.assert_exit(command, 0)
    assert not (driver.folder / "still_there").exists()
    assert (driver.acts("begin")["tree"], driver.acts("end")["tree"]) == (2, 1)
    driver.assert_tidy()


def test_a_kill_while_the_tree_is_being_ended(driver: RunDriver) -> None:
    write_tree(driver)
    command = driver.run()
    first = pids(driver, 5)
    worker = driver.worker_of("tree")
    command.kill()
    os.kill(worker, signal.SIGKILL)
    command = driver.launch("resume", driver.run_id)
    wait_until(lambda: not is_living(first[0]), "the resume begins to end the tree")
    command.kill()
    command = driver.launch("resume", driver.run_id)
    driver.wait_for("begin", "tree", times=2)
    assert [pid for pid in first if is_living(pid)] == []
    pids(driver, 10)
    driver.open_gate()
    driver.assert_exit(command, 0)
    assert not (driver.folder / "still_there").exists()
    assert driver.acts("end")["tree"] == 1
    driver.assert_tidy()


def test_a_second_stop_waits_for_no_grace_of_a_tree_whose_worker_is_dead(driver: RunDriver) -> None:
    script = driver.witnessed(f"trap '' TERM; {driver.gated()}")
    driver.write(f"[run]\nslots = 1\n[jobs.deaf]\ngrace = 600\nshell = '''{script}'''\n")
    command = driver.run()
    driver.wait_for("begin", "deaf")
    os.kill(driver.worker_of("deaf"), signal.SIGKILL)
    wait_until(lambda: "ending what it left behind" in command.stderr, "the tree is being ended")
    command.send(signal.SIGTERM)
    wait_until(lambda: "stopping:" in command.stderr, "the drain begins")
    command.send(signal.SIGTERM)
    assert command.exit_code() == 143, command.stderr
    assert driver.result("deaf")["status"] == "interrupted"
    driver.assert_tidy()


def test_an_item_that_loses_three_workers_is_failed_as_lost(driver: RunDriver) -> None:
    script = driver.witnessed("kill -9 $PPID; sleep 600")
    driver.write(f"[run]\nslots = 1\n[jobs.killer]\ngrace = 0\nattempts = 5\nretry = {{ delay = 0 }}\nshell = '''{script}'''\n")
    driver.assert_exit(driver.run(), 1)
    result = driver.result("killer")
    assert (result["status"], result["class"], result["attempts"]) == ("failed", "lost", 3)
    assert "worker" in result["error"]
    assert driver.acts("begin")["killer"] == 3
    driver.assert_tidy()


def test_the_other_items_go_on_beside_a_killed_worker(driver: RunDriver) -> None:
    body = f"test $ORCHESTRATE_ATTEMPT != 1 || {driver.gated()}"
    driver.write(f"""
[run]
slots = 2
[jobs.go]
for_each = [0, 1, 2, 3]
grace = 0
shell = '''if [ {{{{ index }}}} = 0 ]; then {driver.witnessed(body)}; else {driver.witnessed()}; fi'''
""")
    command = driver.run()
    driver.wait_for("begin", "go:0")
    driver.wait_for("end", "go:1", "go:2", "go:3")
    os.kill(driver.worker_of("go:0"), signal.SIGKILL)
    driver.assert_exit(command, 0)
    assert driver.acts("begin") == {"go:0": 2, "go:1": 1, "go:2": 1, "go:3": 1}
    driver.assert_tidy()


def test_a_worker_that_is_terminated_with_its_machine_leaves_an_item_that_a_resume_runs(driver: RunDriver) -> None:
    """What a service manager does at a stop: SIGTERM to every process. Nobody cancelled anything."""
    driver.write(f"[run]\nslots = 1\n[jobs.go]\nshell = '''{driver.witnessed(driver.gated())}'''\n")
    command = driver.run()
    driver.wait_for("begin", "go")
    worker = driver.worker_of("go")
    command.send(signal.SIGTERM)
    os.kill(worker, signal.SIGTERM)
    assert command.exit_code() == 143, command.stderr
    assert driver.result("go")["status"] == "interrupted"
    driver.open_gate()
    driver.assert_exit(driver.run(), 0)
    assert driver.acts("end")["go"] == 1
    driver.assert_tidy()
