"""Threads of ours, on a machine that may have no room for one more."""

from __future__ import annotations

import threading
from collections.abc import Callable


def begin_thread(work: Callable[[], object], name: str) -> threading.Thread | None:
    """A thread that does `work`, and does not keep the process from its end; None: there is no room for it just now."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # Python tells no error number
        return None
    return thread
