"""The batch that is killed over and over, and what must be true of it in the end."""

from __future__ import annotations

from drivers.processes import wait_until
from drivers.run_driver import Command, RunDriver

ITEMS = [f"work:{index}" for index in range(6)]
GATED = "work:4"
OTHERS = [item for item in ITEMS if item != GATED]
LARGE_OUTPUT = "0" * 9000
"""More than travels inside an outcome: it goes by a file of its own."""


def write_batch(driver: RunDriver) -> None:
    """Six items that another job lists, one of them at a gate, one with a large output; and one that joins them."""
    body = f"""
case $ORCHESTRATE_ITEM in
  work:1) printf '%0{len(LARGE_OUTPUT)}d' 0 ;;
  {GATED}) {driver.gated()}; printf '%s' {{{{ item }}}} ;;
  *) printf '%s' {{{{ item }}}} ;;
esac
"""
    driver.write(f"""
[run]
slots = 3
[jobs.list]
shell = "printf 'a\\nb\\nc\\nd\\ne\\nf\\n'"
output = "lines"
[jobs.work]
for_each = "{{{{ jobs.list.output }}}}"
shell = '''{driver.witnessed(body)}'''
[jobs.join]
needs = ["work"]
command = ["printf", "%s", "{{{{ jobs.work.outputs | map('length') | join(' ') }}}}"]
""")


def wait_for_the_others(driver: RunDriver, command: Command) -> None:
    """Until all but the gated item have been witnessed to end, or the supervisor is gone."""
    wait_until(lambda: not command.is_running or all(driver.acts("end")[item] for item in OTHERS), "the others end")


def let_end(driver: RunDriver, command: Command) -> int:
    """The exit code; the gate is opened once everything else has been witnessed, or the supervisor is gone."""
    wait_for_the_others(driver, command)
    driver.open_gate()
    return command.exit_code()


def assert_every_result_is_there(driver: RunDriver) -> None:
    results = driver.results()
    assert [result["item"] for result in results] == ["list", *ITEMS, "join"]
    assert {result["status"] for result in results} == {"succeeded"}
    assert [result["output"] for result in results[1:]] == ["a", LARGE_OUTPUT, "c", "d", "e", "f", "1 9000 1 1 1 1"]
    driver.assert_tidy()
