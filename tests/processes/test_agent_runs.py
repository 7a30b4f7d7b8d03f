"""Agent jobs from the jobs file to the result, with real processes of the agent that the tests own."""

from __future__ import annotations

import json
import os
import shlex
import signal
from typing import Any

import pytest
from drivers.fake_agents import FAKE_ARGV, Witness
from drivers.processes import wait_until
from drivers.run_driver import RunDriver

from orchestrator.attempts.agent.sessions import RESUME_PROMPT

pytestmark = pytest.mark.usefixtures("witness")


def job(name: str, script: str, keys: str = "") -> str:
    return f"[jobs.{name}]\nagent = 'fake'\nretry = 0\nprompt = '''\nDo the {name}.\nfake: {script}\n'''\n{keys}\n"


def finished(driver: RunDriver, code: int = 0) -> dict[str, dict[str, Any]]:
    driver.assert_exit(driver.run("--quiet"), code)
    return {result["item"]: result for result in driver.results()}


def test_an_answer_with_all_that_is_known_of_it_is_the_result(driver: RunDriver, witness: Witness) -> None:
    driver.write(
        "[defaults]\ncontinue_on_error = true\n"
        + job("well", "ok text=done deny=Bash in=7 out=3 cost=0.5", 'model = "m-{{ run.id }}"')
        + job("refused", "auth", "attempts = 3")
        + job("gives", """ok structured='{"n": 1}'""", "output = 'json'\nschema = 's.json'")
        + '[jobs.reads]\nneeds = ["well"]\nshell = "echo {{ jobs.well.output }} {{ jobs.gives.output.n }}"\n'
    )
    (driver.folder / "s.json").write_text('{"type": "object", "required": ["n"]}')
    results = finished(driver, 1)
    well = results["well"]
    assert (well["output"], well["status"], well["class"], well["error"]) == ("done", "succeeded", "ok", None)
    assert (well["agent"], well["model"], well["denials"], well["cost_usd"]) == ("fake", "m-crash", ["Bash"], 0.5)
    assert well["usage"]["input_tokens"] == 7
    assert well["session_id"] in {each["session"] for each in witness.prompts()}
    assert results["reads"]["output"] == "done 1"
    assert (results["refused"]["class"], results["refused"]["attempts"]) == ("auth", 1), "no other attempt would help"
    assert results["refused"]["error"].startswith("auth: ")
    assert [each["permissions"] for each in witness.prompts()] == ["read"] * 3


def test_a_failed_check_is_told_in_the_same_session_until_it_passes(driver: RunDriver, witness: Witness) -> None:
    driver.write(
        job(
            "fix",
            "ok | ok write=fixed:x",
            "attempts = 3\npermissions = 'edit'\ncheck = 'test -e fixed || { echo NOT FIXED; exit 1; }'",
        )
    )
    result = finished(driver)["fix"]
    first, second = witness.prompts()
    assert (result["status"], result["attempts"]) == ("succeeded", 2)
    assert (first["resumed"], second["resumed"], second["session"]) == (False, True, first["session"])
    assert "NOT FIXED" in second["prompt"]
    assert "Do the fix" not in second["prompt"]


def test_an_answer_that_does_not_fit_its_schema_is_corrected_once_and_no_attempt_is_used_up(
    driver: RunDriver, witness: Witness
) -> None:
    (driver.folder / "s.json").write_text('{"type": "object", "properties": {"n": {"type": "integer"}}}')
    wrong, right = """ok structured='{"n": "one"}'""", """ok structured='{"n": 1}'"""
    driver.write(
        "[defaults]\ncontinue_on_error = true\n"
        + job("mends", f"{wrong} | {right}", "schema = 's.json'")
        + job("never", wrong, "schema = 's.json'\nattempts = 2")
    )
    results = finished(driver, 1)
    assert (results["mends"]["output"], results["mends"]["attempts"]) == ({"n": 1}, 2)
    assert (results["never"]["class"], results["never"]["attempts"]) == ("check_failed", 3)
    assert "does not fit its schema: $.n: 'one' is not of type 'integer'" in results["never"]["error"]
    told = [each["prompt"] for each in witness.prompts() if each["resumed"]]
    assert len(told) == 3
    assert all("$.n: 'one' is not of type 'integer'" in prompt for prompt in told)


def test_a_killed_worker_loses_no_session(driver: RunDriver, witness: Witness) -> None:
    driver.write(job("long", "sleep=600 | ok text=whole cost=0.25"))
    command = driver.run("--quiet")
    wait_until(lambda: witness.prompts(), "the agent was told")
    folder = driver.run_folder / "workers"
    wait_until(lambda: any(b'"session"' in path.read_bytes() for path in folder.glob("*/log")), "its session is kept")
    os.kill(driver.worker_of("long"), signal.SIGKILL)
    driver.assert_exit(command, 0)
    first, second = witness.prompts()
    assert (second["resumed"], second["session"]) == (True, first["session"])
    assert second["prompt"].strip() == RESUME_PROMPT
    result = driver.result("long")
    assert (result["output"], result["attempts"], result["cost_usd"]) == ("whole", 2, 0.25)
    ledger = driver.ask("status", driver.run_id)["ledger"]
    assert (ledger["paid_twice"], ledger["unknown_paid_twice"]) == (None, 1), "nobody knows whether the killed one was answered"


def test_only_what_is_named_of_the_environment_reaches_an_agent(
    driver: RunDriver, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("MY_TOKEN", "mine")
    driver.write(job("asks", "ok", "pass_env = ['MY_*']\nenv = { DECLARED = '1' }"))
    finished(driver)
    names = set(witness.prompts()[0]["env"])
    assert {"PATH", "MY_TOKEN", "DECLARED", "FAKE_AGENT_STATE"} <= names
    assert "AWS_SECRET_ACCESS_KEY" not in names
    told = {f"ORCHESTRATE_{each}" for each in ("RUN", "ITEM", "ATTEMPT", "MARK", "WORKER")}
    assert {name for name in names if name.startswith("ORCHESTRATE_")} == told, "where it is, and not the state folder"


def test_a_plan_shows_what_an_agent_would_be_told(driver: RunDriver) -> None:
    driver.write(job("port", "ok", "for_each = ['a', 'b']\nmodel = 'm-{{ item }}'\ncheck = 'test -e {{ item }}'"))
    (planned,) = driver.ask("plan", "jobs.toml")
    item = planned["items"][1]
    assert item["argv"][-2:] == ["--model", "m-b"]
    assert item["told"].startswith("Do the port.")
    assert item["check"] == "test -e 'b'"
    shown = driver.launch("plan", "jobs.toml")
    assert shown.exit_code() == 0
    assert "told: Do the port." in shown.stdout


def test_by_hand_an_item_has_the_agents_environment(driver: RunDriver, witness: Witness) -> None:
    driver.write(job("port", "ok text=first"))
    finished(driver)
    by_hand = driver.launch("exec", driver.run_id, "port", AWS_SECRET_ACCESS_KEY="x")
    assert by_hand.exit_code() == 0, by_hand.stderr
    assert json.loads(by_hand.stdout.splitlines()[-1])["result"] == "first"
    assert "AWS_SECRET_ACCESS_KEY" not in witness.prompts()[-1]["env"]


def test_a_session_that_its_cli_has_forgotten_costs_no_attempt(driver: RunDriver, witness: Witness) -> None:
    refusing = f'case "$*" in *--resume*) echo "No conversation found" >&2; exit 1;; esac; exec {shlex.join(FAKE_ARGV)} "$@"'
    profile = driver.folder / "agents" / "forgets.toml"
    profile.write_text(f'extends = "fake"\ncommand = {json.dumps(["sh", "-c", refusing, "sh"])}\n')
    driver.write(job("long", "wait=go | ok text=whole").replace("'fake'", "'forgets'"))
    command = driver.run("--quiet")
    folder = driver.run_folder / "workers"
    wait_until(lambda: any(b'"session"' in path.read_bytes() for path in folder.glob("*/log")), "its session is kept")
    os.kill(driver.worker_of("long"), signal.SIGKILL)
    driver.assert_exit(command, 0)
    result = driver.result("long")
    assert (result["output"], result["attempts"]) == ("whole", 3), "lost, refused, and begun anew; attempts = 1"
    assert [each["resumed"] for each in witness.prompts()] == [False, False]


def test_a_drained_agent_goes_on_in_its_session_unless_its_prompt_was_edited_meanwhile(
    driver: RunDriver, witness: Witness
) -> None:
    same = job("same", "sleep=600 | ok text=went_on")
    driver.write(same + job("edited", "sleep=600"))
    command = driver.run("--quiet")
    folder = driver.run_folder / "workers"
    wait_until(lambda: sum(b'"session"' in path.read_bytes() for path in folder.glob("*/log")) == 2, "both sessions are kept")
    driver.assert_exit(driver.launch("stop", driver.run_id, "--now"), 0)
    driver.assert_exit(command, 143)
    driver.write(same + job("edited", "ok text=anew"))
    driver.assert_exit(driver.launch("resume", driver.run_id, "--update", "--quiet"), 0)
    assert [result["output"] for result in driver.results()] == ["went_on", "anew"]
    prompts = {each["prompt"].strip(): each["resumed"] for each in witness.prompts()[2:]}
    assert prompts == {RESUME_PROMPT: True, "Do the edited.\nfake: ok text=anew": False}
