"""The outcome of a `land` job in words: its exit code alone does not say which items did not land."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.store.captures import CaptureMismatch, read_capture
from orchestrator.store.run_dir import RunDir
from orchestrator.system.wording import how_many
from orchestrator.workers.foreign import ForeignBytesError, decode_json
from orchestrator.workers.protocol import AttemptClass, Outcome

_MOST_NAMED = 5


def landing_told(outcome: Outcome, run_dir: RunDir) -> Outcome:
    """The outcome, with the items in its message that conflicted, failed their check or were refused, if it failed for that."""
    if outcome.attempt_class is not AttemptClass.COMMAND_FAILED or outcome.exit_code != 1:
        return outcome
    try:
        told = decode_json(read_capture(outcome.stdout, run_dir))
        counted = [_counted(told["conflicts"], "conflict"), _counted(told["failed_checks"], "failed check")]
        counted.append(_counted(told.get("refused", []), "refused item"))
    except (ForeignBytesError, CaptureMismatch, KeyError, TypeError):
        return outcome  # not the output of `land --json`: then the exit code says all that is known
    words = ", ".join(each for each in counted if each)
    return msgspec.structs.replace(outcome, message=f"{words}; the others are landed") if words else outcome


def _counted(items: list[dict[str, Any]], what: str) -> str:
    if not items:
        return ""
    names = ", ".join(each["item"] for each in items[:_MOST_NAMED]) + (", …" if len(items) > _MOST_NAMED else "")
    return f"{how_many(len(items), what)} ({names})"
