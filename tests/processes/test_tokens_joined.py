"""The same work asked for many times at once: one start, everybody gets what came of it, and who waits costs nothing."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from drivers.processes import wait_until
from drivers.token_runs import TOKEN, TokenRuns

RUNS = TokenRuns


def held_by(pid: int) -> tuple[int, int, int]:
    """Threads, open files and children of a process."""
    process = psutil.Process(pid)
    return process.num_threads(), process.num_fds(), len(process.children())


def many(count: int) -> str:
    return f"for_each = {list(range(count))}"


def test_64_duplicates_in_one_file_start_once_and_an_unrelated_item_runs_meanwhile(runs: TokenRuns) -> None:
    other = f"[jobs.other]\nfor_each = [0, 1, 2]\nshell = '''{runs.witnessed(key='other-$ORCHESTRATE_ITEM')}'''\n"
    runs.job(keys=many(64), run="slots = 2", more=other)
    command = runs.holder(item="go:0")
    runs.wait_for("end", "first/other:0", "first/other:1", "first/other:2")
    runs.wait_for_waiting("first", *(f"go:{number}" for number in range(1, 64)))
    assert held_by(command.pid)[2] <= 2, "a waiting item has a process"
    runs.open_gate()
    runs.assert_exit(command, 0)
    assert [start for start in runs.starts() if "/go" in start] == ["first/go:0"]
    assert {result["output"] for result in runs.results_of("first") if result["job"] == "go"} == {"done"}
    for number in range(1, 64):
        runs.assert_shared("first", "first/go:0", item=f"go:{number}")
    assert not runs.result_of("first", "go:0")["deduped_from"]


def test_64_waiters_hold_no_more_than_one(runs: TokenRuns) -> None:
    """The same threads, open files and processes, whether one item waits for another run or 64 do."""
    runs.job(run="slots = 2")
    runs.job(name="one.toml", keys="for_each = [0]")
    runs.job(name="many.toml", keys=many(64))
    holder = runs.holder()
    one = runs.waiter("one", file="one.toml", item="go:0")
    crowd = runs.start("crowd", file="many.toml")
    runs.wait_for_waiting("crowd", *(f"go:{number}" for number in range(64)))
    # Now and then a file is open for a moment; whoever held more for each item that waits would hold it all the time.
    wait_until(lambda: held_by(crowd.pid) == held_by(one.pid), "both hold the same")
    runs.open_gate()
    for command in (holder, one, crowd):
        runs.assert_exit(command, 0)
    runs.assert_started("first/go")
    for number in range(64):
        runs.assert_shared("crowd", "first/go", item=f"go:{number}")


def crowd_of_processes(runs: TokenRuns, count: int, limit: float) -> None:
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


def test_8_processes_at_once_start_once(runs: TokenRuns) -> None:
    crowd_of_processes(runs, 8, 60.0)


@pytest.mark.slow
def test_64_processes_at_once_start_once(runs: TokenRuns) -> None:
    crowd_of_processes(runs, 64, 240.0)


def test_processes_that_come_during_and_after_the_work_share_it_within_its_time_to_live(runs: TokenRuns) -> None:
    """No gate: some join, some come later, and nobody can tell which."""
    runs.job("echo done", 'token_ttl = "1h"')
    commands = [runs.start(f"r{number}") for number in range(6)]
    for command in commands:
        runs.assert_exit(command, 0)
    (primary,) = runs.starts()
    runs.assert_started(primary)
    assert {runs.result_of(f"r{number}")["output"] for number in range(6)} == {"done"}


def test_duplicates_queued_before_their_primary_has_a_slot(runs: TokenRuns) -> None:
    blocker = f"[jobs.blocker]\nshell = '''{runs.witnessed(runs.gated('blocked'), 'blocker')}'''\n"
    runs.job(keys=many(8), run="slots = 1", first=blocker)
    command = runs.start("first")
    runs.wait_for("begin", "first/blocker")
    wait_until(lambda: {runs.status_of("first", f"go:{number}") for number in range(8)} == {"pending"}, "all are listed")
    runs.open_gate("blocked")
    runs.open_gate()
    runs.assert_exit(command, 0)
    runs.assert_started("first/blocker", "first/go:0")
    for number in range(1, 8):
        runs.assert_shared("first", "first/go:0", item=f"go:{number}")


def test_duplicates_of_three_runs_queued_before_their_primary_has_a_slot_of_the_pool(runs: TokenRuns) -> None:
    pool = "[pools.api]\nslots = 1\n"
    body = runs.witnessed(runs.gated("blocked"), "blocker")
    runs.write(f"{pool}[jobs.blocker]\npool = 'api'\nshell = '''{body}'''\n", "blocker.toml")
    runs.job(keys='pool = "api"\ntoken_ttl = "1h"', more=pool)
    blocker = runs.start("blocker", file="blocker.toml")
    runs.wait_for("begin", "blocker/blocker")
    commands = [runs.start(f"r{number}") for number in range(3)]
    for number in range(3):
        wait_until(lambda run=f"r{number}": "blocker/blocker" in runs.why(run), "it waits for the pool")
    runs.open_gate("blocked")
    runs.open_gate()
    for command in [blocker, *commands]:
        runs.assert_exit(command, 0)
    assert len(runs.starts()) == 2
    runs.assert_never_two_at_once()
    assert {runs.result_of(f"r{number}")["output"] for number in range(3)} == {"done"}


def test_a_primary_that_exits_7_gives_7_to_its_waiters_and_an_immediate_new_run_starts_fresh(runs: TokenRuns) -> None:
    runs.job(f"{runs.gated()}; echo tried; exit 7", 'token_ttl = "1h"')
    commands = [runs.holder(), *(runs.start(f"w{number}") for number in range(5))]
    for number in range(5):
        runs.wait_for_waiting(f"w{number}", "go")
    runs.open_gate()
    for command in commands:
        runs.assert_exit(command, 1)
    runs.assert_started("first/go")
    for number in range(5):
        result = runs.result_of(f"w{number}")
        found = (result["status"], result["exit_code"], result["deduped_from"], result["attempts"])
        assert found == ("failed", 7, "first/go", 0)
        assert Path(result["stdout"]).read_text() == "tried\n"
    runs.open_gate()
    runs.assert_exit(runs.start("fresh"), 1)
    runs.assert_started("first/go", "fresh/go")
    assert runs.result_of("fresh")["deduped_from"] is None


def test_a_primary_that_exits_7_gives_7_to_its_waiters_in_one_run(runs: TokenRuns) -> None:
    runs.job(f"{runs.gated()}; exit 7", f"attempts = 1\n{many(6)}", run="slots = 3")
    command = runs.holder(item="go:0")
    runs.wait_for_waiting("first", *(f"go:{number}" for number in range(1, 6)))
    runs.open_gate()
    runs.assert_exit(command, 1)
    runs.assert_started("first/go:0")
    assert [(result["status"], result["exit_code"]) for result in runs.results_of("first")] == [("failed", 7)] * 6


def test_the_token_is_kept_through_a_backoff_and_the_last_attempt_is_shared(runs: TokenRuns) -> None:
    """Between the attempts nobody holds the lock: the record of the living run keeps others from starting."""
    body = f"test $ORCHESTRATE_ATTEMPT = 2 || exit 3; {runs.gated()}; echo done"
    runs.job(body, 'attempts = 2\nretry = { delay = "2s" }')
    holder = runs.start("first")
    wait_until(lambda: runs.status_of("first") == "waiting", "the first attempt has failed")
    waiter = runs.waiter("second")
    assert "first/go" in runs.why("second")
    runs.wait_for("begin", "first/go", times=2)
    assert waiter.is_running
    runs.open_gate()
    for command in (holder, waiter):
        runs.assert_exit(command, 0)
    runs.assert_started("first/go", "first/go")
    runs.assert_shared("second", "first/go")
    assert runs.record(TOKEN).state == "done"


def test_a_duplicate_of_the_same_run_waits_through_the_backoff_of_its_primary(runs: TokenRuns) -> None:
    """And the primary does not wait for itself, as one of those who ask for a token that is in flight."""
    runs.job(
        "test $ORCHESTRATE_ATTEMPT = 3 && echo done", "for_each = [0, 1]\nattempts = 3\nretry = { delay = 0.3 }", run="slots = 2"
    )
    runs.assert_exit(runs.start("first"), 0)
    runs.assert_started(*["first/go:0"] * 3)
    runs.assert_shared("first", "first/go:0", item="go:1")
