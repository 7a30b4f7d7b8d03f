"""A supervisor that is killed in the middle of a chain: each link goes on from what the one before gave, nothing runs twice."""

from __future__ import annotations

import pytest
from drivers.run_driver import KILLED, RunDriver
from drivers.sweeps import sweep

ITEMS = 4
LINKS = ("fetch", "clean", "store")


def write_chain(driver: RunDriver) -> None:
    """Three jobs, each item of which adds its job's name to what its parent gave."""
    source, before = f"{list(range(ITEMS))}", "{{ item }}"
    text = "[run]\nslots = 2\n"
    for link in LINKS:
        text += f"[jobs.{link}]\nfor_each = {source}\nshell = '''{driver.witnessed()}; echo {before} {link}'''\n"
        source, before = f'{{ job = "{link}" }}', "{{ parent.output }}"
    driver.write(text)


@pytest.mark.parametrize("killed_at", sweep(["supervisor.recorded:7", "supervisor.outcome:5", "supervisor.acted:9"], quick=1))
def test_a_chain_goes_on_item_by_item_after_a_kill(driver: RunDriver, killed_at: str) -> None:
    write_chain(driver)
    driver.assert_exit(driver.run(fault=killed_at), KILLED)
    driver.assert_exit(driver.run(), 0)
    driver.assert_each_ran_once(f"{link}:{index}" for link in LINKS for index in range(ITEMS))
    outputs = [result["output"] for result in driver.results() if result["job"] == LINKS[-1]]
    assert outputs == [f"{index} fetch clean store" for index in range(ITEMS)]
    driver.assert_tidy()
