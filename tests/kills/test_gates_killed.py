"""A supervisor that is killed at a gate, or behind its answer: no question is lost, no answer is asked for or acted on twice."""

from __future__ import annotations

import pytest
from drivers.processes import wait_until
from drivers.run_driver import KILLED, RunDriver

from orchestrator.errors import ExitCode

JOBS = """
[jobs.draft]
shell = '''{draft}; echo draft: {{{{ jobs.ship.message }}}}'''
[jobs.beside]
shell = '''{beside}'''
[jobs.ship]
needs = ["draft"]
gate = "Ship it?"
on_reject = {{ retry = "draft" }}
[jobs.push]
needs = ["ship"]
shell = '''{push}; echo {{{{ jobs.ship.message }}}}'''
"""


@pytest.fixture
def driver(driver: RunDriver) -> RunDriver:
    driver.write(JOBS.format(draft=driver.witnessed(), beside=driver.witnessed(driver.gated()), push=driver.witnessed()))
    return driver


def approve(driver: RunDriver, *arguments: str, code: int = 0) -> str:
    command = driver.launch("approve", driver.run_id, "ship", *arguments)
    driver.assert_exit(command, code)
    return command.stdout


def wait_until_asked(driver: RunDriver) -> None:
    wait_until(lambda: driver.ask("results", driver.run_id, "--status", "waiting"), "the question is out")


def test_a_run_that_is_killed_at_a_gate_takes_its_answer_and_goes_on(driver: RunDriver) -> None:
    command = driver.run()
    driver.wait_for("begin", "beside")
    wait_until_asked(driver)
    command.kill()
    assert approve(driver, "-m", "go") == f"ship: answered; go on with: orchestrate resume {driver.run_id}\n"
    driver.open_gate()
    driver.assert_exit(driver.run(), 0)
    driver.assert_each_ran_once(["draft", "beside", "push"])
    assert driver.result("push")["output"] == "go"
    driver.assert_tidy()


def test_an_answer_to_a_living_run_is_kept_through_a_kill(driver: RunDriver) -> None:
    driver.run(fault="supervisor.answered")
    driver.wait_for("begin", "beside")
    wait_until_asked(driver)
    approve(driver, "-m", "go")  # the supervisor dies before it says so: the command finds that it is done
    assert not driver.acts("begin")["push"]
    driver.open_gate()
    driver.assert_exit(driver.run(), 0)
    driver.assert_each_ran_once(["draft", "beside", "push"])
    driver.assert_tidy()


@pytest.mark.parametrize(
    "fault",
    [
        "supervisor.reopened",
        *(pytest.param(f"supervisor.recorded:{number}", marks=pytest.mark.slow) for number in (1, 2, 3)),
    ],
)
def test_a_rejection_goes_back_once_whoever_is_killed_on_the_way(driver: RunDriver, fault: str) -> None:
    driver.open_gate()
    driver.assert_exit(driver.run(), ExitCode.PAUSED)
    approve(driver, "--choice", "reject", "-m", "again")
    driver.assert_exit(driver.run(fault=fault), KILLED)
    driver.assert_exit(driver.run(), ExitCode.PAUSED)
    assert (driver.acts("begin")["draft"], driver.result("draft")["output"]) == (2, "draft: again")
    approve(driver, "-m", "fine")
    driver.assert_exit(driver.run(), 0)
    assert driver.acts("begin") == driver.acts("end") == {"draft": 2, "beside": 1, "push": 1}
    assert driver.result("push")["output"] == "fine"
    driver.assert_tidy()
