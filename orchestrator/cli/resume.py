"""`orchestrate resume [RUN]`: go on with a run that ended before all of it was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.given_secrets import take_secrets
from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import bounds_options, fresh_option, inputs_options, run_argument, selection_options, view_options
from orchestrator.cli.output import write_json, write_lines
from orchestrator.cli.prompting import input_asker
from orchestrator.cli.supervising import Shown, supervise
from orchestrator.errors import RunHeldError, StateRefusedError
from orchestrator.system.wording import shown as one_line

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runs.commands import RunReport
    from orchestrator.store.run_dir import RunDir
    from orchestrator.views.listeners import Listeners
    from orchestrator.views.prompt import Prompt


@click.command("resume")
@run_argument
@click.option("--keep-failed", is_flag=True, help="Do not run failed items again.")
@click.option("--rerun-stale", is_flag=True, help="Run succeeded items again whose inputs have changed since.")
@selection_options
@click.option("--all", "everything", is_flag=True, help="Run also what --only and --limit left out so far.")
@click.option("--update", is_flag=True, help="Take the jobs file as it is now: items whose work it changes run again.")
@click.option("--dry-run", is_flag=True, help="Show what would run (with --update: what would be kept), and change nothing.")
@inputs_options
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
    update: bool,
    dry_run: bool,
    inputs: tuple[str, ...],
    inputs_file: str | None,
    fresh: bool,
    slots: int | None,
    keep_going: bool,
    **view: Any,
) -> int:
    """Go on with a run (default: the newest): interrupted, pending and failed items run; succeeded items never run again.

    A run keeps its own copy of the jobs file. With --update the run takes the file as it is now: items that would do something
    else run again, and all others keep their outcomes. Inputs keep their values unless -i gives others. A run of `each` whose
    lines were lost takes them anew, from stdin.
    """
    if everything and (only or limit is not None):
        raise click.UsageError("--all cannot be given with --only or --limit")
    if not update and inputs_file is not None:
        raise click.UsageError("--inputs is about --update: give --update too")
    run_dir = invocation.find(run)
    if not update:
        take_secrets(run_dir, inputs)
    if dry_run and not update:
        if everything or only or limit is not None:
            raise click.UsageError("--dry-run tells of the run as it is restricted: leave out --only, --limit and --all")
        return _tell_plan(run_dir, keep_failed=keep_failed, as_json=view["as_json"])
    from orchestrator.cli.each_lines import stdin_lines
    from orchestrator.runs.commands import UpdateRequest
    from orchestrator.store.settings_records import Selection

    # None: the run stays restricted as it was. An empty selection lifts the restriction.
    selection = Selection(only=only, limit=limit) if everything or only or limit is not None else None
    ask_input = None if view["quiet"] or view["detach"] else input_asker()
    request = UpdateRequest(inputs=inputs, inputs_file=inputs_file, ask_input=ask_input, selection=selection, lines=stdin_lines)
    # A plan takes no lock and starts nothing.
    if dry_run:
        from orchestrator.runs.commands import plan_update

        plan = plan_update(run_dir, request)
        if view["as_json"]:
            write_json(plan.as_json())
        else:
            write_lines(map(one_line, plan.lines()))
        return 0

    def start(_home: Path, listeners: Listeners, prompt: Prompt | None) -> RunReport:
        from orchestrator.runs.commands import ResumeRequest, resume_run
        from orchestrator.store.settings_records import RunOptions

        wanted = ResumeRequest(
            options=RunOptions(slots=slots, keep_going=keep_going, fresh=fresh),
            keep_failed=keep_failed,
            rerun_stale=rerun_stale,
            selection=selection,
            update=request if update else None,
        )
        return resume_run(run_dir, wanted, listeners, asker=prompt)

    return supervise(invocation, Shown(**view), start, reads_stdin=update and _is_each(run_dir))


def _tell_plan(run_dir: RunDir, *, keep_failed: bool, as_json: bool) -> int:
    """Say what a resume would run. Raises RunHeldError: somebody supervises the run."""
    from orchestrator.reading.resume_plan import plan_json, plan_lines, resume_plan
    from orchestrator.reading.run_reader import RunReader

    reader = RunReader.read(run_dir)
    if reader.is_alive:
        raise RunHeldError(f"run {run_dir.run_id} goes on", f"orchestrate attach {run_dir.run_id} shows it")
    plan = resume_plan(reader, keep_failed=keep_failed)
    if as_json:
        write_json(plan_json(run_dir.run_id, plan))
    else:
        write_lines(map(one_line, plan_lines(plan)))
    return 0


def _is_each(run_dir: RunDir) -> bool:
    from orchestrator.store.checkpoint import read_header

    # What is wrong with the run is told by who goes on with it.
    try:
        return read_header(run_dir.checkpoint).each
    except (FileNotFoundError, StateRefusedError):
        return False
