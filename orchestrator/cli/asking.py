"""What `stop`, `flush` and `cancel` share: say what the supervisor answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.output import write_line
from orchestrator.errors import UserError
from orchestrator.views.wording import shown

if TYPE_CHECKING:
    from orchestrator.control import Flush, Reply, Stop
    from orchestrator.store.rundir import RunDir


def ask_or_say(run_dir: RunDir, request: Stop | Flush, otherwise: str) -> int:
    """Ask the supervisor; without a living one say `otherwise`, which is no error."""
    from orchestrator.control import Flush, NoAnswer, NoSupervisor, ask

    try:
        reply = ask(run_dir.path, request)
    except NoSupervisor as error:
        if isinstance(error, NoAnswer) and isinstance(request, Flush):
            raise  # a flush that failed must not be taken for one that had nothing to do
        write_line(f"run {run_dir.run_id} has no living supervisor: {otherwise}")
        return 0
    return say(reply)


def say(reply: Reply) -> int:
    """Print what the supervisor answered. Raises UserError if it declined."""
    if not reply.ok:
        raise UserError(reply.message)
    write_line(shown(reply.message))
    return 0
