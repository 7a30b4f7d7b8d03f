"""How an attempt's locks stay held as long as anything of its tree lives, and yet nothing there can unlock them.

A lock (flock) belongs to the open file: whoever has a copy of the descriptor can unlock it for all (`flock -u 200`). So an agent
inherits no copy. It inherits one end of a socket, and in that lies a message with the descriptors which nobody reads. The kernel
keeps them open as long as anybody has that end: the agent, and all that it starts, unless they close it.

Promise: the locks outlive worker and supervisor with the agent; only the worker, which has copies of its own, unlocks them.
Attempts with locks of their own have a socket of their own: what has escaped from one must hold, and could receive, no lock of
a later one. Those that are queued have the locks of the first, and so its socket.
It refuses to handle: a process that receives the message on purpose.
"""

from __future__ import annotations

import _socket
import errno
import os
import socket
import sys
from array import array
from collections.abc import Sequence

from ..faultpoints import fault_point

_MAY_CARRY = sys.platform == "linux"
"""Elsewhere nobody has seen that a message keeps its descriptors open without a reader."""


class LockCarrier:
    """What the processes of attempts inherit for their locks: made once for all that have the same."""

    def __init__(self) -> None:
        self._locks: list[int] = []
        self._inherited: list[int] = []

    def carry(self, locks: Sequence[int]) -> Sequence[int]:
        """The descriptors (close-on-exec) that a process is to inherit for these locks, until `let_go`. Raises OSError."""
        if locks != self._locks:
            self.let_go()
            self._inherited = carry_locks(locks)
            self._locks = [*locks]
        return self._inherited

    def let_go(self) -> None:
        """Close what was inherited. Due before the locks are closed: their numbers come again, for other locks."""
        for fd in self._inherited:
            os.close(fd)
        self._locks, self._inherited = [], []


def carry_locks(locks: Sequence[int]) -> list[int]:
    """The descriptors (close-on-exec) that a process is to inherit for these locks; the caller closes them. Raises OSError.

    A user may have only so many descriptors in messages that nobody reads (RLIMIT_NOFILE). Beyond that, copies do: they keep the
    locks held as well, and an agent that unlocks them harms itself and its pool.
    """
    if not locks:
        return []
    if _MAY_CARRY:
        # The pair of `socket` wraps each end anew, and asks the kernel for its name: half of what all this costs an attempt.
        kept, sender = _socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            fault_point("worker.locks.carried")
            sender.sendmsg([b"locks"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", locks))])
            return [kept.detach()]
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS:
                raise
        finally:
            kept.close()
            sender.close()
    copies: list[int] = []
    try:
        for lock in locks:
            copies.append(os.dup(lock))  # noqa: PERF401 (what was made before one fails is closed)
    except OSError:
        for copy in copies:
            os.close(copy)
        raise
    return copies
