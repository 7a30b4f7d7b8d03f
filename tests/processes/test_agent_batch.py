"""A batch of agents with all that happens to batches: each item ends right, and the money agrees with what the model charged.

The model server's log is the truth: what it charged is known to it alone, and what the run says must be the same to the cent.
"""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest
from drivers.model_server import Exchange, ModelServer, small_claude
from drivers.run_driver import RunDriver

CENT = 0.01
CONCURRENCY = 8
UNTOLD = ("cut", "599", "hang")
"""Steps after which the agent dies or is ended before it has told its cost: of the first it was charged."""


def fate(index: int) -> str:
    """5 % are told a rate limit, 2 % hang, 1 % crash (half of them after they were paid), one meets the usage limit."""
    costs = f"ok={1 + index % 5}"
    if index == 150:
        return f"limit=1,{costs}"
    match index % 100:
        case 3 | 23 | 43 | 63 | 83:
            return f"429=1,{costs}"
        case 7 | 57:
            return f"hang,{costs}"
        case 11:
            return f"cut,{costs}" if index // 100 % 2 == 0 else f"599,{costs}"
        case _:
            return costs


def run_batch(driver: RunDriver, server: ModelServer, count: int, limit: float) -> list[str]:
    """The prompts, when all have ended well."""
    prompts = [f"scenario:{fate(index)} item {index}" for index in range(count)]
    driver.write(f"""
[run]
slots = {CONCURRENCY}
[jobs.ask]
agent = "claude"
for_each = {json.dumps(prompts)}
prompt = "{{{{ item }}}}"
max_concurrency = {CONCURRENCY}
attempts = 3
stall_timeout = "5s"
""")
    path = f"{small_claude.install(driver.folder)}:{os.environ['PATH']}"
    command = driver.run(PATH=path, ANTHROPIC_BASE_URL=server.url(), ANTHROPIC_API_KEY="fake-key")
    driver.assert_exit(command, 0, limit)
    return prompts


def assert_all_is_right(driver: RunDriver, server: ModelServer, prompts: list[str]) -> None:
    results = driver.results()
    assert [result["status"] for result in results] == ["succeeded"] * len(prompts)
    exchanges = server.exchanges()
    answered = [exchange for exchange in exchanges if exchange.step == "ok"]
    assert Counter(exchange.conversation for exchange in answered) == dict.fromkeys(prompts, 1)
    assert_money_agrees(driver, exchanges)
    driver.assert_tidy()


def assert_money_agrees(driver: RunDriver, exchanges: list[Exchange]) -> None:
    """Of the items, of the run, and of all runs; the tokens, too, and how many have not told what they cost."""
    told = [exchange for exchange in exchanges if exchange.step not in UNTOLD]
    cost = pytest.approx(sum(exchange.cost_usd for exchange in told), abs=CENT / 1000)
    results = driver.results()
    assert sum(result["cost_usd"] for result in results) == cost
    assert sum(result["unknown_costs"] for result in results) == len(exchanges) - len(told)
    ledger = driver.ask("status", driver.run_id)["ledger"]
    assert (ledger["attempts"], ledger["unknown_costs"]) == (len(exchanges), len(exchanges) - len(told))
    assert (ledger["cost_usd"], ledger["paid_twice"]) == (cost, 0)
    assert ledger["usage"]["input_tokens"] == sum(exchange.charged.input_tokens for exchange in told)
    assert ledger["usage"]["output_tokens"] == sum(exchange.charged.output_tokens for exchange in told)
    assert driver.ask("cost")["total"]["cost_usd"] == cost


def test_two_dozen_agents_with_troubles_all_end_right_and_cost_what_the_server_charged(
    driver: RunDriver, server: ModelServer
) -> None:
    assert_all_is_right(driver, server, run_batch(driver, server, 24, limit=60))


@pytest.mark.slow
def test_two_hundred_agents_with_troubles_all_end_right_and_cost_what_the_server_charged(
    driver: RunDriver, server: ModelServer
) -> None:
    """The limit comes in the middle: those in flight are refused, the rest waits, and one tries first when it is over."""
    prompts = run_batch(driver, server, 200, limit=300)
    assert_all_is_right(driver, server, prompts)
    refused = [exchange for exchange in server.exchanges() if exchange.step == "limit"]
    assert 1 <= len(refused) <= CONCURRENCY
