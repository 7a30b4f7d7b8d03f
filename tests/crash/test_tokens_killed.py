"""Who does the work of a token is killed, or its lock file is: never two agents at once, nothing is paid for twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from conftest import processes_of
from run_driver import Command, is_living, wait_until
from token_runs import TOKEN, TokenRuns

from orchestrator.tokens.record import TokenFiles


@pytest.fixture
def runs(home: Path, tmp_path: Path) -> Iterator[TokenRuns]:
    made = TokenRuns(tmp_path, home)
    yield made
    made.close()


def begin_of(runs: TokenRuns, number: int) -> str:
    """`RUN/ITEM` of start number `number`, from 1."""
    wait_until(lambda: len(runs.starts()) >= number, f"start {number}")
    return runs.starts()[number - 1]


# The supervisor is killed.


def test_the_same_token_run_again_at_once_joins_the_agent_that_outlived_its_supervisor(runs: TokenRuns) -> None:
    runs.job()
    holder = runs.holder()
    worker = runs.worker_in("first")
    holder.kill()
    second = runs.waiter("second")
    assert "first/go" in runs.ask("why", "second", "go")[0]["reason"]
    runs.open_gate()
    runs.assert_exit(second, 0)
    assert not is_living(worker)
    runs.assert_started("first/go")
    runs.assert_shared("second", "first/go")
    runs.assert_exit(runs.launch("resume", "first"), 0)
    runs.assert_started("first/go")
    assert runs.result_of("first")["output"] == "done"


def test_the_failure_of_an_agent_that_outlived_its_supervisor_is_no_verdict(runs: TokenRuns) -> None:
    """Its run might have tried again: nobody may tell in its place. Who waits takes the work over, alone."""
    runs.job(f"{runs.gated()}; test $ORCHESTRATE_RUN = second && echo done")
    holder = runs.holder()
    runs.worker_in("first")
    holder.kill()
    second = runs.waiter("second")
    runs.open_gate()
    assert begin_of(runs, 2) == "second/go"
    third = runs.waiter("third")
    runs.open_gate()
    runs.assert_exit(second, 0)
    runs.assert_exit(third, 0)
    runs.assert_started("first/go", "second/go")
    assert runs.result_of("second")["promoted"]
    runs.assert_shared("third", "second/go")


def test_a_resume_and_a_new_run_at_once_after_the_supervisor_was_killed(runs: TokenRuns) -> None:
    runs.job()
    holder = runs.holder()
    runs.worker_in("first")
    holder.kill()
    resume, second = runs.launch("resume", "first"), runs.start("second")
    wait_until(lambda: "adopted go" in resume.stderr or not resume.is_running, "it is adopted")
    runs.wait_for_waiting("second", "go", command=second)
    runs.open_gate()
    runs.assert_exit(resume, 0)
    runs.assert_exit(second, 0)
    runs.assert_started("first/go")
    runs.assert_shared("second", "first/go")


@pytest.mark.parametrize("point", ["supervisor.recorded:2", "supervisor.acted:2", "supervisor.outcome"])
def test_the_supervisor_killed_around_start_and_end_of_the_work(runs: TokenRuns, point: str) -> None:
    runs.job("echo done", 'token_ttl = "1h"')
    assert runs.start("first", fault=point).exit_code() == -signal.SIGKILL
    runs.assert_exit(runs.start("second"), 0)
    runs.assert_exit(runs.launch("resume", "first"), 0)
    runs.assert_never_two_at_once()
    assert len(runs.starts()) == 1
    assert {runs.result_of(name)["output"] for name in ("first", "second")} == {"done"}


@pytest.mark.parametrize("point", ["token.publishing", "token.renamed"])
def test_the_supervisor_killed_while_it_publishes(runs: TokenRuns, point: str) -> None:
    runs.job()
    holder = runs.holder(fault=point)
    second = runs.waiter("second")
    runs.open_gate()
    assert holder.exit_code() == -signal.SIGKILL
    runs.assert_exit(second, 0)
    runs.assert_started("first/go")
    runs.assert_shared("second", "first/go")
    runs.assert_exit(runs.launch("resume", "first"), 0)
    runs.assert_started("first/go")


# The worker is killed.


def test_a_killed_worker_costs_an_attempt_and_the_waiter_gets_the_next(runs: TokenRuns) -> None:
    runs.job()
    holder = runs.holder()
    second = runs.waiter("second")
    os.kill(runs.worker_in("first"), signal.SIGKILL)
    assert begin_of(runs, 2) == "first/go"
    assert runs.status_of("second") == "waiting"
    runs.open_gate()
    runs.assert_exit(holder, 0)
    runs.assert_exit(second, 0)
    runs.assert_started("first/go", "first/go")
    runs.assert_shared("second", "first/go")


@pytest.mark.parametrize(
    ("sheds", "is_waiting"),
    [(False, False), (False, True), (True, False)],
    ids=["run at once", "waited for", "that shed its descriptors"],
)
def test_an_orphaned_agent_is_ended_before_the_work_starts_anew(runs: TokenRuns, sheds: bool, is_waiting: bool) -> None:
    """Worker and supervisor are killed; who asks ends what they left, and takes the work over."""
    wait = f"test $ORCHESTRATE_RUN != first || exec sleep 600; {runs.gated()}"
    script = runs.witnessed(f"{wait}; echo done")
    if sheds:
        (runs.folder / "agent.sh").write_text(script)
        # As Python's subprocess starts others: nothing that it inherited stays open.
        code = "import os; os.closerange(3, 65536); os.execvp('sh', ['sh', 'agent.sh'])"
        runs.write(f"[jobs.go]\ntoken = {TOKEN!r}\ncommand = [{sys.executable!r}, '-I', '-S', '-c', \"{code}\"]\n")
    else:
        runs.write(f"[jobs.go]\ntoken = {TOKEN!r}\nshell = '''{script}'''\n")
    holder = runs.holder()
    agent, worker = runs.agent_in("first"), runs.worker_in("first")
    second = runs.waiter("second") if is_waiting else None
    os.kill(holder.pid, signal.SIGSTOP)  # or it would see the worker's death and end the agent itself
    os.kill(worker, signal.SIGKILL)
    holder.kill()
    assert is_living(agent)
    second = second or runs.start("second")
    assert begin_of(runs, 2) == "second/go"
    assert not is_living(agent)
    runs.open_gate()
    runs.assert_exit(second, 0)
    runs.assert_started("first/go", "second/go")
    assert runs.result_of("second")["promoted"]


def orphans(runs: TokenRuns) -> list[psutil.Process]:
    """Agents of these runs whose worker is dead."""
    found = []
    for process in processes_of(runs.home):
        with contextlib.suppress(psutil.Error):
            parent = process.parent()
            above = " ".join(parent.cmdline()) if parent is not None else ""
            is_agent = process.cmdline()[:2] == ["/bin/sh", "-c"] and os.getsid(process.pid) == process.pid
            if is_agent and "workers/__main__.py" not in above:
                found.append(process)
    return found


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
        wait_until(lambda run=run: runs.statuses_of(run)[:2] == ["succeeded"] * 2, f"the first two of {run} are done")
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
        assert [result["output"] for result in runs.results_of(run)] == items
    ends = [line.split()[1] for line in runs.witness.read_text().splitlines() if line.startswith("end ")]
    assert len(ends) == len(items), "paid twice"


def workers_in(runs: TokenRuns, run_id: str) -> list[int]:
    runs.run_id = run_id
    return runs.living_workers()


def kill_at_random(runs: TokenRuns, seed: int) -> None:
    """Two runs of the same work; supervisors and workers of both are killed when the dice say so, five times."""
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
    for _ in range(5):
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
        assert [result["output"] for result in runs.results_of(name)] == items + items
    ends = [line for line in runs.witness.read_text().splitlines() if line.startswith("end ")]
    assert len(ends) <= len(items) + len(killed), "more was paid twice than workers were killed"


def bytes_written(runs: TokenRuns) -> int:
    count = 0
    for path in [*runs.home.glob("runs/*/journal-*.jsonl"), runs.witness]:
        with contextlib.suppress(FileNotFoundError):  # not there yet, or just replaced by the next generation
            count += path.stat().st_size
    return count


def test_kills_at_random_times_in_two_runs_of_the_same_work(runs: TokenRuns) -> None:
    kill_at_random(runs, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_kills_at_random_times_in_two_runs_of_the_same_work(runs: TokenRuns, seed: int) -> None:
    kill_at_random(runs, seed)


# The holder is stopped.


@pytest.mark.parametrize("whom", ["supervisor", "worker", "agent"])
def test_a_stopped_holder_is_named_and_never_robbed(runs: TokenRuns, whom: str) -> None:
    runs.job()
    holder = runs.holder()
    pid = {"supervisor": holder.pid, "worker": runs.worker_in("first"), "agent": runs.agent_in("first")}[whom]
    os.kill(pid, signal.SIGSTOP)
    try:
        second = runs.waiter("second")
        reason = runs.ask("why", "second", "go")[0]["reason"]
        assert f"process {pid} is stopped (SIGSTOP)" in reason
        # Who asks now looks at the holder really, as who waits does once a second.
        third = runs.waiter("third")
        assert runs.status_of("second") == "waiting"
    finally:
        os.kill(pid, signal.SIGCONT)
    runs.open_gate()
    for command in (holder, second, third):
        runs.assert_exit(command, 0)
    runs.assert_started("first/go")
    runs.assert_shared("second", "first/go")
    runs.assert_shared("third", "first/go")


# The lock file.


def remove(lock: Path) -> None:
    lock.unlink()


def replace(lock: Path) -> None:
    (lock.parent / "new").write_text("")
    os.replace(lock.parent / "new", lock)


@pytest.mark.parametrize("damage", [remove, replace])
def test_a_lock_file_removed_under_a_living_holder_lets_nobody_in(runs: TokenRuns, damage: Callable[[Path], None]) -> None:
    runs.job()
    holder = runs.holder()
    waiting = runs.waiter("waiting")
    damage(TokenFiles(runs.home).lock(TOKEN))
    late = runs.waiter("late")
    runs.open_gate()
    for command in (holder, waiting, late):
        runs.assert_exit(command, 0)
    runs.assert_started("first/go")
    for name in ("waiting", "late"):
        runs.assert_shared(name, "first/go")


@pytest.mark.parametrize("damage", [remove, replace])
def test_a_lock_file_removed_under_an_orphan_lets_nobody_in_before_it_is_dead(
    runs: TokenRuns, damage: Callable[[Path], None]
) -> None:
    runs.job()
    holder = runs.holder()
    agent, worker = runs.agent_in("first"), runs.worker_in("first")
    holder.send(signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    holder.kill()
    damage(TokenFiles(runs.home).lock(TOKEN))
    second = runs.start("second")
    assert begin_of(runs, 2) == "second/go"
    assert not is_living(agent)
    runs.open_gate()
    runs.assert_exit(second, 0)
    runs.assert_started("first/go", "second/go")


def test_what_a_lock_file_says_is_not_believed(runs: TokenRuns) -> None:
    """It names a process that lives and has nothing to do with it: a flock is what counts."""
    runs.job("echo done")
    runs.assert_exit(runs.start("first"), 0)
    TokenFiles(runs.home).lock(TOKEN).write_text(f"{os.getpid()}\n")
    runs.assert_exit(runs.start("second"), 0)
    runs.assert_started("first/go", "second/go")


@pytest.mark.parametrize(("which", "number"), [("slots", "ENOLCK"), ("tokens", "ENOLCK"), ("tokens", "ENOSYS")])
def test_a_file_system_without_locks_is_refused_in_words(runs: TokenRuns, which: str, number: str) -> None:
    runs.job("echo done")
    command = runs.start("first", fault=f"lock.taking:{1 if which == 'slots' else 2}:{number}")
    assert command.exit_code() == 74, command.stderr
    assert "cannot be locked" in command.stderr
    assert which in command.stderr
    assert "Traceback" not in command.stderr
    assert not runs.starts()
    runs.assert_exit(runs.launch("resume", "first"), 0)
    runs.assert_started("first/go")


# The verdict cannot be written.


def test_a_disk_that_is_full_when_the_verdict_is_published(runs: TokenRuns) -> None:
    """Exit 74, soon; the outcome is recorded, so who waits gets it, the resume starts nothing, nor does a later run."""
    runs.job(keys='token_ttl = "1h"')
    holder = runs.holder(fault="token.publishing:1:ENOSPC")
    second = runs.waiter("second")
    runs.open_gate()
    assert holder.exit_code(10) == 74, holder.stderr
    assert "free some space there, then resume the run" in holder.stderr
    assert "Traceback" not in holder.stderr
    runs.assert_exit(second, 0)
    runs.assert_shared("second", "first/go")
    runs.assert_exit(runs.launch("resume", "first"), 0)
    runs.assert_exit(runs.start("third"), 0)
    runs.assert_started("first/go")
    runs.assert_shared("third", "first/go")


def test_a_disk_that_is_full_at_a_verdict_while_another_item_runs(runs: TokenRuns) -> None:
    """What runs is let be, and leaves its outcome: the resume takes it in."""
    other = f"[jobs.other]\nshell = '''{runs.witnessed(runs.gated('other'), 'other')}'''\n"
    runs.job(run="slots = 2", more=other)
    holder = runs.holder(fault="token.publishing:1:ENOSPC")
    runs.wait_for("begin", "first/other")
    worker = runs.worker_in("first", "other")
    runs.open_gate()
    assert holder.exit_code(10) == 74, holder.stderr
    assert is_living(worker)
    runs.open_gate("other")
    runs.assert_exit(runs.launch("resume", "first"), 0)
    assert sorted(runs.starts()) == ["first/go", "first/other"]
