"""The live view: a bar a job, what runs now and for how long, rate and time left; failures and notes scroll above it.

Promise: the view draws in `refresh` (about four times a second) and, for a line that scrolls, in `hear` (seldom). So an item
costs a few dictionary operations, and no thread but the supervisor's draws. A terminal that stands still is not waited for: lines
are kept, pictures are left out. Names that people chose are text, never markup and never an escape sequence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import assert_never

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.system.wording import lasting, shown, spent, title
from orchestrator.views.end_report import EndReport
from orchestrator.views.happenings import (
    AccountSpared,
    Charged,
    GateAnswered,
    GateAsked,
    Happening,
    ItemEnded,
    ItemRetrying,
    ItemRoundEnded,
    ItemStarted,
    ItemWaiting,
    JobClosed,
    JobGrew,
    JobListed,
    Noted,
    PromptClosed,
    PromptOpened,
    RunBegan,
    RunFinished,
)
from orchestrator.views.outlet import Outlet
from orchestrator.views.plain_lines import answered_line, asked_line, began_line

MOST_RUNNING = 8
MOST_UNSAID = 10_000
"""Lines that are kept while they cannot be shown."""

_BAR_WIDTH = 30
_ENDED = ("succeeded", "failed", "skipped", "cancelled")


@dataclass(slots=True)
class _JobBar:
    total: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    running: int = 0
    waiting: set[str] = field(default_factory=set)
    is_growing: bool = False
    is_closed: bool = False

    @property
    def ended(self) -> int:
        return sum(self.counts.get(status, 0) for status in _ENDED)


@dataclass(frozen=True, slots=True)
class _Running:
    title: str
    attempt: int
    since: float


class _Canvas:
    """What rich needs of a file: it writes, flushes, and asks isatty, fileno and encoding."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self.encoding = outlet.encoding
        self.flush = outlet.flush
        self.isatty = outlet.isatty
        self.fileno = outlet.fileno

    def write(self, text: str) -> int:
        self._outlet.draw(text)
        return len(text)


class LiveView:
    """Draws on `outlet`. `clock` gives monotonic seconds. Bounded in height by the terminal's.

    `wall_clock` (seconds since the epoch), of who looks on: what is told may have begun long before. None: it begins now.
    """

    shows_time = True

    def __init__(
        self,
        outlet: Outlet,
        program: str,
        *,
        force: bool,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self._outlet = outlet
        canvas = _Canvas(outlet)
        self._console = Console(file=canvas, force_terminal=True if force else None, highlight=False)  # type: ignore[arg-type]
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._report = EndReport(program)
        self._clock = clock
        self._wall_clock = wall_clock
        self._began = self._heard_since = clock()
        self._ended_here = 0
        self._jobs: dict[str, _JobBar] = {}
        self._running: dict[str, _Running] = {}
        self._charged: Charged | None = None
        self._spared: dict[str, AccountSpared] = {}
        self._unsaid: list[str] = []
        """Lines to be said when nobody types at the terminal and it takes them."""
        self._unsaid_more = 0
        """The number of lines that did not fit into `_unsaid`."""
        self._is_typed_on = False

    def hear(self, happening: Happening) -> None:
        """Take in one happening."""
        self._report.hear(happening)
        match happening:
            # The frame: which jobs there are, and how many items each has.
            case RunBegan():
                self._heard_since = self._clock()
                self._began = self._time_of(happening.at)
                self._jobs = {job: _JobBar() for job in happening.jobs}
                self._say(began_line(happening))
                self._live.start()
            case JobListed() | JobGrew():
                self._take_list(happening)
            # Items: only the numbers change; a failure is a line of its own.
            case ItemStarted():
                said = title(happening.item, happening.label, 60)
                self._running[happening.item] = _Running(said, happening.attempt, self._time_of(happening.at))
                bar = self._bar_of(happening.job)
                bar.running += 1
                bar.waiting.discard(happening.item)
            case ItemRetrying() | ItemRoundEnded():
                self._drop_running(happening.item, happening.job)
            case ItemWaiting() | AccountSpared() | GateAsked() | GateAnswered() | PromptOpened() | PromptClosed():
                self._show_wait(happening)
            case ItemEnded():
                self._count_end(happening)
            # Words about the run as a whole.
            case JobClosed():
                self._bar_of(happening.job).is_closed = True
                if happening.status == "failed" and happening.message:
                    self._say(f"FAILED {happening.job}: {shown(happening.message, 300)}")
            case Charged() | Noted():
                self._show_told(happening)
            case RunFinished():
                self._live.stop()
                for line in self._report.lines(happening):
                    self._say(line)
            case unknown:
                assert_never(unknown)

    def refresh(self, now: float) -> None:
        """Draw the picture of `now`. A terminal that has not taken the last picture gets no other: it would be old by then."""
        if self._outlet.is_behind:
            return
        self._say_unsaid()
        if self._live.is_started:
            self._live.update(self.picture(now), refresh=True)

    def close(self) -> None:
        """Take the live part away, show the cursor again, and see that all is said. Waits for a terminal that stands still."""
        # The rest of the last picture first: lines may only come behind it.
        self._live.stop()
        self._outlet.finish()
        self._is_typed_on = False
        self._say_unsaid()
        self._outlet.finish()

    def picture(self, now: float | None = None) -> Group:
        """The live part as it is at `now` (monotonic seconds; None: by the clock)."""
        now = self._clock() if now is None else now
        oldest = sorted(self._running.values(), key=lambda each: each.since)
        lines = [self._running_line(each, now) for each in oldest[:MOST_RUNNING]]
        if len(oldest) > MOST_RUNNING:
            lines.append(_words(f"  and {len(oldest) - MOST_RUNNING} more", "dim"))
        lines += [_spared_line(each, time.time()) for each in self._spared.values() if each.words]
        return Group(self._bars(max(self._console.height - len(lines) - 4, 3)), *lines, _words(self._pace(now), "dim"))

    def _bars(self, height: int) -> Table:
        # More jobs than lines: those that are at work are shown first, then the others, all in file order.
        table = Table.grid(padding=(0, 2))
        active = [job for job, bar in self._jobs.items() if bar.total is not None and not bar.is_closed][:height]
        shown_jobs = set(active)
        rest = islice((job for job in self._jobs if job not in shown_jobs), height - len(active))
        shown_jobs.update(rest)
        for job, bar in self._jobs.items():
            if job not in shown_jobs:
                continue
            # A closed job is full also if some of its items never ran.
            failed = bar.counts.get("failed", 0)
            style = "red" if failed else "green"
            table.add_row(
                _words(job),
                ProgressBar(
                    total=max(bar.total or 1, 1),
                    completed=max(bar.total or 0, 1) if bar.is_closed else bar.ended,
                    width=_BAR_WIDTH,
                    complete_style=style,
                    finished_style=style,
                ),
                _words(_counted(bar)),
                _words(f"{failed} failed" if failed else "", "red"),
                _words(f"{bar.running} running" if bar.running else "", "dim"),
                _words(f"{len(bar.waiting)} waiting" if bar.waiting else "", "dim"),
            )
        return table

    def _time_of(self, at: float) -> float:
        """When that was, as `clock` tells."""
        return self._clock() - (0.0 if self._wall_clock is None else max(self._wall_clock() - at, 0.0))

    def _running_line(self, running: _Running, now: float) -> Text:
        attempt = f"  attempt {running.attempt}" if running.attempt > 1 else ""
        return _words(f"  {running.title}  {lasting(now - running.since)}{attempt}", is_cut=True)

    def _pace(self, now: float) -> str:
        # A rate needs two ends at least. Only what ended under this supervisor counts: the rest took its time before.
        elapsed = now - self._began
        said = lasting(elapsed)
        if self._charged is not None and self._charged.spent_usd is not None:
            said = f"{said}  {spent(self._charged.spent_usd, self._charged.unknown_costs)}"
        heard = now - self._heard_since
        if self._ended_here < 2 or heard <= 0:
            return said
        rate = self._ended_here / heard
        left = sum(bar.total - bar.ended for bar in self._jobs.values() if bar.total is not None and not bar.is_closed)
        unknown = any((bar.total is None or bar.is_growing) and not bar.is_closed for bar in self._jobs.values())
        pace = f"{rate:.1f} items/s" if rate >= 1 else f"{rate * 60:.1f} items/min"
        return f"{said}  {pace}" + (f"  about {lasting(left / rate)} left{' or more' if unknown else ''}" if left else "")

    def _show_wait(self, happening: ItemWaiting | AccountSpared | GateAsked | GateAnswered | PromptOpened | PromptClosed) -> None:
        match happening:
            # An item that waits runs no longer, and is no longer to be seen among those that do.
            case AccountSpared():
                self._spared[happening.account] = happening
            case ItemWaiting():
                self._drop_running(happening.item, happening.job)
                self._bar_of(happening.job).waiting.add(happening.item)
            case GateAsked():
                self._bar_of(happening.job).waiting.add(happening.item)
                if not happening.is_here:
                    self._say(asked_line(happening))
            case GateAnswered():
                self._bar_of(happening.job).waiting.discard(happening.item)
                self._say(answered_line(happening))
            # While a person types, lines wait and the live part is away.
            case PromptOpened():
                self._live.stop()
                self._is_typed_on = True
            case PromptClosed():
                self._is_typed_on = False
                self._say_unsaid()
                self._live.start()
            case unknown:
                assert_never(unknown)

    def _take_list(self, happening: JobListed | JobGrew) -> None:
        bar = self._bar_of(happening.job)
        is_known, bar.total = bar.total is not None, happening.count
        if isinstance(happening, JobGrew):
            bar.is_growing = happening.is_growing
        else:
            before = bar.ended
            bar.counts, bar.is_growing, bar.is_closed = dict(happening.counts), False, False
            # And only counted, if many have ended since the last look at it.
            if is_known:
                self._ended_here += max(bar.ended - before, 0)

    def _count_end(self, ended: ItemEnded) -> None:
        self._drop_running(ended.item, ended.job)
        bar = self._bar_of(ended.job)
        bar.waiting.discard(ended.item)
        bar.counts[ended.status] = bar.counts.get(ended.status, 0) + 1
        # Of a run that goes on elsewhere it is told, too, what failed before.
        self._ended_here += ended.attempts > 0 and self._time_of(ended.at) >= self._heard_since
        if ended.status == "failed":
            for line in self._report.failure_lines(ended):
                self._say(line)

    def _show_told(self, happening: Charged | Noted) -> None:
        match happening:
            case Charged():
                self._charged = happening
            case Noted():
                self._say(f"note: {shown(happening.message)}")
            case unknown:
                assert_never(unknown)

    def _drop_running(self, item: str, job: str) -> None:
        if self._running.pop(item, None) is not None:
            self._bar_of(job).running -= 1

    def _bar_of(self, job: str) -> _JobBar:
        return self._jobs.setdefault(job, _JobBar())

    def _say(self, line: str) -> None:
        if len(self._unsaid) < MOST_UNSAID:
            self._unsaid.append(line)
        else:
            self._unsaid_more += 1
        self._say_unsaid()

    def _say_unsaid(self) -> None:
        if self._is_typed_on or not self._unsaid or self._outlet.is_behind:
            return
        lines, self._unsaid = self._unsaid, []
        if self._unsaid_more:
            lines.append(f"note: {self._unsaid_more} more lines are not shown")
            self._unsaid_more = 0
        for line in lines:
            style = "red" if line.startswith("FAILED") else ""
            self._console.print(_words(line, style), soft_wrap=True)


def _counted(bar: _JobBar) -> str:
    if bar.total is None and not bar.is_closed:
        return "waits"
    return f"{bar.ended}/{bar.total or 0}" + (" and more" if bar.is_growing and not bar.is_closed else "")


def _spared_line(spared: AccountSpared, now: float) -> Text:
    until = "" if spared.until is None else f", next start in {lasting(max(0.0, spared.until - now))}"
    return _words(f"  {spared.words}{until}", "yellow", is_cut=True)


def _words(text: str, style: str = "", *, is_cut: bool = False) -> Text:
    """Words on one line, as all that is drawn: rich passes on escape sequences that stand in a text. `is_cut`: at the width."""
    return Text(shown(text), style=style, no_wrap=is_cut or None, overflow="ellipsis" if is_cut else None)
