"""A run in which nothing happens: what its supervisor wakes for, counted over the parts that may ask for a look."""

from __future__ import annotations

from drivers.loop_stories import LoopStories, one
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.supervisor.sources import HeldRun


def test_a_run_that_waits_for_one_item_wakes_for_its_own_files_alone(stories: LoopStories) -> None:
    """If this fails, a part asks for a look though it has nothing to look for: have it say None then (`Source.next_look`)."""
    looks: list[tuple[type, float]] = []

    def story(engine: MemoryEngine) -> Step:
        yield  # the turn that has started the item
        sources = stories.loop._parts.inbox._looking
        looks.extend((type(each), each.next_look) for each in sources if each.next_look not in (None, float("inf")))
        engine.ok("a")

    assert stories.run(one("a", 'timeout = "1h"\nmemory = "1GB"'), story).exit_code == 0
    assert [kind for kind, _ in looks] == [HeldRun]
