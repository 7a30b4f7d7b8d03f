"""`orchestrate run FILE`: run a jobs file, or go on with its newest unfinished run."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import (
    age_seconds,
    bounds_options,
    folder_option,
    fresh_option,
    inputs_options,
    run_id_option,
    selection_options,
    view_options,
)
from orchestrator.cli.running import run


@click.command("run")
@click.argument("file")
@inputs_options
@selection_options
@bounds_options
@folder_option
@run_id_option
@click.option("--resume", is_flag=True, help="Go on with the newest unfinished run of this file and inputs, if there is one.")
@click.option("--max-age", callback=age_seconds, metavar="AGE", help="With --resume: only a run younger than this (20h).")
@click.option(
    "--overlap",
    type=click.Choice(["allow", "skip", "wait", "fail"]),
    default="allow",
    help="What to do while another run of this file goes on.",
)
@click.option("--replay", metavar="ARCHIVE", help="Start no agent: play what a capsule recorded of agents. Costs no money.")
@fresh_option
@view_options
@pass_invocation
def command(invocation: Invocation, /, *, resume: bool, max_age: float | None, replay: str | None, **other: Any) -> int:
    """Run a jobs file; - reads it from stdin.

    Exit code: 0 completed, 1 something failed, 2 a mistake of yours, 3 paused, 4 cancelled, 5 a gate rejected, 74 state not
    writable, 75 held by another process, 130/143/129 interrupted and resumable.
    """
    # Options that would silently mean nothing are refused.
    if max_age is not None and not resume:
        raise click.UsageError("--max-age says which run --resume may continue: give --resume too")
    if replay is not None and resume:
        raise click.UsageError("--replay begins a new run: leave --resume out, or use orchestrate resume RUN")
    if other["file"] == "-" and (resume or other["detach"] or other["overlap"] != "allow"):
        raise click.UsageError("-: a new run in the foreground; for --resume, --overlap and --detach write a file")
    return run(invocation, resume=resume, max_age=max_age, replay=replay, **other)
