"""`orchestrate land [RUN] [ITEM…]`: merge what items did in workspaces of their own into the user's checkout."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
import msgspec

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.noting import tell_note
from orchestrator.cli.options import items_argument, json_option, run_argument
from orchestrator.cli.output import write_json, write_line, write_lines
from orchestrator.errors import ExitCode, UserError
from orchestrator.system.wording import shell_word

if TYPE_CHECKING:
    from orchestrator.attempts.workspaces.landing import Change, Landed
    from orchestrator.cli.meant_run import Meant
    from orchestrator.reading.run_reader import RunReader

_WORDS = {
    "landed": "landed",
    "already": "was landed before",
    "unchanged": "changed nothing",
    "conflict": "conflict",
    "check_failed": "check failed",
    "refused": "not landed",
}
_LISTS = {
    "landed": "landed",
    "already": "landed_before",
    "unchanged": "unchanged",
    "conflict": "conflicts",
    "check_failed": "failed_checks",
    "refused": "refused",
}
_NOT_LANDED = ("conflict", "check_failed", "refused")


@click.command("land")
@run_argument
@items_argument
@click.option("--check", "script", metavar="CMD", help="Run this after each item, instead of its job's check.")
@click.option("--no-check", is_flag=True, help="Land without any check.")
@json_option
@pass_invocation
def command(
    invocation: Invocation, *, run: str | None, items: tuple[str, ...], script: str | None, no_check: bool, as_json: bool
) -> int:
    """Merge what items did in their workspaces into what is checked out, in item order (default: all items that succeeded).

    After each merge the check of the item's job runs in the checkout, with the variables that the item had; do not edit files
    there meanwhile. A merge that conflicts, or fails its check, is taken back and listed, and the next item is merged. What
    brings a repository of somebody else's, or cannot be found, is refused and listed, too. Nothing is lost: branches and patches
    stay. Exit 1 if anything did not land.
    """
    from orchestrator.attempts.workspaces.landing import landing
    from orchestrator.attempts.workspaces.used_repository import repository_of_run
    from orchestrator.cli.meant_run import newest_here, run_and_items
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.reading.shown_redactor import redactor_of
    from orchestrator.system.hidden_environment import hide_environment
    from orchestrator.workers.workspaces.git import GitFailed

    if script is not None and no_check:
        raise UserError("--check and --no-check cannot both be given")
    # Landing needs commits; without a repository a patch is the way.
    meant = run_and_items(invocation, (run, *items), newest_here)
    reader = RunReader.read(meant.run_dir)
    folder = reader.history.header.folder
    try:
        repository = repository_of_run(reader.run_dir, folder)
    except (GitFailed, OSError) as error:
        raise UserError(f"{folder}: nothing can be landed there: {error}") from error
    if repository is None:
        raise UserError(
            f"{folder} was in no git repository when the run began",
            f"as patches: orchestrate diff {reader.run_dir.run_id} --raw | patch -p1",
        )
    # Checks run what agents wrote, as the user, and shall not read in this process what their item was not given.
    hide_environment()
    # One after the other, each told as soon as it has landed: a check may take long.
    came_to: list[Landed] = []
    with landing(repository, tell_note, reader.run_dir.home, str(reader.run_dir.repository_settings)) as land:
        branch, redact = land.branch, redactor_of(reader).redact_text
        for job_id, index in _chosen(reader, meant):
            # An item that cannot be told of holds up no other.
            try:
                change = _change(reader, job_id, index, script, redact, no_check=no_check)
            except UserError as error:
                came_to.append(_refused(reader, job_id, index, error))
            else:
                came_to.append(land.land_change(change))
            if not as_json:
                _print(came_to[-1])
    conflicts = [each for each in came_to if each.status == "conflict"]
    if conflicts:
        _tell_what_to_do(reader.run_dir.run_id, conflicts)
    if as_json:
        write_json(_told(reader, branch, came_to))
    elif not came_to:
        tell_note("no item has succeeded with changes in a worktree or a copy of its own")
    return ExitCode.FAILED if any(each.status in _NOT_LANDED for each in came_to) else ExitCode.COMPLETED


def _chosen(reader: RunReader, meant: Meant) -> list[tuple[str, int]]:
    """The succeeded items with a workspace that are named, each once, in order of the jobs in the file and the items.

    An item that is named and cannot land is told on stderr.
    """
    from orchestrator.attempts.workspaces.changes import items_with_changes, report_of, why_no_patch
    from orchestrator.store.records import Status

    # Without a name only what has something to land; a named item that has nothing is told of.
    if not meant.words:
        return items_with_changes(reader)
    order = {job_id: place for place, job_id in enumerate(reader.history.header.jobs)}
    chosen: list[tuple[str, int]] = []
    for job_id, index in sorted(meant.items(reader), key=lambda each: (order[each[0]], each[1])):
        if reader.history.jobs[job_id].status(index) is not Status.SUCCEEDED:
            tell_note(f"{reader.item_name(job_id, index)} has not succeeded: not landed")
        elif report_of(reader, job_id, index) is None:
            tell_note(f"{reader.item_name(job_id, index)} had no workspace of its own: nothing to land")
        elif (why := why_no_patch(reader, job_id, index)) is not None:
            tell_note(f"{reader.item_name(job_id, index)}: {why}: not landed")
        else:
            chosen.append((job_id, index))
    return chosen


def _change(
    reader: RunReader, job_id: str, index: int, script: str | None, redact: Callable[[str], str], *, no_check: bool
) -> Change:
    from orchestrator.attempts.by_hand import prepared_by_hand
    from orchestrator.attempts.workspaces.changes import commit_of, patch_of, report_of
    from orchestrator.attempts.workspaces.landing import Change
    from orchestrator.attempts.workspaces.landing_check import CheckScript
    from orchestrator.reading.item_names import label_of

    # The check of the job, or the one of the command line, is prepared as by hand: in the checkout, not in the workspace.
    report = report_of(reader, job_id, index)
    assert report is not None
    check = None
    if not no_check and (script is not None or reader.job(job_id).check is not None):
        prepared, environment = prepared_by_hand(reader, job_id, index, in_workspace=False)
        wanted = script if script is not None else prepared.check
        assert wanted is not None
        check = CheckScript(wanted, prepared.cwd, environment, reader.job(job_id).limits.timeout_seconds, redact)
    # A copy has no commit, only a patch.
    made = commit_of(reader, job_id, index)
    return Change(
        run_id=reader.run_dir.run_id,
        item=reader.item_name(job_id, index),
        label=label_of(reader, job_id, index, reader.history.jobs[job_id].record(index)),
        commit=made.commit if made is not None else None,
        base=made.base if made is not None else None,
        patch=patch_of(reader, job_id, index) if report.kind == "copy" else b"",
        folder=reader.history.header.folder,
        branch=report.branch,
        check=check,
    )


def _refused(reader: RunReader, job_id: str, index: int, error: UserError) -> Landed:
    from orchestrator.attempts.workspaces.changes import report_of
    from orchestrator.attempts.workspaces.landing import Landed
    from orchestrator.reading.item_names import label_of

    report = report_of(reader, job_id, index)
    return Landed(
        item=reader.item_name(job_id, index),
        label=label_of(reader, job_id, index),
        status="refused",
        branch=report.branch if report is not None else None,
        message=f"{error}{f' ({error.hint})' if error.hint else ''}".removeprefix(f"{reader.item_name(job_id, index)}: "),
    )


def _print(landed: Landed) -> None:
    from orchestrator.system.wording import title

    # In one line what came of it; below, what its check wrote.
    words = _WORDS[landed.status]
    at = f" ({landed.commit[:12]})" if landed.commit is not None else ""
    why, *said = landed.message.split("\n")
    stays = f"; its work stays on {landed.branch}" if why and landed.branch is not None else ""
    write_line(f"{title(landed.item, landed.label)} {words}{at}{f': {why}' if why else ''}{stays}")
    write_lines(f"  {line.expandtabs()}" for line in said)


def _tell_what_to_do(run_id: str, conflicts: list[Landed]) -> None:
    """After conflicts one paragraph, for the first of them as for all."""
    first, item = conflicts[0], shell_word(conflicts[0].item)
    brings = f"git merge {shell_word(first.branch)}" if first.branch else f"orchestrate diff {run_id} {item} --raw | git apply -3"
    tell_note(
        f"{item} changes lines that have changed since it began. Bring it by hand: {brings}; mend the files that git names, then"
        f" git add and git commit. orchestrate land {run_id} goes on with what is left, and knows what has landed. To take the"
        f" other side, leave the item out: its branch and its patch stay"
    )


def _told(reader: RunReader, branch: str | None, came_to: list[Landed]) -> dict[str, Any]:
    """`{run_id, branch, landed: [...], landed_before, unchanged, conflicts, failed_checks, refused}`, an object an item."""
    lists: dict[str, list[Any]] = {name: [] for name in _LISTS.values()}
    for each in came_to:
        lists[_LISTS[each.status]].append(msgspec.to_builtins(each))
    return {"run_id": reader.run_dir.run_id, "branch": branch, **lists}
