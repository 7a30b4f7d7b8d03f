"""`orchestrate child FILE`: help does not show it, for only a supervisor calls it."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import fresh_option
from orchestrator.cli.running_child import run_child_file


@click.command("child", hidden=True)
@click.argument("file")
@click.option("--run-id", required=True)
@click.option("--parent", required=True, metavar="RUN/ITEM")
@click.option("--kept", "kept_path", metavar="FILE")
@click.option("-k", "--keep-going", is_flag=True)
@click.option("--update", is_flag=True)
@fresh_option
@pass_invocation
def command(invocation: Invocation, /, **words: Any) -> int:
    """Run FILE as the child of an item, or go on with that run."""
    return run_child_file(invocation, **words)
