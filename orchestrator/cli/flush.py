"""`orchestrate flush RUN`: make durable now what would be durable in a moment."""

from __future__ import annotations

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import last_option, named_run, run_argument


@click.command("flush")
@run_argument
@last_option
@pass_invocation
def command(invocation: Invocation, *, run: str | None, last: bool) -> int:
    """Make finished outcomes durable now; nothing that runs is disturbed."""
    from orchestrator.cli.asking import ask_or_say
    from orchestrator.control.messages import Flush

    return ask_or_say(invocation.find(named_run(run, last=last)), Flush(), "nothing to flush")
