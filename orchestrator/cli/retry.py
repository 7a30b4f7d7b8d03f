"""`orchestrate retry RUN [ITEM…]`: run items one more time, also with other words, another model or another prompt."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.given_secrets import take_secrets
from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import bounds_options, items_argument, run_argument, secrets_option, view_options
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.cli.meant_run import Meant
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.runs.commands import RunReport
    from orchestrator.views.listeners import Listeners
    from orchestrator.views.prompt import Prompt


@click.command("retry")
@run_argument
@items_argument
@click.option("-m", "--feedback", metavar="TEXT", help="Tell the item's agent TEXT, in the session that it had.")
@click.option("--model", metavar="M", help="Another model, from now on.")
@click.option("--prompt", metavar="TEXT", help="Another prompt, from now on. The agent begins a new session.")
@click.option(
    "--failed", is_flag=True, help="Of these items (default: of all) only those that failed, and none that was cancelled."
)
@click.option(
    "--rebase", is_flag=True, help="Merge what is checked out now into the item's branch first; its work counts from there."
)
@click.option("--edit", is_flag=True, help="Edit the prompt, from now on, in your editor. The agent begins a new session.")
@secrets_option
@bounds_options
@view_options
@pass_invocation
def command(
    invocation: Invocation,
    /,
    *,
    run: str | None,
    items: tuple[str, ...],
    feedback: str | None,
    model: str | None,
    prompt: str | None,
    failed: bool,
    rebase: bool,
    edit: bool,
    inputs: tuple[str, ...],
    slots: int | None,
    keep_going: bool,
    **view: Any,
) -> int:
    """Run items one more time, whatever they came to, also with a change (default: all items that failed or were cancelled).

    ITEM is JOB:INDEX, JOB, JOB:LABEL or a glob. Cancelled items run again only by this command. A run that goes on runs the
    items beside its others. Any other run is resumed with these items, and its other failed items stay failed.
    """
    from orchestrator.cli.asking import say
    from orchestrator.cli.meant_run import newest_here, run_and_items
    from orchestrator.cli.supervising import Shown, supervise
    from orchestrator.control.messages import RetryRequest
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.runs.retry import ask_for_retry, check_change

    meant = run_and_items(invocation, (run, *items), newest_here)
    take_secrets(meant.run_dir, inputs)
    reader = RunReader.read(meant.run_dir)
    chosen = _chosen(reader, meant, only_failed=failed)
    # Everything is refused before anything is changed: a retry of several items is one request.
    if edit and prompt is not None:
        raise UserError("--edit and --prompt cannot both be given", "--edit shows the prompt that there is")
    check_change(reader, chosen, feedback, model, prompt)
    told, onto = (feedback or "").strip(), None
    if rebase:
        from orchestrator.runs.new_base import feedback_on, new_base

        onto = new_base(reader, chosen)
        told = feedback_on(onto, told)
    asked = RetryRequest.of(chosen, told, model, _edited(reader, chosen) if edit else prompt, onto)
    run_dir = reader.run_dir
    if (reply := ask_for_retry(run_dir, asked)) is not None:
        return say(reply)

    def start(_home: Path, listeners: Listeners, prompt: Prompt | None) -> RunReport:
        from orchestrator.runs.commands import retry_items
        from orchestrator.store.settings_records import RunOptions

        return retry_items(run_dir, asked, RunOptions(slots=slots, keep_going=keep_going), listeners, asker=prompt)

    return supervise(invocation, Shown(**view), start)


def _chosen(reader: RunReader, meant: Meant, *, only_failed: bool) -> list[tuple[str, int]]:
    from orchestrator.runs.retry import check_selected, failed_or_cancelled
    from orchestrator.store.records import Status

    # Without a name: what a person would name after a run that failed.
    jobs, run_id = reader.history.jobs, reader.run_dir.run_id
    found = meant.items(reader) if meant.words else failed_or_cancelled(reader.history)
    chosen = [each for each in found if not only_failed or jobs[each[0]].status(each[1]) is Status.FAILED]
    if not meant.words:
        if not chosen:
            what = "failed" if only_failed else "failed or was cancelled"
            raise UserError(f"run {run_id} has no item that {what}", "name one: orchestrate retry RUN ITEM")
        return chosen
    if found and not chosen:
        raise UserError(f"of {', '.join(meant.words)} no item has failed", "without --failed they run once more all the same")
    if not chosen:
        raise UserError(f"{', '.join(meant.words)} of run {run_id} has no items", f"orchestrate resume {run_id} goes on with it")
    check_selected(reader, chosen)
    return chosen


def _edited(reader: RunReader, items: list[tuple[str, int]]) -> str:
    """The prompt of one item, as the user has it after editing. Raises UserError."""
    from orchestrator.attempts.by_hand import prepared_by_hand
    from orchestrator.runs.retry import check_agents

    check_agents(reader, items)

    if len(items) != 1:
        raise UserError(f"--edit is about one item, and these are {len(items)}", "name one as JOB:INDEX")
    if not (sys.stdin.isatty() or os.environ.get("VISUAL") or os.environ.get("EDITOR")):
        # Some editor is installed nearly everywhere, and would wait for keys that nobody can press.
        raise UserError("--edit opens an editor, and there is no terminal", "set EDITOR to a command that edits the file")
    work = prepared_by_hand(reader, *items[0], in_workspace=False)[0].agent
    assert work is not None
    text: str | None = click.edit(work.prompt, extension=".md")
    if text is None or not text.strip():
        raise UserError("the prompt was not saved: nothing is run again", "write it, and leave the editor")
    return text
