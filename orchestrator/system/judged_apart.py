"""A judgement over bytes that are not ours, in a process of its own, which ends it when it takes too long.

A pattern that is looked for in an unlucky text, or a rule that branches at each level of a value, may take years, and nothing in
Python stops it in a thread. So the process forks: the child judges, tells, and is gone. Promise: whoever asked goes on after
`cpu_seconds` of the child's time, also when the child crashes. The child keeps no lock, as it has closed all descriptors, and
obeys no signal but the one of its timer, so a Ctrl-C does not reach the supervisor twice.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import RawIOBase

_PATIENCE = 20.0
"""So many times `cpu_seconds` it may take by the clock, as on a busy machine: a child that was stopped would take for ever."""
_END = b"."
"""The last byte: what lacks it is not whole."""


def judged_apart(judge: Callable[[], bytes], cpu_seconds: float) -> bytes | None:
    """What `judge` returns; None: it was ended before, or broke off. Without room for a process it judges right here."""
    reading, writing = os.pipe()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _judge(judge, cpu_seconds, writing)
    except OSError:
        os.close(reading)
        os.close(writing)
        return judge()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    os.close(writing)
    with open(reading, "rb", buffering=0) as told:
        parts = list(_parts(told, time.monotonic() + cpu_seconds * _PATIENCE))
        if parts[-1:] != [b""]:
            os.kill(pid, signal.SIGKILL)
    # Where this process was told to ignore the ends of its children the kernel has waited for it.
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
    whole = b"".join(parts)
    return whole[:-1] if whole.endswith(_END) else None


def _judge(judge: Callable[[], bytes], cpu_seconds: float, writing: int) -> None:
    """The life of the child."""
    try:
        # First: no byte to the pipe by which its parent hears of signals, and none of its parent's locks.
        signal.set_wakeup_fd(-1)
        os.closerange(0, writing)
        os.closerange(writing + 1, 1 << 20)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_VIRTUAL, cpu_seconds)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGVTALRM])
        told = judge() + _END
        while told:
            told = told[os.write(writing, told) :]
    finally:
        os._exit(0)


def _parts(told: RawIOBase, deadline: float) -> Iterator[bytes]:
    """What is written until the deadline; empty: its writer is gone."""
    with selectors.DefaultSelector() as selector:
        selector.register(told, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            part = told.read(65536) or b""
            yield part
            if not part:
                return
