"""Whether this process belongs to an item of a run.

A command that waits there for the run to end would wait for ever. And what an agent starts has programs, an environment and files
of the agent's choice: so its runs are nobody else's to go on with or to take outcomes from, nor are those of others its own.
"""

from __future__ import annotations

import os

from orchestrator.errors import UserError
from orchestrator.shared.nesting.ancestors import worker_above
from orchestrator.store.checkpoint import read_header
from orchestrator.store.records import RunHeader
from orchestrator.store.run_dir import RunDir
from orchestrator.system.enclosing import enclosing_attempts
from orchestrator.system.process_chain import ChainUnknownError, chain_of
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


def agents_item_around() -> str:
    """`RUN/ITEM` of the outermost attempt around this process that is an agent's; empty: it is in none.

    One whose job has `control = true` is as its user. The kernel tells (`system.enclosing`), not the environment.
    """
    try:
        chain = chain_of(os.getpid())
    except ChainUnknownError:
        return "not known"
    return next((f"{each.run}/{each.item}" for each in enclosing_attempts(chain) if each.is_agents), "")


def refuse_others_run(header: RunHeader) -> None:
    """Raise UserError if this process is in an item of an agent's in which the run was not begun: it may not go on with it."""
    around = agents_item_around()
    if around and header.within != around:
        raise UserError(
            f"run {header.run_id} was not begun inside of item {around}, and an agent goes on with no run but its own",
            "control = true on its job lets it",
        )


def _mark_above() -> str:
    """The mark of the attempt that this process is in, where the environment does not tell (`env -i`); empty if in none."""
    folder = worker_above()
    begun = [line.mark for line in read_log(str(folder / LOG_NAME)) if isinstance(line, Begun)] if folder is not None else []
    return begun[-1] if begun else ""
