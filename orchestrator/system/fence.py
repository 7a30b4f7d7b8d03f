"""The fence around one item: a bug of ours that shows while one item is started, judged or told costs that item, and no other.

Promise: what the fence stops is told where the item is told, in one line, and its traceback stands in the run's log under the
words `FENCED`. Invariant: what tells of the whole run passes (`passes_fence`). The same bytes are judged the same again, so a bug
that passed the fence would end each resume, too.
It refuses to handle: what becomes of the item. Who asks the fence says that.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.system.run_log import append_log
from orchestrator.system.wording import error_in_words, shown
from orchestrator.workers.processes.spawn import SHORTAGES

FENCED = "a bug of ours, kept to one item"

_LONGEST = 300


def passes_fence(error: Exception) -> bool:
    """Whether it tells of the state of the whole run, or of a machine that has no room just now: neither is any item's.

    For a supervisor, which ends with 74 then; its next session does what was to be done.
    """
    return isinstance(error, UserError) or (isinstance(error, OSError) and error.errno in SHORTAGES)


def log_fenced(log: Path, what: str, error: Exception | str) -> None:
    """Tell the run's log of it. `what`: which item, and what was done with it; `error`: the exception, or its traceback."""
    import traceback  # Of a bug alone.

    told = error if isinstance(error, str) else "".join(traceback.format_exception(error))
    append_log(log, f"{FENCED}: {what}\n{told.rstrip()}")


def fenced_words(error: Exception) -> str:
    """One line for whoever is told of the item."""
    return f"our bug ({shown(error_in_words(error), _LONGEST)}); its traceback is in supervisor.log"
