"""Whether this process belongs to an item of a run: a command that waits there for the run to end would wait for ever."""

from __future__ import annotations

import os

from orchestrator.errors import UserError
from orchestrator.shared.nesting.ancestors import worker_above
from orchestrator.store.checkpoint import read_header
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.log import LOG_NAME, read_log
from orchestrator.workers.protocol import MARK_VARIABLE, Begun

_PARTS_OF_A_RUN = 3
"""A mark is `RUN.NONCE/ITEM/ATTEMPT`, and such a group more for each nested run."""


def refuse_inside(run_dir: RunDir, what: str) -> None:
    """Raise UserError if this process belongs to an item of the run, however deep: `what` would wait for it."""
    mark = os.environ.get(MARK_VARIABLE) or _mark_above()
    if read_header(run_dir.checkpoint).mark in mark.split("/")[::_PARTS_OF_A_RUN]:
        raise UserError(
            f"{what} inside an item of run {run_dir.run_id} is refused: the run ends only after this item, so both would wait",
            "let the item end, and wait outside of the run",
        )


def _mark_above() -> str:
    """The mark of the attempt that this process is in, where the environment does not tell (`env -i`); empty if in none."""
    folder = worker_above()
    begun = [line.mark for line in read_log(str(folder / LOG_NAME)) if isinstance(line, Begun)] if folder is not None else []
    return begun[-1] if begun else ""
