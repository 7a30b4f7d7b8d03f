"""Views are refreshed by the clock: a wait of the loop ends when the next refresh is due, and a busy loop looks all the same."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from orchestrator.supervisor.inbox import LONGEST_WAIT_SECONDS, Inbox, Source
from orchestrator.supervisor.narrator import Narrator
from orchestrator.supervisor.sources import Views
from orchestrator.views.happenings import Happening
from orchestrator.views.listeners import REFRESH_SECONDS, Listeners


class View:
    def __init__(self, *, shows_time: bool = True) -> None:
        self.shows_time = shows_time
        self.refreshed_at: list[float] = []

    def hear(self, happening: Happening) -> None:
        """Something has happened."""

    def refresh(self, now: float) -> None:
        self.refreshed_at.append(now)

    def close(self) -> None:
        pass


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_a_loop_that_is_always_in_a_hurry_refreshes_five_times_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view, clock = View(), Clock(monkeypatch)
    narrator = Narrator(Listeners([view], clock=lambda: clock.now), tmp_path / "log")
    inbox = Inbox([Views(narrator)])
    for _ in range(100):
        clock.now += 0.01
        narrator.note("news")
        assert list(inbox.wait(None, is_in_hurry=True)) == []
    inbox.close()
    assert len(view.refreshed_at) == 5
    assert view.refreshed_at[1] - view.refreshed_at[0] == pytest.approx(REFRESH_SECONDS, abs=0.011)


def test_a_wait_ends_when_the_next_refresh_is_due_and_not_a_whole_wait_after_the_last_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    narrator = Narrator(Listeners([View()], clock=lambda: clock.now), tmp_path / "log")
    inbox = Inbox([Source(), Views(narrator)])
    narrator.refresh_if_due(clock.now)
    clock.now += 0.15
    narrator.note("news")  # which woke the loop
    assert inbox._timeout(None) == pytest.approx(0.05)
    clock.now += LONGEST_WAIT_SECONDS
    assert inbox._timeout(None) == 0.0
    inbox.close()


def test_a_run_whose_listeners_show_no_time_is_never_woken_for_them(tmp_path: Path) -> None:
    narrator = Narrator(Listeners([View(shows_time=False)]), tmp_path / "log")
    narrator.note("news")
    assert Views(narrator).next_look == math.inf
