"""How many processes the kernel has killed for want of memory in the control group that this process is in (cgroup v2).

The count has those of groups below, too, and of everything else that runs in the group: another item's, for example. So it
explains an end, and decides nothing. Where it cannot be read nothing is known.
"""

from __future__ import annotations

import os
from functools import cache

GROUPS = "/sys/fs/cgroup"
OWN_GROUP = "/proc/self/cgroup"

_MOST_BYTES = 4096

OomKills = tuple[str, int]
"""The file that counts (absolute), and so many so far."""


def oom_kills() -> OomKills | None:
    """Those of the group of this process; None: not known."""
    path = _events_path()
    count = None if path is None else _count_in(path)
    return None if path is None or count is None else (path, count)


def killed_since(before: OomKills | None) -> int:
    """So many since then; 0 if that is not known."""
    now = None if before is None else _count_in(before[0])
    return 0 if before is None or now is None else max(now - before[1], 0)


def killed_in_words(count: int) -> str:
    """What people are told; empty of none."""
    if not count:
        return ""
    return f"the kernel killed {'a process' if count == 1 else f'{count} processes'} here for want of memory"


@cache
def _events_path() -> str | None:
    try:
        # A name that is no text could not stand in the worker's log.
        with open(OWN_GROUP, encoding="utf-8") as file:
            own = next((line[len("0::") :].rstrip("\n") for line in file if line.startswith("0::")), None)
    except (OSError, UnicodeDecodeError):
        return None
    # In a container the name of the group may be that which the machine outside knows: then the group is the top of what it sees.
    places = [] if own is None else [f"{GROUPS}{own.rstrip('/')}", GROUPS]
    return next((path for place in places if _count_in(path := f"{place}/memory.events") is not None), None)


def _count_in(path: str) -> int | None:
    try:
        # Without a buffer and a decoder, which would take several times as long: each start asks.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            lines = os.read(descriptor, _MOST_BYTES).splitlines()
        finally:
            os.close(descriptor)
        return next((int(line.split()[1]) for line in lines if line.startswith(b"oom_kill ")), None)
    except (OSError, ValueError, IndexError):
        return None
