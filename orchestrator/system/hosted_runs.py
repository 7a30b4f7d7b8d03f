"""Which runs this process supervises, one a thread: a run that runs its items inline is the only run of its process.

Reasons: an inline run (`slots = 0`) takes each child of the process for a child of its item, waits for all of them, ends those
that are left, and changes the current directory. It needs a SIGCHLD handler, which only the main thread may have.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import RunHeldError, UserError
from orchestrator.workers.warm_process import let_go_of_warm_process

_lock = threading.Lock()
_hosted: list[bool] = []
"""For each run of this process: whether it is inline."""


@contextmanager
def hosting(*, is_inline: bool) -> Iterator[None]:
    """A run goes on in this thread. Raises UserError (inline, and not the main thread), RunHeldError (beside an inline run)."""
    with _lock:
        check_hosting(is_inline=is_inline)
        _hosted.append(is_inline)
        if is_inline:
            # It starts no worker, and is nobody's attempt.
            let_go_of_warm_process()
    try:
        yield
    finally:
        with _lock:
            _hosted.remove(is_inline)
            # Nothing of ours stays in a program that goes on.
            if not _hosted:
                let_go_of_warm_process()


def is_only_run() -> bool:
    """Whether no other run goes on in this process beside the one that asks."""
    with _lock:
        return len(_hosted) == 1


def check_hosting(*, is_inline: bool) -> None:
    """Raise what `hosting` would raise: to be asked before a run is made that could not begin."""
    if is_inline and threading.current_thread() is not threading.main_thread():
        raise UserError(
            "slots = 0 runs items in this very process, which only its main thread can do",
            "give it 1 slot, or call it from the main thread",
        )
    if (is_inline and _hosted) or any(_hosted):
        raise RunHeldError(
            "another run goes on in this process, and one with slots = 0 must be the only one",
            "give both at least 1 slot, or run them one after the other",
        )
