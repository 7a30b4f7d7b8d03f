"""The live view: bounded, escaped, and harmless when its terminal has gone."""

from __future__ import annotations

import io
import re
import time

import pytest
from drivers.views_story import began, ended, finished, listed, started
from rich.console import Console, Group

from orchestrator.views.happenings import AccountSpared, Charged, ItemRetrying, ItemWaiting, JobClosed, JobGrew, Noted
from orchestrator.views.listeners import Listeners
from orchestrator.views.outlet import Outlet
from orchestrator.views.terminal import MOST_RUNNING, LiveView


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def live_view() -> tuple[LiveView, io.StringIO, Clock]:
    stream, clock = io.StringIO(), Clock()
    return LiveView(Outlet(stream), "orchestrate", force=True, clock=clock), stream, clock


def picture(view: LiveView) -> str:
    return picture_of(view.picture())


def picture_of(drawn: Group) -> str:
    console = Console(width=100, file=io.StringIO(), record=True, color_system=None)
    console.print(drawn)
    return console.export_text()


@pytest.mark.parametrize(("pause", "is_busy"), [(0.0007, True), (0.013, True), (0.045, True), (0.1, False), (0.24, False)])
def test_a_run_in_which_something_happens_all_the_time_is_drawn_four_to_ten_times_a_second(pause: float, is_busy: bool) -> None:
    view, _, clock = live_view()
    drawn: list[tuple[float, str]] = []
    draw = view.picture

    def noted(now: float | None = None) -> Group:
        drawn.append((clock.now, picture_of(draw(now))))
        return draw(now)

    view.picture = noted  # type: ignore[method-assign]
    listeners = Listeners([view], clock=clock)
    listeners.hear(began())
    listeners.hear(listed(100_000))
    begin = clock.now
    index = 0
    while clock.now < begin + 5.0:
        # A loop that waits does so for what happens next, and no longer than until a refresh is due; a busy one never waits.
        happens_at = clock.now + pause
        while not is_busy and listeners.next_refresh < happens_at:
            clock.now = listeners.next_refresh
            listeners.refresh_if_due(clock.now)
        clock.now = happens_at
        listeners.hear(started(index))
        listeners.hear(ended(index))
        index += 1
    listeners.close()
    for second in range(5):
        times = [at for at, _ in drawn if second <= at - begin < second + 1]
        assert 4 <= len(times) <= 10, (second, times)
    assert int(re.findall(r"(\d+)/100000", drawn[-1][1])[0]) > index * 0.9, "what is drawn is how far the run is by then"


def test_a_job_has_a_bar_and_what_runs_says_for_how_long() -> None:
    view, _, clock = live_view()
    view.hear(began(["list", "port"]))
    view.hear(listed(4, succeeded=1))
    view.hear(started(1, "tests/test_a.py"))
    clock.now += 65
    view.hear(ended(2, "failed", message="exit code 1"))
    view.hear(started(3, attempt=2))
    drawn = picture(view)
    view.close()
    assert re.search(r"list +━* +waits", drawn)
    assert re.search(r"port .*2/4 +1 failed +2 running", drawn)
    assert "port:1 tests/test_a.py  1m 05s" in drawn
    assert "port:3  0.0s  attempt 2" in drawn


def test_rate_and_time_left_are_told_once_two_items_have_ended() -> None:
    view, _, clock = live_view()
    view.hear(began())
    view.hear(listed(10))
    for index in range(4):
        clock.now += 5
        view.hear(started(index))
        view.hear(ended(index))
    drawn = picture(view)
    view.close()
    assert "12.0 items/min  about 30s left" in drawn


def test_the_picture_stays_small_however_much_runs() -> None:
    view, _, _ = live_view()
    view.hear(began([f"job{number}" for number in range(500)]))
    for number in range(500):
        view.hear(listed(1, job=f"job{number}"))
        view.hear(started(0, job=f"job{number}"))
    drawn = picture(view)
    view.close()
    assert f"and {500 - MOST_RUNNING} more" in drawn
    assert len(drawn.splitlines()) <= 30


def test_an_item_whose_attempt_was_refused_waits_and_does_not_run() -> None:
    view, _, _ = live_view()
    view.hear(began())
    view.hear(listed(1))
    view.hear(started(0))
    view.hear(ItemWaiting(item="port:0", job="port", label=None, message="API Error: 429", at=1.0))
    drawn = picture(view)
    view.close()
    assert re.search(r"port .*0/1 +1 waiting", drawn)
    assert "running" not in drawn


def test_an_account_that_is_spared_has_a_line_until_it_has_recovered() -> None:
    view, _, _ = live_view()
    view.hear(began())
    words = "rate limit of acme-0123abcd: 2 of 8 at once"
    view.hear(AccountSpared(account="acme-0123abcd", words=words, until=time.time() + 12.5, at=1.0))
    view.hear(AccountSpared(account="bolt-0123abcd", words="rate limit of bolt: 1 of 2 at once", until=None, at=1.0))
    drawn = picture(view)
    view.hear(AccountSpared(account="acme-0123abcd", words="", until=None, at=2.0))
    later = picture(view)
    view.close()
    assert re.search(f"  {words}, next start in 1[12]", drawn)
    assert re.search(r"bolt: 1 of 2 at once *$", drawn, re.M)
    assert "acme" not in later


def test_an_item_that_waits_for_its_next_attempt_does_not_run() -> None:
    view, _, _ = live_view()
    view.hear(began())
    view.hear(listed(1))
    view.hear(started(0))
    view.hear(ItemRetrying(item="port:0", job="port", label=None, attempt=1, message="x", wait_s=5.0, at=1.0))
    drawn = picture(view)
    view.close()
    assert "running" not in drawn
    assert "port:0" not in drawn


def test_items_that_wait_for_the_same_work_elsewhere_are_counted_until_they_end_or_run() -> None:
    view, _, _ = live_view()
    view.hear(began())
    view.hear(listed(4))
    for index in range(1, 4):
        for _ in range(2):  # told again by a second wait: still one item
            view.hear(ItemWaiting(item=f"port:{index}", job="port", label=None, message="r0/port does it", at=1.0))
    assert "3 waiting" in picture(view)
    view.hear(started(1))
    view.hear(ended(2, attempts=0, deduped_from="r0/port"))
    drawn = picture(view)
    view.close()
    assert re.search(r"1/4 +1 running +1 waiting", drawn)


def test_failures_notes_and_the_report_stay_on_the_screen_and_hostile_names_are_escaped() -> None:
    view, stream, _ = live_view()
    view.hear(began())
    view.hear(listed(2))
    view.hear(started(0, "\x1b]0;owned\x07[red]x[/red]"))
    view.refresh(0.0)
    view.hear(ended(0, "failed", label="\x1b]0;owned\x07[red]x[/red]", message="exit code 1"))
    view.hear(Noted(message="draining", at=1.0))
    view.hear(JobClosed(job="port", status="failed"))
    view.hear(finished("failed", failed=1))
    view.close()
    text = stream.getvalue()
    assert "\x1b]0;owned" not in text
    assert "\\x1b]0;owned\\x07[red]x[/red]" in text
    assert "note: draining" in text
    assert "orchestrate logs r1 port:0" in text
    assert text.rstrip().endswith("orchestrate resume r1")
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l"), "the cursor is shown again"


def test_a_terminal_that_hung_up_does_not_end_the_run() -> None:
    class HungUp(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(5, "Input/output error")

    view = LiveView(Outlet(HungUp()), "orchestrate", force=True)
    for happening in (began(), listed(1), started(0), ended(0, "failed", message="x"), finished("failed", failed=1)):
        view.hear(happening)
        view.refresh(0.0)
    view.close()


def test_the_rate_is_of_what_has_ended_since_a_run_elsewhere_is_looked_at() -> None:
    """It began at 100 and is looked at since 1000."""
    clock = Clock()
    view = LiveView(Outlet(io.StringIO()), "orchestrate", force=True, clock=clock, wall_clock=clock)
    for happening in (began(), ended(0, "failed", at=500.0), listed(100, failed=1, succeeded=9), ended(10, at=1000.0)):
        view.hear(happening)
    clock.now += 10.0
    assert "items" not in picture(view)
    view.hear(listed(100, failed=1, succeeded=19))
    assert "1.0 items/s  about 1m 20s left" in picture(view)


def test_closing_before_anything_began_is_harmless() -> None:
    view, stream, _ = live_view()
    view.refresh(0.0)
    view.close()
    assert stream.getvalue() == ""


def test_what_was_spent_so_far_is_told_beside_the_time() -> None:
    view, _, _ = live_view()
    view.hear(began())
    assert "spent" not in picture(view)
    view.hear(Charged(item="port:1", job="port", cost_usd=None, spent_usd=1.23, unknown_costs=2, attempts=9, at=1.0))
    drawn = picture(view)
    view.close()
    assert "spent 1.23 USD (2 of unknown cost)" in drawn


def test_a_list_that_grows_is_shown_as_far_as_it_is_known() -> None:
    view, _, _ = live_view()
    for happening in (began(), JobGrew(job="port", count=3, is_growing=True), ended(0)):
        view.hear(happening)
    assert "1/3 and more" in picture(view)
    view.hear(JobGrew(job="port", count=5, is_growing=False))
    assert "1/5" in picture(view)
    assert "and more" not in picture(view)
