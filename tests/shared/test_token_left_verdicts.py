"""What a killed holder came to without telling it: whether that counts for who asks next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drivers.fenced_bugs import fenced_in
from drivers.store_samples import started
from drivers.token_driver import FAILED, HOUR, ITEM, TOKEN, DeskRuns, Run, granted, kinds, outcome
from drivers.token_samples import token_locked

from orchestrator.jobsfile.language.template import Template
from orchestrator.jobsfile.model import Repeat
from orchestrator.shared.tokens import holders
from orchestrator.shared.tokens.answers import Answer, Granted, Shared, SharedWith, TryAgain
from orchestrator.store.records import AttemptEnded, Status


def test_the_outcome_in_the_log_of_a_dead_worker_is_shared_and_not_paid_twice(runs: DeskRuns) -> None:
    run = runs.killed_while_it_runs()
    other, third = runs("b"), runs("c")
    other.joins(0)
    third.joins(0)
    done = outcome()
    run.workers[0].ends(done)
    run.workers[0].die()
    assert other.hears() == [TryAgain((ITEM,))]
    assert other.ask(0) == Shared(done, True, "a/port:0")
    assert third.hears() == [SharedWith((ITEM,), done, True, "a/port:0")]


def test_who_asked_while_another_took_the_outcome_from_the_log_shares_it(runs: DeskRuns, tmp_path: Path) -> None:
    run = runs.killed_while_it_runs()
    other, third = runs("b"), runs("c")
    other.joins(0)
    third.joins(0)
    run.workers[0].ends(outcome())
    run.workers[0].die()
    other.hears()
    assert third.hears() == [TryAgain((ITEM,))]
    assert isinstance(other.ask(0), Shared)
    with token_locked(tmp_path, TOKEN):
        third.joins(0)
    assert kinds(third.hears()) == [SharedWith]


def test_the_outcome_in_the_journal_of_a_dead_run_is_shared(runs: DeskRuns) -> None:
    run = runs.killed_while_it_runs()
    done = outcome()
    run.workers[0].die()
    run.records(
        started(0),
        AttemptEnded(job="port", index=0, attempt=1, status=Status.SUCCEEDED, outcome=done, payload="p", token=TOKEN),
    )
    assert runs("b").ask(0, token_ttl=HOUR) == Shared(done, True, "a/port:0")


def test_another_tokens_success_in_the_journal_is_not_this_ones(runs: DeskRuns) -> None:
    run = runs.killed_while_it_runs()
    run.workers[0].ends(FAILED)
    run.workers[0].die()
    end = AttemptEnded(job="port", index=0, attempt=2, status=Status.SUCCEEDED, outcome=outcome(), payload="p", token="other")
    run.records(started(0), end)
    granted(runs("b").ask(0, token_ttl=HOUR))


def test_a_failure_that_was_left_is_no_verdict(runs: DeskRuns) -> None:
    run = runs.killed_while_it_runs()
    run.workers[0].ends(FAILED)
    run.workers[0].die()
    granted(runs("b").ask(0))


def test_an_output_that_no_supervisor_has_read_is_read_before_it_counts(runs: DeskRuns) -> None:
    run = runs.killed_while_it_runs(output="json")
    run.workers[0].ends(outcome(said="no json"))
    run.workers[0].die()
    granted(runs("b").ask(0, output="json", token_ttl=HOUR))


@pytest.mark.parametrize("said", ["[" * 1100, "[" * 990 + "]" * 990, "9" * 400])
def test_bytes_that_nobody_could_use_are_no_verdict(runs: DeskRuns, said: str) -> None:
    run = runs.killed_while_it_runs(output="json")
    run.workers[0].ends(outcome(said=said))
    run.workers[0].die()
    granted(runs("b").ask(0, output="json", token_ttl=HOUR))


def test_what_a_bug_of_ours_keeps_from_being_judged_is_no_verdict(
    runs: DeskRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> Any:
        raise ZeroDivisionError("what is this?")

    monkeypatch.setattr(holders, "with_output_checked", breaks)
    run = runs.killed_while_it_runs()
    run.workers[0].ends(outcome())
    run.workers[0].die()
    granted(runs("b").ask(0))
    log = fenced_in(tmp_path)
    assert "a/port:0: what it left could not be judged\n  Traceback" in log
    assert "ZeroDivisionError" in log


@pytest.mark.parametrize(("answer", "fits"), [('{"area": 3}', True), ('{"area": "three"}', False), ("no JSON", False)])
def test_an_answer_that_no_supervisor_has_read_counts_only_if_it_fits_its_schema(runs: DeskRuns, answer: str, fits: bool) -> None:
    schema = json.dumps({"type": "object", "properties": {"area": {"type": "number"}}})
    keys: dict[str, Any] = {"output": "json", "answer_schema": schema, "token_ttl": HOUR}
    run = runs.killed_while_it_runs(**keys)
    run.workers[0].ends(outcome(said=answer))
    run.workers[0].die()
    assert isinstance(once_judged(runs("b"), **keys), Shared if fits else Granted)


def test_a_schema_that_cannot_be_read_any_more_fits_nothing(runs: DeskRuns) -> None:
    run = runs.killed_while_it_runs(output="json", answer_schema='{"type": 7}')
    run.workers[0].ends(outcome(said="1"))
    run.workers[0].die()
    granted(once_judged(runs("b"), output="json", token_ttl=HOUR))


def once_judged(run: Run, **keys: Any) -> Answer:
    """What it is told once the answer is judged that the dead holder left: that may take long, and the loop goes on."""
    assert "left behind is being judged" in run.joins(0, **keys).words
    run.hears_in_time()
    return run.ask(0, **keys)


def test_a_round_that_no_supervisor_has_read_is_not_the_end_of_its_loop(runs: DeskRuns) -> None:
    loop = Repeat(condition=Template("false", "value"), is_until=True)
    run = runs.killed_while_it_runs(repeat=loop)
    run.workers[0].ends(outcome(said="round 1 of 3"))
    run.workers[0].die()
    granted(runs("b").ask(0, repeat=loop, token_ttl=HOUR))


def test_a_failure_after_which_an_item_was_to_try_again_is_no_verdict(runs: DeskRuns) -> None:
    run = runs.killed_while_it_runs()
    other = runs("b")
    other.joins(0)
    run.workers[0].ends(FAILED)
    run.workers[0].die()
    end = AttemptEnded(job="port", index=0, attempt=1, status=Status.WAITING, outcome=FAILED, payload="p", token=TOKEN)
    run.records(started(0), end)
    other.hears()
    assert granted(other.ask(0)).promotions == 1


def test_an_earlier_attempts_failure_is_no_verdict_on_the_one_that_was_killed(runs: DeskRuns) -> None:
    """Killed between the record of its token and the journal, which still says what an earlier session came to."""
    run, other = runs("a"), runs("b")
    granted(run.ask(0))
    run.begins(0, attempt=2)
    other.joins(0)
    run.dies()
    end = AttemptEnded(job="port", index=0, attempt=1, status=Status.FAILED, outcome=FAILED, payload="p", token=TOKEN)
    run.records(started(0), end)
    other.hears()
    assert granted(other.ask(0)).promotions == 1
