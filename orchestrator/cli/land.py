"""`orchestrate land [RUN] [ITEM…]`: merge what items did in workspaces of their own into the user's checkout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.noting import tell_note
from orchestrator.cli.options import items_argument, json_option, run_argument
from orchestrator.cli.output import write_json, write_line, write_lines
from orchestrator.errors import ExitCode, UserError
from orchestrator.system.wording import shell_word
from orchestrator.workers.wording import first_in_words

if TYPE_CHECKING:
    from orchestrator.attempts.workspaces.landing import Landed
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.runs.landing import LandedItems

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
@click.option("--keep-branches", is_flag=True, help="Keep the branches and the worktrees of what is landed.")
@json_option
@pass_invocation
def command(
    invocation: Invocation,
    *,
    run: str | None,
    items: tuple[str, ...],
    script: str | None,
    no_check: bool,
    keep_branches: bool,
    as_json: bool,
) -> int:
    """Merge what items did in their workspaces into what is checked out, in item order (default: all items that succeeded).

    After each merge the check of the item's job runs in the checkout, with the variables that the item had; do not edit files
    there meanwhile. A merge that conflicts, or fails its check, is taken back and listed, and the next item is merged. What
    brings a repository of somebody else's, or cannot be found, is refused and listed, too. Nothing is lost: what did not land
    keeps its branch, and patches stay. A worktree goes once all of it is landed, with its branch unless the jobs file named
    that. Exit 1 if anything did not land.
    """
    from orchestrator.cli.meant_run import newest_here, run_and_items
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.runs.landing import HowToLand, items_to_land, land_items
    from orchestrator.system.hidden_environment import hide_environment

    if script is not None and no_check:
        raise UserError("--check and --no-check cannot both be given")
    meant = run_and_items(invocation, (run, *items), newest_here)
    reader = RunReader.read(meant.run_dir)
    # Checks run what agents wrote, as the user, and shall not read in this process what their item was not given.
    hide_environment()
    chosen = items_to_land(reader, meant.items(reader) if meant.words else None, tell_note)
    how = HowToLand(script, no_check, keep_branches)
    came_to = land_items(reader, chosen, how, tell_note, _say_nothing if as_json else _print)
    conflicts = [each for each in came_to.items if each.status == "conflict"]
    if conflicts:
        _tell_what_to_do(reader, conflicts)
    if came_to.removed:
        tell_note(f"all of these is landed, so they are removed, and their worktrees: {first_in_words(came_to.removed)}")
    if as_json:
        write_json(_told(reader, came_to))
    elif not came_to.items:
        tell_note("no item has succeeded with changes in a worktree or a copy of its own")
    return ExitCode.FAILED if any(each.status in _NOT_LANDED for each in came_to.items) else ExitCode.COMPLETED


def _say_nothing(_landed: Landed) -> None:
    """With --json all is told at the end."""


def _print(landed: Landed) -> None:
    from orchestrator.system.wording import title

    # In one line what came of it; below, what its check wrote.
    words = _WORDS[landed.status]
    at = f" ({landed.commit[:12]})" if landed.commit is not None else ""
    why, *said = landed.message.split("\n")
    stays = f"; its work stays on {landed.branch}" if why and landed.branch is not None else ""
    write_line(f"{title(landed.item, landed.label)} {words}{at}{f': {why}' if why else ''}{stays}")
    write_lines(f"  {line.expandtabs()}" for line in said)


def _tell_what_to_do(reader: RunReader, conflicts: list[Landed]) -> None:
    """After conflicts one paragraph, for the first of them as for all."""
    first, item, run_id = conflicts[0], shell_word(conflicts[0].item), reader.run_dir.run_id
    brings = f"git merge {shell_word(first.branch)}" if first.branch else f"orchestrate diff {run_id} {item} --raw | git apply -3"
    # A command does the same once more; its merge would only conflict as this one did.
    is_agents = first.branch is not None and reader.job(first.item.partition(":")[0]).is_agent
    by_agent = f". Or have its agent do so, in its session: orchestrate retry {run_id} {item} --rebase" if is_agents else ""
    tell_note(
        f"{item} changes lines that have changed since it began. Bring it by hand: {brings}; mend the files that git names, then"
        f" git add and git commit. orchestrate land {run_id} goes on with what is left, and knows what has landed. To take the"
        f" other side, leave the item out: its branch and its patch stay{by_agent}"
    )


def _told(reader: RunReader, came_to: LandedItems) -> dict[str, Any]:
    """`{run_id, branch, landed: [...], landed_before, unchanged, conflicts, failed_checks, refused}`, an object an item."""
    lists: dict[str, list[Any]] = {name: [] for name in _LISTS.values()}
    for each in came_to.items:
        lists[_LISTS[each.status]].append(msgspec.to_builtins(each))
    return {"run_id": reader.run_dir.run_id, "branch": came_to.branch, **lists}
