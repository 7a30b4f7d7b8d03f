"""How many Python functions a piece of work calls: a cost that no other load of the machine changes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


def counted_calls(work: Callable[[], T]) -> tuple[T, int]:
    """What `work` returns, and how many calls of Python functions it took, that of `work` left out.

    Without garbage collection meanwhile: what earlier tests left behind would be closed now and then in this of all places.
    """
    calls = -1

    def note(_frame: FrameType, what: str, _of: object) -> None:
        nonlocal calls
        calls += what == "call"

    before, is_collecting = sys.getprofile(), gc.isenabled()
    gc.disable()
    sys.setprofile(note)
    try:
        done = work()
    finally:
        sys.setprofile(before)
        if is_collecting:
            gc.enable()
    return done, calls
