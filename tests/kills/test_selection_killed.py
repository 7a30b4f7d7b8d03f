"""A supervisor of a part of a run that is killed: the resume runs that part, once, and nothing else."""

from __future__ import annotations

import pytest
from drivers.run_driver import KILLED, RunDriver

JOBS = """
[jobs.list]
for_each = ["a b", "c d e"]
shell = '''{body}; printf '%s\\n' {{{{ item }}}}'''
output = "lines"
[jobs.port]
for_each = "{{{{ jobs.list.outputs | map('first') | list }}}}"
shell = '''{body}'''
[jobs.review]
for_each = {{ job = "port" }}
shell = '''{body}'''
[jobs.other]
shell = '''{body}'''
"""


@pytest.fixture
def driver(driver: RunDriver) -> RunDriver:
    driver.write(JOBS.format(body=driver.witnessed()))
    return driver


@pytest.mark.parametrize(
    "killed_at",
    [
        "supervisor.listed:2",
        pytest.param("supervisor.recorded:2", marks=pytest.mark.slow),
        pytest.param("supervisor.recorded:5", marks=pytest.mark.slow),
        pytest.param("supervisor.recorded:7", marks=pytest.mark.slow),
        pytest.param("supervisor.ending", marks=pytest.mark.slow),
    ],
)
def test_a_resume_after_a_kill_keeps_the_selection(driver: RunDriver, killed_at: str) -> None:
    driver.assert_exit(driver.run("--only", "review:1", "-j1", fault=killed_at), KILLED)
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    part = {"list:0": 1, "list:1": 1, "port:1": 1, "review:1": 1}
    assert driver.acts("begin") == driver.acts("end") == part
    driver.assert_exit(driver.launch("resume", driver.run_id, "--all", fault="supervisor.recorded:3"), KILLED)
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    assert driver.acts("begin") == driver.acts("end") == {**part, "port:0": 1, "review:0": 1, "other": 1}
    driver.assert_tidy()
