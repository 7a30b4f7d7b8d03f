"""What the end report of a session says where other sessions came before: by the real loop, on an engine without a process."""

from __future__ import annotations

from drivers.loop_stories import LoopStories, fan_out, one
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.views.end_report import EndReport
from orchestrator.views.happenings import GateAsked, ItemEnded, ItemStarted, RunFinished


def test_an_item_that_failed_in_an_earlier_session_is_told_by_its_label_and_its_log(stories: LoopStories) -> None:
    """It was called by its number alone, and `why` stood in place of the command for its log."""

    def failing(engine: MemoryEngine) -> Step:
        for item in ("a:0", "a:1"):
            yield from engine.until_running(item)
            engine.fail(item)

    def nothing(_engine: MemoryEngine) -> Step:
        yield

    stories.run(fan_out(2, "continue_on_error = true"), failing, slots=1)
    stories.resume(nothing, keep_failed=True)
    last = stories.heard.told[-1]
    assert isinstance(last, RunFinished)
    lines = list(EndReport("orchestrate").lines(last))
    assert lines[:2] == ["FAILED a:0 0: failed", "       and 1 more"]


def test_a_listener_that_follows_no_items_hears_of_failures_alone_until_a_gate_asks(stories: LoopStories) -> None:
    """A quiet run of a million items makes no happening of each start and each plain success."""
    stories.heard.follows_items = False

    def one_fails(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a:0", "a:1")
        engine.fail("a:0")
        engine.ok("a:1")
        yield from engine.until_running("a:2")
        engine.ok("a:2")

    def told() -> list[str]:
        kinds = (ItemStarted, ItemEnded)
        return [f"{type(each).__name__} {each.item}" for each in stories.heard.told if isinstance(each, kinds)]

    gate = "[jobs.g]\nneeds = ['a']\ngate = 'Go on?'\n[jobs.z]\nneeds = ['g']\ncommand = ['work']\n"
    stories.run(fan_out(3, "continue_on_error = true") + gate, one_fails)
    assert told() == ["ItemEnded a:0"]
    assert any(isinstance(each, GateAsked) for each in stories.heard.told)


def test_a_quiet_run_takes_a_question_back_that_its_item_asks_no_more(stories: LoopStories) -> None:
    """Its child run goes on then, so from the first question on the view hears of each start."""
    stories.heard.follows_items = False

    def asked_and_done(engine: MemoryEngine) -> Step:
        yield from engine.until_running("z")
        engine.ok("z")

    stories.run(one("z") + "[jobs.g]\ngate = 'Go on?'\n", asked_and_done)
    assert [type(each) for each in stories.heard.told if isinstance(each, (GateAsked, ItemEnded))] == [GateAsked, ItemEnded]
