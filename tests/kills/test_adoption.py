"""An attempt that outlives its supervisor is adopted by the resume: never started twice, counted against the slots, timed out."""

from __future__ import annotations

import signal

import pytest
from drivers.processes import is_living, wait_until
from drivers.run_driver import Command, RunDriver


def write_two(driver: RunDriver, keys: str = "", slots: int = 1) -> None:
    """go:0 stands at a gate; go:1 does not. One slot."""
    driver.write(f"""
[run]
slots = {slots}
drain_timeout = 0.2
[jobs.go]
for_each = ["a", "b"]
{keys}
shell = '''{driver.witnessed(f"test {{{{ item }}}} = b || {driver.gated()}; echo did {{{{ item }}}}")}'''
""")


def kill_with_one_at_the_gate(driver: RunDriver) -> None:
    command = driver.run()
    driver.wait_for("begin", "go:0")
    driver.worker_of("go:0")
    command.kill()


def adopted(driver: RunDriver, *arguments: str) -> Command:
    """A resume that has adopted go:0."""
    command = driver.launch("resume", driver.run_id, *arguments)
    wait_until(lambda: "adopted go:0" in command.stderr or not command.is_running, "go:0 is adopted")
    assert command.is_running, command.stderr
    return command


def test_a_living_attempt_is_adopted_and_counted_once(driver: RunDriver) -> None:
    write_two(driver)
    kill_with_one_at_the_gate(driver)
    assert driver.ask("status", driver.run_id)["status"] == "interrupted"
    command = adopted(driver)
    status = driver.ask("status", driver.run_id)
    assert (status["status"], status["counts"]) == ("running", {"running": 1, "pending": 1})
    driver.open_gate()
    driver.assert_exit(command, 0)
    driver.assert_each_ran_once(["go:0", "go:1"])
    assert [(each["status"], each["output"], each["attempts"]) for each in driver.results()] == [
        ("succeeded", "did a", 1),
        ("succeeded", "did b", 1),
    ]
    driver.assert_tidy()


def test_an_adopted_attempt_takes_a_slot(driver: RunDriver) -> None:
    write_two(driver)
    kill_with_one_at_the_gate(driver)
    command = adopted(driver)
    # A flush is answered by the loop: it has been through at least one turn with go:0 adopted.
    for _ in range(3):
        assert driver.launch("flush", driver.run_id).exit_code() == 0
    assert not driver.acts("begin")["go:1"], "go:1 started beside go:0 with one slot"
    driver.open_gate()
    driver.assert_exit(command, 0)
    lines = driver.witness.read_text().splitlines()
    assert lines.index("end go:0 1") < lines.index("begin go:1 1")


def test_a_resume_with_more_slots_starts_beside_an_adopted_attempt(driver: RunDriver) -> None:
    write_two(driver)
    kill_with_one_at_the_gate(driver)
    command = adopted(driver, "--slots", "2")
    driver.wait_for("end", "go:1")
    driver.open_gate()
    driver.assert_exit(command, 0)
    driver.assert_each_ran_once(["go:0", "go:1"])


@pytest.mark.slow
def test_a_resume_with_fewer_slots_waits_for_all_that_it_adopted(driver: RunDriver) -> None:
    gate = driver.gated()
    body = f"test {{{{ item }}}} = 2 || {gate}"
    driver.write(f"[run]\nslots = 2\n[jobs.go]\nfor_each = [0, 1, 2]\nshell = '''{driver.witnessed(body)}'''\n")
    command = driver.run()
    driver.wait_for("begin", "go:0", "go:1")
    command.kill()
    command = driver.launch("resume", driver.run_id, "--slots", "1")
    wait_until(lambda: command.stderr.count("adopted go:") == 2, "both are adopted")
    driver.open_gate()
    wait_until(lambda: sum(driver.acts("end").values()) == 1, "one ends")
    assert driver.launch("flush", driver.run_id).exit_code() == 0
    assert not driver.acts("begin")["go:2"], "go:2 started beside an adopted one with one slot"
    driver.open_gate()
    driver.assert_exit(command, 0)
    driver.assert_each_ran_once(["go:0", "go:1", "go:2"])


@pytest.mark.parametrize("is_resumed_first", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["adopted", "unattended"])
def test_its_timeout_still_works(driver: RunDriver, is_resumed_first: bool) -> None:
    write_two(driver, 'timeout = "1.5s"\ngrace = 0.2\ncontinue_on_error = true')
    kill_with_one_at_the_gate(driver)
    worker = driver.worker_of("go:0")
    if not is_resumed_first:
        wait_until(lambda: not is_living(worker), "the worker ends the attempt by itself")
    driver.assert_exit(driver.launch("resume", driver.run_id), 1)
    result = driver.result("go:0")
    assert (result["status"], result["class"], result["attempts"]) == ("failed", "timeout", 1)
    assert driver.acts("begin") == {"go:0": 1, "go:1": 1}
    driver.assert_tidy()


def test_an_outcome_that_was_left_while_nobody_was_there_is_taken_in(driver: RunDriver) -> None:
    write_two(driver)
    kill_with_one_at_the_gate(driver)
    worker = driver.worker_of("go:0")
    driver.open_gate()
    wait_until(lambda: not is_living(worker), "the worker leaves")
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    driver.assert_each_ran_once(["go:0", "go:1"])
    assert driver.result("go:0")["output"] == "did a"


def test_an_adopted_attempt_survives_a_second_and_a_third_supervisor(driver: RunDriver) -> None:
    write_two(driver)
    kill_with_one_at_the_gate(driver)
    for _ in range(3):
        adopted(driver).kill()
    command = adopted(driver)
    driver.open_gate()
    driver.assert_exit(command, 0)
    driver.assert_each_ran_once(["go:0", "go:1"])


def test_an_adopted_attempt_can_be_cancelled(driver: RunDriver) -> None:
    write_two(driver)
    kill_with_one_at_the_gate(driver)
    command = adopted(driver)
    assert driver.launch("cancel", driver.run_id, "go:0").exit_code() == 0
    driver.assert_exit(command, 1)
    assert [result["status"] for result in driver.results()] == ["cancelled", "succeeded"]
    assert driver.result("go:0")["error"] == "cancelled"
    driver.assert_tidy()


def test_an_adopted_attempt_that_a_drain_ended_runs_again(driver: RunDriver) -> None:
    write_two(driver)
    kill_with_one_at_the_gate(driver)
    command = adopted(driver)
    command.send(signal.SIGTERM)  # drain_timeout is 0.2 s
    assert command.exit_code() == 143, command.stderr
    assert [result["status"] for result in driver.results()] == ["interrupted", "pending"]
    driver.open_gate()
    driver.assert_exit(driver.run(), 0)
    assert driver.acts("end") == {"go:0": 1, "go:1": 1}


def test_an_adopted_attempt_that_a_killed_supervisor_was_draining_runs_again(driver: RunDriver) -> None:
    write_two(driver)
    kill_with_one_at_the_gate(driver)
    worker = driver.worker_of("go:0")
    command = driver.launch("resume", driver.run_id, fault="supervisor.outcome:1")
    wait_until(lambda: "adopted go:0" in command.stderr, "go:0 is adopted")
    command.send(signal.SIGTERM)
    assert command.exit_code() == -signal.SIGKILL
    assert not is_living(worker)
    driver.open_gate()
    driver.assert_exit(driver.run(), 0)
    assert driver.acts("end") == {"go:0": 1, "go:1": 1}


def test_a_second_stop_ends_an_adopted_attempt_that_ignores_sigterm_at_once(driver: RunDriver) -> None:
    driver.write(f"[run]\nslots = 1\n[jobs.deaf]\ngrace = 600\nshell = '''trap '' TERM; {driver.witnessed(driver.gated())}'''\n")
    command = driver.run()
    driver.wait_for("begin", "deaf")
    driver.worker_of("deaf")
    command.kill()
    command = driver.launch("resume", driver.run_id)
    wait_until(lambda: "adopted deaf" in command.stderr, "it is adopted")
    command.send(signal.SIGINT)
    wait_until(lambda: "stopping:" in command.stderr, "the drain begins")
    command.send(signal.SIGINT)
    assert command.exit_code() == 130
    assert driver.result("deaf")["status"] == "interrupted"
    driver.assert_tidy()
