"""Supervisors and workers of two runs of the same work die at any time: all is done once in the end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import psutil
import pytest
from drivers.processes import processes_of, wait_until
from drivers.run_driver import Command
from drivers.token_runs import TokenRuns

RUNS = TokenRuns


def orphans(runs: TokenRuns) -> list[psutil.Process]:
    """Agents of these runs whose worker is dead."""
    found = []
    for process in processes_of(runs.home):
        with contextlib.suppress(psutil.Error):
            parent = process.parent()
            above = " ".join(parent.cmdline()) if parent is not None else ""
            is_agent = process.cmdline()[:2] == ["/bin/sh", "-ec"] and os.getsid(process.pid) == process.pid
            if is_agent and "workers/__main__.py" not in above:
                found.append(process)
    return found


@pytest.mark.slow
def test_everything_is_killed_and_resumed_with_tokens(runs: TokenRuns) -> None:
    """Two runs with the same six tokens, each twice; all supervisors and workers die at once, twice; then both are resumed."""
    body = f"test {{{{ index }}}} -lt 2 || {runs.gated()}; echo {{{{ item }}}}"
    items = ["a", "b", "c", "d", "e", "f"]
    script = runs.witnessed(body, key="{{ item }}")
    runs.write(
        f"[run]\nslots = 3\n[jobs.go]\nfor_each = {items}\ntoken = 'work {{{{ item }}}}'\ntoken_ttl = '1h'\n"
        f"grace = 0.2\nshell = '''{script}'''\n"
    )
    commands = [runs.start("first"), runs.start("second")]
    # A kill between an agent's exit and its outcome would have it run again, rightly: those that do not wait are over and done.
    wait_until(lambda: len(runs.starts()) >= 5, "all slots are at the gate")
    for run in ("first", "second"):
        born = runs.home / "runs" / run / "checkpoint.json"
        wait_until(born.exists, f"run {run} exists")
        wait_until(lambda run=run: list(runs.statuses(run).values())[:2] == ["succeeded"] * 2, f"the first two of {run} are done")
    for _ in range(2):
        workers = [pid for run in ("first", "second") for pid in workers_in(runs, run)]
        for command in commands:
            command.send(signal.SIGSTOP)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        for command in commands:
            command.kill()
        before = len(runs.starts())
        commands = [runs.launch("resume", "first"), runs.launch("resume", "second")]
        wait_until(lambda count=before: len(runs.starts()) > count, "something runs again")
    # An orphan that went through the gate would do its work, and nobody would be left to record that.
    wait_until(lambda: not orphans(runs), "what the dead workers left behind is ended")
    runs.open_gate(count=50)
    for command in commands:
        runs.assert_exit(command, 0)
    runs.assert_never_two_at_once()
    for run in ("first", "second"):
        assert [result["output"] for result in runs.results_of(run).values()] == items
    ends = [line.split()[1] for line in runs.witness.read_text().splitlines() if line.startswith("end ")]
    assert len(ends) == len(items), "paid twice"


def workers_in(runs: TokenRuns, run_id: str) -> list[int]:
    runs.run_id = run_id
    return runs.living_workers()


def kill_at_random(runs: TokenRuns, seed: int, times: int) -> None:
    """Two runs of the same work; supervisors and workers of both are killed when the dice say so."""
    dice = random.Random(seed)
    items = ["a", "b", "c", "d", "e", "f"]
    script = runs.witnessed(f"case {{{{ item }}}} in a|b|c) ;; *) {runs.gated()} ;; esac; echo {{{{ item }}}}", key="{{ item }}")
    for name in ("first", "second"):
        runs.write(
            f"[run]\nslots = 2\n[jobs.go]\nfor_each = {items + items}\ntoken = 'work {{{{ item }}}}'\ntoken_ttl = '1h'\n"
            f"grace = 0.2\nshell = '''{script}'''\n",
            f"{name}.toml",
        )
    killed: set[int] = set()
    commands: dict[str, Command] = {}
    for _ in range(times):
        for name in ("first", "second"):
            if name not in commands or not commands[name].is_running:
                commands[name] = runs.start(name, "--resume", file=f"{name}.toml")
        goal = bytes_written(runs) + dice.randrange(100, 4000)
        give_up = time.monotonic() + 2.0  # all may stand at the gate, or wait for who stands there
        wait_until(lambda goal=goal, at=give_up: bytes_written(runs) >= goal or time.monotonic() > at, "something happens")
        for name in dice.sample(["first", "second"], dice.choice([1, 1, 2])):
            whom = dice.choice(["worker", "supervisor", "both"])
            workers = [] if whom == "supervisor" else workers_in(runs, name)
            if whom != "worker":
                commands[name].kill()
            for worker in dice.sample(workers, min(len(workers), dice.choice([1, 2]))):
                os.kill(worker, signal.SIGKILL)
                killed.add(worker)
        runs.open_gate(count=dice.choice([0, 0, 1]))
    for name, command in commands.items():
        if not command.is_running:
            commands[name] = runs.start(name, "--resume", file=f"{name}.toml")
    runs.open_gate(count=60)
    for name, command in commands.items():
        runs.run_id = name
        runs.assert_exit(command, 0, 60.0)
    runs.assert_never_two_at_once()
    for name in commands:
        assert [result["output"] for result in runs.results_of(name).values()] == items + items
    ends = [line for line in runs.witness.read_text().splitlines() if line.startswith("end ")]
    assert len(ends) <= len(items) + len(killed), "more was paid twice than workers were killed"


def bytes_written(runs: TokenRuns) -> int:
    count = 0
    for path in [*runs.home.glob("runs/*/journal-*.jsonl"), runs.witness]:
        with contextlib.suppress(FileNotFoundError):  # not there yet, or just replaced by the next generation
            count += path.stat().st_size
    return count


def test_kills_at_random_times_in_two_runs_of_the_same_work(runs: TokenRuns) -> None:
    kill_at_random(runs, 1, times=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_kills_at_random_times_in_two_runs_of_the_same_work(runs: TokenRuns, seed: int) -> None:
    kill_at_random(runs, seed, times=5)
