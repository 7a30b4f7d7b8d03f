"""`orchestrate attach [RUN]`: the live view of a run that goes on elsewhere."""

from __future__ import annotations

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import run_argument


@click.command("attach")
@run_argument
@pass_invocation
def command(invocation: Invocation, *, run: str | None) -> int:
    """Show a run (default: the newest) while it goes on, as its own terminal would, and exit as it did.

    Ctrl-C ends the view, not the run. Without a terminal each thing is a line. Gates are answered by `approve`.
    """
    from orchestrator.cli.attaching import attach_to
    from orchestrator.shared.nesting.inside import refuse_inside

    run_dir = invocation.find(run)
    # An item that waits for its own run would wait for itself.
    refuse_inside(run_dir, "attach")
    return attach_to(invocation, run_dir)
