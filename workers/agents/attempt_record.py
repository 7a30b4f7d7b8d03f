"""What is kept of an agent's attempt beside its streams, so that it can be replayed: what it was asked, told, and came to.

Written by the worker, once, when the attempt has ended. Survives SIGKILL; only a cache: where it is missing a capsule says so,
and `logs` does without.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from ..byte_text import encode_json, json_decoder
from ..files.opening import StrangeFileError, read_file, replace_file
from ..files.syncing import make_folder, run_folder_of
from ..foreign import ForeignBytesError, decode_struct
from ..protocol import EMPTY_CAPTURE, AgentReport, AttemptClass, EndReason, Outcome, Start


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`asked` as of `AgentTask`; `told` is the prompt as it was given, where it did not go by argv.

    `exit_code` and `signal` are those of the agent: of an answer that a check or the supervisor refused it was a success.
    """

    attempt_class: AttemptClass = msgspec.field(name="class")
    asked: dict[str, str] = {}
    told: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    ended_by: EndReason | None = None
    message: str = ""
    duration_seconds: float = 0.0
    agent: AgentReport | None = None
    workspace: str | None = None
    """The kind of workspace that it had to itself."""


_decode: Callable[[bytes], AttemptRecord] = json_decoder(AttemptRecord)


def record_of(outcome: Outcome, asked: dict[str, str] | None = None, told: str | None = None) -> AttemptRecord:
    """What is kept of an attempt that came to `outcome`."""
    return AttemptRecord(
        attempt_class=outcome.attempt_class,
        asked=asked or {},
        told=told,
        exit_code=0 if outcome.attempt_class in _REFUSED_SUCCESSES else outcome.exit_code,
        signal=outcome.signal,
        ended_by=outcome.ended_by,
        message=outcome.message,
        duration_seconds=round(outcome.duration_seconds, 3),
        agent=outcome.agent and msgspec.structs.replace(outcome.agent, text=EMPTY_CAPTURE),
        workspace=outcome.workspace.kind if outcome.workspace is not None and outcome.workspace.kind != "shared" else None,
    )


_REFUSED_SUCCESSES = (AttemptClass.CHECK_FAILED, AttemptClass.BAD_OUTPUT, AttemptClass.CREATES_MISSING)


def record_path(stdout_path: str) -> str:
    """Where it lies, beside the captured stream at `stdout_path`."""
    return f"{stdout_path.removesuffix('stdout')}attempt"


def keep_record(start: Start, outcome: Outcome) -> None:
    """Write it. Raises OSError."""
    assert start.agent is not None
    told = start.stdin if start.stdin is not None else start.script
    path = record_path(start.stdout_path)
    make_folder(os.path.dirname(path), run_folder_of(path), is_synced=False)
    replace_file(path, encode_json(record_of(outcome, start.agent.asked, told)))


def kept_record(path: str) -> AttemptRecord | None:
    """The record at `path`; None if there is none, or half of one."""
    try:
        return decode_struct(_decode, read_file(path))
    except (FileNotFoundError, StrangeFileError, ForeignBytesError):
        return None
