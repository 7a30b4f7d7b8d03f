"""How far a run is, now and then, for those who see lines: at each tenth of its items, and at most twice a minute."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.system.wording import lasting, spent
from orchestrator.views.happenings import Charged, Happening, ItemEnded, JobClosed, JobGrew, JobListed, RunBegan

STEP = 0.1
"""Of all items that are known."""

PAUSE_SECONDS = 30.0

_ENDED = ("succeeded", "failed", "skipped", "cancelled")


class Progress:
    """Counts the ends of items. Times are those of the happenings; `clock` tells since when it hears of them, for of a run that
    goes on elsewhere many were before."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._totals: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        """By job how many items it has, and how many of them have ended."""
        self._unlisted: set[str] = set()
        self._total = self._ended = self._failed = self._ended_here = 0
        self._began_at = self._heard_since = self._told_at = 0.0
        self._told_ended = 0
        self._charged: Charged | None = None

    def line_after(self, happening: Happening) -> str | None:
        """Take it in; the line that is due with it: `450 of 1000 (45%), 3 failed · 2m 10s · about 3m left · spent 1.23 USD`."""
        match happening:
            case ItemEnded():
                self._ended += 1
                self._ends[happening.job] = self._ends.get(happening.job, 0) + 1
                self._ended_here += happening.attempts > 0 and happening.at >= self._heard_since
                self._failed += happening.status == "failed"
                return self._line(happening.at) if self._is_due(happening.at) else None
            case RunBegan():
                self._began_at = self._told_at = happening.at
                self._heard_since = self._clock()
                self._unlisted = set(happening.jobs)
            case JobListed():
                self._take_list(happening)
            case JobGrew():
                self._total += happening.count - self._totals.get(happening.job, 0)
                self._totals[happening.job] = happening.count
                (self._unlisted.add if happening.is_growing else self._unlisted.discard)(happening.job)
            case JobClosed():
                self._unlisted.discard(happening.job)
            case Charged():
                self._charged = happening
            case _:
                pass
        return None

    def _take_list(self, listed: JobListed) -> None:
        job, ended = listed.job, sum(listed.counts.get(status, 0) for status in _ENDED)
        more = ended - self._ends.get(job, 0)
        self._total += listed.count - self._totals.get(job, 0)
        self._ended += more
        if job not in self._totals:
            self._told_ended = self._ended
        else:
            # A gate that sends items back has them listed once more; so has a look at a run elsewhere in which many have ended.
            self._ended_here += max(more, 0)
            self._told_ended = min(self._told_ended, self._ended)
        self._totals[job], self._ends[job] = listed.count, ended
        self._unlisted.discard(job)

    def _is_due(self, at: float) -> bool:
        if at - self._told_at < PAUSE_SECONDS:
            return False
        return self._ended - self._told_ended >= self._total * STEP and self._ended < self._total

    def _line(self, at: float) -> str:
        self._told_at, self._told_ended = at, self._ended
        words = f"{self._ended} of {self._total} ({self._ended * 100 // self._total}%)"
        words += f", {self._failed} failed" if self._failed else ""
        parts = [words, lasting(at - self._began_at)]
        if self._ended_here:
            left = (self._total - self._ended) * (at - self._heard_since) / self._ended_here
            parts.append(f"about {lasting(left)} left" + (" or more" if self._unlisted else ""))
        if self._charged is not None and self._charged.spent_usd is not None:
            parts.append(spent(self._charged.spent_usd, self._charged.unknown_costs))
        return " · ".join(parts)
