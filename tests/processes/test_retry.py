"""`orchestrate retry`: one more time, with a change, whoever supervises the run and whoever is killed."""

from __future__ import annotations

import pytest
from drivers.fake_agents import Witness
from drivers.processes import wait_until
from drivers.run_driver import KILLED, RunDriver

from orchestrator.reading.run_reader import RunReader
from orchestrator.store.run_dir import RunDir

pytestmark = pytest.mark.usefixtures("witness")


FIX = """
[jobs.fix]
agent = "fake"
for_each = ["a", "b"]
continue_on_error = true
prompt = '''
Mend {{ item }}.
fake: fail=no | ok text=mended
'''
"""
SHIP = '[jobs.ship]\nneeds = ["fix"]\nshell = "echo {{ jobs.fix.outputs | tojson }}"\n'


def test_feedback_is_told_in_the_session_and_what_waited_for_the_item_runs(driver: RunDriver, witness: Witness) -> None:
    driver.write(FIX.replace('["a", "b"]', '["a"]').replace("continue_on_error = true\n", "") + SHIP)
    driver.assert_exit(driver.run("--quiet"), 1)
    driver.assert_exit(driver.launch("retry", driver.run_id, "fix:0", "--feedback", "Look at line 7.", "--quiet"), 0)
    first, second = witness.prompts()
    assert (second["resumed"], second["session"], second["prompt"].strip()) == (True, first["session"], "Look at line 7.")
    fixed = driver.result("fix:0")
    assert (fixed["status"], fixed["attempts"], fixed["output"]) == ("succeeded", 2, "mended")
    assert driver.result("ship")["output"] == '["mended"]'


def test_another_model_and_another_prompt_begin_sessions_of_their_own_and_leave_other_failures_alone(
    driver: RunDriver, witness: Witness
) -> None:
    driver.write(FIX)
    driver.assert_exit(driver.run("--quiet"), 1)
    driver.assert_exit(driver.launch("retry", driver.run_id, "fix:0", "--model", "opus", "--quiet"), 1)
    assert [driver.result(item)["status"] for item in ("fix:0", "fix:1")] == ["succeeded", "failed"]
    driver.assert_exit(driver.launch("retry", driver.run_id, "fix:b", "--edit", "--quiet", EDITOR="", VISUAL=""), 2)
    edited = driver.launch("retry", driver.run_id, "fix:b", "--edit", "--quiet", EDITOR="sed -i 's/fail=no | //'")
    driver.assert_exit(edited, 0)
    by_model, by_prompt = witness.prompts()[2:]
    assert (by_model["model"], by_model["resumed"], by_model["prompt"].split()[:2]) == ("opus", False, ["Mend", "a."])
    assert (by_prompt["model"], by_prompt["resumed"]) == (None, False)
    assert "fake: ok text=mended" in by_prompt["prompt"]
    by_hand = driver.launch("exec", driver.run_id, "fix:1")
    assert by_hand.exit_code() == 0
    assert "fake: ok text=mended" in witness.prompts()[-1]["prompt"], "by hand it does what its last attempt did"
    hashes = [result["payload_hash"] for result in driver.results()]
    assert len(set(hashes)) == 2
    told = "fake: ok text=told"
    driver.assert_exit(driver.launch("retry", driver.run_id, "fix:0", "--prompt", told, "--quiet"), 0)
    assert (witness.prompts()[-1]["prompt"].strip(), driver.result("fix:0")["output"]) == (told, "told")
    assert not any(RunReader.read(RunDir(driver.run_folder)).history.jobs["fix"].is_stale(index) for index in (0, 1))


def test_a_retry_of_a_replayed_outcome_does_the_work(driver: RunDriver, witness: Witness) -> None:
    driver.write(FIX.replace('["a", "b"]', '["a"]').replace("fail=no | ", "") + 'token = "fix"\ntoken_ttl = "1h"\n')
    driver.assert_exit(driver.launch("run", "jobs.toml", "--quiet"), 0)
    driver.assert_exit(driver.run("--quiet"), 0)
    assert (len(witness.prompts()), driver.result("fix:0")["attempts"]) == (1, 0)
    driver.assert_exit(driver.launch("retry", driver.run_id, "fix:0", "--quiet"), 0)
    assert (len(witness.prompts()), driver.result("fix:0")["deduped_from"]) == (2, None)


def test_a_model_that_a_retry_asked_for_stays_with_the_next_retry(driver: RunDriver, witness: Witness) -> None:
    driver.write(FIX.replace('["a", "b"]', '["a"]').replace("fail=no | ", ""))
    driver.assert_exit(driver.run("--quiet"), 0)
    driver.assert_exit(driver.launch("retry", driver.run_id, "fix:0", "--model", "opus", "--quiet"), 0)
    driver.assert_exit(driver.launch("retry", driver.run_id, "fix:0", "--feedback", "Shorter.", "--quiet"), 0)
    assert [prompt["model"] for prompt in witness.prompts()] == [None, "opus", "opus"]


@pytest.mark.parametrize("change", [("--feedback", " "), ("--model", "--yolo")], ids=["no words", "an option for a model"])
def test_a_change_that_says_nothing_or_would_be_an_option_is_refused_before_anything_runs(
    driver: RunDriver, witness: Witness, change: tuple[str, str]
) -> None:
    driver.write(FIX.replace('["a", "b"]', '["a"]').replace("fail=no | ", ""))
    driver.assert_exit(driver.run("--quiet"), 0)
    driver.assert_exit(driver.launch("retry", driver.run_id, "fix:0", *change, "--quiet"), 2)
    assert len(witness.prompts()) == 1


def test_a_retry_that_is_recorded_survives_a_kill(driver: RunDriver, witness: Witness) -> None:
    driver.write(FIX)
    driver.assert_exit(driver.run("--quiet"), 1)
    killed = driver.launch("retry", driver.run_id, "fix:1", "-m", "Try Y.", fault="runs.retry_recorded")
    driver.assert_exit(killed, KILLED)
    driver.assert_exit(driver.launch("resume", driver.run_id, "--keep-failed", "--quiet"), 1)
    assert [driver.result(item)["status"] for item in ("fix:0", "fix:1")] == ["failed", "succeeded"]
    assert [each["prompt"].strip() for each in witness.prompts() if each["resumed"]] == ["Try Y."]


def test_a_run_that_goes_on_takes_the_item_in_again(driver: RunDriver, witness: Witness) -> None:
    driver.write(
        FIX + f'[jobs.long]\nshell = """{driver.witnessed(driver.gated())}"""\n' + SHIP.replace('"fix"', '"fix", "long"')
    )
    command = driver.run("--quiet")
    driver.wait_for("begin", "long")
    wait_until(lambda: len(witness.events("exit")) == 2, "both agents failed")
    wait_until(lambda: [each["status"] for each in driver.results()[:2]] == ["failed"] * 2, "that is recorded")
    asked = driver.launch("retry", driver.run_id, "fix:0", "fix:1", "-m", "Once more.")
    driver.assert_exit(asked, 0)
    assert "runs 2 items again" in asked.stdout
    wait_until(lambda: [each["status"] for each in driver.results()[:2]] == ["succeeded"] * 2, "both ran again")
    driver.open_gate()
    driver.assert_exit(command, 0)
    assert driver.result("ship")["output"] == '["mended", "mended"]'


def test_nobody_works_where_the_item_behind_it_still_does(driver: RunDriver) -> None:
    first = '[jobs.a]\nfor_each = ["x"]\nworkspace = "temp"\nshell = "echo a >> log"\n'
    driver.write(
        f'{first}[jobs.b]\nfor_each = {{ job = "a" }}\nshell = """echo b >> log; {driver.gated()}; cat log"""\nattempts = 1'
    )
    command = driver.run("--quiet")
    log = driver.run_folder / "workspaces" / "a" / "0.temp" / "log"
    wait_until(lambda: log.exists() and log.read_text() == "a\nb\n", "the second works")
    asked = driver.launch("retry", driver.run_id, "a:0")
    assert asked.exit_code() == 2
    assert "b:0 goes on in its workspace" in asked.stderr
    command.kill()
    asked = driver.launch("retry", driver.run_id, "a:0")
    assert asked.exit_code() == 2
    assert "b:0 of run crash was running when its supervisor ended" in asked.stderr
    driver.open_gate()
    driver.assert_exit(driver.launch("resume", driver.run_id, "--quiet"), 0)
    assert driver.result("b:0")["output"] == "a\nb"
    driver.assert_exit(driver.launch("retry", driver.run_id, "a:0", "--quiet"), 0)
    assert log.read_text() == "a\nb\na\n"


@pytest.mark.slow
def test_cancelled_items_run_again_only_so_and_with_them_what_was_cancelled_in_their_child_runs(driver: RunDriver) -> None:
    driver.write('[jobs.ask]\ngate = "Go?"\n[jobs.leaf]\nneeds = ["ask"]\nshell = "echo done"\n', "leaf.toml")
    driver.write('[jobs.go]\nworkflow = "leaf.toml"\n')
    driver.assert_exit(driver.run("--quiet"), 3)
    driver.assert_exit(driver.launch("cancel", driver.run_id), 0)
    driver.assert_exit(driver.launch("retry", driver.run_id, "--quiet"), 3)
    assert driver.result("go")["status"] == "waiting", "its gate asks again"
    child = driver.result("go")["child"]
    driver.assert_exit(driver.launch("approve", child, "ask"), 0)
    driver.assert_exit(driver.launch("resume", driver.run_id, "--quiet"), 0)
    assert driver.result("go")["output"]["jobs"]["leaf"]["output"] == "done"


def test_what_was_not_selected_is_not_had_once_more(driver: RunDriver) -> None:
    driver.write('[jobs.ok]\nfor_each = [1, 2]\nshell = "true"')
    driver.assert_exit(driver.run("--quiet", "--limit", "1"), 0)
    command = driver.launch("retry", driver.run_id, "ok:1")
    assert command.exit_code() == 2
    assert "ok:1 is not selected in run crash" in command.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ok", "--feedback", "x"], "ok has no agent: there is nobody to tell"),
        (["ok", "--prompt", "x"], "ok has no agent: there is nobody to tell"),
        ([], "has no item that failed or was cancelled"),
        (["--failed"], "has no item that failed"),
        (["ok", "--failed"], "of ok no item has failed"),
        (["nobody"], "has no item 'nobody'"),
    ],
)
def test_what_cannot_be_had_once_more_is_said(driver: RunDriver, arguments: list[str], words: str) -> None:
    driver.write('[jobs.ok]\nshell = "true"')
    driver.assert_exit(driver.run("--quiet"), 0)
    command = driver.launch("retry", driver.run_id, *arguments)
    assert command.exit_code() == 2
    assert words in command.stderr
