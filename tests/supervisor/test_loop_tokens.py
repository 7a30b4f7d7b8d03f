"""What a run makes of the answers of its token desk, by the real loop, store and desk: on an engine without a process."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import pytest
from drivers.loop_stories import LoopStories, fan_out, one
from drivers.memory_engine import MemoryEngine, Step
from drivers.token_driver import ITEM, Run, granted

from orchestrator.control.messages import CancelRequest, StopRequest
from orchestrator.core.tokens import PROMOTIONS_ALLOWED
from orchestrator.errors import UserError
from orchestrator.reading.item_result import item_results
from orchestrator.reading.run_reader import RunReader
from orchestrator.runs import launch
from orchestrator.shared.nesting import inside
from orchestrator.shared.tokens.answers import TryAgain
from orchestrator.shared.tokens.record import TokenFiles

SHIP = "token = 'ship'\n"
GO_ON = "continue_on_error = true\n"


@pytest.fixture(autouse=True)
def nothing_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop turns all the time while a story waits, and only so often: neither a look nor the disk may take its time.

    That a verdict is durable before it is told is asked of the publisher (`tests/shared/test_token_publisher.py`).
    """
    monkeypatch.setattr("orchestrator.shared.tokens.desk.LOOK_SECONDS", 0.001)
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda _fd: None)


def results(stories: LoopStories, *fields: str) -> list[tuple[object, ...]]:
    """These fields of the result of each item."""
    return [tuple(result[field] for field in fields) for result in item_results(RunReader.read(stories.run_dir))]


def until(stories: LoopStories, job: str, statuses: Sequence[str]) -> Step:
    """Let the loop turn until so much is recorded of a job's items: also a story's last step, or one would hang that errs."""
    while stories.statuses(job) != list(statuses):
        yield


def shared_with(holder: str, output: str = "done") -> tuple[object, ...]:
    """Status, output, `deduped_from` and attempts of an item that made none."""
    return ("succeeded", output, holder, 0)


def shares(stories: LoopStories) -> list[tuple[object, ...]]:
    return results(stories, "status", "output", "deduped_from", "attempts")


# Joining.


def test_64_duplicates_start_once_and_take_no_slot_from_the_items_behind_them(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        for other in ("b:0", "b:1", "b:2"):
            yield from engine.until_running("a:0", other)
            engine.ok(other)
        yield from until(stories, "a", ["running", *["waiting"] * 63])
        engine.ok("a:0", "done")
        yield from until(stories, "a", ["succeeded"] * 64)

    assert stories.run(fan_out(64, SHIP) + fan_out(3, job="b"), story).exit_code == 0
    assert stories.world.started == ["a:0", "b:0", "b:1", "b:2"]
    assert shares(stories)[:64] == [("succeeded", "done", None, 1), *[shared_with("r/a:0")] * 63]


def test_duplicates_queued_before_the_first_of_them_has_a_slot_start_once(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("b")
        yield from until(stories, "a", ["pending"] * 8)
        engine.ok("b")
        yield from engine.until_running("a:0")
        engine.ok("a:0", "done")
        yield from until(stories, "a", ["succeeded"] * 8)

    assert stories.run(one("b") + fan_out(8, SHIP), story, slots=1).exit_code == 0
    assert stories.world.started == ["b", "a:0"]
    assert shares(stories)[2:] == [shared_with("r/a:0")] * 7


def test_a_failure_is_shared_with_its_exit_code_and_nobody_tries_it_again(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a:0")
        engine.fail("a:0", 7)
        yield from until(stories, "a", ["failed"] * 6)

    assert stories.run(fan_out(6, SHIP + GO_ON), story, slots=3).exit_code == 1
    assert results(stories, "status", "exit_code") == [("failed", 7)] * 6
    assert stories.world.started == ["a:0"]


def test_one_that_joins_waits_through_the_backoffs_of_the_other(stories: LoopStories) -> None:
    """And the other does not wait for itself, as one of those who ask for a token that is in flight."""

    def story(engine: MemoryEngine) -> Step:
        for _ in range(2):
            yield from engine.until_running("a:0")
            engine.fail("a:0")
            yield
        yield from engine.until_running("a:0")
        engine.ok("a:0", "done")
        yield from until(stories, "a", ["succeeded"] * 2)

    assert stories.run(fan_out(2, f"{SHIP}attempts = 3\nretry = {{ delay = '0s' }}"), story).exit_code == 0
    assert stories.world.started == ["a:0"] * 3
    assert shares(stories)[1] == shared_with("r/a:0")


@pytest.mark.parametrize("if_done", ["replay", "rerun", "reject"])
def test_what_a_run_has_done_is_shared_in_it_always(stories: LoopStories, if_done: str) -> None:
    """With a time to live of 0, in a fresh run, whatever the item says of what is done."""

    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a")
        engine.ok("a", "done")
        yield from until(stories, "b", ["succeeded"])

    text = one("a", SHIP) + one("b", f"{SHIP}needs = ['a']\nif_done = '{if_done}'")
    assert stories.run(text, story, fresh=True).exit_code == 0
    assert stories.world.started == ["a"]
    assert shares(stories)[1] == shared_with("r/a")


# What a job chooses about work in flight.


def test_other_work_under_a_token_in_flight_fails_and_both_are_named(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a:0")
        yield from until(stories, "a", ["running", "failed", "waiting"])
        engine.ok("a:0", "done")
        yield from until(stories, "a", ["succeeded", "failed", "succeeded"])

    text = f"[jobs.a]\nfor_each = ['x', 'y', 'x']\ncommand = ['work', '{{{{ item }}}}']\n{SHIP}{GO_ON}"
    assert stories.run(text, story).exit_code == 1
    assert stories.world.started == ["a:0"]
    assert shares(stories)[1:] == [("failed", None, None, 0), shared_with("r/a:0")]
    (_, (words,), _) = results(stories, "error")
    assert "token 'ship' is in flight with another payload: r/a:0 has " in str(words)
    assert len(set(re.findall("[0-9a-f]{16}", str(words)))) == 2


def test_who_runs_anyway_runs_beside_the_holder_and_what_it_comes_to_is_nobodys(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a", "b")
        yield from until(stories, "c", ["waiting"])
        engine.ok("b", "beside")
        yield from until(stories, "b", ["succeeded"])
        engine.ok("a", "done")
        yield from until(stories, "c", ["succeeded"])

    text = one("a", SHIP) + one("b", f"{SHIP}if_running = 'run_anyway'") + one("c", SHIP)
    assert stories.run(text, story, slots=3).exit_code == 0
    assert shares(stories) == [("succeeded", "done", None, 1), ("succeeded", "beside", None, 1), shared_with("r/a")]


@pytest.mark.parametrize("is_backoff", [False, True], ids=["runs", "waits for its next attempt"])
def test_the_holder_is_cancelled_for_one_of_its_run_that_replaces_it(stories: LoopStories, is_backoff: bool) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a", "c")
        if is_backoff:
            engine.fail("a")
            yield from until(stories, "a", ["waiting"])
        engine.ok("c")
        yield from engine.until_running("b")
        engine.ok("b", "later")

    again = f"{SHIP}{GO_ON}attempts = 2\nretry = {{ delay = '1h', max_delay = '1h' }}"
    text = one("a", again) + one("b", f"{SHIP}needs = ['c']\nif_running = 'replace'") + one("c")
    assert stories.run(text, story).exit_code == 1
    assert results(stories, "status", "replaced_by")[0] == ("cancelled", "r/b")
    assert results(stories, "status", "output", "promoted")[1] == ("succeeded", "later", False)
    assert stories.world.started == ["a", "c", "b"]


def test_an_item_cancels_nothing_for_a_token_that_this_does_not_hold(
    stories: LoopStories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor of a run that is nested in an item may cancel for a token, and for nothing else."""
    monkeypatch.setattr("orchestrator.supervisor.requests.may_steer", lambda _requester: False)

    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a", "c")
        yield from until(stories, "b", ["waiting"])
        for job in ("b", "c", "d"):
            told = yield from stories.ask(CancelRequest([(job, 0)], replaced_by="other/x"))
            assert (told.ok, told.message) == (False, f"run r: {job} has no token that other/x could take")
        assert (yield from stories.ask(CancelRequest([("a", 0)], replaced_by="other/x"))).ok
        yield from until(stories, "a", ["cancelled"])
        yield from engine.until_running("c", "b")
        engine.ok("b")
        engine.ok("c")
        yield from engine.until_running("d")
        engine.ok("d")

    text = one("a", SHIP + GO_ON) + one("b", SHIP) + one("c") + one("d", "needs = ['c']")
    assert stories.run(text, story, slots=4).exit_code == 1
    assert stories.statuses("b") == stories.statuses("c") == stories.statuses("d") == ["succeeded"]


# Work that is lost.


def test_a_cancelled_holder_is_followed_by_one_that_joined_and_the_others_wait_for_that(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a:0")
        yield from until(stories, "a", ["running", *["waiting"] * 3])
        assert (yield from stories.ask(CancelRequest([("a", 0)]))).ok
        yield from engine.until_running("a:1")
        engine.ok("a:1", "done")
        yield from until(stories, "a", ["cancelled", *["succeeded"] * 3])

    assert stories.run(fan_out(4, SHIP + GO_ON), story, slots=4).exit_code == 1
    assert stories.statuses("a") == ["cancelled", *["succeeded"] * 3]
    assert [promoted for (promoted,) in results(stories, "promoted")] == [False, True, False, False]
    assert shares(stories)[2:] == [shared_with("r/a:1")] * 2
    assert stories.world.started == ["a:0", "a:1"]


def test_work_that_is_lost_four_times_in_a_row_fails_for_all_that_wait(stories: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        for number in range(PROMOTIONS_ALLOWED + 1):
            yield from engine.until_running(f"a:{number}")
            yield from until(stories, "a", [*["cancelled"] * number, "running", *["waiting"] * (5 - number)])
            assert (yield from stories.ask(CancelRequest([("a", number)]))).ok
        yield from until(stories, "a", [*["cancelled"] * 4, "failed", "failed"])

    assert stories.run(fan_out(6, SHIP + GO_ON), story).exit_code == 1
    assert stories.world.started == [f"a:{number}" for number in range(PROMOTIONS_ALLOWED + 1)]
    assert stories.statuses("a") == [*["cancelled"] * 4, "failed", "failed"]
    words = [str(error) for (error,) in results(stories, "error")[4:]]
    assert ["lost 4 times in a row" in each for each in words] == [True, True]


def test_a_stopped_holder_leaves_its_work_to_another_run_and_the_waiters_of_its_own_run_to_the_resume(
    stories: LoopStories,
) -> None:
    other = Run(stories.folder / "home", "other")

    def stopped(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a:0")
        yield from until(stories, "a", ["running", "waiting"])
        held = other.record()
        assert held is not None
        other.joins(payload=held.payload)
        assert (yield from stories.ask(StopRequest(now=True))).ok

    def again(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a:0")
        engine.ok("a:0", "done")
        yield from until(stories, "a", ["succeeded"] * 2)

    assert stories.run(fan_out(2, SHIP), stopped).exit_code == 143
    assert stories.statuses("a") == ["interrupted", "interrupted"]
    released = other.record()
    assert released is not None
    assert other.hears() == [TryAgain((ITEM,))]
    assert granted(other.ask(payload=released.payload)).promotions == 1
    other.begins()
    other.ends()
    assert stories.resume(again).exit_code == 0
    assert stories.world.started == ["a:0", "a:0"]
    assert shares(stories)[1] == shared_with("r/a:0")
    other.close()


# In an item of an agent's, which chooses the programs and the environment of what it starts.


def test_what_a_run_of_an_agents_says_that_it_did_is_believed_by_no_other(
    stories: LoopStories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "agents_item_around", lambda: "outer/b:0")

    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a")
        engine.ok("a", "forged")

    assert stories.run(one("a", SHIP), story).exit_code == 0
    files = TokenFiles(stories.folder / "home")
    assert (files.find_record("ship"), files.find_record("inside outer/b:0: ship") is None) == (None, False)
    # It goes on with its own, and with no other.
    for around, is_own in (("outer/b:0", True), ("outer/c", False), ("", True)):
        monkeypatch.setattr(inside, "agents_item_around", lambda around=around: around)
        if is_own:
            assert stories.resume(lambda _: iter(())).exit_code == 0
        else:
            with pytest.raises(UserError, match="run r was not begun inside of item outer/c"):
                stories.resume(lambda _: iter(()))
