"""A disk without room: it is full, or this user's quota on it is used up. Both are the machine's, and no fault of an item's."""

from __future__ import annotations

import errno
import os

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def no_room_told(words: str) -> OSError | None:
    """What a program that had no room tells of that in words alone (in the C locale), as an error; None: nothing."""
    told = next((number for number in NO_ROOM if os.strerror(number) in words), None)
    return None if told is None else OSError(told, os.strerror(told))
