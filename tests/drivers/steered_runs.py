"""One run of equal items, for what other shells ask of it while it goes on."""

from __future__ import annotations

import shlex

from drivers.run_driver import Command, RunDriver

IGNORE = "trap '' TERM HUP INT"
"""Shell: what is asked to end by a signal does not."""


def write(driver: RunDriver, body: str, *, items: int = 2, run: str = "slots = 1", keys: str = "") -> list[str]:
    """A run of `items` equal items; their names."""
    driver.write(f"[run]\n{run}\n[jobs.go]\nfor_each = {list(range(items))}\n{keys}\nshell = '''{driver.witnessed(body)}'''\n")
    return [f"go:{index}" for index in range(items)]


def gates(driver: RunDriver, count: int) -> str:
    """Shell: each item waits at a gate of its own, `gate-INDEX`."""
    for index in range(count):
        driver.gated(f"gate-{index}")
    return f'read word < {shlex.quote(str(driver.folder))}/gate-"${{ORCHESTRATE_ITEM#*:}}".fifo'


def started(driver: RunDriver, *items: str) -> Command:
    command = driver.run()
    driver.wait_for("begin", *items)
    return command


def tell(driver: RunDriver, *words: str, code: int = 0) -> str:
    """Have a command run to its end; what it printed."""
    command = driver.launch(words[0], driver.run_id, *words[1:])
    assert command.exit_code() == code, command.stdout + command.stderr
    return command.stdout or command.stderr


def statuses(driver: RunDriver) -> list[str]:
    return [result["status"] for result in driver.results()]
