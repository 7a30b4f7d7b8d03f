"""Agents whose worker, supervisor, or both are killed: the session goes on, and no prompt is paid for twice."""

from __future__ import annotations

import os
import signal

import pytest
from drivers.fake_agents import Witness
from drivers.processes import wait_until
from drivers.run_driver import RunDriver
from drivers.sweeps import sweep

from orchestrator.errors import ExitCode

pytestmark = pytest.mark.usefixtures("witness")


def write(driver: RunDriver, script: str, *, keys: str = "", slots: int = 2) -> None:
    driver.write(f"""
[run]
slots = {slots}
[jobs.work]
agent = "fake"
prompt = '''
Do the work.
fake: {script}
'''
grace = 0.5
{keys}
""")


def wait_for_a_session(driver: RunDriver, witness: Witness) -> None:
    """Until the agent has told its session, and the worker has read that."""
    wait_until(witness.prompts, "the agent has its prompt")
    logs = driver.run_folder / "workers"
    wait_until(lambda: any(b'"session"' in log.read_bytes() for log in logs.glob("*/log")), "the session is in the log")


def assert_the_session_went_on(driver: RunDriver, witness: Witness) -> None:
    first, second = witness.prompts()
    assert (first["resumed"], second["resumed"]) == (False, True)
    assert second["session"] == first["session"]
    assert "Do the work" not in second["prompt"], "it has been told, and paid for"
    result = driver.result("work")
    assert (result["status"], result["output"]) == ("succeeded", "done")
    driver.assert_tidy()


@pytest.mark.parametrize("with_supervisor", sweep([True, False], quick=1))
def test_a_lost_attempt_goes_on_in_its_session(driver: RunDriver, witness: Witness, with_supervisor: bool) -> None:
    write(driver, "hang ignore_term | ok text=done")
    command = driver.run()
    wait_for_a_session(driver, witness)
    worker = driver.worker_of("work")
    if with_supervisor:
        command.kill()
    os.kill(worker, signal.SIGKILL)
    if with_supervisor:
        command = driver.run()
    driver.assert_exit(command, 0)
    assert_the_session_went_on(driver, witness)


RESUMED = {"worker.session:2": 1, "worker.capture:2": 1, "worker.spawned:4": 1, "worker.logged:2": 0}
"""Where a worker dies at its second item (its session, its output, its check, its end), and how often a session goes on."""


@pytest.mark.slow
@pytest.mark.parametrize("point", RESUMED)
def test_wherever_a_worker_dies_each_prompt_is_paid_once(driver: RunDriver, witness: Witness, point: str) -> None:
    driver.write("""
[run]
slots = 1
[jobs.work]
for_each = [0, 1]
agent = "fake"
prompt = "Work {{ item }}."
check = ":"
grace = 0.5
""")
    driver.assert_exit(driver.run(worker_fault=point), 0)
    begun = [prompt["prompt"] for prompt in witness.prompts() if not prompt["resumed"]]
    resumed = [prompt for prompt in witness.prompts() if prompt["resumed"]]
    assert begun == ["Work 0.", "Work 1."]
    assert len(resumed) == RESUMED[point]
    assert [result["status"] for result in driver.results()] == ["succeeded", "succeeded"]
    driver.assert_tidy()


def test_a_full_disk_at_the_end_of_an_agent_does_not_lose_its_session(driver: RunDriver, witness: Witness) -> None:
    write(driver, "ok text=first | ok text=done")
    driver.assert_exit(driver.run(worker_fault="worker.capture:1:ENOSPC"), ExitCode.STATE_UNWRITABLE)
    driver.assert_exit(driver.run(), 0)
    assert_the_session_went_on(driver, witness)


def test_without_workers_the_session_survives_the_supervisor(driver: RunDriver, witness: Witness) -> None:
    write(driver, "hang | ok text=done", slots=0)
    command = driver.run()
    wait_for_a_session(driver, witness)
    command.kill()
    driver.assert_exit(driver.run(), 0)
    assert_the_session_went_on(driver, witness)


def test_an_agent_that_finishes_without_its_supervisor_is_paid_once(driver: RunDriver, witness: Witness) -> None:
    """Its check, too, is carried out although nobody supervises it."""
    write(driver, f"wait={driver.folder}/go ok text=done cost=0.25", keys="check = 'echo checked >> checks'")
    command = driver.run()
    wait_for_a_session(driver, witness)
    command.kill()
    (driver.folder / "go").touch()
    driver.assert_exit(driver.run(), 0)
    assert len(witness.prompts()) == 1
    assert (driver.folder / "checks").read_text() == "checked\n"
    result = driver.result("work")
    assert (result["status"], result["output"]) == ("succeeded", "done")
    driver.assert_tidy()


def test_an_agent_that_finishes_when_all_others_are_killed_is_charged_and_what_it_wrote_is_shown(
    driver: RunDriver, witness: Witness
) -> None:
    """Its attempt is lost all the same: nobody saw how it exited, and its check was not carried out."""
    write(driver, f"wait={driver.folder}/go ok text=unheard cost=0.25 | ok text=done cost=0.5")
    command = driver.run()
    wait_for_a_session(driver, witness)
    worker = driver.worker_of("work")
    command.kill()
    os.kill(worker, signal.SIGKILL)
    (driver.folder / "go").touch()
    wait_until(lambda: witness.events("exit"), "the agent has finished alone")
    driver.assert_exit(driver.run(), 0)
    assert_the_session_went_on(driver, witness)
    result = driver.result("work")
    assert (result["cost_usd"], result["unknown_costs"], witness.cost()) == (0.75, 0, 0.75)
    logs = driver.launch("logs", driver.run_id, "work", "--attempt", "1")
    assert logs.exit_code() == 0
    assert "unheard" in logs.stdout


def test_a_check_of_a_killed_worker_is_ended_before_the_item_runs_again(driver: RunDriver, witness: Witness) -> None:
    """It ignores SIGTERM and left session and parent: the log leads to it, and its mark."""
    check = f"echo $$ >> checks; trap '' TERM; test -e {driver.folder}/go || {{ setsid sleep 600; }}"
    write(driver, "ok text=done", keys=f'check = "{check}"')
    command = driver.run()
    checks = driver.folder / "checks"
    wait_until(lambda: checks.exists() and checks.read_text().endswith("\n"), "the check runs")
    (driver.folder / "go").touch()
    os.kill(driver.worker_of("work"), signal.SIGKILL)
    driver.assert_exit(command, 0)
    assert len(checks.read_text().splitlines()) == 2
    assert_the_session_went_on(driver, witness)
