"""The fan-out to those who hear what happens: none of them can end a run, and time is shown however busy it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from drivers.views_story import began, ended, finished, started

from orchestrator.views.happenings import Happening, Noted
from orchestrator.views.listeners import REFRESH_SECONDS, Listeners


class Heard:
    """Remembers everything. `breaks_at`: raises when it hears its nth happening; -1: never."""

    shows_time = True

    def __init__(self, breaks_at: int = -1) -> None:
        self.told: list[Happening] = []
        self.refreshed_at: list[float] = []
        self.closed = 0
        self._breaks_at = breaks_at

    def hear(self, happening: Happening) -> None:
        if len(self.told) == self._breaks_at:
            raise ValueError("no such luck")
        self.told.append(happening)

    def refresh(self, now: float) -> None:
        self.refreshed_at.append(now)

    def close(self) -> None:
        self.closed += 1


class TickingClock:
    """A clock that goes on by `step` whenever somebody looks at it: work takes time."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self._step = step

    def __call__(self) -> float:
        self.now += self._step
        return self.now


def notes(listener: Heard) -> list[str]:
    return [each.message for each in listener.told if isinstance(each, Noted)]


def test_a_view_is_refreshed_by_the_clock_however_busy_the_run_is() -> None:
    clock, view = TickingClock(0.01), Heard()
    listeners = Listeners([view], clock=clock)
    for index in range(500):
        listeners.hear(started(index))
    assert len(view.told) == 500
    gaps = [later - earlier for earlier, later in zip(view.refreshed_at, view.refreshed_at[1:], strict=False)]
    assert max(gaps) <= REFRESH_SECONDS + 0.01
    assert len(view.refreshed_at) in range(23, 26), "5 seconds went by; more often is work for nothing"


def test_the_first_thing_that_happens_after_a_while_draws_nothing_before_the_turn_of_the_loop_is_over() -> None:
    """Else the start that follows the end of an attempt would wait for the picture of that end."""
    clock, view = TickingClock(0.001), Heard()
    listeners = Listeners([view], clock=clock)
    listeners.refresh_if_due(clock())
    clock.now = 0.9
    for index in range(10):
        listeners.hear(started(index))
    assert len(view.refreshed_at) == 1
    clock.now = listeners.next_refresh
    listeners.refresh_if_due(clock())
    assert view.refreshed_at[1] == pytest.approx(0.95, abs=0.01)


def test_turns_of_a_loop_without_happenings_refresh_no_more_often_than_is_due() -> None:
    view = Heard()
    listeners = Listeners([view])
    for turn in range(250):
        listeners.refresh_if_due(turn / 100)
    assert view.refreshed_at == [0.0, 1.0, 2.0]


def test_a_listener_that_raises_is_closed_and_silent_and_everybody_else_hears_why(tmp_path: Path) -> None:
    before, broken, behind = Heard(), Heard(breaks_at=1), Heard()
    listeners = Listeners([before, broken, behind])
    listeners.log_to(tmp_path / "supervisor.log")
    story = [began(), started(0), ended(0), finished(succeeded=1)]
    for happening in story:
        listeners.hear(happening)
    assert (broken.told, broken.closed, listeners.silenced) == (story[:1], 1, [broken])
    for listener in (before, behind):
        assert [each for each in listener.told if not isinstance(each, Noted)] == story
        assert notes(listener) == ["Heard failed and hears nothing more (ValueError: no such luck); the run goes on"]
        assert listener.told.index(story[1]) < listener.told.index(
            next(each for each in listener.told if isinstance(each, Noted))
        )
    log = (tmp_path / "supervisor.log").read_text()
    assert log.count("failed and hears nothing more") == 1
    assert "in hear" in log, "the traceback"
    listeners.close()
    listeners.close()
    assert (before.closed, broken.closed, behind.closed) == (1, 1, 1)


def test_a_listener_may_fail_at_each_of_its_calls_and_the_rest_of_the_run_is_heard(tmp_path: Path) -> None:
    class Hostile(Heard):
        def refresh(self, now: float) -> None:
            raise OSError(f"refresh at {now}")

        def close(self) -> None:
            raise RuntimeError("close")

    hostile, sound = Hostile(), Heard()
    listeners = Listeners([hostile, sound])
    listeners.log_to(tmp_path / "supervisor.log")
    listeners.hear(began())
    listeners.refresh_if_due(1e9)
    listeners.hear(finished(succeeded=1))
    listeners.close()
    assert [type(each) for each in sound.told] == [type(began()), Noted, type(finished())]
    assert (sound.closed, listeners.silenced) == (1, [hostile])
    assert "its close raised RuntimeError('close')" in (tmp_path / "supervisor.log").read_text()


def test_listeners_that_all_fail_at_the_note_of_the_others_failure_end_nothing() -> None:
    listeners = Listeners([Heard(breaks_at=0), Heard(breaks_at=1), Heard(breaks_at=2)])
    listeners.hear(began())
    listeners.hear(finished())
    assert len(listeners.silenced) == 3


def test_what_ends_a_process_is_no_failure_of_a_listener() -> None:
    class Interrupted(Heard):
        def hear(self, happening: Happening) -> None:
            raise KeyboardInterrupt(happening)

    listeners = Listeners([Interrupted()])
    with pytest.raises(KeyboardInterrupt):
        listeners.hear(began())
    assert listeners.silenced == []
