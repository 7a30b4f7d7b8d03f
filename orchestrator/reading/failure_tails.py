"""The last lines of what a failed attempt wrote: mostly they say why it failed.

Promise: only the end of a file is read, and nothing of a success. Secrets are taken out before lines are cut. What cannot be read
has no lines: no run and no list fails for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from orchestrator.errors import UserError
from orchestrator.jobsfile.model import JobsFile
from orchestrator.store.captures import CaptureMismatch, capture_end
from orchestrator.store.records import AttemptEnded
from orchestrator.store.run_dir import RunDir
from orchestrator.system.redaction import Redactor
from orchestrator.system.wording import cut
from orchestrator.workers.lazy_pattern import lazy_pattern
from orchestrator.workers.protocol import AttemptClass, Capture, Outcome

MOST_LINES = 10
LONGEST_LINE = 300
"""Characters."""

_SHOWN_BYTES = 16 << 10


class FailureTails:
    """Of one run, whose jobs file is `jobs_file`."""

    def __init__(self, run_dir: RunDir, jobs_file: JobsFile) -> None:
        self._run_dir = run_dir
        self._jobs_file = jobs_file

    def of(self, ended: AttemptEnded) -> list[str]:
        """At most `MOST_LINES` lines, without secrets; they may drive a terminal. Of a child run those of what failed in it."""
        if ended.outcome.attempt_class is AttemptClass.OK:
            return []
        if ended.child:
            return self._of_child(ended.child)
        for capture in _telling(ended.outcome):
            if lines := self._lines(capture):
                # A message that is made of that line has told it.
                return [] if len(lines) == 1 and lines[0] in ended.outcome.message else lines
        return []

    def _of_child(self, run_id: str) -> list[str]:
        from orchestrator.reading.run_reader import RunReader

        try:
            reader = RunReader.read(self._run_dir.beside(run_id))
            failed = reader.history.ended.error_item if reader.history.ended is not None else None
            job_id, _, index = (failed or "").partition(":")
            past = reader.history.jobs.get(job_id)
            last = past.last_end(int(index or 0)) if past is not None else None
            return [] if last is None else FailureTails(reader.run_dir, reader.jobs_file).of(last)
        except UserError:
            return []  # the message says what is wrong with it

    def _lines(self, capture: Capture) -> list[str]:
        if capture.size == 0:
            return []
        before = self._redactor.longest
        try:
            data = capture_end(capture, self._run_dir, before + _SHOWN_BYTES)
        except (CaptureMismatch, OSError):
            return []
        # A secret may begin before what is read: what is shown begins behind the longest of them.
        _, first = self._redactor.redact_part(data, 0, before) if len(data) < capture.size else (b"", 0)
        shown, _ = self._redactor.redact_part(data, first, len(data))
        return _readable_lines(shown.decode("utf-8", "backslashreplace"))[-MOST_LINES:]

    @cached_property
    def _redactor(self) -> Redactor:
        from orchestrator.reading.shown_redactor import redactor_for

        return redactor_for(self._run_dir, self._jobs_file)


def _telling(outcome: Outcome) -> Iterator[Capture]:
    """The streams that may say why it failed, the most telling first. An agent's stdout is for programs."""
    if outcome.attempt_class is AttemptClass.CHECK_FAILED:
        yield outcome.check
    yield outcome.stderr
    yield outcome.stdout if outcome.agent is None else outcome.agent.text


_COLOURS = lazy_pattern("\x1b\\[[0-9;:]*m")


def _readable_lines(text: str) -> list[str]:
    """Lines that say something: without colours, and of one that was written over and over (progress) its last form."""
    lines = (_COLOURS.sub("", line).rstrip().rpartition("\r")[2].expandtabs(4) for line in text.split("\n"))
    return [cut(line, LONGEST_LINE) for line in lines if line.strip()]
