"""A budget that is changed while the run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from drivers.fake_agents import Witness
from drivers.processes import wait_until
from drivers.run_driver import RunDriver

pytestmark = pytest.mark.usefixtures("witness")


def test_a_raised_budget_lets_items_start_while_the_first_still_runs(driver: RunDriver, tmp_path: Path) -> None:
    witness = Witness(tmp_path / "state")
    driver.write(f"""
[run]
slots = 3
budget_usd = 0.3
[jobs.work]
for_each = [0, 1, 2]
agent = "fake"
estimate_usd = 0.25
prompt = '''
Do {{{{ item }}}}.
fake: wait={tmp_path}/go ok cost=0.25
'''
""")
    command = driver.run()
    wait_until(lambda: len(witness.prompts()) == 1, "the first agent is at work")
    why = driver.launch("why", driver.run_id, "work:2")
    driver.assert_exit(why, 0)
    assert (
        "it waits for money: budget: spent 0.00 of 0.30 USD (1 running, expected to cost 0.25; the next is expected to cost 0.25)"
        in why.stdout
    )
    told = driver.launch("set", driver.run_id, "budget_usd=1")
    driver.assert_exit(told, 0)
    assert told.stdout == f"run {driver.run_id} has a budget of 1.00 USD now\n"
    wait_until(lambda: len(witness.prompts()) == 3, "the others are at work beside it")
    (tmp_path / "go").touch()
    driver.assert_exit(command, 0)
    driver.assert_tidy()
