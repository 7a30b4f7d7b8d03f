"""Fan-out through the real program: true parallelism, item order, the first failure, bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drivers.processes import wait_until
from drivers.run_driver import RunDriver
from drivers.sweeps import sweep


def write(driver: RunDriver, *, items: str, body: str, keys: str = "", slots: int = 8) -> None:
    driver.write(f"[run]\nslots = {slots}\n[jobs.go]\nfor_each = {items}\n{keys}\nshell = '''{driver.witnessed(body)}'''\n")


def statuses(driver: RunDriver) -> list[str]:
    return [result["status"] for result in driver.results()]


def test_four_items_meet_each_other(driver: RunDriver) -> None:
    """Each ends only when all four have begun: with less than true parallelism the run would never end."""
    meet = "touch met.{{ item }}; until [ -e met.0 ] && [ -e met.1 ] && [ -e met.2 ] && [ -e met.3 ]; do sleep 0.01; done"
    write(driver, items="[0, 1, 2, 3]", body=meet, slots=4, keys='timeout = "20s"')
    driver.assert_exit(driver.run(), 0)
    driver.assert_each_ran_once([f"go:{index}" for index in range(4)])


def test_completion_in_reverse_and_results_in_order(driver: RunDriver) -> None:
    for index in range(4):
        driver.gated(f"gate{index}")
    body = "read word < gate{{ index }}.fifo; echo out {{ item }}"
    write(driver, items="['a', 'b', 'c', 'd']", body=body, slots=4)
    command = driver.run()
    driver.wait_for("begin", *(f"go:{index}" for index in range(4)))
    for index in (3, 2, 1, 0):
        driver.open_gate(f"gate{index}")
        driver.wait_for("end", f"go:{index}")
    driver.assert_exit(command, 0)
    ends = [line.split()[1] for line in driver.witness.read_text().splitlines() if line.startswith("end")]
    assert ends == ["go:3", "go:2", "go:1", "go:0"]
    assert [(result["item"], result["output"]) for result in driver.ask("results", driver.run_id)] == [
        ("go:0", "out a"),
        ("go:1", "out b"),
        ("go:2", "out c"),
        ("go:3", "out d"),
    ]


def failing_batch(driver: RunDriver, keys: str = "") -> None:
    """Six items, three at a time; item 2 fails while 0 and 1 stand at a gate."""
    write(driver, items="[0, 1, 2, 3, 4, 5]", body=f"test {{{{ item }}}} != 2 || exit 7; {driver.gated()}", slots=3, keys=keys)


def test_the_first_failure_halts_and_what_runs_is_let_finish(driver: RunDriver) -> None:
    failing_batch(driver)
    command = driver.run("--json")
    driver.wait_for("begin", "go:0", "go:1", "go:2")
    wait_until(lambda: "FAILED go:2" in command.stderr, "item 2 fails")
    driver.open_gate(count=2)
    assert command.exit_code() == 1, command.stderr
    assert statuses(driver) == ["succeeded", "succeeded", "failed", "pending", "pending", "pending"]
    assert set(driver.acts("begin")) == {"go:0", "go:1", "go:2"}
    summary = driver.ask("status", driver.run_id)
    assert (summary["status"], summary["error"]) == ("failed", {"item": "go:2", "message": "exit code 7"})
    assert driver.result("go:2")["exit_code"] == 7
    driver.assert_tidy()


def test_the_error_is_that_of_the_first_item_in_order_that_failed(driver: RunDriver) -> None:
    write(driver, items="[0, 1, 2, 3]", body=f"test {{{{ item }}}} != 0 || {driver.gated()}; exit 1{{{{ item }}}}", slots=2)
    command = driver.run()
    wait_until(lambda: "FAILED go:1" in command.stderr, "item 1 fails first")
    driver.open_gate()
    assert command.exit_code() == 1
    assert driver.ask("status", driver.run_id)["error"] == {"item": "go:0", "message": "exit code 10"}
    assert set(driver.acts("begin")) == {"go:0", "go:1"}


def test_a_resume_after_a_failure_runs_the_rest_and_the_failed_again(driver: RunDriver) -> None:
    write(driver, items="[0, 1, 2, 3]", body="test {{ item }} != 1 || test -e mended", slots=1)
    assert driver.run().exit_code() == 1
    assert driver.launch("resume", driver.run_id, "--keep-failed", "-k").exit_code() == 1
    assert statuses(driver) == ["succeeded", "failed", "succeeded", "succeeded"]
    (driver.folder / "mended").touch()
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    assert driver.acts("begin") == {"go:0": 1, "go:1": 2, "go:2": 1, "go:3": 1}


@pytest.mark.parametrize("how", ["continue_on_error = true", "-k"])
def test_the_others_go_on_beside_failures(driver: RunDriver, how: str) -> None:
    is_key = not how.startswith("-")
    write(driver, items="[0, 1, 2, 3, 4, 5]", body="expr {{ item }} % 2 = 0", slots=3, keys=how if is_key else "")
    assert driver.run(*([] if is_key else [how])).exit_code() == 1
    assert statuses(driver) == ["succeeded", "failed"] * 3
    assert driver.ask("status", driver.run_id)["error"]["item"] == "go:1"


def test_an_empty_list_is_a_success_and_is_told(driver: RunDriver) -> None:
    write(driver, items="[]", body=":")
    command = driver.run()
    driver.assert_exit(command, 0)
    assert driver.results() == []
    summary = driver.ask("status", driver.run_id)
    assert (summary["status"], summary["jobs"]) == ("completed", [{"id": "go", "status": "succeeded", "counts": {}}])
    assert "go" in command.stderr


@pytest.mark.parametrize(("keys", "bound"), [('max_concurrency = "2"', 2), ("max_concurrency = 1", 1), ("", 3)])
def test_bounds(driver: RunDriver, keys: str, bound: int) -> None:
    """Each item counts how many run until enough have met: as many as the bound, and never one more."""
    body = f"""
touch running.{{{{ item }}}}
until count=$(ls running.* | wc -l); echo $count >> seen; [ -e full ] || [ $count -ge {bound} ]; do sleep 0.01; done
touch full
rm running.{{{{ item }}}}
"""
    write(driver, items="[0, 1, 2, 3, 4, 5]", body=body, slots=3, keys=f'{keys}\ntimeout = "20s"')
    driver.assert_exit(driver.run(), 0)
    seen = [int(word) for word in (driver.folder / "seen").read_text().split()]
    assert max(seen) == bound


def shape(result: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on time and place."""
    return {key: result[key] for key in ("item", "label", "status", "class", "exit_code", "attempts", "output", "error")}


@pytest.mark.parametrize(
    ("keys", "body"),
    sweep(
        [
            pytest.param("attempts = 2\nretry = { delay = 0 }", "test $ORCHESTRATE_ATTEMPT = 2", id="retried"),
            pytest.param("", "test {{ item }} != 1", id="halted"),
            pytest.param("", "echo {{ item }}", id="all well"),
            pytest.param("continue_on_error = true", "echo {{ item }}; test {{ item }} -gt 1", id="some fail"),
        ],
        quick=2,
    ),
)
def test_inline_gives_the_same_records_and_exit_code(driver: RunDriver, home: Path, keys: str, body: str) -> None:
    write(driver, items="[0, 1, 2, 3]", body=body, keys=keys)
    codes, results = [], []
    for slots in ("1", "0"):
        run_id = f"with-{slots}"
        codes.append(driver.launch("run", "jobs.toml", "--run-id", run_id, "--slots", slots).exit_code())
        results.append([shape(result) for result in RunDriver(driver.folder, home, run_id).results()])
    assert codes[0] == codes[1]
    assert results[0] == results[1]


def test_inline_killed_and_resumed(driver: RunDriver) -> None:
    """Inline attempts die with their supervisor: what ran then runs again, what had ended does not."""
    write(driver, items="[0, 1, 2]", body=f"test {{{{ item }}}} != 1 || {driver.gated()}", slots=0)
    command = driver.run()
    driver.wait_for("begin", "go:1")
    command.kill()
    driver.open_gate(count=2)
    driver.assert_exit(driver.run(), 0)
    assert statuses(driver) == ["succeeded"] * 3
    begins = driver.acts("begin")
    assert (begins["go:0"], begins["go:2"]) == (1, 1)
    assert begins["go:1"] == 2
    driver.assert_tidy()
