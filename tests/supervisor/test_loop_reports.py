"""What the end report of a session says where other sessions came before: by the real loop, on an engine without a process."""

from __future__ import annotations

from drivers.loop_stories import LoopStories, fan_out
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.views.end_report import EndReport
from orchestrator.views.happenings import RunFinished


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
    assert lines[:2] == ["FAILED a:0 0: failed", "       orchestrate logs r a:0"]
