"""Agent jobs from the jobs file to the result, with real processes of the agent that the tests own."""

from __future__ import annotations

import json
import os
import shlex
import signal
from typing import Any

import pytest
from drivers.fake_agents import FAKE_ARGV, Witness
from drivers.run_driver import RunDriver, wait_until

from orchestrator.attempts.agent.sessions import RESUME_PROMPT


@pytest.fixture
def run(agent_driver: RunDriver) -> RunDriver:
    return agent_driver


def job(name: str, script: str, keys: str = "") -> str:
    return f"[jobs.{name}]\nagent = 'fake'\nretry = 0\nprompt = '''\nDo the {name}.\nfake: {script}\n'''\n{keys}\n"


def finished(run: RunDriver, code: int = 0) -> dict[str, dict[str, Any]]:
    run.assert_exit(run.run("--quiet"), code)
    return {result["item"]: result for result in run.results()}


def test_an_answer_with_all_that_is_known_of_it_is_the_result(run: RunDriver, witness: Witness) -> None:
    run.write(
        "[defaults]\ncontinue_on_error = true\n"
        + job("well", "ok text=done deny=Bash in=7 out=3 cost=0.5", 'model = "m-{{ run.id }}"')
        + job("refused", "auth", "attempts = 3")
        + job("gives", """ok structured='{"n": 1}'""", "output = 'json'\nschema = 's.json'")
        + '[jobs.reads]\nneeds = ["well"]\nshell = "echo {{ jobs.well.output }} {{ jobs.gives.output.n }}"\n'
    )
    (run.folder / "s.json").write_text('{"type": "object", "required": ["n"]}')
    results = finished(run, 1)
    well = results["well"]
    assert (well["output"], well["status"], well["class"], well["error"]) == ("done", "succeeded", "ok", None)
    assert (well["agent"], well["model"], well["denials"], well["cost_usd"]) == ("fake", "m-crash", ["Bash"], 0.5)
    assert well["usage"]["input_tokens"] == 7
    assert well["session_id"] in {each["session"] for each in witness.prompts()}
    assert results["reads"]["output"] == "done 1"
    assert (results["refused"]["class"], results["refused"]["attempts"]) == ("auth", 1), "no other attempt would help"
    assert results["refused"]["error"].startswith("auth: ")
    assert [each["permissions"] for each in witness.prompts()] == ["read"] * 3


def test_a_failed_check_is_told_in_the_same_session_until_it_passes(run: RunDriver, witness: Witness) -> None:
    run.write(
        job(
            "fix",
            "ok | ok write=fixed:x",
            "attempts = 3\npermissions = 'edit'\ncheck = 'test -e fixed || { echo NOT FIXED; exit 1; }'",
        )
    )
    result = finished(run)["fix"]
    first, second = witness.prompts()
    assert (result["status"], result["attempts"]) == ("succeeded", 2)
    assert (first["resumed"], second["resumed"], second["session"]) == (False, True, first["session"])
    assert "NOT FIXED" in second["prompt"]
    assert "Do the fix" not in second["prompt"]


def test_an_answer_that_does_not_fit_its_schema_is_corrected_once_and_no_attempt_is_used_up(
    run: RunDriver, witness: Witness
) -> None:
    (run.folder / "s.json").write_text('{"type": "object", "properties": {"n": {"type": "integer"}}}')
    wrong, right = """ok structured='{"n": "one"}'""", """ok structured='{"n": 1}'"""
    run.write(
        "[defaults]\ncontinue_on_error = true\n"
        + job("mends", f"{wrong} | {right}", "schema = 's.json'")
        + job("never", wrong, "schema = 's.json'\nattempts = 2")
    )
    results = finished(run, 1)
    assert (results["mends"]["output"], results["mends"]["attempts"]) == ({"n": 1}, 2)
    assert (results["never"]["class"], results["never"]["attempts"]) == ("check_failed", 3)
    assert "does not fit its schema: $.n: 'one' is not of type 'integer'" in results["never"]["error"]
    told = [each["prompt"] for each in witness.prompts() if each["resumed"]]
    assert len(told) == 3
    assert all("$.n: 'one' is not of type 'integer'" in prompt for prompt in told)


def test_a_killed_worker_loses_no_session(run: RunDriver, witness: Witness) -> None:
    run.write(job("long", "sleep=600 | ok text=whole cost=0.25"))
    command = run.run("--quiet")
    wait_until(lambda: witness.prompts(), "the agent was told")
    folder = run.run_folder / "workers"
    wait_until(lambda: any(b'"session"' in path.read_bytes() for path in folder.glob("*/log")), "its session is kept")
    os.kill(run.worker_of("long"), signal.SIGKILL)
    run.assert_exit(command, 0)
    first, second = witness.prompts()
    assert (second["resumed"], second["session"]) == (True, first["session"])
    assert second["prompt"].strip() == RESUME_PROMPT
    result = run.result("long")
    assert (result["output"], result["attempts"], result["cost_usd"]) == ("whole", 2, 0.25)


def test_only_what_is_named_of_the_environment_reaches_an_agent(
    run: RunDriver, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("MY_TOKEN", "mine")
    run.write(job("asks", "ok", "pass_env = ['MY_*']\nenv = { DECLARED = '1' }"))
    finished(run)
    names = set(witness.prompts()[0]["env"])
    assert {"PATH", "MY_TOKEN", "DECLARED", "FAKE_AGENT_STATE"} <= names
    assert "AWS_SECRET_ACCESS_KEY" not in names


def test_a_plan_shows_what_an_agent_would_be_told(run: RunDriver) -> None:
    run.write(job("port", "ok", "for_each = ['a', 'b']\nmodel = 'm-{{ item }}'\ncheck = 'test -e {{ item }}'"))
    (planned,) = run.ask("plan", "jobs.toml")
    item = planned["items"][1]
    assert item["argv"][-2:] == ["--model", "m-b"]
    assert item["told"].startswith("Do the port.")
    assert item["check"] == "test -e 'b'"
    shown = run.launch("plan", "jobs.toml")
    assert shown.exit_code() == 0
    assert "told: Do the port." in shown.stdout


def test_by_hand_an_item_has_the_agents_environment(run: RunDriver, witness: Witness) -> None:
    run.write(job("port", "ok text=first"))
    finished(run)
    by_hand = run.launch("exec", run.run_id, "port", AWS_SECRET_ACCESS_KEY="x")
    assert by_hand.exit_code() == 0, by_hand.stderr
    assert json.loads(by_hand.stdout.splitlines()[-1])["result"] == "first"
    assert "AWS_SECRET_ACCESS_KEY" not in witness.prompts()[-1]["env"]


def test_a_session_that_its_cli_has_forgotten_costs_no_attempt(run: RunDriver, witness: Witness) -> None:
    refusing = f'case "$*" in *--resume*) echo "No conversation found" >&2; exit 1;; esac; exec {shlex.join(FAKE_ARGV)} "$@"'
    profile = run.folder / "agents" / "forgets.toml"
    profile.write_text(f'extends = "fake"\ncommand = {json.dumps(["sh", "-c", refusing, "sh"])}\n')
    run.write(job("long", "wait=go | ok text=whole").replace("'fake'", "'forgets'"))
    command = run.run("--quiet")
    folder = run.run_folder / "workers"
    wait_until(lambda: any(b'"session"' in path.read_bytes() for path in folder.glob("*/log")), "its session is kept")
    os.kill(run.worker_of("long"), signal.SIGKILL)
    run.assert_exit(command, 0)
    result = run.result("long")
    assert (result["output"], result["attempts"]) == ("whole", 3), "lost, refused, and begun anew; attempts = 1"
    assert [each["resumed"] for each in witness.prompts()] == [False, False]


def test_a_drained_agent_goes_on_in_its_session_unless_its_prompt_was_edited_meanwhile(run: RunDriver, witness: Witness) -> None:
    same = job("same", "sleep=600 | ok text=went_on")
    run.write(same + job("edited", "sleep=600"))
    command = run.run("--quiet")
    folder = run.run_folder / "workers"
    wait_until(lambda: sum(b'"session"' in path.read_bytes() for path in folder.glob("*/log")) == 2, "both sessions are kept")
    run.assert_exit(run.launch("stop", run.run_id, "--now"), 0)
    run.assert_exit(command, 143)
    run.write(same + job("edited", "ok text=anew"))
    run.assert_exit(run.launch("resume", run.run_id, "--update", "--quiet"), 0)
    assert [result["output"] for result in run.results()] == ["went_on", "anew"]
    prompts = {each["prompt"].strip(): each["resumed"] for each in witness.prompts()[2:]}
    assert prompts == {RESUME_PROMPT: True, "Do the edited.\nfake: ok text=anew": False}
