"""A judgement over bytes that are not ours, in a process of its own, which ends it when it takes too long.

A pattern that is looked for in an unlucky text, or a rule that branches at each level of a value, may take years, and nothing in
Python stops it in a thread. So the process forks: the child judges, tells, and is gone. Promise: whoever asked goes on after
`cpu_seconds` of the child's time, also when the child crashes. The child keeps no lock, as it has closed all descriptors, and
obeys no signal but the one of its timer, so a Ctrl-C does not reach the supervisor twice. A loop, which has others to serve,
waits for the descriptor of a `Judgement`; all others call `judged_apart`.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress

_PATIENCE = 20.0
"""So many times `cpu_seconds` it may take by the clock, as on a busy machine: a child that was stopped would take for ever."""
_END = b"."
"""The last byte: what lacks it is not whole."""


class Judgement:
    """One that is under way. `deadline`: when it is to be ended, whatever it has told by then (monotonic seconds)."""

    def __init__(self, judge: Callable[[], bytes], cpu_seconds: float) -> None:
        """Raises OSError where there is no room for a process."""
        self._reading, writing = os.pipe()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _judge(judge, cpu_seconds, writing)
        except OSError:
            os.close(self._reading)
            os.close(writing)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(writing)
        self.deadline = time.monotonic() + cpu_seconds * _PATIENCE
        self._parts: list[bytes] = []

    def fileno(self) -> int:
        """Readable when `take_in` has something to read."""
        return self._reading

    def take_in(self) -> bool:
        """Read what it has told by now; whether that was all. Blocks while nothing is there to be read."""
        self._parts.append(os.read(self._reading, 65536))
        return not self._parts[-1]

    def end(self) -> bytes | None:
        """What `judge` has returned; None: it broke off, or is ended here. Once: nothing of it is left then."""
        if self._parts[-1:] != [b""]:
            os.kill(self._pid, signal.SIGKILL)
        os.close(self._reading)
        # Where this process was told to ignore the ends of its children the kernel has waited for it.
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        whole = b"".join(self._parts)
        return whole[:-1] if whole.endswith(_END) else None


def judged_apart(judge: Callable[[], bytes], cpu_seconds: float) -> bytes | None:
    """What `judge` returns; None: it was ended before, or broke off. Without room for a process it judges right here."""
    try:
        judgement = Judgement(judge, cpu_seconds)
    except OSError:
        return judge()
    waiting = select.poll()
    waiting.register(judgement, select.POLLIN)
    while waiting.poll(max(0.0, judgement.deadline - time.monotonic()) * 1000) and not judgement.take_in():
        pass
    return judgement.end()


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
