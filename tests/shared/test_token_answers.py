"""What items are told about their tokens: in one run, between runs, after kills. Runs without supervisors (`token_driver`)."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
from drivers.processes import is_living, wait_until
from drivers.store_samples import started
from drivers.token_driver import ITEM, TOKEN, LockOf, Run, outcome

from orchestrator.errors import StateUnwritableError
from orchestrator.jobsfile.language.template import Template
from orchestrator.jobsfile.model import Repeat
from orchestrator.shared.tokens import publications
from orchestrator.shared.tokens.answers import (
    Granted,
    Joins,
    Refused,
    RefusedAll,
    ReplaceAsked,
    Shared,
    SharedWith,
    Told,
    TryAgain,
    Unregistered,
)
from orchestrator.shared.tokens.record import TokenFiles, encode_record
from orchestrator.store.outcomes import DoneHere
from orchestrator.store.records import AttemptEnded, Status
from orchestrator.workers.faultpoints import arm
from orchestrator.workers.protocol import MARK_VARIABLE, AttemptClass, Outcome

FAILED = outcome(AttemptClass.COMMAND_FAILED)
HOUR = 3600.0


class Runs(Protocol):
    def __call__(self, run_id: str, **keys: Any) -> Run: ...


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made: list[Run] = []

    def make(run_id: str, **keys: Any) -> Run:
        made.append(Run(tmp_path, run_id, **keys))
        return made[-1]

    yield make
    arm(None)
    for run in made:
        run.close()


def rewrite(run: Run, **changes: Any) -> None:
    """The record as if it had come to that."""
    known = run.record()
    assert known is not None
    TokenFiles(run.home).record_path(TOKEN).write_bytes(encode_record(msgspec.structs.replace(known, **changes)))


def kinds(told: list[Told]) -> list[type]:
    return [type(each) for each in told]


def granted(answer: object) -> Granted:
    assert isinstance(answer, Granted), answer
    return answer


def killed_while_it_runs(runs: Runs, **keys: Any) -> Run:
    """The run `a`, whose worker has begun port:0; the supervisor is dead, the worker lives."""
    a = runs("a")
    worker = a.worker()
    a.takes(**keys)
    worker.begins(a.mark())
    a.dies()
    return a


# One run.


def test_items_of_one_run_with_one_token_share_the_outcome_of_the_first(runs: Runs) -> None:
    run = runs("a")
    run.takes(0)
    for number in (3, 1, 2):
        run.joins(number)
    done = outcome()
    run.ends(0, done)
    assert run.desk.poll(time.monotonic()) == [SharedWith(((0, 1), (0, 2), (0, 3)), done, True, "a/port:0")]


def test_what_is_to_be_told_to_items_of_the_same_run_is_due_at_once(runs: Runs) -> None:
    run = runs("a")
    run.takes(0)
    run.joins(1)
    run.desk.settle_item((0, 0), Status.SUCCEEDED, outcome(), None)
    due = run.desk.next_look
    assert due is not None
    assert due <= time.monotonic()


def test_a_duplicate_in_its_run_joins_without_a_lock_and_without_a_look_at_the_disk(runs: Runs, tmp_path: Path) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    other.joins(0)
    (tmp_path / "tokens").rename(tmp_path / "elsewhere")
    assert isinstance(run.desk.ask_this_run(run.asking(1)), Joins)
    assert isinstance(other.desk.ask_this_run(other.asking(1)), Joins)  # one of its run waits already
    assert run.desk.ask_this_run(run.asking(2, token="another")) is None
    assert not (tmp_path / "tokens").exists()


def test_a_failure_is_shared_too(runs: Runs) -> None:
    run = runs("a")
    run.takes(0)
    run.joins(1)
    run.ends(0, FAILED)
    assert run.desk.poll(time.monotonic()) == [SharedWith(((0, 1),), FAILED, False, "a/port:0")]


def test_who_asks_after_a_failure_of_this_run_does_the_work_himself(runs: Runs) -> None:
    run = runs("a")
    run.takes(0)
    run.ends(0, FAILED)
    assert granted(run.ask(1)).promotions == 0


def test_a_joiner_that_is_cancelled_harms_nobody(runs: Runs) -> None:
    run = runs("a")
    run.takes(0)
    run.joins(1)
    run.joins(2)
    run.desk.settle_item((0, 1), Status.CANCELLED, None, None)
    run.ends(0)
    (told,) = run.desk.poll(time.monotonic())
    assert isinstance(told, SharedWith)
    assert told.items == ((0, 2),)


def test_another_payload_for_a_token_in_flight_is_refused_and_both_are_named(runs: Runs) -> None:
    run = runs("a")
    run.takes(0)
    answer = run.ask(1, payload="other")
    assert isinstance(answer, Refused)
    assert "a/port:0 has p, this item has other" in answer.message


def test_run_anyway_runs_beside_it_and_leaves_the_record_alone(runs: Runs) -> None:
    run = runs("a")
    run.takes(0)
    before = run.record()
    assert isinstance(run.ask(1, if_running="run_anyway"), Unregistered)
    assert run.record() == before


def test_through_a_backoff_the_token_stays_reserved_and_holds_no_lock(runs: Runs, tmp_path: Path) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    run.ends(0, FAILED, Status.WAITING)
    other.joins(0)
    with LockOf(tmp_path):  # the lock itself is free
        assert run.desk.reserved_items() == [ITEM]
    granted(run.ask(0))
    run.begins(0, attempt=2, sequence=1)
    done = outcome()
    run.ends(0, done)
    assert other.hears() == [SharedWith((ITEM,), done, True, "a/port:0")]


def test_who_asks_for_its_own_token_while_somebody_looks_at_it_keeps_it(runs: Runs, tmp_path: Path) -> None:
    """It is told to wait, the loop says so to the desk, and a duplicate of the same run waits beside it."""
    run = runs("a")
    run.takes(0)
    run.joins(1)
    run.ends(0, FAILED, Status.WAITING)
    with LockOf(tmp_path):
        run.joins(0)
        run.ends(0, FAILED, Status.WAITING)
    assert TryAgain((ITEM,)) in run.hears()
    assert isinstance(run.ask(0), Granted)


def test_an_item_that_is_not_started_after_all_gives_its_token_back(runs: Runs) -> None:
    run, other = runs("a"), runs("b")
    granted(run.ask(0))
    run.desk.give_back(ITEM)
    assert run.record() is None
    granted(other.ask(0))


def test_an_item_is_cancelled_for_the_one_that_replaces_it(runs: Runs) -> None:
    run = runs("a")
    run.takes(0)
    run.joins(1, if_running="replace", payload="other")
    assert run.desk.poll(time.monotonic()) == [ReplaceAsked((0, 0), "a/port:1")]
    run.ends(0, status=Status.CANCELLED, by="a/port:1")
    assert run.desk.poll(time.monotonic()) == [TryAgain(((0, 1),))]
    run.desk.take_in(run.desk.filenos()[0])
    granted(run.ask(1, if_running="replace", payload="other"))


def test_to_replace_is_no_promotion_however_often(runs: Runs) -> None:
    run = runs("a")
    run.takes(0)
    for number in range(1, 6):
        run.joins(number, if_running="replace")
        run.desk.poll(time.monotonic())
        run.ends(number - 1, status=Status.CANCELLED, by=f"a/port:{number}")
        assert run.desk.poll(time.monotonic()) == [TryAgain(((0, number),))]
        assert granted(run.ask(number, if_running="replace")).promotions == 0
        run.begins(number)


def test_who_could_not_ask_for_a_replacement_asks_again(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def no_room(_: str, argv: list[str], *__: object, **___: object) -> None:
        asked.append(argv)
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    runs("a").takes(0)
    other = runs("b")
    monkeypatch.setattr("os.posix_spawn", no_room)
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            other.ask(0, if_running="replace")
    assert len(asked) == 2
    assert asked[0][-4:] == ["a", "port:0", "--replaced-by", "b/port:0"]


def test_a_holder_that_did_not_hear_that_it_is_replaced_is_told_again(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its supervisor died before it answered, or another had just taken its run."""
    runs("a").takes(0)
    other = runs("b")
    witness, command = tmp_path / "witness", tmp_path / "orchestrate"
    command.write_text(f"#!/bin/sh\necho asked >> {witness}\ntest $(wc -l < {witness}) -ge 2\n")
    command.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(command))
    other.joins(0, if_running="replace")
    wait_until(lambda: other.hears() == [TryAgain((ITEM,))], "the command has failed")
    other.joins(0, if_running="replace")
    wait_until(lambda: witness.read_text() == "asked\nasked\n", "it is asked again")
    wait_until(lambda: not other.desk._cancels.reap_commands(), "the command has ended")
    assert other.hears() == []  # it was heard now, and the item waits
    assert [names for names, _, _ in other.desk.waits()] == [{ITEM: "port:0"}]


def test_a_run_that_ends_waits_for_no_command_that_it_gave(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs("a").takes(0)
    other = runs("b")
    fifo, command = tmp_path / "fifo", tmp_path / "orchestrate"
    os.mkfifo(fifo)
    command.write_text(f"#!/bin/sh\necho $$ $* > {fifo}\nexec sleep 30\n")
    command.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(command))
    other.joins(0, if_running="replace")
    pid, *argv = fifo.read_text().split()
    assert argv[-4:] == ["a", "port:0", "--replaced-by", "b/port:0"]
    other.close()
    assert is_living(int(pid))
    os.kill(int(pid), signal.SIGKILL)
    os.waitpid(int(pid), 0)


# Between runs.


def test_a_joiner_of_another_run_shares_what_was_published(runs: Runs) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    other.joins(0)
    done = outcome()
    run.ends(0, done)
    assert other.hears() == [SharedWith((ITEM,), done, True, "a/port:0")]
    assert other.kept == [ITEM]


@pytest.mark.parametrize(("ttl", "expected"), [(HOUR, Shared), (0.0, Granted)])
def test_what_is_done_is_replayed_within_the_askers_ttl(runs: Runs, ttl: float, expected: type) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    run.ends(0)
    assert isinstance(other.ask(0, token_ttl=ttl), expected)


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_a_clock_that_is_set_an_hour_loses_no_wait_and_no_replay(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    run, waiting, late = runs("a"), runs("b"), runs("c")
    run.takes(0)
    waiting.joins(0)
    waiting.hears()
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(jump * 1e9))
    run.ends(0)
    assert kinds(waiting.hears(0.5)) == [SharedWith]
    assert isinstance(late.ask(0, token_ttl=60.0), Shared)


def test_an_outcome_whose_output_is_gone_is_not_replayed(runs: Runs) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    run.ends(0)
    other.can_keep = False
    granted(other.ask(0, token_ttl=HOUR))


def test_a_joiner_whose_copy_of_the_output_failed_may_do_the_work(runs: Runs) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    other.joins(0)
    run.ends(0)
    other.can_keep = False
    assert other.hears() == [TryAgain((ITEM,))]
    granted(other.ask(0))


def test_a_fresh_run_does_the_work_again_and_still_joins_work_in_flight(runs: Runs) -> None:
    run, fresh = runs("a"), runs("b", is_fresh=True)
    run.takes(0)
    fresh.joins(0)
    fresh.desk.settle_item(ITEM, Status.CANCELLED, None, None)
    run.ends(0)
    granted(fresh.ask(0, token_ttl=HOUR))


@pytest.mark.parametrize("is_in_history", [True, False])
def test_items_of_one_run_share_its_outcome_and_an_item_that_runs_again_does_not_share_its_own(
    runs: Runs, is_in_history: bool
) -> None:
    run = runs("a")
    run.takes(0)
    run.ends(0)
    if is_in_history:
        run.done[TOKEN] = DoneHere("port:0", "p", outcome())
    for if_done in ("replay", "rerun", "reject"):
        shared = run.ask(1, if_done=if_done)
        assert isinstance(shared, Shared)
        assert shared.deduped_from == "a/port:0"
    granted(run.ask(0, token_ttl=HOUR, if_done="reject"))


def test_a_token_that_an_ancestor_holds_is_refused_at_once(runs: Runs) -> None:
    run = runs("a")
    run.takes(0)
    nested = runs("b", ancestors=(run.mark(0),))
    answer = nested.ask(0)
    assert isinstance(answer, Refused)
    assert "a/port:0, in which this item runs" in answer.message
    next_attempt = runs("c", ancestors=(run.mark(0, attempt=2),))
    assert isinstance(next_attempt.ask(0), Refused)


def test_joiners_of_one_that_was_replaced_join_the_replacer_or_fail_by_their_payload(runs: Runs) -> None:
    run, other, same, different = runs("a"), runs("b"), runs("c"), runs("d")
    run.takes(0)
    same.joins(0)
    different.joins(0)
    run.ends(0, status=Status.CANCELLED, by="b/port:0")
    for joiner in (same, different):
        assert kinds(joiner.hears()) == [TryAgain]
        assert "kept for b/port:0" in joiner.joins(0).words
    other.takes(0, payload="new", if_running="replace")
    told = [*same.hears(), *different.hears()]
    assert kinds(told) == [RefusedAll, RefusedAll]
    assert all(isinstance(each, RefusedAll) and "b/port:0 has new, this item has p" in each.message for each in told)


def test_of_many_joiners_of_lost_work_one_is_asked_and_the_others_wait_for_it(runs: Runs) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    for number in range(3):
        other.joins(number)
    run.ends(0, status=Status.CANCELLED)
    assert other.hears() == [TryAgain((ITEM,))]
    assert granted(other.ask(0)).promotions == 1
    other.begins(0)
    assert other.hears() == []
    done = outcome()
    other.ends(0, done)
    assert other.hears() == [SharedWith(((0, 1), (0, 2)), done, True, "b/port:0")]


def test_work_that_is_lost_four_times_in_a_row_fails_for_everybody(runs: Runs) -> None:
    waiting = [runs(f"w{number}") for number in range(6)]
    holder = runs("a")
    holder.takes(0)
    for run in waiting:
        run.joins(0)
    for promotions in range(1, 4):
        holder.ends(0, status=Status.INTERRUPTED)
        holder, waiting = waiting[0], waiting[1:]
        assert kinds(holder.hears()) == [TryAgain]
        assert granted(holder.ask(0)).promotions == promotions
        holder.begins(0)
        assert [told for run in waiting for told in run.hears()] == []
    holder.ends(0, status=Status.INTERRUPTED)
    first, *others = waiting
    assert kinds(first.hears()) == [TryAgain]
    answer = first.ask(0)
    assert isinstance(answer, Refused)
    assert "lost 4 times in a row" in answer.message
    for run in others:
        (told,) = run.hears()
        assert isinstance(told, SharedWith)
        assert not told.is_success
        assert "lost 4 times in a row" in told.outcome.message
    assert granted(runs("fresh").ask(0)).promotions == 0


def test_work_that_began_and_was_lost_between_two_looks_counts_for_who_waited(runs: Runs) -> None:
    first, second, waiting = runs("a"), runs("b"), runs("c")
    first.takes(0)
    waiting.joins(0)
    first.ends(0, status=Status.CANCELLED)
    second.takes(0)
    second.ends(0, status=Status.CANCELLED)
    rewrite(second, promotions=2)
    assert waiting.hears() == [TryAgain((ITEM,))]
    assert granted(waiting.ask(0)).promotions == 3


def test_a_lock_that_was_only_looked_at_makes_nobody_an_heir(runs: Runs, tmp_path: Path) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    run.ends(0, status=Status.CANCELLED)
    rewrite(run, promotions=3)
    with LockOf(tmp_path):
        other.joins(0)
    assert other.hears() == [TryAgain((ITEM,))]
    assert granted(other.ask(0)).promotions == 0


@pytest.mark.parametrize("taker", ["another run", "the same run"])
def test_who_met_a_token_that_was_just_being_taken_gets_his_own_answer_once_it_is(runs: Runs, taker: str) -> None:
    """Between the lock and the record of who has it nobody can tell whom to refuse, to replace, or to run beside."""
    run, other = runs("a"), runs("b")
    granted(run.ask(0))
    for number, if_running in enumerate(("join", "reject", "run_anyway", "replace"), 1):
        other.joins(number, if_running=if_running)
    other.joins(5, payload="other")
    if taker == "the same run":
        run.desk.give_back(ITEM)
        granted(other.ask(0))
        other.begins(0)
    else:
        run.begins(0)
    told = other.hears()
    assert kinds(told) == [RefusedAll, TryAgain, TryAgain, TryAgain]
    assert [each.items for each in told if isinstance(each, TryAgain)] == [((0, 2),), ((0, 3),), ((0, 4),)]
    assert isinstance(other.ask(2, if_running="reject"), Refused)
    assert isinstance(other.ask(3, if_running="run_anyway"), Unregistered)
    assert other.hears() == []  # the others wait


# After kills.


def test_the_outcome_in_the_log_of_a_dead_worker_is_shared_and_not_paid_twice(runs: Runs) -> None:
    run = killed_while_it_runs(runs)
    other, third = runs("b"), runs("c")
    other.joins(0)
    third.joins(0)
    done = outcome()
    run.workers[0].ends(done)
    run.workers[0].die()
    assert other.hears() == [TryAgain((ITEM,))]
    assert other.ask(0) == Shared(done, True, "a/port:0")
    assert third.hears() == [SharedWith((ITEM,), done, True, "a/port:0")]


def test_who_asked_while_another_took_the_outcome_from_the_log_shares_it(runs: Runs, tmp_path: Path) -> None:
    run = killed_while_it_runs(runs)
    other, third = runs("b"), runs("c")
    other.joins(0)
    third.joins(0)
    run.workers[0].ends(outcome())
    run.workers[0].die()
    other.hears()
    assert third.hears() == [TryAgain((ITEM,))]
    assert isinstance(other.ask(0), Shared)
    with LockOf(tmp_path):
        third.joins(0)
    assert kinds(third.hears()) == [SharedWith]


def test_the_outcome_in_the_journal_of_a_dead_run_is_shared(runs: Runs) -> None:
    run = killed_while_it_runs(runs)
    done = outcome()
    run.workers[0].die()
    run.records(
        started(0),
        AttemptEnded(job="port", index=0, attempt=1, status=Status.SUCCEEDED, outcome=done, payload="p", token=TOKEN),
    )
    assert runs("b").ask(0, token_ttl=HOUR) == Shared(done, True, "a/port:0")


def test_another_tokens_success_in_the_journal_is_not_this_ones(runs: Runs) -> None:
    run = killed_while_it_runs(runs)
    run.workers[0].ends(FAILED)
    run.workers[0].die()
    end = AttemptEnded(job="port", index=0, attempt=2, status=Status.SUCCEEDED, outcome=outcome(), payload="p", token="other")
    run.records(started(0), end)
    granted(runs("b").ask(0, token_ttl=HOUR))


def test_a_failure_that_was_left_is_no_verdict(runs: Runs) -> None:
    run = killed_while_it_runs(runs)
    run.workers[0].ends(FAILED)
    run.workers[0].die()
    granted(runs("b").ask(0))


def test_an_output_that_no_supervisor_has_read_is_read_before_it_counts(runs: Runs) -> None:
    run = killed_while_it_runs(runs, output="json")
    run.workers[0].ends(outcome(said="no json"))
    run.workers[0].die()
    granted(runs("b").ask(0, output="json", token_ttl=HOUR))


@pytest.mark.parametrize(("answer", "fits"), [('{"area": 3}', True), ('{"area": "three"}', False), ("no JSON", False)])
def test_an_answer_that_no_supervisor_has_read_counts_only_if_it_fits_its_schema(runs: Runs, answer: str, fits: bool) -> None:
    schema = json.dumps({"type": "object", "properties": {"area": {"type": "number"}}})
    keys: dict[str, Any] = {"output": "json", "answer_schema": schema, "token_ttl": HOUR}
    run = killed_while_it_runs(runs, **keys)
    run.workers[0].ends(outcome(said=answer))
    run.workers[0].die()
    assert isinstance(runs("b").ask(0, **keys), Shared if fits else Granted)


def test_a_schema_that_cannot_be_read_any_more_fits_nothing(runs: Runs) -> None:
    run = killed_while_it_runs(runs, output="json", answer_schema='{"type": 7}')
    run.workers[0].ends(outcome(said="1"))
    run.workers[0].die()
    granted(runs("b").ask(0, output="json", token_ttl=HOUR))


def test_a_round_that_no_supervisor_has_read_is_not_the_end_of_its_loop(runs: Runs) -> None:
    loop = Repeat(condition=Template("false", "value"), is_until=True)
    run = killed_while_it_runs(runs, repeat=loop)
    run.workers[0].ends(outcome(said="round 1 of 3"))
    run.workers[0].die()
    granted(runs("b").ask(0, repeat=loop, token_ttl=HOUR))


def test_an_attempt_that_got_the_same_sequence_after_a_kill_is_not_the_holders(runs: Runs) -> None:
    """Killed between the record of the token and the journal: the next session gives out worker and sequence once more."""
    run = runs("a")
    run.takes(0)
    run.dies()
    again = runs("a")
    again.worker().begins(again.mark(9))
    granted(runs("b").ask(0))


def test_nothing_of_who_takes_a_token_over_is_ended_for_the_attempt_that_never_began(runs: Runs) -> None:
    """The next session gives its first attempt the same mark; until it has written the record, that names the dead."""
    run, other = runs("a"), runs("b")
    run.takes(0)
    run.dies()
    again = runs("a")
    granted(again.ask(0))
    with subprocess.Popen(["sleep", "60"], env={**os.environ, MARK_VARIABLE: again.mark()}, start_new_session=True) as agent:
        other.joins(0)
        other.close()  # waits for what it ends
        assert agent.poll() is None
        agent.kill()


def test_the_outcome_of_another_attempt_with_the_same_sequence_is_never_shared(runs: Runs) -> None:
    run = runs("a")
    run.takes(0)
    run.dies()
    again = runs("a")
    worker = again.worker()
    worker.begins(again.mark(9))
    worker.ends(outcome(said="of another item"))
    worker.die()
    granted(runs("b").ask(0, token_ttl=HOUR))


def test_a_worker_that_is_past_the_start_that_never_came_is_no_holder(runs: Runs) -> None:
    run = runs("a")
    run.takes(0)
    run.dies()
    worker = runs("a").worker()
    worker.begins("a.n/port:9/1", sequence=1)
    granted(runs("b").ask(0))


def test_a_start_that_may_be_on_its_way_to_a_living_worker_is_waited_for(runs: Runs) -> None:
    run = runs("a")
    worker = run.worker()
    run.takes(0)
    run.dies()
    other = runs("b")
    other.joins(0)
    worker.die()
    assert other.hears() == [TryAgain((ITEM,))]
    assert granted(other.ask(0)).promotions == 1


def test_a_dead_holders_run_may_have_been_removed(runs: Runs) -> None:
    run = runs("a")
    run.takes(0)
    run.dies()
    shutil.rmtree(run.run_dir.path)
    granted(runs("b").ask(0))


def test_a_record_that_a_power_loss_emptied_stops_nobody(runs: Runs, tmp_path: Path) -> None:
    run = runs("a")
    run.takes(0)
    run.dies()
    TokenFiles(tmp_path).record_path(TOKEN).write_bytes(b"")
    granted(runs("b").ask(0))


def test_a_holder_of_an_earlier_boot_is_dead_whatever_lives_with_its_pid(runs: Runs) -> None:
    run = runs("a")
    granted(run.ask(0))
    run.begins(0)
    known = run.record()
    assert known is not None
    rewrite(run, holder=msgspec.structs.replace(known.holder, boot_id="an earlier boot"))
    run.dies()
    runs("a")
    granted(runs("b").ask(0))


@pytest.mark.parametrize("what", ["removed", "replaced", "with a pid in it"])
def test_a_lock_file_that_somebody_meddled_with_lets_nobody_start_beside_a_living_holder(
    runs: Runs, tmp_path: Path, what: str
) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    path = TokenFiles(tmp_path).lock_path(TOKEN)
    if what == "with a pid in it":
        path.write_text("1\n")
    else:
        path.unlink()
        if what == "replaced":
            path.touch()
    other.joins(0)
    assert other.hears() == []
    done = outcome()
    run.ends(0, done)
    assert other.hears() == [SharedWith((ITEM,), done, True, "a/port:0")]


# A resumed run.


def test_a_resumed_run_publishes_what_an_adopted_attempt_came_to(runs: Runs) -> None:
    run = killed_while_it_runs(runs)
    other = runs("b")
    other.joins(0)
    again = runs("a")
    again.adopts()
    assert other.hears() == []
    done = outcome()
    run.workers[0].ends(done)
    run.workers[0].die()
    again.ends(0, done)
    assert other.hears() == [SharedWith((ITEM,), done, True, "a/port:0")]


def test_an_adopted_item_keeps_its_token_through_its_backoff(runs: Runs) -> None:
    run = killed_while_it_runs(runs)
    again = runs("a")
    again.adopts()
    assert again.desk.reserved_items() == []  # it runs
    run.workers[0].ends(FAILED)
    run.workers[0].die()
    again.ends(0, FAILED, Status.WAITING)
    assert again.desk.reserved_items() == [ITEM]
    other = runs("b")
    other.joins(0)
    assert other.hears() == []
    granted(again.ask(0))


def test_an_adopted_item_whose_token_was_taken_over_meanwhile_joins_and_hears(runs: Runs) -> None:
    run = killed_while_it_runs(runs)
    again = runs("a")
    again.adopts()
    run.workers[0].ends(FAILED)
    run.workers[0].die()
    other = runs("b")
    other.takes(0)
    again.ends(0, FAILED, Status.WAITING)
    again.joins(0)
    done = outcome()
    other.ends(0, done)
    assert again.hears() == [SharedWith((ITEM,), done, True, "b/port:0")]


@pytest.mark.parametrize(("verdict", "status"), [(outcome(), Status.SUCCEEDED), (FAILED, Status.FAILED)])
def test_a_verdict_whose_lock_somebody_keeps_is_told_by_who_takes_the_token_over(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: Outcome, status: Status
) -> None:
    monkeypatch.setattr(publications, "FINISH_SECONDS", 0.05)
    run = killed_while_it_runs(runs)
    again, other = runs("a"), runs("b")
    again.adopts()
    other.joins(0)
    run.workers[0].die()
    with LockOf(tmp_path):
        again.desk.settle_item(ITEM, status, verdict, None)
        (note,) = again.desk.finish_publishing()
        assert f"port:0: what came of it is not published, for process {os.getpid()} keeps the lock" in note
        again.records(
            started(0), AttemptEnded(job="port", index=0, attempt=1, status=status, outcome=verdict, payload="p", token=TOKEN)
        )
        again.dies()
    assert other.hears() == [TryAgain((ITEM,))]
    assert other.ask(0) == Shared(verdict, status is Status.SUCCEEDED, "a/port:0")


def test_a_failure_after_which_an_item_was_to_try_again_is_no_verdict(runs: Runs) -> None:
    run = killed_while_it_runs(runs)
    other = runs("b")
    other.joins(0)
    run.workers[0].ends(FAILED)
    run.workers[0].die()
    end = AttemptEnded(job="port", index=0, attempt=1, status=Status.WAITING, outcome=FAILED, payload="p", token=TOKEN)
    run.records(started(0), end)
    other.hears()
    assert granted(other.ask(0)).promotions == 1


def test_an_earlier_attempts_failure_is_no_verdict_on_the_one_that_was_killed(runs: Runs) -> None:
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


def test_what_somebody_else_published_meanwhile_is_not_overwritten(runs: Runs) -> None:
    run = killed_while_it_runs(runs)
    again = runs("a")
    again.adopts()
    run.workers[0].ends(FAILED)
    run.workers[0].die()
    other = runs("b")
    other.takes(0)
    other.ends(0)
    published = other.record()
    again.ends(0, FAILED)
    assert again.record() == published


# Trouble with the disk and the machine.


def test_where_locks_do_not_work_the_run_says_so(runs: Runs) -> None:
    run = runs("a")
    arm("lock.taking:1:ENOLCK")
    with pytest.raises(StateUnwritableError, match="cannot be locked"):
        run.ask(0)


def test_a_machine_without_room_is_the_callers_to_retry(runs: Runs) -> None:
    run = runs("a")
    arm("lock.taking:1:EMFILE")
    with pytest.raises(OSError, match="Too many open files"):
        run.ask(0)
    arm(None)
    granted(run.ask(0))


def test_a_shortage_while_it_looks_delays_a_publication_and_loses_none(runs: Runs) -> None:
    run = killed_while_it_runs(runs)
    again = runs("a")
    again.adopts()
    run.workers[0].ends(outcome())
    run.workers[0].die()
    arm("lock.taking:1:EMFILE")
    again.desk.settle_item(ITEM, Status.SUCCEEDED, outcome(), None)
    again.hears()
    arm(None)
    again.hears()
    again.desk.finish_publishing()
    known = again.record()
    assert known is not None
    assert known.state == "done"


def test_a_verdict_that_cannot_be_published_is_told_and_the_lock_stays(runs: Runs) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    arm("token.publishing:1:ENOSPC")
    run.desk.settle_item(ITEM, Status.SUCCEEDED, outcome(), None)
    with pytest.raises(StateUnwritableError, match="No space left") as raised:
        run.desk.finish_publishing()
    assert "free some space" in raised.value.hint
    known = run.record()
    assert known is not None
    assert known.state == "held"
    other.joins(0)


def test_at_the_end_everything_is_let_go(runs: Runs, tmp_path: Path) -> None:
    run = runs("a")
    for number in range(20):
        run.takes(number, token=f"t{number}")
        run.joins(number + 100, token=f"t{number}")
    for number in range(20):
        run.desk.settle_item((0, number), Status.SUCCEEDED, outcome(), None)
    run.desk.finish_publishing()
    told = run.desk.poll(time.monotonic())
    assert sum(len(each.items) for each in told if isinstance(each, SharedWith)) == 20
    assert not any(run.desk.knows((0, number)) for number in [*range(20), *range(100, 120)])
    for number in range(20):
        with LockOf(tmp_path, f"t{number}"):
            known = run.record(f"t{number}")
            assert known is not None
            assert known.state == "done"
    run.desk.poll(time.monotonic() + 60)
    assert run.desk.next_look is None
