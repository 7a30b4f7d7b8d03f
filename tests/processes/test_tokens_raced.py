"""A duplicate arrives within some milliseconds of the end of its primary, over and over: no hang, no overlap, no false refusal.

In each round the primary and a blocker in front of the duplicate stand at gates of their own, which the test opens shortly after
each other. Whether the duplicate joins, shares or (where nothing done may be shared any more) does the work itself is left to
chance; what must be true is not.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from drivers.run_driver import Command
from drivers.sweeps import sweep
from drivers.token_runs import TokenRuns

RUNS = TokenRuns

WITHIN_SECONDS = 0.020
PRIMARY, BLOCKER = "p", "b"

ItemOfRound = Callable[[int], str]
"""`RUN/ITEM`."""


def write_file(runs: TokenRuns, name: str, items: Iterable[tuple[str, int]], slots: int, ttl: str) -> None:
    """A job of these items (gate, round). Only the first start with a token waits at its gate: a second one is not to hang."""
    body = f"""
if mkdir first-{{{{ item.token }}}} 2>/dev/null; then read word < {runs.folder}/{{{{ item.gate }}}}.fifo; fi
printf %s {{{{ item.token }}}}"""
    lines = [json.dumps({"gate": gate, "token": f"{gate}{number}"}) for gate, number in items]
    (runs.folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    script = runs.witnessed(body, key="{{ item.token }}")
    runs.write(
        f"[run]\nslots = {slots}\n[jobs.go]\nfor_each = {{ jsonl = '{name}.jsonl' }}\nlabel = '{{{{ item.token }}}}'\n"
        f"token = '{{{{ item.token }}}}'\ntoken_ttl = '{ttl}'\ncontinue_on_error = true\nshell = '''{script}'''\n",
        f"{name}.toml",
    )


def race(runs: TokenRuns, commands: list[Command], rounds: int, primary: ItemOfRound, blocker: ItemOfRound) -> None:
    """Afterwards all have ended well, and never two at once."""
    gates = {gate: os.open(runs.folder / f"{gate}.fifo", os.O_RDWR) for gate in (PRIMARY, BLOCKER)}
    dice = random.Random(rounds)
    try:
        for number in range(rounds):
            runs.wait_for("begin", primary(number), blocker(number))
            offset = dice.uniform(-WITHIN_SECONDS, WITHIN_SECONDS)
            first, second = (PRIMARY, BLOCKER) if offset > 0 else (BLOCKER, PRIMARY)
            os.write(gates[first], b"go\n")
            time.sleep(abs(offset))  # the very thing under test, no synchronisation
            os.write(gates[second], b"go\n")
        for command in commands:
            runs.assert_exit(command, 0)
    finally:
        for fd in gates.values():
            os.close(fd)
    runs.assert_never_two_at_once()


def assert_all_said_their_own(runs: TokenRuns, run_id: str) -> None:
    for result in runs.results_of(run_id).values():
        assert (result["status"], result["output"]) == ("succeeded", result["label"]), result


@pytest.mark.parametrize(("rounds", "ttl"), sweep([(20, "0s"), (20, "1h"), (300, "0s"), (300, "1h")], quick=2))
def test_a_duplicate_of_another_run_around_the_end_of_its_primary(runs: TokenRuns, rounds: int, ttl: str) -> None:
    for gate in (PRIMARY, BLOCKER):
        runs.gated(gate)
    write_file(runs, "primary", ((PRIMARY, number) for number in range(rounds)), 1, ttl)
    write_file(runs, "duplicate", ((gate, number) for number in range(rounds) for gate in (BLOCKER, PRIMARY)), 1, ttl)
    primary = runs.holder("primary", file="primary.toml", item="go:0")
    duplicate = runs.start("duplicate", file="duplicate.toml")
    race(runs, [primary, duplicate], rounds, lambda n: f"primary/go:{n}", lambda n: f"duplicate/go:{2 * n}")
    for run_id in ("primary", "duplicate"):
        assert_all_said_their_own(runs, run_id)
    starts = Counter(start.partition("/")[0] for start in runs.starts())
    assert starts["primary"] == rounds
    done_again = starts["duplicate"] - rounds
    assert 0 <= done_again <= (0 if ttl == "1h" else rounds)


@pytest.mark.parametrize("rounds", sweep([20, 300], quick=1))
def test_a_duplicate_of_the_same_run_around_the_end_of_its_primary(runs: TokenRuns, rounds: int) -> None:
    for gate in (PRIMARY, BLOCKER):
        runs.gated(gate)
    items = ((gate, number) for number in range(rounds) for gate in (PRIMARY, BLOCKER, PRIMARY))
    write_file(runs, "both", items, 2, "0s")
    command = runs.start("first", file="both.toml")
    race(runs, [command], rounds, lambda n: f"first/go:{3 * n}", lambda n: f"first/go:{3 * n + 1}")
    assert_all_said_their_own(runs, "first")
    assert len(runs.starts()) == 2 * rounds, "within one run what is done is done"
