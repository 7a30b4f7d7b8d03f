"""Kill -9 with agents in flight: what the model server charged says that no prompt was paid twice."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from drivers.model_server import ModelServer, small_claude
from drivers.processes import kill, processes_of, wait_until
from drivers.run_driver import KILLED, Command, RunDriver

PROMPTS = [f"scenario:hold say {number}" for number in range(4)]


@pytest.fixture
def driver(driver: RunDriver, tmp_path: Path) -> RunDriver:
    small_claude.install(tmp_path)
    write(driver, PROMPTS)
    return driver


def write(driver: RunDriver, prompts: list[str]) -> None:
    driver.write(f"""
[run]
slots = 4
[jobs.ask]
agent = "claude"
for_each = {json.dumps(prompts)}
prompt = "{{{{ item }}}}"
""")


def run(driver: RunDriver, server: ModelServer) -> Command:
    return driver.run(
        PATH=f"{driver.folder}/bin:{os.environ['PATH']}", ANTHROPIC_BASE_URL=server.url(), ANTHROPIC_API_KEY="fake-key"
    )


def kill_with_all_in_flight(driver: RunDriver, server: ModelServer) -> None:
    """SIGKILL to the supervisor when the model has been asked all prompts, has answered none, and the sessions are known."""
    command = run(driver, server)
    wait_until(lambda: server.held == 4 or not command.is_running, "four agents ask")
    assert server.held == 4, command.stderr
    wait_until(lambda: sessions_logged(driver) == 4, "the workers have read their agents' sessions")
    command.send(signal.SIGKILL)
    assert command.exit_code() == KILLED


def sessions_logged(driver: RunDriver) -> int:
    return sum(log.read_bytes().count(b'"type":"session"') for log in driver.run_folder.glob("workers/*/log"))


def wait_for_exchanges(server: ModelServer, command: Command, count: int) -> None:
    """Or until the run is over."""
    wait_until(lambda: len(server.exchanges()) >= count or not command.is_running, f"{count} were asked")


def assert_each_was_paid_once(driver: RunDriver, server: ModelServer) -> None:
    results = driver.results()
    assert [result["status"] for result in results] == ["succeeded"] * 4
    assert sum(result["cost_usd"] for result in results) == pytest.approx(server.cost_usd())
    assert server.paid() == dict.fromkeys(PROMPTS, 1)
    driver.assert_tidy()


def test_agents_in_flight_are_taken_over_and_no_prompt_is_paid_twice(driver: RunDriver, server: ModelServer) -> None:
    kill_with_all_in_flight(driver, server)
    command = run(driver, server)
    adopted = [f"adopted ask:{index}" for index in range(4)]
    wait_until(lambda: all(words in command.stderr for words in adopted) or not command.is_running, "all are adopted")
    server.release()
    driver.assert_exit(command, 0)
    assert len(server.exchanges()) == 4
    assert_each_was_paid_once(driver, server)


def test_what_agents_end_with_while_nobody_supervises_is_not_asked_again(driver: RunDriver, server: ModelServer) -> None:
    kill_with_all_in_flight(driver, server)
    server.release()
    wait_until(lambda: not driver.living_workers(), "the workers end")
    driver.assert_exit(run(driver, server), 0)
    assert len(server.exchanges()) == 4
    assert_each_was_paid_once(driver, server)


@pytest.mark.slow
def test_agents_that_died_with_everything_else_go_on_in_their_sessions(driver: RunDriver, server: ModelServer) -> None:
    kill_with_all_in_flight(driver, server)
    kill(processes_of(driver.home))
    wait_until(lambda: server.held == 0, "the server knows that they went away")
    server.release()
    driver.assert_exit(run(driver, server), 0)
    assert [exchange.status for exchange in server.exchanges()] == [499] * 4 + [200] * 4
    assert {exchange.prompt for exchange in server.exchanges()[4:]}.isdisjoint(PROMPTS), "only what is left was said"
    assert_each_was_paid_once(driver, server)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_supervisor_that_is_killed_at_random_times_pays_for_nothing_twice(
    driver: RunDriver, server: ModelServer, seed: int
) -> None:
    """Each answer takes a little, so each kill meets agents that were asked, that are paid, and that are being recorded."""
    prompts = [f"scenario:slow=0.0{number % 10} say {number}" for number in range(60)]
    write(driver, prompts)
    chance = random.Random(seed)
    for _ in range(12):
        command = run(driver, server)
        wait_for_exchanges(server, command, len(server.exchanges()) + chance.randint(1, 4))
        time.sleep(chance.uniform(0, 0.1))  # where in the life of an agent the kill falls is left to chance
        command.kill()
    driver.assert_exit(run(driver, server), 0)
    assert server.paid() == dict.fromkeys(prompts, 1)
    assert sum(result["cost_usd"] for result in driver.results()) == pytest.approx(server.cost_usd())
    ledger = driver.ask("status", driver.run_id)["ledger"]
    assert (ledger["cost_usd"], ledger["paid_twice"]) == (pytest.approx(server.cost_usd()), 0)
    driver.assert_tidy()
