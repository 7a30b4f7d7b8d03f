"""What the rest of a job will probably cost, and how long it will take, judged by the items that have run. Pure.

The likely sum (`p50`) is the mean times the number of items that remain. Nine times in ten the real sum is below `p90`, if the
items that ran are like the others. `p90` grows with the spread of the items that ran, and the fewer they are; one item alone
tells nothing of a spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

import msgspec

_Z90 = 1.2815515655446004


class Sample(msgspec.Struct, frozen=True):
    """An item that has ended: what it cost in billionths of a dollar (None: unknown), and its seconds at work."""

    nano_usd: int | None
    seconds: float


class Likely(msgspec.Struct, frozen=True):
    """A number that is not known yet: its middle, and the value that nine in ten are below. None: too little is known."""

    p50: float | None = None
    p90: float | None = None


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """The forecast of one job. `item_…`: one item, `rest_…`: the `remaining` items together; costs in dollars, times in seconds.

    `unknown` of the `sampled` items told no cost. `at_once`: how many items run at a time.
    """

    job: str
    sampled: int
    unknown: int
    remaining: int
    at_once: int
    item_usd: Likely
    item_seconds: Likely
    rest_usd: Likely
    rest_seconds: Likely
    """Seconds of the clock, with `at_once` items at a time."""


def forecast_job(job: str, samples: Sequence[Sample], remaining: int, at_once: int) -> Forecast:
    """What `remaining` more items of the job will probably cost and take."""
    # An item of unknown cost still tells how long an item takes.
    costs = [sample.nano_usd / 1e9 for sample in samples if sample.nano_usd is not None]
    seconds = [sample.seconds for sample in samples]
    # The clock runs for the work of all items divided by how many run at once.
    work = _sum_of(seconds, remaining)
    wide = max(min(at_once, remaining), 1)
    item_seconds = Likely(quantile(seconds, 0.5), quantile(seconds, 0.9))
    return Forecast(
        job=job,
        sampled=len(samples),
        unknown=len(samples) - len(costs),
        remaining=remaining,
        at_once=at_once,
        item_usd=Likely(quantile(costs, 0.5), quantile(costs, 0.9)),
        item_seconds=item_seconds,
        rest_usd=_sum_of(costs, remaining),
        # However many run at once, the run lasts as long as one item at least.
        rest_seconds=Likely(
            _at_least(work.p50, wide, item_seconds.p50 if remaining else 0.0),
            _at_least(work.p90, wide, item_seconds.p90 if remaining else 0.0),
        ),
    )


def add_forecasts(forecasts: Sequence[Forecast], slots: int) -> tuple[Likely, Likely]:
    """(dollars, seconds of the clock) of all jobs together, with `slots` items at a time."""
    return _added([each.rest_usd for each in forecasts]), _clock(forecasts, slots)


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value below which that share of `values` lies, in proportion between the two nearest; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _sum_of(values: Sequence[float], count: int) -> Likely:
    """The sum of `count` more numbers like `values`."""
    if not count:
        return Likely(0.0, 0.0)
    if not values:
        return Likely()
    middle = fmean(values) * count
    if len(values) < 2:
        return Likely(middle, None)
    return Likely(middle, middle + _Z90 * stdev(values) * math.sqrt(count + count * count / len(values)))


def _at_least(work: float | None, wide: int, longest: float | None) -> float | None:
    return None if work is None else max(work / wide, longest or 0.0)


def _added(parts: Sequence[Likely]) -> Likely:
    """The sum of the parts; unknown if one of them is. The spreads add up as those of independent numbers."""
    middles = [part.p50 for part in parts if part.p50 is not None]
    if len(middles) < len(parts):
        return Likely()
    spreads = [part.p90 - part.p50 for part in parts if part.p50 is not None and part.p90 is not None]
    middle = math.fsum(middles)
    return Likely(middle, None if len(spreads) < len(parts) else middle + math.hypot(*spreads))


def _clock(forecasts: Sequence[Forecast], slots: int) -> Likely:
    """Seconds of the clock of all jobs: no job ends sooner than it would alone, and at most `slots` items run at once."""
    parts = [each.rest_seconds for each in forecasts]
    work = [min(each.at_once, max(each.remaining, 1)) / max(slots, 1) for each in forecasts]
    found = []
    for which in ("p50", "p90"):
        known = [value for part in parts if (value := getattr(part, which)) is not None]
        is_known = len(known) == len(parts)
        shared = math.fsum(value * share for value, share in zip(known, work, strict=False))
        found.append(max([*known, shared], default=0.0) if is_known else None)
    return Likely(*found)
