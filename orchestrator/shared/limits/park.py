"""A park: what is known of an account whose usage limit was reached, and how long that still holds. Pure rules.

Promise: no park lasts longer than `LONGEST_SECONDS` from now, however clocks jump. It may end too soon; then one attempt finds
that out. A reset that a provider told is never replaced by a guess.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from orchestrator.core.parking import DEFAULT_PARK_SECONDS
from orchestrator.workers.protocol import ResetSource

LEAST_SECONDS = 10.0
"""A reset that is nearer, or past, counts as so far away: a limit that is told again and again must not become a busy loop."""
LONGEST_SECONDS = 8 * 86400.0
"""Longer than any limit that is known (a week)."""

_SAME_SECONDS = 5.0
"""Resets this near to each other are the same one: attempts that were in flight together are told of it one after the other."""

FORMAT = 1

Source = Literal["field", "text", "default"]
"""Where `until` is from: a field of the provider's answer, its words for people, or a guess of ours."""


class Park(msgspec.Struct, frozen=True, kw_only=True):
    """The content of HOME/limits/ACCOUNT.json. Times are seconds since the epoch.

    `until`: the reset. `since` and `told_by` (`RUN/ITEM`): when the file was written, and whose attempt was told.
    `boot_id` and `boot_seconds`: the boot then, and the reset by the clock of that boot, which does not jump.
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
    """The park of an account whose limit was `reached_at` (None: now) and `resets_at` (None: not told); epoch seconds.

    `source`: where the reset was read; None: a field.
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
    """How long the account is still parked; 0 or less: it may be tried."""
    # Of two clocks the sooner one counts: the wall clock may have been set, the boot clock does not go on over a reboot. A park
    # that another boot seems to have written in the future is not waited for: that could be for years.
    if park.boot_id == clock.boot_id:
        return min(park.until - clock.wall, park.boot_seconds - clock.boot, LONGEST_SECONDS)
    return min(park.until - clock.wall, LONGEST_SECONDS) if park.since <= clock.wall else 0.0


def standing_park(old: Park | None, new: Park, clock: Clock) -> Park:
    """The park that counts when an account that is parked (`old`) is told of its limit again (`new`)."""
    if old is None or seconds_left(old, clock) <= 0:
        return new
    is_same = old.source == new.source and abs(old.until - new.until) <= _SAME_SECONDS
    return old if is_same or (old.source != "default" and new.source == "default") else new


def is_over_since(park: Park, started_at: float, now: float) -> bool:
    """Whether the success of an attempt that began at `started_at` (epoch seconds) proves that the limit is over."""
    # A park that seems to be from the future (the clock was set back) cannot be compared: then any success counts.
    return started_at > park.since or park.since > now
