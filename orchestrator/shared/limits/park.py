"""What is known of an account whose usage limit was reached, and how long that still holds. Pure rules.

Promise: no park lasts longer than `LONGEST_SECONDS` from now, however clocks jump; it may end too soon, and then one attempt
finds out. A time that a provider told is not put off by one that nobody told.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from orchestrator.core.parking import DEFAULT_PARK_SECONDS
from orchestrator.workers.protocol import ResetSource

LEAST_SECONDS = 10.0
"""A reset that is nearer, or past, is taken to be so far away: a limit that is told again and again must not be a hot loop."""
LONGEST_SECONDS = 8 * 86400.0
"""Longer than any limit that is known of (a week)."""

_SAME_SECONDS = 5.0
"""Resets that are told so near to each other are the same one: what was in flight together is told so one after the other."""

FORMAT = 1

Source = Literal["field", "text", "default"]
"""Where `until` is from: a field of what the provider answered, its words for people, or nobody told."""


class Park(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in HOME/limits/ACCOUNT.json. Times are seconds since the epoch.

    `until`: the reset. `since` and `told_by` (`RUN/ITEM`): when it was written, and by whom.
    `boot_id` and `boot_seconds`: that boot, and when the reset is by its clock, which does not jump.
    """

    format: int = FORMAT
    account: str
    until: float
    since: float
    told_by: str
    source: Source
    boot_id: str
    boot_seconds: float


class Clock(msgspec.Struct, frozen=True):
    """The time, three ways: `wall` in seconds since the epoch, `boot` in seconds since this boot, and which boot that is."""

    wall: float
    boot: float
    boot_id: str


def park_of(
    account: str,
    resets_at: float | None,
    told_by: str,
    clock: Clock,
    *,
    source: ResetSource | None = None,
    reached_at: float | None = None,
    least_seconds: float = LEAST_SECONDS,
) -> Park:
    """The park of an account whose limit was `reached_at` (None: now) and `resets_at` (None: nobody told); epoch seconds.

    `source`: where the reset was read, a field if that is not said.
    """
    until = (clock.wall if reached_at is None else reached_at) + DEFAULT_PARK_SECONDS if resets_at is None else resets_at
    seconds = min(max(until - clock.wall, least_seconds), LONGEST_SECONDS)
    return Park(
        account=account,
        until=clock.wall + seconds,
        since=clock.wall,
        told_by=told_by,
        source="default" if resets_at is None else source or "field",
        boot_id=clock.boot_id,
        boot_seconds=clock.boot + seconds,
    )


def seconds_left(park: Park, clock: Clock) -> float:
    """How long the account is still parked; 0 or less: it may be tried.

    Whichever clock says sooner counts: the wall clock may have been set, and the other does not go on over a reboot. What was
    written in the future, as it seems, by another boot is not waited for: that could be for years.
    """
    if park.boot_id == clock.boot_id:
        return min(park.until - clock.wall, park.boot_seconds - clock.boot, LONGEST_SECONDS)
    return min(park.until - clock.wall, LONGEST_SECONDS) if park.since <= clock.wall else 0.0


def standing(old: Park | None, new: Park, clock: Clock) -> Park:
    """Which of two counts, if an account is told to be parked that is already."""
    if old is None or seconds_left(old, clock) <= 0:
        return new
    is_same = old.source == new.source and abs(old.until - new.until) <= _SAME_SECONDS
    return old if is_same or (old.source != "default" and new.source == "default") else new


def is_over_since(park: Park, started_at: float, now: float) -> bool:
    """Whether a success of an attempt that started then (epoch seconds) proves that the limit is over.

    Of a park from the future, as it seems since the clock was set back, nobody can tell: then any success counts.
    """
    return started_at > park.since or park.since > now
