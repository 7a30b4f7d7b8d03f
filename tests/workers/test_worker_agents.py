"""An agent beside a real worker: read while it runs, ended for what it tells, and told truthfully."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from drivers.fake_agents import FAKE_ARGV, STATE_VARIABLE, Witness, claude_reading
from drivers.processes import is_living, wait_until
from drivers.worker_driver import WorkerDriver

from orchestrator.workers.protocol import (
    AgentReport,
    AgentTask,
    AttemptClass,
    Capture,
    EndReason,
    Outcome,
    SessionSeen,
    Start,
    Usage,
)


class AgentDriver(WorkerDriver):
    """A worker whose attempts are those of the fake agent."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.witness = Witness(root / "state")

    def prompt(self, script: str, *options: str, task: dict[str, Any] | None = None, **settings: Any) -> Start:
        """Hand over an attempt whose prompt has this script."""
        defaults = {"agent": "fake", "reading": claude_reading(), "text_path": str(self.root / "outputs/job/0/answer")}
        env = {STATE_VARIABLE: str(self.witness.state)} | settings.pop("env", {})
        agent = AgentTask(**(defaults | (task or {})))
        return self.start(*FAKE_ARGV, *options, stdin=f"Do it.\nfake: {script}\n", agent=agent, env=env, **settings)

    def tell(self, script: str, *options: str, task: dict[str, Any] | None = None, **settings: Any) -> Outcome:
        """The outcome of an attempt whose prompt has this script."""
        self.prompt(script, *options, task=task, **settings)
        return self.outcome()

    def sessions(self) -> list[str]:
        """The sessions that the log names for the attempt started last."""
        return [line.session_id for line in self.log() if isinstance(line, SessionSeen) and line.sequence == self._sequence]

    def wait_for_stdout(self, words: bytes) -> None:
        """Until the running agent has written them."""
        stdout = self.folder / "stdout"
        wait_until(lambda: stdout.exists() and words in stdout.read_bytes(), f"{words!r} in its output")


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AgentDriver]:
    monkeypatch.setenv("INHERITED", "from the supervisor")
    driver = AgentDriver(tmp_path)
    yield driver
    driver.close()


def report_of(outcome: Outcome) -> AgentReport:
    assert outcome.agent is not None
    return outcome.agent


def text_of(outcome: Outcome) -> str:
    return (report_of(outcome).text.inline or b"").decode()


def test_each_class_is_told_for_what_it_is(worker: AgentDriver) -> None:
    """The exit code alone would have called half of them a success."""
    table: dict[str, tuple[AttemptClass, str]] = {
        "ok": (AttemptClass.OK, ""),
        "fail": (AttemptClass.AGENT_FAILED, "it did not work"),
        "auth": (AttemptClass.AUTH, "Invalid API key"),
        "billing": (AttemptClass.BILLING, "Credit balance is too low"),
        "rate_limit": (AttemptClass.RATE_LIMIT, "429"),
        "overloaded": (AttemptClass.OVERLOADED, "Overloaded"),
        "context": (AttemptClass.CONTEXT, "Prompt is too long"),
        "network": (AttemptClass.NETWORK, "ECONNREFUSED"),
        "usage_limit=60": (AttemptClass.USAGE_LIMIT, "resets"),
        "usage_limit_text='hit your limit; resets 11:46pm (UTC)'": (AttemptClass.USAGE_LIMIT, "11:46pm"),
        "capped=turns": (AttemptClass.TURNS, "Reached the maximum of turns"),
        "capped=budget": (AttemptClass.BUDGET, "Reached the maximum of budget"),
        "no_result": (AttemptClass.PROTOCOL_ERROR, "does not say that it succeeded"),
        "partial": (AttemptClass.PROTOCOL_ERROR, "breaks off"),
        "kill=KILL": (AttemptClass.AGENT_FAILED, "signal 9"),
        "no_result exit=3 stderr='no such model'": (AttemptClass.AGENT_FAILED, "exit code 3: no such model"),
        "no_result exit=1 stderr='connect ECONNREFUSED'": (AttemptClass.NETWORK, "ECONNREFUSED"),
        "ok exit=1": (AttemptClass.AGENT_FAILED, "exit code 1"),
    }
    outcomes = {script: worker.tell(script) for script in table}
    assert {script: outcome.attempt_class for script, outcome in outcomes.items()} == {
        script: attempt_class for script, (attempt_class, _) in table.items()
    }
    assert [script for script, (_, words) in table.items() if words not in outcomes[script].message] == []
    assert all(len(worker_sessions) == 1 for worker_sessions in sessions_by_attempt(worker).values())
    limited = report_of(outcomes["usage_limit=60"]).resets_at
    assert limited is not None
    assert 55 < limited - outcomes["usage_limit=60"].started_at < 65


def sessions_by_attempt(worker: AgentDriver) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for line in worker.log():
        if isinstance(line, SessionSeen):
            found.setdefault(line.sequence, []).append(line.session_id)
    return found


class TestReport:
    def test_a_success_tells_answer_session_usage_and_cost(self, worker: AgentDriver) -> None:
        outcome = worker.tell("ok text='all done' cost=0.25 turns=3 deny=Bash deny=Write", "--model", "m-1")
        report = report_of(outcome)
        assert (outcome.attempt_class, outcome.message, text_of(outcome)) == (AttemptClass.OK, "", "all done")
        assert (report.agent, report.model, report.is_resumed, report.events) == ("fake", "m-1", False, 3)
        assert [report.session_id] == worker.sessions() == [worker.witness.prompts()[0]["session"]]
        assert report.usage == Usage(input_tokens=100, output_tokens=20, cache_read_tokens=30, cache_write_tokens=0)
        assert (report.usage_told, report.cost_usd, report.cost_told, report.turns) == (report.usage, 0.25, 0.25, 3)
        assert report.denials == ["Bash", "Write"]
        assert worker.logged_outcomes() == {0: outcome}

    def test_what_it_does_not_tell_is_unknown_and_not_nothing(self, worker: AgentDriver) -> None:
        report = report_of(worker.tell("ok no_cost no_usage"))
        assert (report.cost_usd, report.cost_told, report.usage, report.usage_told) == (None, None, None, None)

    def test_what_never_started_has_cost_nothing_and_that_is_known(self, worker: AgentDriver) -> None:
        agent = AgentTask(agent="fake", reading=claude_reading(), text_path=str(worker.root / "answer"), session_id="s-1")
        outcome = worker.run("no-such-agent", agent=agent)
        report = report_of(outcome)
        assert (outcome.attempt_class, report.cost_usd, report.session_id) == (AttemptClass.CANNOT_START, 0.0, "s-1")

    def test_a_long_answer_goes_by_file_and_can_be_verified(self, worker: AgentDriver) -> None:
        answer = "y" * 100_000
        text = report_of(worker.tell(f"ok text={answer}")).text
        path = str(worker.root / "outputs/job/0/answer")
        assert text == Capture(size=100_000, path=path, sha256=hashlib.sha256(answer.encode()).hexdigest())
        assert Path(path).read_text() == answer

    def test_an_answer_that_cannot_be_kept_is_no_verdict_on_the_agent(self, worker: AgentDriver) -> None:
        (worker.root / "file").touch()
        outcome = worker.tell("ok cost=0.25", task={"text_path": str(worker.root / "file" / "answer")})
        assert (outcome.attempt_class, report_of(outcome).cost_usd) == (AttemptClass.STATE_ERROR, 0.25)
        words = f"{worker.root}/file is no folder any more: move away what stands there"
        assert outcome.message == f"its answer could not be kept: {words}"
        assert [report_of(outcome).session_id] == worker.sessions()

    def test_structured_output_is_the_answer(self, worker: AgentDriver) -> None:
        assert json.loads(text_of(worker.tell("""ok structured='{"a": [1, 2]}'"""))) == {"a": [1, 2]}

    def test_a_failure_keeps_its_words_and_its_cost(self, worker: AgentDriver) -> None:
        outcome = worker.tell("fail='no idea' cost=0.5")
        assert (report_of(outcome).cost_usd, outcome.message) == (0.5, "no idea")

    def test_a_session_that_tells_sums_is_charged_for_its_attempt_alone(self, worker: AgentDriver) -> None:
        reading = msgspec.structs.replace(claude_reading(), is_usage_cumulative=True, is_cost_cumulative=True)
        first = report_of(worker.tell("ok cost=0.25 out=7", "--sums", task={"reading": reading}))
        task = {
            "reading": reading,
            "session_id": first.session_id,
            "usage_before": first.usage_told,
            "cost_before": first.cost_told,
        }
        again = report_of(worker.tell("ok cost=0.5 out=9", "--sums", "--resume", first.session_id or "", task=task))
        assert (again.is_resumed, again.session_id) == (True, first.session_id)
        assert (again.cost_told, again.cost_usd) == (0.75, 0.5)
        assert again.usage == Usage(input_tokens=100, output_tokens=9, cache_read_tokens=30, cache_write_tokens=0)
        assert again.usage_told == Usage(input_tokens=200, output_tokens=16, cache_read_tokens=60, cache_write_tokens=0)
        assert worker.sessions() == [first.session_id], "known before the agent tells it"

    def test_an_output_beyond_max_output_is_read_to_its_end(self, worker: AgentDriver) -> None:
        outcome = worker.tell("long_line=300000 text=done", max_output_bytes=1000)
        assert (outcome.attempt_class, text_of(outcome), outcome.stdout.is_cut) == (AttemptClass.OK, "done", True)

    def test_a_line_of_ten_megabytes_is_read(self, worker: AgentDriver) -> None:
        outcome = worker.tell("long_line=10000000 text=done", timeout_seconds=30)
        assert (outcome.attempt_class, text_of(outcome)) == (AttemptClass.OK, "done")
        assert outcome.stdout.size > 10_000_000


class TestEndedForWhatItTells:
    def test_a_wrong_key_is_known_at_once_and_not_after_the_clients_own_retries(self, worker: AgentDriver) -> None:
        """The client would go on for ever: it has not come to its end by itself, nor to that of its time."""
        outcome = worker.tell("retry=401", timeout_seconds=600)
        assert (outcome.attempt_class, outcome.ended_by) == (AttemptClass.AUTH, EndReason.FINDING)
        assert outcome.signal is not None

    def test_retries_that_help_end_nothing(self, worker: AgentDriver) -> None:
        assert worker.tell("retry=529:2 ok").attempt_class is AttemptClass.OK

    def test_a_success_that_does_not_exit_is_one(self, worker: AgentDriver) -> None:
        outcome = worker.tell("ok text=done linger ignore_term", task={"exit_grace_seconds": 0.2}, grace_seconds=0.2)
        assert (outcome.attempt_class, outcome.ended_by, text_of(outcome)) == (AttemptClass.OK, EndReason.LINGERING, "done")
        assert outcome.signal == signal.SIGKILL
        assert "did not exit" in outcome.message

    def test_a_failure_that_does_not_exit_stays_one(self, worker: AgentDriver) -> None:
        outcome = worker.tell("no_result linger", task={"exit_grace_seconds": 0.2}, timeout_seconds=60)
        assert (outcome.attempt_class, outcome.ended_by) == (AttemptClass.PROTOCOL_ERROR, None)

    @pytest.mark.parametrize("reason", [EndReason.CANCEL, EndReason.DRAIN])
    def test_an_end_that_comes_after_the_success_does_not_take_it_back(self, worker: AgentDriver, reason: EndReason) -> None:
        start = worker.prompt("ok text=done linger", task={"exit_grace_seconds": 600.0})
        worker.wait_for_stdout(b'"result"')
        worker.end(start, reason)
        outcome = worker.outcome()
        assert (outcome.attempt_class, outcome.ended_by, text_of(outcome)) == (AttemptClass.OK, EndReason.LINGERING, "done")

    def test_a_success_that_comes_of_our_signal_is_none(self, worker: AgentDriver) -> None:
        start = worker.prompt("hang succeed_on_term")
        worker.wait_for_stdout(b"init")
        worker.end(start)
        outcome = worker.outcome()
        assert (outcome.attempt_class, outcome.exit_code, text_of(outcome)) == (AttemptClass.CANCELLED, 0, "answer to Do it.")
        assert report_of(outcome).cost_usd == 0.01, "it was paid for all the same"

    def test_who_ends_it_hears_what_it_last_told(self, worker: AgentDriver) -> None:
        start = worker.prompt("retry=529:1 hang")
        worker.wait_for_stdout(b"api_retry")
        worker.end(start)
        outcome = worker.outcome()
        assert (outcome.attempt_class, outcome.message) == (AttemptClass.CANCELLED, "cancelled; it last told: overloaded")

    def test_events_without_end_are_ended(self, worker: AgentDriver) -> None:
        outcome = worker.tell("loop", task={"max_events": 500}, timeout_seconds=60)
        assert (outcome.attempt_class, outcome.ended_by) == (AttemptClass.STALLED, EndReason.EVENTS)
        assert outcome.message == "wrote more than 500 events"
        assert report_of(outcome).events > 500

    def test_silence_is_ended_and_the_session_is_known(self, worker: AgentDriver) -> None:
        outcome = worker.tell("hang ignore_term", stall_timeout_seconds=2.0, grace_seconds=0.2)
        assert (outcome.attempt_class, outcome.ended_by) == (AttemptClass.STALLED, EndReason.STALLED)
        assert outcome.message == "wrote nothing for 2s"
        assert [report_of(outcome).session_id] == worker.sessions()
        outcome = worker.tell("mute", stall_timeout_seconds=0.5)
        assert (outcome.attempt_class, report_of(outcome).session_id) == (AttemptClass.STALLED, None)

    def test_a_command_that_is_silent_is_ended_too_and_one_that_is_not_goes_on(self, worker: AgentDriver) -> None:
        assert worker.run("sleep", "600", stall_timeout_seconds=0.3).attempt_class is AttemptClass.STALLED
        talks = "for i in 1 2 3 4 5 6; do echo $i >&2; sleep 0.2; done"
        assert worker.shell(talks, stall_timeout_seconds=1.0).attempt_class is AttemptClass.OK

    def test_a_daemon_that_a_tool_left_goes_with_the_agent(self, worker: AgentDriver) -> None:
        outcome = worker.tell("daemon ok", grace_seconds=2)
        assert (outcome.attempt_class, outcome.leftovers) == (AttemptClass.OK, 1)
        (daemon,) = worker.witness.daemons()
        assert not is_living(daemon)


class TestEnvironment:
    def test_only_what_is_allowed_passes(self, worker: AgentDriver) -> None:
        print_all = "env | cut -d= -f1 | sort | tr '\\n' ' '; echo $INHERITED"
        outcome = worker.shell(print_all, env_allowed=["PATH", "INH*"], env={"ADDED": "1"})
        *names, value = (outcome.stdout.inline or b"").decode().split(" ", 5)
        assert names == ["ADDED", "INHERITED", "ORCHESTRATE_MARK", "ORCHESTRATE_WORKER", "PATH"]
        assert value.endswith("from the supervisor\n")

    def test_a_name_is_no_beginning_of_another(self, worker: AgentDriver) -> None:
        outcome = worker.shell('echo "${INHERITED-none}"', env_allowed=["INHERIT", "PATH"])
        assert outcome.stdout.inline == b"none\n"

    def test_what_the_item_sets_counts_although_it_is_not_allowed(self, worker: AgentDriver) -> None:
        outcome = worker.shell('echo "$INHERITED"', env_allowed=[], env={"INHERITED": "of the item", "PATH": os.defpath})
        assert outcome.stdout.inline == b"of the item\n"


class TestSomebodyKilled:
    def test_a_session_that_was_seen_survives_the_worker(self, worker: AgentDriver) -> None:
        worker.prompt("hang")
        (session,) = wait_until(worker.sessions, "the session is in the log")
        worker.kill()
        os.kill(worker.agent().pid, signal.SIGKILL)
        assert worker.sessions() == [session] == [worker.witness.prompts()[0]["session"]]

    def test_the_report_of_an_adopted_attempt_is_in_the_log(self, worker: AgentDriver) -> None:
        """Its supervisor was killed; the worker finishes, and nothing of what was paid for is lost."""
        go = worker.root / "go"
        worker.prompt(f"wait={go} ok text=done cost=0.25", check=None)
        wait_until(worker.sessions, "the session is in the log")
        worker.disconnect()
        go.touch()
        assert worker.wait_exit() == 0
        (outcome,) = worker.logged_outcomes().values()
        assert (outcome.attempt_class, text_of(outcome), report_of(outcome).cost_usd) == (AttemptClass.OK, "done", 0.25)
        assert len(worker.witness.prompts()) == 1
