"""Who asks: the process at the other end of a connection, or this one, and the attempts that it is in.

The kernel tells it of the connection; what a client says of itself is not looked at. A process that is gone before it could be
looked at is not known, and so is one that the kernel cannot name here (of a pid namespace around this one).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import sys

import msgspec

from orchestrator.system.enclosing import Enclosing, enclosing_attempts
from orchestrator.system.process_chain import ChainUnknownError, Process, chain_of
from orchestrator.workers.processes.spawn import SHORTAGES

_CREDENTIALS = struct.Struct("3i")
"""Of SO_PEERCRED: pid, uid, gid."""
_SO_PEERPIDFD = 77
"""Linux 6.5: a descriptor of the very process that connected, whatever number another process gets after it."""
_SOL_LOCAL, _LOCAL_PEERPID = 0, 2
"""The same of macOS, which tells the pid alone. The socket lets nobody in but its owner."""


class Requester(msgspec.Struct, frozen=True):
    """Who asks. `chain`: its process and those above it, the nearest first; empty: it is not known.

    `inside`: the attempts that it is in, the outermost first, up to the first that may not steer.
    """

    uid: int
    chain: tuple[Process, ...] = ()
    inside: tuple[Enclosing, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether it could be looked at."""
        return bool(self.chain)

    @property
    def pid(self) -> int:
        """Its process; 0: it is not known."""
        return self.chain[0].pid if self.chain else 0

    @property
    def user(self) -> str:
        """The name of its user, or the number of one without a name."""
        import pwd

        with contextlib.suppress(KeyError):
            return pwd.getpwuid(self.uid).pw_name
        return str(self.uid)

    @property
    def program(self) -> str:
        """Its program, and the one that started it, as the kernel calls them."""
        return " < ".join(process.name for process in self.chain[:2])

    @property
    def terminal(self) -> str:
        """As `pts/3`; empty without one."""
        return self.chain[0].terminal if self.chain else ""

    @property
    def item(self) -> str:
        """`RUN/ITEM` of the last of `inside`; empty: it is in no attempt."""
        return f"{self.inside[-1].run}/{self.inside[-1].item}" if self.inside else ""

    @property
    def words(self) -> str:
        """For people."""
        if not self.chain:
            return f"a process of {self.user} that is gone"
        where = f", {self.terminal}" if self.terminal else ""
        return f"{self.user} ({self.program}, process {self.pid}{where})"


def this_process() -> Requester:
    """Who asks where no supervisor is asked: this process."""
    return _looked_at(os.getpid(), os.getuid())


def requester_of(connection: socket.socket) -> Requester:
    """Who has connected. To be asked while the client is there. Waits for nobody, and needs one descriptor at a time."""
    pid, uid = _credentials(connection)
    try:
        requester = _looked_at(pid, uid)
        # Its number may have been another's by the time that it was looked at.
        return requester if _is_there_still(connection) else Requester(uid)
    except OSError as error:
        if error.errno not in SHORTAGES:
            raise
        return Requester(uid)


def _looked_at(pid: int, uid: int) -> Requester:
    try:
        chain = chain_of(pid) if pid > 0 else ()
    except ChainUnknownError:
        chain = ()
    inside: list[Enclosing] = []
    for attempt in enclosing_attempts(chain):
        inside.append(attempt)
        if not attempt.has_control:
            break
    return Requester(uid, chain, tuple(inside))


def _credentials(connection: socket.socket) -> tuple[int, int]:
    """The pid, 0 if it cannot be told, and the uid."""
    if sys.platform == "darwin":
        return connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID), os.getuid()
    pid, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def _is_there_still(connection: socket.socket) -> bool:
    """Whether the very process that connected still runs; True where the system cannot tell. Raises OSError for a shortage."""
    if sys.platform == "darwin":
        return True
    try:
        handle = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        return error.errno == errno.ENOPROTOOPT
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return not poll.poll(0)
    finally:
        os.close(handle)
