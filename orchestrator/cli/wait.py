"""`orchestrate wait RUN`.

It watches the supervisor's lock, which the kernel frees when its holder dies, and reads the records once, when the run is over:
to follow them meanwhile would read what nobody looks at.
"""

from __future__ import annotations

import sys

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import json_option, run_argument
from orchestrator.cli.output import write_json
from orchestrator.errors import ExitCode


@click.command("wait")
@run_argument
@json_option
@pass_invocation
def command(invocation: Invocation, *, run: str | None, as_json: bool) -> int:
    """Wait for a run (default: the newest) to end, and exit as it did.

    On a terminal the run is shown meanwhile, as `attach` does. A run whose supervisor has died without a last word is
    interrupted: exit 130, and `orchestrate resume` goes on with it.
    """
    from orchestrator.cli.asking import wait_for_end
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.reading.run_summary import run_summary
    from orchestrator.shared.nesting.inside import refuse_inside
    from orchestrator.system.locks.holders import is_locked
    from orchestrator.views.outlet import Outlet

    run_dir = invocation.find(run)
    # An item that waits for its own run would wait for itself.
    refuse_inside(run_dir, "wait")
    # A person sees the run go on; who reads a pipe or JSON waits for its end alone.
    if sys.stderr is not None and sys.stderr.isatty() and not as_json and is_locked(run_dir.supervisor_lock):
        from orchestrator.cli.attaching import attach_to

        return attach_to(invocation, run_dir)
    wait_for_end(run_dir)
    reader = RunReader.read(run_dir)
    if as_json:
        from orchestrator.views.json_lines import with_times

        write_json(with_times(run_summary(reader)))
    ended = reader.history.ended
    if ended is None:
        Outlet(sys.stderr).line(
            f"run {run_dir.run_id} was interrupted; go on with: {invocation.program()} resume {run_dir.run_id}"
        )
        return int(ExitCode.INTERRUPTED)
    return ended.exit_code
