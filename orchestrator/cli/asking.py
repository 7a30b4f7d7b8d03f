"""What commands share that ask something of a living supervisor: print its answer, wait until it is gone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orchestrator.cli.output import flush, write_line
from orchestrator.errors import UserError
from orchestrator.system.wording import shown

if TYPE_CHECKING:
    from orchestrator.control.messages import Flush, Pause, Reply, SetSlots, StopRequest
    from orchestrator.store.run_dir import RunDir

_FIRST_POLL_SECONDS = 0.05
_LONGEST_POLL_SECONDS = 0.5


def ask_or_say(run_dir: RunDir, request: StopRequest | Pause | Flush | SetSlots, otherwise: str) -> int:
    """Ask the supervisor and print its answer; 0. Without a living supervisor print `otherwise`, which is no error.

    Raises UserError if the supervisor declined, and for a flush that it did not answer.
    """
    from orchestrator.control.client import NoAnswer, NoSupervisor, ask
    from orchestrator.control.messages import Flush

    try:
        reply = ask(run_dir.path, request)
    except NoSupervisor as error:
        if isinstance(error, NoAnswer) and isinstance(request, Flush):
            raise  # a flush that may have failed must not look like a flush that had nothing to do
        write_line(f"run {run_dir.run_id} has no living supervisor: {otherwise}")
        return 0
    return say(reply)


def ask_to_end(run_dir: RunDir, request: StopRequest | Pause, word: str, *, waits: bool) -> int:
    """Ask the supervisor to end the run; 0. `waits`: return only once the run has ended.

    Raises UserError for a wait inside an item of that run: the run would wait for the item, and the item for the run.
    """
    from orchestrator.shared.nesting.inside import refuse_inside

    if waits:
        refuse_inside(run_dir, f"{word} --wait")
    code = ask_or_say(run_dir, request, f"nothing to {word}")
    if waits:
        flush()  # the answer is read now, not when the wait is over
        wait_for_end(run_dir)
    return code


def wait_for_end(run_dir: RunDir) -> None:
    """Wait until nobody supervises the run.

    The kernel frees a lock when its holder dies, so this never waits for a supervisor that is gone.
    """
    from orchestrator.system.locks.holders import is_locked

    pause = _FIRST_POLL_SECONDS
    while is_locked(run_dir.supervisor_lock):
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)


def say(reply: Reply) -> int:
    """Print what the supervisor answered; 0. Raises UserError if it declined."""
    if not reply.ok:
        raise UserError(reply.message)
    write_line(shown(reply.message))
    return 0
