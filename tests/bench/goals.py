"""What the program shall reach, beside what it does: the first table of the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from contest import Standing
from findings import Findings
from starts import CHILD, NESTED, ONE, VERSION


@dataclass(frozen=True)
class Goal:
    """`measured` and `to_reach`: numbers of the same unit, `digits` of them behind the point."""

    what: str
    measured: float
    to_reach: float
    digits: int = 2
    more_is_better: bool = False

    @property
    def is_reached(self) -> bool:
        """By the number that is shown."""
        shown = round(self.measured, self.digits)
        return shown >= self.to_reach if self.more_is_better else shown <= self.to_reach


def goals(found: Findings) -> Iterator[Goal]:
    """Those of the parts that were measured."""
    yield from _contest_goals(found)
    yield from _start_goals(found)
    yield from _scale_goals(found)
    if found.gaps is not None:
        where = "start after an end in the same slot, 16 slots, as recorded, ms"
        yield Goal(f"{where}: p50", found.gaps.recorded_p50, 0.4)
        yield Goal(f"{where}: p99", found.gaps.recorded_p99, 2)
    if (idle := found.idle_agents) is not None:
        where = f"{idle.agents} idle agents with `timeout`, `memory`, all our processes together"
        yield Goal(f"{where}: % of a core", idle.cpu_percent, 1)
        yield Goal(f"{where}: wake-ups a second", idle.wakes_a_second, 5, 1)
    if (many := found.many_runs) is not None:
        yield Goal(f"`list` with {many.runs:,} runs, s", many.list_seconds, 0.2)
        yield Goal("`status` beside them ÷ alone", many.status_ratio, 1.1)
        yield Goal("`run` beside them ÷ alone", many.run_ratio, 1.05)


CONTEST_GOALS = {(10_000, 2): (1.30, 1.40), (10_000, 16): (1.30, 1.30), (1_000, 16): (1.6, 1.7)}
"""(jobs, slots): CPU, wall ÷ xargs."""


def _contest_goals(found: Findings) -> Iterator[Goal]:
    for (count, slots), (cpu, wall) in CONTEST_GOALS.items():
        for size, outcome in found.contest.items():
            own = _standing(outcome.standings, "orchestrate")
            if (size.count, size.slots) == (count, slots) and own and own.cpu_ratio and own.wall_ratio:
                yield Goal(f"{count:,} jobs, {slots} slots: CPU ÷ xargs", own.cpu_ratio.median, cpu)
                yield Goal(f"{count:,} jobs, {slots} slots: wall ÷ xargs", own.wall_ratio.median, wall)
    for size, outcome in found.contest.items():
        own, other = _standing(outcome.standings, "orchestrate"), _standing(outcome.standings, "parallel")
        if size.count >= 1_000 and own and other:
            where = f"{size.count:,} jobs, {size.slots} slots: GNU parallel --joblog --results ÷ ours"
            yield Goal(f"{where}, CPU", other.cpu_ms.median / own.cpu_ms.median, 4.5, more_is_better=True)
            yield Goal(f"{where}, wall", other.wall_ms.median / own.wall_ms.median, 4.5, more_is_better=True)


def _start_goals(found: Findings) -> Iterator[Goal]:
    starts = {each.name: each for each in found.starts}
    if starts:
        yield Goal("a run of one item ÷ bare Python", starts[ONE].ratio, 10, 1)
        yield Goal("`--version` ÷ bare Python", starts[VERSION].ratio, 3, 1)
        yield Goal("a nested run: its start ÷ a run of one item", starts[NESTED].ratio, 1.0)
        yield Goal("a child file: its start ÷ a run of one item", starts[CHILD].ratio, 1.0)


COMMAND_GOALS = {"status": 0.3, "list": 0.1, "resume": 0.5, "results": 15.0}
"""Seconds."""


def _scale_goals(found: Findings) -> Iterator[Goal]:
    scales = {each.count: each for each in found.scales}
    if 1_000_000 in scales and 10_000 in scales:
        ratio = scales[1_000_000].cpu_ms_an_item / scales[10_000].cpu_ms_an_item
        yield Goal("CPU an item at 1,000,000 ÷ at 10,000", ratio, 1.02)
        yield Goal("memory of the supervisor at 1,000,000, MiB", scales[1_000_000].peak_bytes / 2**20, 60, 0)
    if found.commands is not None and found.commands.count == 1_000_000:
        for name, seconds in found.commands.seconds.items():
            yield Goal(f"`{name}` of a finished run of 1,000,000, s", seconds, COMMAND_GOALS[name])


def _standing(standings: list[Standing], name: str) -> Standing | None:
    return next((each for each in standings if each.name == name), None)
