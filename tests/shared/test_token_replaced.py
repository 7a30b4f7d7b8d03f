"""An item that replaces the holder of its token: the holder's item is cancelled, and who joined that one hears of it."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest
from drivers.processes import is_living, wait_until
from drivers.token_driver import FAILED, ITEM, DeskRuns, granted, kinds, outcome

from orchestrator.shared.tokens.answers import RefusedAll, ReplaceAsked, SharedWith, TryAgain
from orchestrator.store.records import Status


@pytest.mark.parametrize("is_backoff", [False, True], ids=["runs", "waits for its next attempt"])
def test_an_item_is_cancelled_for_the_one_that_replaces_it(runs: DeskRuns, is_backoff: bool) -> None:
    run = runs("a")
    run.takes(0)
    if is_backoff:
        run.ends(0, FAILED, Status.WAITING)
    run.joins(1, if_running="replace", payload="other")
    assert run.desk.poll(time.monotonic()) == [ReplaceAsked((0, 0), "a/port:1")]
    run.ends(0, status=Status.CANCELLED, by="a/port:1")
    assert run.desk.poll(time.monotonic()) == [TryAgain(((0, 1),))]
    run.desk.take_in(run.desk.filenos()[0])
    granted(run.ask(1, if_running="replace", payload="other"))


def test_to_replace_is_no_promotion_however_often(runs: DeskRuns) -> None:
    run = runs("a")
    run.takes(0)
    for number in range(1, 6):
        run.joins(number, if_running="replace")
        run.desk.poll(time.monotonic())
        run.ends(number - 1, status=Status.CANCELLED, by=f"a/port:{number}")
        assert run.desk.poll(time.monotonic()) == [TryAgain(((0, number),))]
        assert granted(run.ask(number, if_running="replace")).promotions == 0
        run.begins(number)


def test_who_could_not_ask_for_a_replacement_asks_again(runs: DeskRuns, monkeypatch: pytest.MonkeyPatch) -> None:
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
    runs: DeskRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_a_run_that_ends_waits_for_no_command_that_it_gave(
    runs: DeskRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.parametrize("payload", ["p", "new"])
def test_joiners_of_one_that_was_replaced_join_the_replacer_or_fail_by_their_payload(runs: DeskRuns, payload: str) -> None:
    run, other, joiners = runs("a"), runs("b"), [runs("c"), runs("d")]
    run.takes(0)
    for joiner in joiners:
        joiner.joins(0)
    run.ends(0, status=Status.CANCELLED, by="b/port:0")
    for joiner in joiners:
        assert kinds(joiner.hears()) == [TryAgain]
        assert "kept for b/port:0" in joiner.joins(0).words
    other.takes(0, payload=payload, if_running="replace")
    told = [each for joiner in joiners for each in joiner.hears()]
    if payload == "new":
        assert kinds(told) == [RefusedAll, RefusedAll]
        assert all(isinstance(each, RefusedAll) and "b/port:0 has new, this item has p" in each.message for each in told)
        return
    assert told == []
    done = outcome()
    other.ends(0, done)
    for joiner in joiners:
        assert joiner.hears() == [SharedWith((ITEM,), done, True, "b/port:0")]
