"""What an attempt has come to so far, step by step: each step reads what the one before left, and adds to it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import msgspec

from .attempt_end import AttemptEnd, end_in_words
from .bugs import bug_in_words, traceback_of
from .files.capture import CaptureFile, may_lack_bytes
from .files.creates import Before
from .files.placing import TamperedError
from .processes.oom_kills import OomKills
from .processes.surroundings import Control
from .processes.watch import Watch
from .protocol import EMPTY_CAPTURE, AgentReport, AttemptClass, Capture, EndReason, Start, WorkspaceReport

if TYPE_CHECKING:
    from .files.config_folder import ConfigFolder

_OK = AttemptClass.OK
_MAY_COME_OF_FULL_DISK = (
    AttemptClass.COMMAND_FAILED,
    AttemptClass.AGENT_FAILED,
    AttemptClass.PROTOCOL_ERROR,
    AttemptClass.STALLED,
)
_WORTHLESS_ON_FULL_DISK = (_OK, *_MAY_COME_OF_FULL_DISK)
"""What an attempt may come to for the one reason that nothing could be written."""
_SAYS_ENOUGH = (EndReason.TIMEOUT, EndReason.CANCEL, EndReason.DRAIN, EndReason.MEMORY, EndReason.STALLED, EndReason.STOPPED)
_LEAVES_NO_TIME = (EndReason.TIMEOUT, EndReason.CANCEL, EndReason.DRAIN)
RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class Course(msgspec.Struct, kw_only=True):
    """One attempt on its way. `timeout_at` is a time of the monotonic clock, for all its processes together; `give_up_at` one
    for what comes behind them.

    `asked_end` is why the tree of its last process was to end, also if the process had exited before. `config` is the folder that
    its agent's CLI uses, as long as it is held.
    """

    oom_kills: OomKills | None = None
    """As many as there were as the attempt began."""
    end: AttemptEnd = AttemptEnd(AttemptClass.OK)
    timeout_at: float = float("inf")
    give_up_at: float = float("inf")
    asked_end: EndReason | None = None
    stdout: Capture = EMPTY_CAPTURE
    stderr: Capture = EMPTY_CAPTURE
    agent: AgentReport | None = None
    check: Capture = EMPTY_CAPTURE
    workspace: WorkspaceReport | None = None
    promised_before: tuple[Before, ...] = ()
    unproven: str = ""
    """Of a failed attempt: what stands at the final names of its `creates`, as `files.creates.fingerprints` says."""
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0
    leftovers: int = 0
    bug: str = ""
    """As of the outcome."""
    config: ConfigFolder | None = None

    @property
    def is_well(self) -> bool:
        """Whether the next step may be done."""
        return self.end.attempt_class is _OK

    def meet_bug(self, error: Exception, what: str) -> None:
        """A bug of ours: what the attempt came to is not known. What we ended it for stays what it came to."""
        self.bug = self.bug or traceback_of(error)
        attempt_class = self.end.attempt_class if self.end.ended_by in _SAYS_ENOUGH else AttemptClass.PROTOCOL_ERROR
        self.end = self.end.but(attempt_class, bug_in_words(what, error))

    def miss_file(self, what: str, error: OSError) -> None:
        """`what` the attempt wrote cannot be kept: for what its own processes did to the file, or for a trouble of the state."""
        if isinstance(error, TamperedError):
            attempt_class = AttemptClass.PROTOCOL_ERROR if self.is_well else self.end.attempt_class
            self.end = self.end.but(attempt_class, f"{what} {error.strerror}")
        else:
            self.end = self.end.but(AttemptClass.STATE_ERROR, f"{what} could not be kept: {error.strerror}")

    def refuse_success(self, words: str) -> None:
        """Of an agent that says it succeeded: it has not, for its success lacks what is expected of it. Other ends stay."""
        if self.is_well:
            self.end = self.end._replace(attempt_class=AttemptClass.AGENT_FAILED, message=words)

    def heed_asked_end(self, start: Start, when: str) -> None:
        """Take in an end that was asked for after the last process had exited by itself: the next one must not start."""
        if self.asked_end in _LEAVES_NO_TIME:
            attempt_class, words = end_in_words(self.asked_end, start)
            self.end = self.end._replace(attempt_class=attempt_class, message=f"{words} {when}", ended_by=self.asked_end)

    def wait_unless_ended(self, control: Control, start: Start, seconds: float) -> bool:
        """Wait so long, at most; False if the attempt's end came first, which `asked_end` tells then."""
        for end in control.wait(seconds):
            if end.sequence == start.sequence:
                self.asked_end = end.reason
                return False
        if time.monotonic() >= self.timeout_at:
            self.asked_end = EndReason.TIMEOUT
            return False
        return True

    def wait_unless_given_up(self, control: Control, start: Start, seconds: float) -> bool:
        """As `wait_unless_ended`, for what comes behind the agent, whose work is paid for: the timeout was for that alone, and
        a drain gives this the grace of its end."""
        for end in control.wait(seconds):
            if end.sequence == start.sequence:
                self.asked_end = end.reason
                grace_seconds = 0.0 if end.reason is EndReason.CANCEL else end.grace_seconds
                self.give_up_at = min(self.give_up_at, time.monotonic() + grace_seconds)
        return time.monotonic() < self.give_up_at

    def add_process(self, watch: Watch) -> None:
        """A process has ended, and its tree with it."""
        self.asked_end = watch.asked_end
        self.add_usage(watch.cpu_seconds, watch.max_rss)
        self.leftovers += len(watch.leftovers)

    def add_usage(self, cpu_seconds: float, max_rss: int) -> None:
        """What a process used; `max_rss` in the unit of the system."""
        self.cpu_seconds += cpu_seconds
        self.max_rss_bytes = max(self.max_rss_bytes, max_rss * RSS_UNIT_BYTES)

    def take_captures(self, captures: tuple[CaptureFile, CaptureFile], start: Start) -> None:
        """Cut both captures to what is kept, and move them to their final places."""
        stdout, stderr = captures
        limit, is_sole_writer = start.limits.max_output_bytes, not self.leftovers
        if is_sole_writer and stdout.stayed_empty() and stderr.stayed_empty():
            # Both stay where they are. One look at their disk does for both, and only if it could have taken something.
            if self.end.attempt_class in _WORTHLESS_ON_FULL_DISK and stdout.is_disk_full():
                self._meet_full_disk()
            return
        # Before the cut, which makes room.
        if self._is_spoiled(captures, limit):
            self._meet_full_disk()
        try:
            self.stdout = stdout.take_capture(start.stdout_path, limit, is_sole_writer=is_sole_writer)
            self.stderr = stderr.take_capture(start.stderr_path, limit, is_sole_writer=is_sole_writer)
        except OSError as error:
            # Neither file is used again: what stands in it must not become the next attempt's output.
            stdout.forget()
            stderr.forget()
            self.miss_file("the output", error)

    def _meet_full_disk(self) -> None:
        self.end = self.end.but(AttemptClass.STATE_ERROR, "the disk that takes its output is full")

    def _is_spoiled(self, captures: tuple[CaptureFile, CaptureFile], limit: int) -> bool:
        """Whether a full disk took the worth of what the attempt came to."""
        # An output that lacks its end is nobody's, whatever the exit code.
        if self.is_well:
            return may_lack_bytes(captures, limit)
        # A failure may come of the full disk alone: that says nothing of the command.
        if self.end.attempt_class not in _MAY_COME_OF_FULL_DISK:
            return False
        return captures[0].is_disk_full() or may_lack_bytes(captures, limit)


def timeout_at(start: Start) -> float:
    """When an attempt that begins now has had its time, by the monotonic clock."""
    return float("inf") if start.limits.timeout_seconds is None else time.monotonic() + start.limits.timeout_seconds
