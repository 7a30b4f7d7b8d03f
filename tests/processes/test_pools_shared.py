"""Pools between runs that know nothing of each other: never more at once than allowed, free again whoever is killed, one rate."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from drivers.many_runs import ManyRuns
from drivers.processes import is_living, wait_until

A_SECOND = 1_000_000_000


def write_in_pool(runs: ManyRuns, job: str, items: int, body: str, pool: str, keys: str = "") -> None:
    """JOB.toml: one job of so many items in the pool `api`."""
    runs.write(
        f"[run]\nslots = 8\n[pools.api]\n{pool}\n[jobs.{job}]\nfor_each = {list(range(items))}\npool = 'api'\n{keys}\n"
        f"shell = '''{runs.witnessed(body)}'''\n",
        f"{job}.toml",
    )


def stamped(runs: ManyRuns, act: str) -> str:
    """Shell: a line of the witness with the time, in nanoseconds."""
    return f"echo {act} $ORCHESTRATE_ITEM $(date +%s%N) >> {runs.witness}"


def stamps(runs: ManyRuns, act: str) -> list[int]:
    lines = (line.split() for line in runs.witness.read_text().splitlines())
    return [int(words[2]) for words in lines if words[0] == act]


# Slots.


def test_two_runs_with_different_numbers_never_do_more_than_the_larger_together(runs: ManyRuns) -> None:
    write_in_pool(runs, "small", 8, runs.gated(), "slots = 2")
    write_in_pool(runs, "large", 8, runs.gated(), "slots = 4")
    commands = [runs.begin(f"{name}.toml", name) for name in ("small", "large")]
    wait_until(lambda: sum(runs.acts("begin").values()) == 4, "the pool is used up")
    for name in ("small", "large"):
        runs.wait_for_reason(name, f"{name}:7", "pool api")
    for ended in range(1, 9):
        runs.open_gate()
        wait_until(lambda: sum(runs.acts("end").values()) >= ended, "one more ends")  # noqa: B023
    runs.open_gate(count=8)
    runs.assert_all_end(commands)
    assert (runs.count("end", "small"), runs.count("end", "large")) == (8, 8)
    assert runs.most_at_once() == 4
    assert runs.most_at_once("small") <= 2


def test_the_users_pools_bound_files_that_only_name_them(runs: ManyRuns, tmp_path: Path) -> None:
    config = tmp_path / "config" / "orchestrate" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[pools.api]\nslots = 1\n[defaults]\npool = 'api'\n")
    for name in ("one", "two"):
        runs.write(f"[jobs.{name}]\nfor_each = [0, 1, 2]\nshell = '''{runs.witnessed('sleep 0.02')}'''\n", f"{name}.toml")
    runs.assert_all_end([runs.begin(f"{name}.toml", name) for name in ("one", "two")])
    assert (runs.count("end", "one"), runs.count("end", "two")) == (3, 3)
    assert runs.most_at_once() == 1


def test_who_waits_for_a_pool_holds_no_slot_of_its_run(runs: ManyRuns) -> None:
    write_in_pool(runs, "holder", 1, runs.gated(), "slots = 1")
    holder = runs.begin("holder.toml", "holder")
    runs.wait_for_count("begin", "holder", 1)
    plain = f"[jobs.plain]\nfor_each = [0, 1]\nshell = '''{runs.witnessed()}'''\n"
    write_in_pool(runs, "waiter", 1, ":", "slots = 1")
    text = (runs.folder / "waiter.toml").read_text().replace("slots = 8", "slots = 1")
    runs.write(text + plain, "waiter.toml")
    waiter = runs.begin("waiter.toml", "waiter")
    runs.wait_for_count("end", "plain", 2)
    told = runs.wait_for_reason("waiter", "waiter:0", "pool api")
    assert told == "it waits for the pool api (held by holder/holder:0)"
    (answer,) = runs.ask("why", "waiter", "waiter:0")
    assert answer["status"] == "waiting"
    assert "held by holder/holder:0" in answer["reason"]
    runs.open_gate()
    runs.assert_all_end([holder, waiter])
    assert runs.most_at_once("holder", "waiter") == 1


def test_a_freed_slot_goes_to_a_waiting_run_soon(runs: ManyRuns) -> None:
    """Within 150 ms on a machine that has nothing else to do (`make bench`); here the quickest of five is looked at.

    Who did not see the lock's file touched would see it free at a real look, which comes once a second.
    """
    write_in_pool(runs, "holder", 5, f"{runs.gated('holder')}; {stamped(runs, 'freed')}", "slots = 5")
    write_in_pool(runs, "waiter", 5, f"{stamped(runs, 'taken')}; {runs.gated('waiter')}", "slots = 5")
    commands = [runs.begin("holder.toml", "holder")]
    runs.wait_for_count("begin", "holder", 5)
    commands.append(runs.begin("waiter.toml", "waiter"))
    runs.wait_for_reason("waiter", "waiter:0", "pool api")
    for count in range(1, 6):
        runs.open_gate("holder")
        runs.wait_for_count("begin", "waiter", count)
    runs.open_gate("waiter", 5)
    runs.assert_all_end(commands)
    lags = sorted(taken - freed for freed, taken in zip(stamps(runs, "freed"), stamps(runs, "taken"), strict=True))
    assert lags[0] < A_SECOND, lags
    assert runs.most_at_once() <= 5


def test_of_what_waits_for_a_pool_the_job_with_the_greater_priority_goes_first(runs: ManyRuns) -> None:
    write_in_pool(runs, "holder", 1, runs.gated(), "slots = 1")
    commands = [runs.begin("holder.toml", "holder")]
    runs.wait_for_count("begin", "holder", 1)
    jobs = "".join(
        f"[jobs.{job}]\nfor_each = [0, 1]\npool = 'api'\npriority = {priority}\nshell = '''{runs.witnessed()}'''\n"
        for job, priority in (("least", -1), ("middle", 0), ("most", 7))
    )
    runs.write(f"[run]\nslots = 2\n[pools.api]\nslots = 1\n{jobs}", "waiting.toml")
    commands.append(runs.begin("waiting.toml", "waiting"))
    for item in ("least:0", "middle:1", "most:1"):
        runs.wait_for_reason("waiting", item, "pool api")
    runs.open_gate()
    runs.assert_all_end(commands)
    begun = [line.split()[1] for line in runs.witness.read_text().splitlines() if line.startswith("begin")]
    assert begun == ["holder:0", "most:0", "most:1", "middle:0", "middle:1", "least:0", "least:1"]
    assert runs.most_at_once() == 1


# Kills.


def hold(runs: ManyRuns) -> tuple[int, int]:
    """Run `holder` has the only slot and stands at the gate (its first attempt does), `waiter` may begin. Worker and agent."""
    write_in_pool(runs, "holder", 1, f"test $ORCHESTRATE_ATTEMPT != 1 || {runs.gated()}", "slots = 1")
    write_in_pool(runs, "waiter", 1, runs.gated("waiter"), "slots = 1")
    runs.begin("holder.toml", "holder")
    runs.wait_for_count("begin", "holder", 1)
    return runs.process_of("holder", "holder:0")


def test_the_slot_of_an_agent_that_was_killed_goes_to_who_waits(runs: ManyRuns) -> None:
    _, agent = hold(runs)
    waiter = runs.begin("waiter.toml", "waiter")
    runs.wait_for_reason("waiter", "waiter:0", "held by holder/holder:0")
    os.kill(agent, signal.SIGKILL)
    runs.wait_for_count("begin", "waiter", 1)
    runs.open_gate("waiter")
    runs.assert_exit(waiter, 0)
    wait_until(lambda: runs.statuses("holder") == {"holder:0": "failed"}, "its own run has recorded that")


def test_the_slot_of_a_worker_that_was_killed_is_free_once_its_agent_has_ended(runs: ManyRuns) -> None:
    worker, agent = hold(runs)
    waiter = runs.begin("waiter.toml", "waiter")
    runs.wait_for_reason("waiter", "waiter:0", "held by holder/holder:0")
    os.kill(worker, signal.SIGKILL)
    runs.wait_for_count("begin", "waiter", 1)
    assert not is_living(agent)
    runs.open_gate("waiter")
    runs.assert_exit(waiter, 0)
    wait_until(lambda: runs.statuses("holder") == {"holder:0": "succeeded"}, "the item that lost its worker runs again")
    assert runs.acts("begin") == {"holder:0": 2, "waiter:0": 1}


def test_an_attempt_that_outlives_its_supervisor_keeps_its_slot_to_its_end(runs: ManyRuns) -> None:
    worker, agent = hold(runs)
    os.kill(runs.supervisor_of("holder"), signal.SIGKILL)
    waiter = runs.begin("waiter.toml", "waiter")
    assert "held by holder/holder:0" in runs.wait_for_reason("waiter", "waiter:0", "pool api")
    assert is_living(agent)
    runs.open_gate()
    runs.wait_for_count("begin", "waiter", 1)
    runs.open_gate("waiter")
    runs.assert_exit(waiter, 0)
    assert runs.most_at_once() == 1
    wait_until(lambda: not is_living(worker), "the worker has nothing more to do")


def test_a_run_that_was_killed_whole_frees_its_slot(runs: ManyRuns) -> None:
    worker, agent = hold(runs)
    waiter = runs.begin("waiter.toml", "waiter")
    runs.wait_for_reason("waiter", "waiter:0", "held by holder/holder:0")
    for pid in (runs.supervisor_of("holder"), worker, agent):
        os.kill(pid, signal.SIGKILL)
    runs.open_gate("waiter")
    runs.assert_exit(waiter, 0)
    assert runs.acts("end") == {"waiter:0": 1}


# Rates.


def test_two_runs_share_one_rate(runs: ManyRuns) -> None:
    """Ten starts of two runs at five in two seconds: the sixth comes two seconds after the first, though each run has but five.

    From before the first start can be granted to after the last has been: however slow the machine is, this cannot be less.
    """
    for job in ("one", "two"):
        write_in_pool(runs, job, 5, stamped(runs, "started"), "rate = '5/2s'")
    began = time.time_ns()
    runs.assert_all_end([runs.begin(f"{job}.toml", job) for job in ("one", "two")])
    started = sorted(stamps(runs, "started"))
    assert len(started) == 10
    assert started[5] - began >= 2 * A_SECOND, started


@pytest.mark.slow
def test_what_one_start_found_missing_is_no_answer_for_others_once_that_time_has_passed(runs: ManyRuns) -> None:
    """Many slots that are free and a rate: by the time the last is told to wait, the first may be tried again."""
    write_in_pool(runs, "job", 1600, ":", "rate = '1/20ms'")
    text = (runs.folder / "job.toml").read_text()
    runs.write(text.replace("slots = 8", "slots = 1500"), "job.toml")
    command = runs.begin("job.toml", "job")
    runs.wait_for_count("end", "job", 4)
    assert runs.launch("cancel", "job").exit_code() == 0
    assert command.exit_code() == 4


def test_a_pool_with_slots_and_a_rate_is_bound_by_both_and_why_tells_by_which(runs: ManyRuns) -> None:
    write_in_pool(runs, "job", 4, runs.gated(), "slots = 1\nrate = '2/1h'")
    command = runs.begin("job.toml", "job")
    runs.wait_for_count("begin", "job", 1)
    runs.wait_for_reason("job", "job:1", "pool api (held by job/job:0)")
    runs.open_gate()
    runs.wait_for_count("begin", "job", 2)
    runs.open_gate()
    told = runs.wait_for_reason("job", "job:2", "rate of pool api")
    assert "; tried again in " in told
    assert runs.launch("cancel", "job").exit_code() == 0
    assert command.exit_code() == 4
    assert runs.acts("begin") == {"job:0": 1, "job:1": 1}
    assert runs.most_at_once() == 1
