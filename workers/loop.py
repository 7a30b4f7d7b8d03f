"""The life of a worker: take a start, run it, tell its end, until the supervisor is gone or says so.

Promise: an attempt that was begun is finished and its outcome is in the log, also when the supervisor dies meanwhile; then the
worker exits. SIGTERM ends the running attempt as a drain does, and then the worker: a service manager that stops a whole machine
sends SIGTERM to all processes, and nobody cancelled anything. SIGINT and SIGHUP are ignored: the terminal's Ctrl-C is for the
supervisor alone, which the worker is to outlive.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence

from . import channel
from .attempt import AttemptRunner
from .byte_text import encode_message, message_decoder
from .faultpoints import fault_point
from .files.write_bell import WriteBell
from .processes.identity import boot_id
from .processes.reaping import reaper
from .processes.spawn_call import SpawnCall, default_signals
from .protocol import (
    HURRIED_GRACE_SECONDS,
    HURRY_SIGNAL,
    AttemptClass,
    End,
    Ended,
    EndReason,
    MoreStarts,
    Recall,
    Start,
    Starts,
    Told,
)
from .queue import StartQueue

STATE_UNWRITABLE = 74
"""Exit code when an outcome could neither be logged nor told."""

_LONGEST_WAIT_SECONDS = 3600.0
_NEVER = float("inf")
_Message = Start | Starts | MoreStarts | End | Recall
_decode: Callable[[bytes], _Message] = message_decoder(_Message)


class SupervisorLink:
    """The supervisor as its worker sees it. Also where a running attempt waits (`surroundings.Control`)."""

    def __init__(self, sock: socket.socket, folder: str) -> None:
        self.is_gone = False
        self.must_stop = False
        self._socket = sock
        self._folder = folder
        self._bell = WriteBell(folder)
        self._running: Start | None = None
        self._is_recalled = False
        """What is queued is to be given back."""
        self._queue = StartQueue(folder)
        self._is_end_due = False
        self._grace_at_most = float("inf")
        # A signal may come right before the worker begins to wait: it writes a byte to this pipe, so the wait returns at once.
        self._wake, wake_write = os.pipe()
        for end in (self._wake, wake_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(HURRY_SIGNAL, self._on_terminate)
        # The one place to wait: messages, and signals by the pipe.
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)
        self._socket_number = sock.fileno()
        # Registered for no event: it tells only that the other end is gone.
        self._hang_up = select.poll()
        self._hang_up.register(sock.fileno(), 0)

    def next_start(self) -> tuple[Start | Starts, list[int]] | None:
        """The next attempt, or several, and the lock descriptors; None when there will be none."""
        while not (self.is_gone or self.must_stop):
            for number, _ in self._poll.poll():
                if number == self._wake:
                    self._empty_wake_pipe()
                    continue
                message, descriptors = self._receive()
                if isinstance(message, MoreStarts):
                    message = self._late(message, descriptors)
                if isinstance(message, Start | Starts):
                    self._is_recalled = False
                    return message, descriptors
        return None

    def runs(self, start: Start) -> None:
        """This attempt begins now."""
        self._running = start

    def wait(self, timeout_seconds: float | None) -> Sequence[End]:
        """See `surroundings.Control`."""
        was_gone = self.is_gone
        longest = _LONGEST_WAIT_SECONDS
        if timeout_seconds is not None and timeout_seconds < longest:
            longest = timeout_seconds
        over_at, tell_at = self._queue.over_at, self._queue.tell_at
        if (due_at := over_at if over_at < tell_at else tell_at) < _NEVER:
            now = time.monotonic()
            # Only here: this attempt has begun, as its log tells, and what is told may be that it has.
            if tell_at <= now and self._running is not None:
                self._send(self._queue.take_ended(self._running.sequence))
            if due_at < now + longest:
                longest = max(due_at - now, 0.0)
        ends = self._take_in(longest)
        if self._running is not None:
            # What is queued is wanted back, or has waited long enough: the attempt runs on alone.
            if self._queue.starts and not self._may_go_on():
                self._tell_queue(running=self._running.sequence)
            if self.is_gone and not was_gone:
                self._queue.note_left_alone(self._running.sequence)
        # SIGTERM came, perhaps before this attempt ran: end it once, as a drain would.
        if self._is_end_due and self._running is not None:
            self._is_end_due = False
            grace = min(self._running.limits.grace_seconds, self._grace_at_most)
            ends.append(End(sequence=self._running.sequence, reason=EndReason.DRAIN, grace_seconds=grace))
        return ends

    def queue(self, given: Start | Starts) -> Start:
        """Have these begun one after the other; the first, which begins now."""
        return self._queue.take(given)

    def next_queued(self, ended: Ended, *, is_logged: bool) -> Start | None:
        """The queued start that begins right after this end; None: none does, and the end is to be told."""
        if ended.outcome.attempt_class is not AttemptClass.OK:
            self._queue.halt()
            return None
        # An outcome that stands in no log is told before anything else can happen.
        if not (self._queue.is_untold and is_logged):
            return None
        # What the supervisor has sent by now, or its end, comes first.
        while self._poll.poll(0):
            self._take_in(0.0)
        following = self._queue.begin_next() if self._queue.starts and self._may_go_on() else None
        if following is not None:
            self._queue.keep(ended)
        return following

    def tell(self, ended: Ended) -> None:
        """Send an outcome. A supervisor that is gone finds it in the log."""
        self._running = None
        if self._queue.is_untold:
            self._queue.keep(ended)
            self._tell_queue(running=None)
        else:
            self._send(ended)

    def _may_go_on(self) -> bool:
        """Whether nobody has asked for what is queued, and its time is not over."""
        return not (self.is_gone or self.must_stop or self._is_recalled or time.monotonic() >= self._queue.over_at)

    def _take_in(self, longest: float) -> list[End]:
        """Wait so many seconds at most for a message or a signal; the ends that were asked for."""
        ends: list[End] = []
        for number, _ in self._poll.poll(longest * 1000):
            if number == self._wake:
                self._empty_wake_pipe()
                continue
            message, descriptors = self._receive()
            if isinstance(message, End):
                ends.append(message)
                self._is_recalled = self._is_recalled or message.sequence in self._queue
            elif isinstance(message, Recall):
                self._is_recalled = True
            elif isinstance(message, MoreStarts):
                # It has the same ones already, from what was before it in its queue.
                channel.close_all(descriptors)
                self._queue.add(message)
            elif message is not None:
                raise RuntimeError(f"{message} came while another attempt runs")
        return ends

    def _late(self, more: MoreStarts, locks: list[int]) -> Starts | None:
        """What was sent before it was known that all others have ended, if it may begin. Else it is given back."""
        # As before each queued start: what the supervisor has sent by now, or its end, comes first.
        if locks and not self._poll.poll(0) and self._queue.is_current(more.word):
            return Starts(starts=more.starts, word=more.word, seconds=more.seconds)
        channel.close_all(locks)
        self._queue.add(more)
        self._tell_queue(running=None)
        return None

    def _tell_queue(self, running: int | None) -> None:
        """Tell what has ended and goes on, and give back the rest."""
        told = self._queue.take_told(running)
        self._queue.note_in_log(told.returned)
        self._send(told)

    def _send(self, message: Ended | Told) -> None:
        if self.is_gone:
            return
        try:
            channel.send(self._socket, encode_message(message), folder=self._folder)
        except (BrokenPipeError, ConnectionResetError):
            self.is_gone = True

    def wake_at_write(self) -> bool:
        """See `surroundings.Control`. The streams are files in the worker's folder."""
        return self._bell.arm()

    def is_supervisor_gone(self) -> bool:
        """See `surroundings.Control`. The kernel is asked: unread messages may stand before the end-of-file."""
        return self.is_gone or bool(self._hang_up.poll(0))

    def _receive(self) -> tuple[_Message | None, list[int]]:
        received = channel.receive(self._socket)
        if received is None:
            self.is_gone = True
            self._poll.unregister(self._socket_number)
            return None, []
        data, descriptors = received
        return _decode(data), descriptors

    def _empty_wake_pipe(self) -> None:
        try:
            os.read(self._wake, 4096)
        except BlockingIOError:
            # Another read has taken the byte in already.
            return

    def _on_terminate(self, number: int, _: object) -> None:
        self.must_stop = True
        self._is_end_due = True
        if number == HURRY_SIGNAL:
            self._grace_at_most = HURRIED_GRACE_SECONDS


def make_ready() -> None:
    """Make what each worker would make for its first attempt, and is the same in all: as dear as a dozen short items."""
    _decode(encode_message(Recall()))
    SpawnCall(default_signals())
    reaper()
    boot_id()


def serve(sock: socket.socket, folder: str) -> int:
    """Serve until the end; returns the exit code."""
    supervisor = SupervisorLink(sock, folder)
    runner = AttemptRunner(folder, supervisor)
    while (received := supervisor.next_start()) is not None:
        message, locks = received
        supervisor.tell(_run_all(supervisor, runner, message, locks))
        fault_point("worker.sent")
        if supervisor.is_gone and runner.log_error is not None:
            raise runner.log_error
    return 0


def _run_all(supervisor: SupervisorLink, runner: AttemptRunner, message: Start | Starts, locks: Sequence[int]) -> Ended:
    """Run the attempt, or several; the end of the last that began, which is not told yet."""
    first = start = supervisor.queue(message)
    while True:
        supervisor.runs(start)
        ended = Ended(sequence=start.sequence, outcome=runner.run(start, locks))
        following = supervisor.next_queued(ended, is_logged=runner.log_error is None)
        if following is None:
            # Only now: the locks are those of all of them.
            runner.let_go_of_locks(locks, first.kept_locks)
            return ended
        start = following
