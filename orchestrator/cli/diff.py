"""`orchestrate diff [RUN] [ITEM]`: what items changed in workspaces of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.noting import tell_note
from orchestrator.cli.options import run_argument
from orchestrator.cli.output import write_bytes, write_line
from orchestrator.errors import ExitCode, UserError

if TYPE_CHECKING:
    from orchestrator.reading.run_reader import RunReader

_MOST_NOTES = 5


@click.command("diff")
@run_argument
@click.argument("item", required=False)
@click.option("--stat", is_flag=True, help="Only which files, and how much of each.")
@click.option("--raw", is_flag=True, help="The patch as it is: no secret hidden.")
@pass_invocation
def command(invocation: Invocation, *, run: str | None, item: str | None, stat: bool, raw: bool) -> int:
    """Print what an item changed in its workspace, as a patch for `git apply` (default: all items that succeeded, one by one).

    Secrets are shown as [redacted:NAME], as in the logs; a note says so, for such a patch is not to be applied: `--raw` is.

    An item that has not succeeded has the changes that stand in its workspace now. Exit 1 if those of one of several cannot be
    found out.
    """
    from orchestrator.attempts.workspaces.changes import items_with_changes, items_without_patch, patch_of, why_no_patch
    from orchestrator.cli.meant_run import run_and_items
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.reading.shown_redactor import redactor_of

    # A named item is shown whatever it came to; without a name only those that succeeded, as `land` takes them.
    meant = run_and_items(invocation, (run, item), most=1)
    reader, is_named = RunReader.read(meant.run_dir), bool(meant.words)
    items = meant.items(reader) if is_named else items_with_changes(reader)
    redactor = None if raw else redactor_of(reader)
    told, is_hidden, unknown = 0, False, []
    for job_id, index in items:
        # One that cannot be told of holds up no other.
        try:
            patch = patch_of(reader, job_id, index)
        except UserError as error:
            if len(items) == 1:
                raise
            unknown.append(str(error))
            continue
        if not patch:
            continue
        told += 1
        # Patches stand one behind the other: each needs a title, and `git apply` must still take them all.
        if len(items) > 1:
            _print_title(reader, job_id, index)
        shown = _stat_of(patch) if stat else patch
        without_secrets = shown if redactor is None else redactor.redact(shown)
        is_hidden = is_hidden or without_secrets != shown
        write_bytes(without_secrets)
    if is_hidden:
        tell_note("secrets are hidden in what is shown, so it cannot be applied: --raw shows them")
    # Of some work there is no patch, which does not mean that nothing was done.
    without = [each for each in items if why_no_patch(reader, *each)] if is_named else items_without_patch(reader)
    for job_id, index in without[:_MOST_NOTES]:
        tell_note(f"{reader.item_name(job_id, index)}: {why_no_patch(reader, job_id, index)}")
    if len(without) > _MOST_NOTES:
        tell_note(f"and {len(without) - _MOST_NOTES} more: orchestrate results {reader.run_dir.run_id} --fields item,workspace")
    for words in unknown:
        tell_note(words)
    if not told and not without and not unknown:
        # Items that have not succeeded may well have changed something.
        nothing = f"no item has succeeded with changes; diff {reader.run_dir.run_id} ITEM shows what another has so far"
        tell_note("nothing was changed in a workspace" if is_named else nothing)
    return ExitCode.FAILED if unknown else ExitCode.COMPLETED


def _print_title(reader: RunReader, job_id: str, index: int) -> None:
    """Write a title that `git apply` passes over."""
    from orchestrator.reading.item_names import label_of
    from orchestrator.system.wording import title

    write_line(f"# {title(reader.item_name(job_id, index), label_of(reader, job_id, index))}")


def _stat_of(patch: bytes) -> bytes:
    from orchestrator.workers.workspaces.git import GitFailed, git

    try:
        return git("/", "apply", "--stat", given=patch).encode("utf-8", "surrogateescape") + b"\n"
    except GitFailed as failed:
        raise UserError(str(failed)) from failed
