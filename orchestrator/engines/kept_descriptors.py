"""Descriptors that no start may use, because the state of the run needs them."""

from __future__ import annotations

import errno
import os
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit

_KEPT_DESCRIPTORS = 24
"""So many are for checkpoints, verdicts of tokens, requests, what is read for templates. A start that finds no descriptor is
tried again; state that cannot be written for want of one would end the run."""


def keep_descriptors(any_fd: int, *, is_new_worker: bool) -> None:
    """Raise OSError (EMFILE) if a start would take what is kept. `any_fd`: one that is open.

    Most of it a worker may have that is there already: else idle workers, which have a descriptor each, would keep all starts
    from happening for ever.
    """
    limit, _ = getrlimit(RLIMIT_NOFILE)
    lowest_free = os.dup(any_fd)
    os.close(lowest_free)
    kept = min(_KEPT_DESCRIPTORS, limit * 3 // 8)
    if limit != RLIM_INFINITY and limit - lowest_free <= (kept if is_new_worker else kept // 4):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
