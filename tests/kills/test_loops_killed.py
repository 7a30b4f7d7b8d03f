"""A supervisor that is killed in a loop: what stood of it is kept, no round runs twice, the next one follows."""

from __future__ import annotations

import pytest
from drivers.run_driver import KILLED, RunDriver
from drivers.sweeps import sweep

JOBS = """
[jobs.loop]
shell = '''{body}; echo {{{{ round }}}}{{{{ output | default('', true) }}}}'''
repeat = {{ until = "{{{{ round == 3 }}}}" }}
"""


def assert_each_round_ran_once(driver: RunDriver) -> None:
    driver.assert_exit(driver.run(), 0)
    assert driver.acts("begin") == driver.acts("end") == {"loop": 3}
    result = driver.result("loop")
    assert (result["status"], result["round"], result["output"]) == ("succeeded", 3, "321")
    driver.assert_tidy()


@pytest.mark.parametrize("killed_at", sweep(["supervisor.recorded:6", "supervisor.outcome:2", "supervisor.acted:3"], quick=1))
def test_a_kill_between_two_rounds_loses_none(driver: RunDriver, killed_at: str) -> None:
    driver.write(JOBS.format(body=driver.witnessed()))
    driver.assert_exit(driver.run(fault=killed_at), KILLED)
    assert_each_round_ran_once(driver)


def test_a_round_that_runs_through_a_kill_is_adopted_as_that_round(driver: RunDriver) -> None:
    driver.write(JOBS.format(body=driver.witnessed(driver.gated())))
    command = driver.run()
    driver.open_gate()
    driver.wait_for("begin", "loop", times=2)
    command.kill()
    driver.open_gate(count=2)
    assert_each_round_ran_once(driver)
