"""Kill -9 with agents in flight: what the model server charged says that no prompt was paid twice."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import kill, processes_of
from model_server import ModelServer, small_claude
from run_driver import KILLED, Command, RunDriver, wait_until

PROMPTS = [f"scenario:hold say {number}" for number in range(4)]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def driver(tmp_path: Path, home: Path) -> Iterator[RunDriver]:
    made = RunDriver(tmp_path, home)
    made.write(f"""
[run]
slots = 4
[jobs.ask]
agent = "claude"
for_each = {json.dumps(PROMPTS)}
prompt = "{{{{ item }}}}"
""")
    yield made
    made.close()


def run(driver: RunDriver, server: ModelServer) -> Command:
    path = f"{small_claude.install(driver.folder)}:{os.environ['PATH']}"
    return driver.run(PATH=path, ANTHROPIC_BASE_URL=server.url(), ANTHROPIC_API_KEY="fake-key")


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


def test_agents_that_died_with_everything_else_go_on_in_their_sessions(driver: RunDriver, server: ModelServer) -> None:
    kill_with_all_in_flight(driver, server)
    kill(processes_of(driver.home))
    wait_until(lambda: server.held == 0, "the server knows that they went away")
    server.release()
    driver.assert_exit(run(driver, server), 0)
    assert [exchange.status for exchange in server.exchanges()] == [499] * 4 + [200] * 4
    assert {exchange.prompt for exchange in server.exchanges()[4:]}.isdisjoint(PROMPTS), "only what is left was said"
    assert_each_was_paid_once(driver, server)
