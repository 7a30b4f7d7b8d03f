"""The same work asked for many times at once: one start, all get what came of it, one takes it over if it is lost.

An item that waits has no process, and what a holder leaves behind is gone before another starts.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest
from drivers.processes import sees_open_files, wait_until
from drivers.run_driver import Command
from drivers.sweeps import sweep
from drivers.token_runs import TokenRuns

from orchestrator.workers.command_line import worker_told

RUNS = TokenRuns


def held_by(pid: int) -> tuple[int, int, int]:
    """Threads, open files and children of a process."""
    process = psutil.Process(pid)
    return process.num_threads(), process.num_fds(), len(process.children())


def many(count: int) -> str:
    return f"for_each = {list(range(count))}"


@sees_open_files
def test_64_waiters_hold_no_more_than_one(runs: TokenRuns) -> None:
    """The same threads, open files and processes, whether one item waits for another run or 64 do."""
    runs.job(run="slots = 2")
    runs.job(name="one.toml", keys="for_each = [0]")
    runs.job(name="many.toml", keys=many(64))
    holder = runs.holder()
    one = runs.waiter("one", file="one.toml", item="go:0")
    crowd = runs.start("crowd", file="many.toml")
    items = [f"go:{number}" for number in range(64)]
    runs.wait_for_waiting("crowd", *items)
    workers = [child for child in psutil.Process(crowd.pid).children() if worker_told(child.cmdline())]
    assert not workers, "an item that waits has a process"
    # Now and then a file is open for a moment; whoever held more for each item that waits would hold it all the time.
    wait_until(lambda: held_by(crowd.pid) == held_by(one.pid), "both hold the same")
    runs.open_gate()
    for command in (holder, one, crowd):
        runs.assert_exit(command, 0)
    runs.assert_started("first/go")
    runs.assert_shared("crowd", "first/go", items=items)


@pytest.mark.parametrize(("count", "limit"), sweep([(8, 60.0), (64, 240.0)], quick=1))
def test_many_processes_at_once_start_once(runs: TokenRuns, count: int, limit: float) -> None:
    runs.job()
    names = [f"r{number}" for number in range(count)]
    commands = [runs.start(name) for name in names]

    def all_but_one_wait() -> bool:
        return sorted(str(runs.status_of(name)) for name in names) == ["running", *["waiting"] * (count - 1)]

    wait_until(all_but_one_wait, "one runs and all others wait", limit)
    runs.open_gate()
    for command in commands:
        runs.assert_exit(command, 0, limit)
    (primary,) = runs.starts()
    runs.assert_started(primary)
    for name in names:
        if f"{name}/go" != primary:
            runs.assert_shared(name, primary)
    assert {runs.result_of(name)["output"] for name in names} == {"done"}


def test_a_primary_that_exits_7_gives_7_to_its_waiters_and_an_immediate_new_run_starts_fresh(runs: TokenRuns) -> None:
    runs.job(f"{runs.gated()}; echo tried; exit 7", 'token_ttl = "1h"')
    commands = [runs.holder(), *(runs.start(f"w{number}") for number in range(2))]
    for number in range(2):
        runs.wait_for_waiting(f"w{number}", "go")
    runs.open_gate()
    for command in commands:
        runs.assert_exit(command, 1)
    runs.assert_started("first/go")
    for number in range(2):
        result = runs.result_of(f"w{number}")
        found = (result["status"], result["exit_code"], result["deduped_from"], result["attempts"])
        assert found == ("failed", 7, "first/go", 0)
        assert Path(result["stdout"]).read_text() == "tried\n"
    runs.open_gate()
    runs.assert_exit(runs.start("fresh"), 1)
    runs.assert_started("first/go", "fresh/go")
    assert runs.result_of("fresh")["deduped_from"] is None


# The holder is lost, or leaves something behind, or those that wait for it go.


def waiters(runs: TokenRuns, count: int) -> dict[str, Command]:
    found = {name: runs.start(name) for name in (f"w{number}" for number in range(count))}
    for name, command in found.items():
        runs.wait_for_waiting(name, "go", command=command)
    return found


def test_a_cancelled_primary_promotes_one_of_three_waiters_and_the_others_share_with_it(runs: TokenRuns) -> None:
    """The primary ignores SIGTERM: it is gone before the promoted one starts."""
    runs.job(f"trap '' TERM; {runs.gated()}; echo done", "grace = 0.3")
    holder = runs.holder()
    waiting = waiters(runs, 3)
    runs.cancel("first")
    assert holder.exit_code() in (1, 4)
    promoted = runs.begin_of(2)
    runs.open_gate()
    for command in waiting.values():
        runs.assert_exit(command, 0)
    runs.assert_started("first/go", promoted)
    assert runs.result_of("first")["status"] == "cancelled"
    for name in waiting:
        result = runs.result_of(name)
        assert (result["output"], result["promoted"]) == ("done", f"{name}/go" == promoted)
        assert result["deduped_from"] == (None if result["promoted"] else promoted)


def test_a_daemon_that_an_agent_leaves_behind_keeps_neither_token_nor_slot(runs: TokenRuns) -> None:
    """It has inherited the descriptors of both, in a session of its own, and says so before the agent ends."""
    daemon = "( setsid sh daemon.sh & ); until test -s daemon; do :; done; echo done"
    (runs.folder / "daemon.sh").write_text("trap '' TERM HUP\necho $$ > daemon.new\nmv daemon.new daemon\nexec sleep 600\n")
    after = f"[jobs.after]\nneeds = ['go']\nshell = '''{runs.witnessed(key='after')}'''\n"
    runs.job(daemon, "grace = 0.2", run="slots = 1", more=after)
    command = runs.start("first")
    runs.assert_exit(command, 0)
    pid = int((runs.folder / "daemon").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    (runs.folder / "daemon").unlink()
    runs.assert_exit(runs.start("second"), 0)
    runs.assert_started("first/go", "first/after", "second/go", "second/after")


@pytest.mark.slow
def test_one_waiter_interrupted_and_one_killed_harm_nobody(runs: TokenRuns) -> None:
    runs.job()
    holder = runs.holder()
    waiting = waiters(runs, 3)
    waiting["w0"].send(signal.SIGINT)
    assert waiting["w0"].exit_code() == 130, waiting["w0"].stderr
    waiting["w1"].kill()
    assert runs.status_of("w2") == "waiting"
    runs.open_gate()
    runs.assert_exit(holder, 0)
    runs.assert_exit(waiting["w2"], 0)
    runs.assert_started("first/go")
    runs.assert_shared("w2", "first/go")
    # Nothing was done for those two, and a resume does it: the verdict is old by then.
    assert runs.status_of("w0") in ("pending", "interrupted")
    runs.open_gate()
    runs.assert_exit(runs.launch("resume", "w0"), 0)
    runs.assert_started("first/go", "w0/go")
