"""The lines of a worker's log: what is found of an attempt after a kill.

Each line is one of `LogLine` as JSON, a space, and the CRC-32 of the JSON in eight hex digits (`workers/log.py`).
"""

from __future__ import annotations

import msgspec

from .messages import Ended
from .tasks import Holding


class Begun(msgspec.Struct, frozen=True, tag="begun", kw_only=True, omit_defaults=True):
    """Line of a worker's log, written before the agent starts. Survives SIGKILL of everything, not power loss."""

    sequence: int
    boot_id: str
    mark: str
    holding: Holding | None = None
    oom_kills: tuple[str, int] | None = None
    """What the kernel had killed for want of memory by then (`workers.processes.oom_kills`); None: not known."""


class Spawned(msgspec.Struct, frozen=True, tag="spawned", kw_only=True, omit_defaults=True):
    """Line of a worker's log, written at once after the agent started: its pid (also its session) and kernel start ticks.

    Where its spawn lasted some ticks it started in one of these: `ticks_more` are so many behind the first.
    """

    sequence: int
    pid: int
    start_ticks: int
    ticks_more: int = 0


class SessionSeen(msgspec.Struct, frozen=True, tag="session", kw_only=True):
    """Line of a worker's log, written as soon as the agent told the id of its session: a kill of everything leaves it.

    Of an attempt that resumes a session it is written before the agent tells anything. The last line of a sequence counts.
    """

    sequence: int
    agent: str
    session_id: str


class Returned(msgspec.Struct, frozen=True, tag="returned", kw_only=True):
    """Line of a worker's log: this queued start was given back, and never begins."""

    sequence: int


class LeftAlone(msgspec.Struct, frozen=True, tag="left", kw_only=True):
    """Last line of a worker's log but for the end of what runs: its supervisor is gone, and nothing more begins."""

    sequence: int
    """Of what runs."""


LogLine = Begun | Spawned | SessionSeen | Ended | Returned | LeftAlone
"""Every line of a worker's log is one of these as JSON, a space, and the CRC-32 of the JSON in eight hex digits."""
