"""What a supervisor and a worker say to each other, and what a worker leaves on disk.

Both sides import this package and nothing else of each other. Structs and constants alone: nothing here opens a file or a
socket. The names stand in four modules and are handed on here; how an agent's output is read is `protocol.reading`.
"""

from __future__ import annotations

from .log_lines import Begun, LeftAlone, LogLine, Returned, SessionSeen, Spawned
from .messages import (
    BORROW_LOCK_NAME,
    HURRIED_GRACE_SECONDS,
    HURRY_SIGNAL,
    INLINE_BYTES,
    LIVENESS_LOCK_NAME,
    MARK_VARIABLE,
    WORKER_FOLDER_VARIABLE,
    WORKER_LIVENESS_FD,
    WORKER_SOCKET_FD,
    ByFile,
    End,
    Ended,
    MoreStarts,
    Recall,
    Start,
    Starts,
    Told,
)
from .outcome import (
    EMPTY_CAPTURE,
    INLINE_OUTPUT_BYTES,
    AgentReport,
    AttemptClass,
    Capture,
    EndReason,
    Outcome,
    ResetSource,
    Usage,
    WorkspaceReport,
)
from .tasks import DEFAULT_LIMITS, AgentTask, Check, ConfigTask, Creates, Expectation, Holding, Limits, MadeNote, WorkspaceTask

__all__ = [
    "BORROW_LOCK_NAME",
    "DEFAULT_LIMITS",
    "EMPTY_CAPTURE",
    "HURRIED_GRACE_SECONDS",
    "HURRY_SIGNAL",
    "INLINE_BYTES",
    "INLINE_OUTPUT_BYTES",
    "LIVENESS_LOCK_NAME",
    "MARK_VARIABLE",
    "WORKER_FOLDER_VARIABLE",
    "WORKER_LIVENESS_FD",
    "WORKER_SOCKET_FD",
    "AgentReport",
    "AgentTask",
    "AttemptClass",
    "Begun",
    "ByFile",
    "Capture",
    "Check",
    "ConfigTask",
    "Creates",
    "End",
    "EndReason",
    "Ended",
    "Expectation",
    "Holding",
    "LeftAlone",
    "Limits",
    "LogLine",
    "MadeNote",
    "MoreStarts",
    "Outcome",
    "Recall",
    "ResetSource",
    "Returned",
    "SessionSeen",
    "Spawned",
    "Start",
    "Starts",
    "Told",
    "Usage",
    "WorkspaceReport",
    "WorkspaceTask",
]
