"""Agents without workers (slots = 0): read, ended and checked in the supervisor itself as beside a worker."""

from __future__ import annotations

import pytest
from drivers.fake_agents import Witness
from drivers.run_driver import RunDriver

pytestmark = pytest.mark.usefixtures("witness")


def test_an_agent_is_read_ended_and_checked(driver: RunDriver) -> None:
    driver.write("""
[run]
slots = 0
[jobs.key]
agent = "fake"
prompt = "fake: retry=401"
continue_on_error = true
[jobs.silent]
agent = "fake"
prompt = "fake: hang"
stall_timeout = "2s"
attempts = 1
continue_on_error = true
[jobs.checked]
agent = "fake"
permissions = "edit"
prompt = '''
fake: ok text=first write=made:wrong | ok text=second write=made:right
'''
check = "cat made; grep -q right made"
attempts = 2
retry = { delay = "0s" }
""")
    assert driver.run().exit_code() == 1
    assert [driver.result(item)["class"] for item in ("key", "silent", "checked")] == ["auth", "stalled", "ok"]
    assert (driver.result("checked")["output"], driver.result("checked")["attempts"]) == ("second", 2)
    witness = Witness(driver.folder / "state")
    first, second = [prompt for prompt in witness.prompts() if prompt["permissions"] == "edit"]
    assert (second["resumed"], second["session"]) == (True, first["session"])
    assert "wrong" in second["prompt"], "what the check wrote"
    driver.assert_tidy()
