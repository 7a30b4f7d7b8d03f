"""A supervisor that is killed between attempts: what was spent is known afterwards, and the budget holds."""

from __future__ import annotations

from typing import Any

import pytest
from drivers.fake_agents import Witness
from drivers.processes import wait_until
from drivers.run_driver import RunDriver
from drivers.sweeps import sweep

from orchestrator.reading.money.ledger import Ledger, ledger_of
from orchestrator.store.load import read_history
from orchestrator.store.run_dir import RunDir

pytestmark = pytest.mark.usefixtures("witness")

KILLED = -9


def write(driver: RunDriver, script: str, **run: Any) -> None:
    settings = "\n".join(f"{key} = {value}" for key, value in run.items())
    driver.write(f"""
[run]
slots = 2
{settings}
[jobs.work]
for_each = [0, 1, 2, 3, 4, 5, 6, 7]
agent = "fake"
prompt = '''
Do {{{{ item }}}}.
fake: {script}
'''
""")


def ledger(driver: RunDriver) -> Ledger:
    return ledger_of(read_history(RunDir(driver.run_folder)))


@pytest.mark.parametrize(
    "point", sweep(["supervisor.outcome:2", "supervisor.recorded:5", "supervisor.deciding:6", "checkpoint.switched:1"], quick=2)
)
def test_a_kill_between_attempts_loses_no_cent_and_the_budget_holds(driver: RunDriver, witness: Witness, point: str) -> None:
    write(driver, "ok cost=0.25", budget_usd=1.1)
    driver.assert_exit(driver.run(fault=point), KILLED)
    driver.assert_exit(driver.run(), 3)
    driver.assert_exit(driver.run(), 3)
    assert len(witness.prompts()) == 4
    found = ledger(driver)
    assert (found.cost_usd, found.attempts, found.unknown, found.paid_twice) == (1.0, 4, 0, 0)
    assert witness.cost() == 1.0
    driver.assert_tidy()


def test_what_ran_on_without_its_supervisor_was_paid_once_and_is_told_as_saved(driver: RunDriver, witness: Witness) -> None:
    write(driver, f"wait={driver.folder}/go ok cost=0.25")
    command = driver.run()
    wait_until(lambda: len(witness.prompts()) == 2, "two agents are at work")
    command.kill()
    (driver.folder / "go").touch()
    driver.assert_exit(driver.run(), 0)
    assert len(witness.prompts()) == 8
    found = ledger(driver)
    assert (found.cost_usd, found.adopted, found.adopted_nano_usd, found.paid_twice) == (2.0, 2, 500_000_000, 0)
    driver.assert_tidy()
