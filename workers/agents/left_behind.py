"""What an agent's attempt left whose worker was killed: read and kept as the worker would have done.

Promise: what the agent told of its costs before its end is known, although its worker did not live to hear it. A kill in the
middle of this loses nothing, for it may be done again. Invariant: the attempt's tree is confirmed ended, so nobody writes to its
files any more.

Refuses to handle: what the attempt came to. Nobody saw how the agent exited, and its check was not carried out.
"""

from __future__ import annotations

import msgspec

from ..attempt_end import AttemptEnd
from ..bugs import bug_in_words, traceback_of
from ..files.capture import CaptureFile
from ..protocol import EMPTY_CAPTURE, AgentReport, AgentTask, AttemptClass, Capture
from .report import report_of
from .watch import AgentWatch


class LeftBehind(msgspec.Struct, frozen=True, kw_only=True):
    """`agent` None: nobody can read what it told. `trouble`: why something of it is missing, in words."""

    agent: AgentReport | None = None
    stdout: Capture = EMPTY_CAPTURE
    stderr: Capture = EMPTY_CAPTURE
    trouble: str = ""
    bug: str = ""
    """The traceback of a bug of ours that kept something of it from being read."""


def take_left_behind(
    folder: str, task: AgentTask | None, stdout_path: str, stderr_path: str, max_output_bytes: int
) -> LeftBehind:
    """Read all that stands in the captures of the dead worker in `folder`, however long that takes, and keep them at the two
    paths; all absolute. `task`: how it is read; None: it is only kept. Where a file cannot be read or written `trouble` says so.
    """
    # A kill in the middle of an earlier call may have moved either file already: take_up brings it back.
    captures = (CaptureFile(f"{folder}/stdout"), CaptureFile(f"{folder}/stderr"))
    report = None
    kept = [EMPTY_CAPTURE, EMPTY_CAPTURE]
    trouble = bug = ""
    try:
        finals = (stdout_path, stderr_path)
        for capture, final in zip(captures, finals, strict=True):
            capture.take_up(final)
        # Read before anything is cut and moved.
        if task is not None:
            report, trouble, bug = _report(task, *captures)
        for place, (capture, final) in enumerate(zip(captures, finals, strict=True)):
            kept[place] = capture.take_capture(final, max_output_bytes, is_sole_writer=True)
    except OSError as error:
        trouble = f"what it left could not be kept: {error.strerror}"
    finally:
        for capture in captures:
            capture.forget()
    return LeftBehind(agent=report, stdout=kept[0], stderr=kept[1], trouble=trouble, bug=bug)


def _report(task: AgentTask, stdout: CaptureFile, stderr: CaptureFile) -> tuple[AgentReport | None, str, str]:
    """What the agent told, and what of ours kept it from being read: in words, and its traceback. Raises OSError.

    The end of a limit is left out: nobody waits for it on behalf of an attempt that was lost.
    """
    watch = AgentWatch(task, stdout, stderr, _hear_no_session)
    try:
        watch.read_all()
        _, told = watch.classify_end(AttemptEnd(AttemptClass.LOST))
        report = msgspec.structs.replace(report_of(task, watch.reader, told), resets_at=None, reset_source=None)
    except OSError:
        raise
    except Exception as error:
        return None, bug_in_words("what it told", error), traceback_of(error)
    return report, told.message if watch.reader.bug else "", watch.reader.bug


def _hear_no_session(_session_id: str) -> None:
    """The log of its worker is closed; the report has the session."""
