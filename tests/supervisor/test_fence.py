"""A bug of ours that shows while one item is prepared or judged: that item fails, and every other goes on, also in a resume."""

from __future__ import annotations

import errno
from typing import Any

import msgspec
import pytest
from drivers.fenced_bugs import fenced_in
from drivers.loop_stories import LoopStories, fan_out, one
from drivers.memory_engine import MemoryEngine, Step, ok

from orchestrator.attempts.preparer import Preparer
from orchestrator.errors import StateUnwritableError
from orchestrator.reading.item_result import shown_result
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.load import read_history
from orchestrator.store.records import AttemptEnded, ItemSettled
from orchestrator.supervisor import attempt_ends, gates, lists
from orchestrator.workers import foreign
from orchestrator.workers.protocol import AgentReport, Outcome

# Lines, for what is plain text is not looked at.
TWO_JOBS = fan_out(3, "output = 'lines'\ncontinue_on_error = true") + fan_out(2, "output = 'lines'", job="b")


@pytest.fixture
def stories(stories: LoopStories) -> LoopStories:
    """Of tests that play bugs."""
    stories.is_bug_played = True
    return stories


def all_go_well(engine: MemoryEngine) -> Step:
    """Each attempt succeeds, and writes its item's name."""
    while True:
        for item in engine.running:
            engine.ok(item, item)
        yield


def broken(wrapped: Any, is_meant: Any, error: Exception) -> Any:
    """`wrapped`, but for those calls."""

    def call(*args: Any, **named: Any) -> Any:
        if is_meant(*args, **named):
            raise error
        return wrapped(*args, **named)

    return call


def outcome_of(stories: LoopStories, job: str, index: int) -> Outcome:
    ended = read_history(stories.run_dir).jobs[job].last_end(index)
    assert ended is not None
    return ended.outcome


def test_an_end_that_cannot_be_judged_is_a_failed_attempt_and_a_resume_judges_it_the_same(
    stories: LoopStories, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_meant(outcome: Outcome, *_: Any) -> bool:
        return outcome.stdout.inline == b"a:1"

    bug = broken(attempt_ends.with_output_checked, is_meant, RecursionError("too deep"))
    monkeypatch.setattr(attempt_ends, "with_output_checked", bug)
    assert stories.run(TWO_JOBS, all_go_well).exit_code == 1
    assert stories.statuses("a") == ["succeeded", "failed", "succeeded"]
    assert stories.statuses("b") == ["succeeded", "succeeded"]
    found = outcome_of(stories, "a", 1)
    words = "its end could not be judged: our bug (RecursionError: too deep); its traceback is in supervisor.log"
    assert (found.attempt_class, found.message) == ("protocol_error", words)
    log = fenced_in(stories.folder / "home")
    assert "a:1: its end could not be judged\n  Traceback" in log
    assert "RecursionError: too deep" in log
    assert stories.resume(all_go_well).exit_code == 1
    assert stories.statuses("a") == ["succeeded", "failed", "succeeded"]


@pytest.mark.parametrize("error", [StateUnwritableError("the disk is full"), OSError(errno.EMFILE, "Too many open files")])
@pytest.mark.parametrize(
    ("where", "call"), [(attempt_ends, "with_output_checked"), (Preparer, "prepare_attempt"), (lists, "list_job")]
)
def test_what_concerns_the_whole_run_passes_the_fence(
    stories: LoopStories, monkeypatch: pytest.MonkeyPatch, where: Any, call: str, error: Exception
) -> None:
    monkeypatch.setattr(where, call, broken(None, lambda *_, **_named: True, error))
    with pytest.raises(StateUnwritableError):
        stories.run(TWO_JOBS, all_go_well)
    monkeypatch.undo()
    assert fenced_in(stories.folder / "home") == ""


def test_costs_that_cannot_be_reckoned_are_unknown(stories: LoopStories, monkeypatch: pytest.MonkeyPatch) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a")
        engine.world.end("a", msgspec.structs.replace(ok(), agent=AgentReport(agent="fake", cost_usd=1.0, session_id="s")))

    def is_meant(_reader: Any, _flight: Any, outcome: Outcome) -> bool:
        return outcome.agent is not None and outcome.agent.cost_usd is not None

    stories.add_agent()
    monkeypatch.setattr(attempt_ends, "spent_with", broken(attempt_ends.spent_with, is_meant, OverflowError("too much")))
    text = "[jobs.a]\nagent = 'fake'\nprompt = 'go'\nattempts = 1\n"
    assert stories.run(text, story).exit_code == 1
    [ended] = [each for each in stories.records if isinstance(each, AttemptEnded)]
    assert ended.outcome.agent is not None
    assert (ended.outcome.agent.cost_usd, ended.outcome.agent.session_id) == (None, "s")
    assert ended.spent is not None
    assert (ended.spent.agents[0].unknown, ended.spent.last_nano_usd) == (1, None)


def test_the_bug_of_a_worker_is_told_to_the_log_and_not_recorded(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a:0")
        engine.world.end("a:0", msgspec.structs.replace(ok(), bug="Traceback: how it came"))

    assert stories.run(fan_out(1), story).exit_code == 0
    assert "a:0: judged by its worker\n  Traceback: how it came" in fenced_in(stories.folder / "home")
    assert outcome_of(stories, "a", 0).bug == ""


def test_an_item_that_cannot_be_made_ready_is_refused(stories: LoopStories, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_meant(_self: Preparer, job: Any, index: int, *_: Any, **_named: Any) -> bool:
        return (job.id, index) == ("a", 1)

    monkeypatch.setattr(Preparer, "prepare_attempt", broken(Preparer.prepare_attempt, is_meant, TypeError("what is this?")))
    assert stories.run(TWO_JOBS, all_go_well).exit_code == 1
    assert stories.statuses("a") == ["succeeded", "failed", "succeeded"]
    assert stories.statuses("b") == ["succeeded", "succeeded"]
    assert stories.resume(all_go_well).exit_code == 1
    assert stories.world.started.count("a:1") == 0


def test_a_job_that_cannot_be_listed_fails_alone(stories: LoopStories, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_meant(_reader: Any, _contexts: Any, job: Any, _matching: Any) -> bool:
        return bool(job.id == "a")

    monkeypatch.setattr(lists, "list_job", broken(lists.list_job, is_meant, KeyError("a")))
    assert stories.run(fan_out(3, "continue_on_error = true") + fan_out(2, job="b"), all_go_well).exit_code == 1
    assert stories.statuses("b") == ["succeeded", "succeeded"]
    failure = read_history(stories.run_dir).jobs["a"].listing_failed
    assert failure is not None
    assert failure.startswith("for_each: our bug (KeyError: 'a')")


def test_a_gate_that_cannot_ask_fails_alone(stories: LoopStories, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "question_of", broken(None, lambda *_: True, IndexError("no such word")))
    text = "[jobs.ask]\ngate = 'go on?'\n" + fan_out(2, job="b")
    assert stories.run(text, all_go_well).exit_code == 1
    assert "ask: its question could not be put" in fenced_in(stories.folder / "home")


def test_an_output_that_an_earlier_version_took_is_refused_to_who_reads_it_and_to_nobody_else(
    stories: LoopStories, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_the_gate(engine: MemoryEngine) -> Step:
        yield from engine.until_running("first")
        engine.ok("first", "[" * 300 + "]" * 300)
        yield from engine.until_running("gate")
        engine.fail("gate")

    stories.is_bug_played = False
    text = one("first", "output = 'json'") + one("gate", "needs = ['first']")
    text += "[jobs.reads]\nneeds = ['gate']\ncommand = ['say', '{{ jobs.first.output }}']\ncontinue_on_error = true\n"
    text += fan_out(2, "needs = ['gate']", "b")
    monkeypatch.setattr(foreign, "DEEPEST", 1000)
    assert stories.run(text, until_the_gate).exit_code == 1
    monkeypatch.setattr(foreign, "DEEPEST", 200)
    assert stories.resume(all_go_well).exit_code == 1
    history = read_history(stories.run_dir)
    statuses = {job: past.status(0).value for job, past in history.jobs.items()}
    assert statuses == {"first": "succeeded", "gate": "succeeded", "reads": "failed", "b": "succeeded"}
    refused = history.jobs["reads"].record(0)
    assert isinstance(refused, ItemSettled)
    assert refused.message == "the output is nested deeper than 200 levels"
    shown = shown_result(RunReader.read(stories.run_dir), "first", 0)
    assert (shown["status"], shown["error"]) == ("succeeded", "the output is nested deeper than 200 levels")
