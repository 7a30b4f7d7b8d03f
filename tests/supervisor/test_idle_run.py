"""A run in which nothing happens: what its supervisor wakes for, counted over the parts that may ask for a look."""

from __future__ import annotations

from pathlib import Path

from drivers.loop_stories import LoopStories, one
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.supervisor.narrator import Narrator
from orchestrator.supervisor.sources import HeldRun, Views
from orchestrator.views.happenings import Happening
from orchestrator.views.listeners import Listeners


class Held:
    """A run, its store and its control socket: nobody has removed anything. `looks`: how often that was looked at."""

    def __init__(self) -> None:
        self.store = self
        self.looks = 0

    def look_after_files(self) -> None:
        self.looks += 1

    def keep(self) -> bool:
        return False


class View:
    """A view that shows seconds."""

    shows_time = True

    def __init__(self) -> None:
        self.refreshed = 0

    def hear(self, happening: Happening) -> None:
        """Nothing happens."""

    def refresh(self, now: float) -> None:  # noqa: ARG002 - counted alone
        self.refreshed += 1

    def close(self) -> None:
        """Nothing is open."""


def test_an_idle_run_with_a_view_wakes_sixty_times_a_minute_for_all_that_is_looked_at_each_second(tmp_path: Path) -> None:
    """If this fails, what looks each second does so at a time of its own: have it look at a whole second of the clock."""
    held, view = Held(), View()
    files, narrator = HeldRun(held, held), Narrator(Listeners([view]), tmp_path / "log")  # type: ignore[arg-type]
    views = Views(narrator)
    files.look_for_news(0.0)
    views.look_for_news(0.6)
    wakes, now = 0, 0.6
    # Each wake is a little late.
    while (now := min(files.next_look or 0.0, views.next_look) + 0.003) < 61.0:
        wakes += 1
        for source in (files, views):
            source.look_for_news(now)
    assert (wakes, held.looks - 1, view.refreshed - 1) == (60, 60, 60)


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
