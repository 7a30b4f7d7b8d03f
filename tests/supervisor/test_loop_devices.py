"""The slot and the device of an item, as its templates know them: by the real loop, on an engine without a process."""

from __future__ import annotations

from drivers.loop_stories import AbandonedError, LoopStories, fan_out
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.store.records import Started

PLACED = "env = { AT = '{{ slot }}/{{ device }}' }\ndevices = [4, 7]"


def test_an_item_knows_its_slot_and_its_device_and_is_the_same_work_in_any(stories: LoopStories) -> None:
    at: dict[str, str | None] = {}

    def leaving(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a:0", "a:1")
        at.update({item: engine.world.message(item).env["AT"] for item in ("a:0", "a:1")})
        engine.ok("a:0")
        yield from engine.until_running("a:1", "a:2")
        at["a:2"] = engine.world.message("a:2").env["AT"]
        raise AbandonedError

    def resumed(engine: MemoryEngine) -> Step:
        # What runs on keeps its device: the next item gets the one that is freed first.
        yield
        engine.ok("a:2")
        yield from engine.until_running("a:1", "a:3")
        at["a:3"] = engine.world.message("a:3").env["AT"]
        engine.ok("a:1")
        engine.ok("a:3")

    stories.abandon(fan_out(4, PLACED), leaving, slots=3)
    assert stories.resume(resumed, slots=3).exit_code == 0
    assert at == {"a:0": "0/4", "a:1": "1/7", "a:2": "0/4", "a:3": "0/4"}
    starts = [record for record in stories.records if isinstance(record, Started)]
    assert [start.device for start in starts] == ["4", "7", "4", "4"]
    assert len({start.payload for start in starts}) == 1
