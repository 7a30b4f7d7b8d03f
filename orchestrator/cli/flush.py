"""`orchestrate flush RUN`: make durable now what would be durable in a moment."""

from __future__ import annotations

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import run_argument


@click.command("flush")
@run_argument
@pass_invocation
def command(invocation: Invocation, *, run: str | None) -> int:
    """Make finished outcomes durable now; nothing that runs is disturbed."""
    from orchestrator.cli.asking import ask_or_say
    from orchestrator.cli.meant_run import run_to_steer
    from orchestrator.control.messages import Flush

    return ask_or_say(run_to_steer(invocation, run), Flush(), "nothing to flush")
