"""`orchestrate resume [RUN]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import bounds_options, fresh_option, run_argument, selection_options, view_options
from orchestrator.cli.supervising import Shown, supervise

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runs import RunReport
    from orchestrator.views.happenings import View
    from orchestrator.views.prompt import Prompt


@click.command("resume")
@run_argument
@click.option("--keep-failed", is_flag=True, help="Leave the items that failed as they are.")
@click.option("--rerun-stale", is_flag=True, help="Run succeeded items again whose inputs have changed since.")
@selection_options
@click.option("--all", "everything", is_flag=True, help="Run also what --only and --limit left out so far.")
@fresh_option
@bounds_options
@view_options
@pass_invocation
def command(
    invocation: Invocation,
    /,
    *,
    run: str | None,
    keep_failed: bool,
    rerun_stale: bool,
    only: tuple[str, ...],
    limit: int | None,
    everything: bool,
    fresh: bool,
    slots: int | None,
    keep_going: bool,
    **view: Any,
) -> int:
    """Go on with a run (default: the newest): interrupted, pending and failed items run, the succeeded never again."""
    if everything and (only or limit is not None):
        raise click.UsageError("--all cannot be given with --only or --limit")
    is_chosen = everything or bool(only) or limit is not None
    run_dir = invocation.find(run)

    def start(_home: Path, shown: View, prompt: Prompt | None) -> RunReport:
        from orchestrator.runs import resume_run
        from orchestrator.store.records import Selection

        return resume_run(
            run_dir,
            shown,
            keep_failed=keep_failed,
            rerun_stale=rerun_stale,
            slots=slots,
            keep_going=keep_going,
            fresh=fresh,
            selection=Selection(only=only, limit=limit) if is_chosen else None,
            asker=prompt,
        )

    return supervise(invocation, Shown(**view), start)
