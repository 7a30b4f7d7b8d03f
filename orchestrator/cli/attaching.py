"""What `attach`, `status --watch` and `wait` share: the view of a run that another process supervises, until the run ends."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from orchestrator.cli.noting import tell_note
from orchestrator.errors import ExitCode
from orchestrator.reading.follower import RunFollower
from orchestrator.reading.retelling import Retelling
from orchestrator.supervisor.options import slots_as_seen
from orchestrator.views.listeners import Listeners
from orchestrator.views.outlet import Outlet, outlet_to

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation
    from orchestrator.store.run_dir import RunDir
    from orchestrator.views.listener import Listener

_LOOK_SECONDS = 0.2


def attach_to(invocation: Invocation, run_dir: RunDir) -> int:
    """Show the run until nobody supervises it; its exit code. Ctrl-C ends the view alone: 130."""
    outlet = outlet_to(sys.stderr)
    listeners = Listeners([_view(invocation, outlet)])
    follower = RunFollower(run_dir, tell_note)
    retelling = Retelling(follower, listeners.hear)
    try:
        with _ended_by_signals():
            retelling.begin(slots_as_seen(follower.reader))
            while retelling.look():
                listeners.refresh_if_due(time.monotonic())
                time.sleep(_LOOK_SECONDS)
            return retelling.finish()
    except KeyboardInterrupt:
        listeners.close()
        program, run_id = invocation.program(), run_dir.run_id
        tell_note(f"run {run_id} goes on: {program} attach {run_id} shows it again, {program} stop {run_id} ends it")
        return int(ExitCode.INTERRUPTED)
    finally:
        listeners.close()


def _view(invocation: Invocation, outlet: Outlet) -> Listener:
    from orchestrator.cli.supervising import is_terminal_for_views
    from orchestrator.views.plain_lines import PlainLines

    if not is_terminal_for_views(outlet):
        return PlainLines(outlet, invocation.program())
    from orchestrator.views.terminal import LiveView

    return LiveView(outlet, invocation.program(), force=False, wall_clock=time.time)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP leave as an exception does: the view gives the terminal its cursor back."""

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {each: signal.signal(each, leave) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
