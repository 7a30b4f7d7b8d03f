"""How an attempt's locks stay held as long as anything of its tree lives, and yet nothing there can unlock them.

A lock (flock) belongs to the open file: whoever has a copy of the descriptor can unlock it for all (`flock -u 200`). So an agent
inherits no copy. It inherits one end of a socket, and in that lies a message with the descriptors which nobody reads. The kernel
keeps them open as long as anybody has that end: the agent, and all that it starts, unless they close it.

Promise: the locks outlive worker and supervisor with the agent; only the worker, which has copies of its own, unlocks them.
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
_AT_ONCE = int(socket.MSG_DONTWAIT)
_SEND_FLAGS = _AT_ONCE | int(getattr(socket, "MSG_NOSIGNAL", 0))


class LockCarrier:
    """Carries the locks of one attempt after another. The socket stays: its message is dropped once the tree is gone."""

    def __init__(self) -> None:
        self._ends: tuple[_socket.socket, _socket.socket] | None = None
        """What is inherited, and what sends into it."""
        self._copies: list[int] = []
        self._is_laden = False

    def carry(self, locks: Sequence[int]) -> list[int]:
        """The descriptors (close-on-exec) that a process is to inherit for these locks, until `let_go`. Raises OSError.

        A user may have only so many descriptors in messages that nobody reads (RLIMIT_NOFILE). Beyond that, copies do: they keep
        the locks held as well, and an agent that unlocks them harms itself and its pool.
        """
        self.let_go()
        if not locks:
            return []
        if _MAY_CARRY:
            try:
                return [self._load(locks)]
            except OSError as error:
                if error.errno != errno.ETOOMANYREFS:
                    raise
        for lock in locks:
            self._copies.append(os.dup(lock))
        return self._copies

    def let_go(self) -> None:
        """The tree is gone: carry nothing any more."""
        while self._copies:
            os.close(self._copies.pop())
        if self._is_laden and self._ends is not None:
            self._is_laden = False
            try:
                # What is received without room for descriptors: the kernel closes them.
                self._ends[0].recv(1, _AT_ONCE)
            except OSError:
                # Somebody has received it, or shut the socket.
                self.close()

    def close(self) -> None:
        """As `let_go`, and the socket goes, too."""
        ends, self._ends = self._ends, None
        for end in ends or ():
            end.close()
        self._is_laden = False
        self.let_go()

    def _load(self, locks: Sequence[int]) -> int:
        message = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", locks))]
        try:
            return self._send(message)
        except (BrokenPipeError, ConnectionResetError, BlockingIOError):
            # An earlier agent has shut the socket or filled it: another.
            self.close()
            return self._send(message)

    def _send(self, message: list[tuple[int, int, array[int]]]) -> int:
        if self._ends is None:
            # The pair of `socket` wraps each end anew, and asks the kernel for its name.
            self._ends = _socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept, sender = self._ends
        fault_point("worker.locks.carried")
        sender.sendmsg([b"locks"], message, _SEND_FLAGS)
        self._is_laden = True
        return kept.fileno()
