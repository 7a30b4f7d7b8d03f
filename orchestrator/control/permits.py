"""Which requests who may make: the one check behind every door to a run.

    Requester                                    what only tells    what steers
    outside of every attempt                     yes                yes
    in an attempt, of any run                    yes                no
    - whose job says `control = true`            yes                yes
    - the supervisor of the run above            yes                yes: it tells its child runs
    - a supervisor, for a token (`replace`)      yes                a cancel, of runs that it is not nested in
    not known: gone, or of another pid namespace yes                no

`control = true` counts only if the job of each attempt around says so too: an agent may start a run of a file of its own.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.control.messages import CancelRequest, CountWaiting, Explain, Request
from orchestrator.control.requester import Requester, this_process
from orchestrator.errors import UserError
from orchestrator.system.enclosing import Enclosing, enclosing_attempts
from orchestrator.system.locks.holders import holder_pid
from orchestrator.workers.files.opening import read_file
from orchestrator.workers.foreign import ForeignBytesError, decode_json

TELLS = (Explain, CountWaiting)
"""What changes nothing of what a run does, has or may cost. Every other request steers."""

_HINT = "control = true on its job lets it steer"
_UNKNOWN_HINT = "ask from a process that waits for the answer, on the machine and in the container of the supervisor"


class NotPermitted(UserError):
    """Who asks may look and not steer."""


def steers(request: Request) -> bool:
    """Whether it is more than a question."""
    return not isinstance(request, TELLS)


def check_permit(requester: Requester, request: Request, folder: Path) -> None:
    """Raise NotPermitted if the requester may not ask that of the run in `folder`."""
    if not steers(request) or may_steer(requester):
        return
    if requester.is_known and (_is_run_above(requester) or _replaces(requester, request, folder)):
        return
    raise _refusal(requester)


def check_own_permit(request: Request, folder: Path) -> Requester:
    """The same for what this process does itself with a run that nobody supervises; who that is."""
    requester = this_process()
    check_permit(requester, request, folder)
    return requester


def refuse_in_attempts(what: str) -> None:
    """Raise NotPermitted if this process is in an attempt that may not steer. `what`: what is asked, which concerns many runs."""
    requester = this_process()
    if not may_steer(requester):
        raise _refusal(requester, f"{what}: ")


def may_steer(requester: Requester) -> bool:
    """Whether it may steer whatever its user may."""
    return requester.is_known and all(attempt.has_control for attempt in requester.inside)


def _refusal(requester: Requester, before: str = "") -> NotPermitted:
    if not requester.is_known:
        return NotPermitted(f"{before}who asks could not be found out, so it may look, not steer", _UNKNOWN_HINT)
    return NotPermitted(f"{before}asked from inside {requester.inside[-1].words}: it may look, not steer", _HINT)


def _is_run_above(requester: Requester) -> bool:
    """Whether it supervises a run in whose item this process, the supervisor that is asked, runs."""
    around = enclosing_attempts(this_process().chain)
    return any(_supervises(requester.pid, _run_of(attempt)) for attempt in around if attempt.worker)


def _replaces(requester: Requester, request: Request, folder: Path) -> bool:
    """Whether it cancels items for an item that takes their token, at the word of that item's supervisor.

    The cancel is a process of its own below the supervisor. In the runs that the supervisor is nested in nothing is replaced.
    """
    if not isinstance(request, CancelRequest) or request.replaced_by is None or (not request.items and not request.ranges):
        return False
    run_id = request.replaced_by.partition("/")[0]
    # It is a name, and no way to a folder with a lock of somebody else's making.
    if run_id in ("", ".", "..", folder.name):
        return False
    run = folder.parent / run_id
    above = [attempt for attempt in enclosing_attempts(requester.chain) if attempt.worker]
    # With slots = 0 an agent is a child of its supervisor as well, which asks for nothing while that runs.
    if any(_run_of(attempt) == folder.resolve() or (attempt.item and _run_of(attempt) == run.resolve()) for attempt in above):
        return False
    # Its own process or the one that started it: further up stand supervisors of the runs that it is only an item in.
    return any(_supervises(each.pid, run) for each in requester.chain[:2])


def _run_of(attempt: Enclosing) -> Path:
    """The folder of the run of an attempt that has a worker: `RUN/workers/NUMBER`."""
    return Path(attempt.worker).resolve().parent.parent


def _supervises(pid: int, folder: Path) -> bool:
    """Whether the process supervises the run in `folder`: it took the lock, and so says the note, which no attempt can write."""
    if holder_pid(folder / "supervisor.lock") != pid:
        return False
    try:
        noted = decode_json(read_file(folder / "supervisor.json"))
    except (OSError, ForeignBytesError):
        return False
    return isinstance(noted, dict) and noted.get("pid") == pid
