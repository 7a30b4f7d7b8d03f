"""Only the loopback: a network namespace without anything else, and a count of all that tried to leave it.

A packet to an address outside has no route there, which the kernel counts; a name that somebody wants to look up at a name
server on the loopback comes to a socket of ours. So an attempt is seen, and nothing is sent to anybody.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x41
DNS_PORT = 53
NETWORK = Path("/proc/thread-self/net")


class Loopback:
    """The namespace that this thread, and all that it starts from now on, is in."""

    def __init__(self) -> None:
        self._names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._names.bind(("0.0.0.0", DNS_PORT))
        self._looked_up: list[bytes] = []

    def attempts_to_leave(self) -> tuple[int, list[bytes]]:
        """Since the namespace exists: packets without a route, and questions for names."""
        while True:
            try:
                self._looked_up.append(self._names.recv(4096))
            except BlockingIOError:
                return self._without_route(), list(self._looked_up)

    def close(self) -> None:
        """Nothing is recorded any more. The namespace stays."""
        self._names.close()

    def _without_route(self) -> int:
        names, values = [line.split() for line in (NETWORK / "snmp").read_text().splitlines() if line.startswith("Ip:")]
        (six,) = [line.split()[1] for line in (NETWORK / "snmp6").read_text().splitlines() if line.startswith("Ip6OutNoRoutes")]
        return int(values[names.index("OutNoRoutes")]) + int(six)


def enter() -> Loopback | str:
    """Leaves this machine's network for good, or says why it cannot."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if {name for _, name in socket.if_nameindex()} != {"lo"}:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            return f"a network namespace of its own is not permitted: {os.strerror(ctypes.get_errno())}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP_RUNNING))
    return Loopback()
