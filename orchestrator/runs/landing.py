"""Landing what items of a run did, for the command and for programs: which, checked by what, and what goes once it is landed.

Promise: a worktree goes only with all that is in it landed and nobody else at work in it; its branch is asked of git alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from orchestrator.attempts.by_hand import prepared_by_hand
from orchestrator.attempts.workspaces.changes import commit_of, items_with_changes, patch_of, report_of, why_no_patch
from orchestrator.attempts.workspaces.expiry import remove_landed
from orchestrator.attempts.workspaces.landing import Change, Landed, Landing, landing
from orchestrator.attempts.workspaces.landing_check import CheckScript
from orchestrator.attempts.workspaces.used_repository import repository_of_run
from orchestrator.errors import RunHeldError, StateUnwritableError, UserError
from orchestrator.reading.item_names import label_of
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.shown_redactor import redactor_of
from orchestrator.runs.locking import holding, lock_run
from orchestrator.store.records import Status
from orchestrator.workers.workspaces.git import GitFailed

Item = tuple[str, int]


class HowToLand(msgspec.Struct, frozen=True):
    """`script`: a check instead of that of each item's job; `no_check`: none at all. `keep_branches`: nothing goes."""

    script: str | None = None
    no_check: bool = False
    keep_branches: bool = False


class LandedItems(msgspec.Struct, frozen=True):
    """What came of each item, in order; the branch that they were landed on (None: none is checked out).

    `removed`: the branches that went, or whose worktree did, because all of them is landed.
    """

    items: list[Landed]
    branch: str | None
    removed: list[str]


def land_items(
    reader: RunReader, items: Sequence[Item], how: HowToLand, note: Callable[[str], None], tell: Callable[[Landed], None]
) -> LandedItems:
    """Land these items, one after the other; `tell` hears of each at once, for a check may take long.

    Raises UserError: nothing can be landed there.
    """
    run_dir, folder = reader.run_dir, reader.history.header.folder
    try:
        repository = repository_of_run(run_dir, folder)
    except (GitFailed, OSError) as error:
        raise UserError(f"{folder}: nothing can be landed there: {error}") from error
    if repository is None:
        raise UserError(
            f"{folder} was in no git repository when the run began",
            f"as patches: orchestrate diff {run_dir.run_id} --raw | patch -p1",
        )
    came_to: list[Landed] = []
    with landing(repository, note, run_dir.home, str(run_dir.repository_settings)) as land:
        branch, redact = land.branch, redactor_of(reader).redact_text
        for item in items:
            came_to.append(_land(reader, item, how, land, redact))
            tell(came_to[-1])
    home = [item for item, each in zip(items, came_to, strict=True) if each.status in ("landed", "already")]
    return LandedItems(came_to, branch, [] if how.keep_branches else _remove_landed(reader, home, note))


def items_to_land(reader: RunReader, named: Iterable[Item] | None, note: Callable[[str], None]) -> list[Item]:
    """The succeeded items with a workspace of their own, each once, in order of the jobs in the file and the items.

    `named` None: all that changed something. `note` hears of an item that is named and has nothing to land.
    """
    if named is None:
        return items_with_changes(reader)
    order = {job_id: place for place, job_id in enumerate(reader.history.header.jobs)}
    chosen: list[Item] = []
    for job_id, index in sorted(named, key=lambda each: (order[each[0]], each[1])):
        if reader.history.jobs[job_id].status(index) is not Status.SUCCEEDED:
            note(f"{reader.item_name(job_id, index)} has not succeeded: not landed")
        elif report_of(reader, job_id, index) is None:
            note(f"{reader.item_name(job_id, index)} had no workspace of its own: nothing to land")
        elif (why := why_no_patch(reader, job_id, index)) is not None:
            note(f"{reader.item_name(job_id, index)}: {why}: not landed")
        else:
            chosen.append((job_id, index))
    return chosen


def _land(reader: RunReader, item: Item, how: HowToLand, land: Landing, redact: Callable[[str], str]) -> Landed:
    # An item that cannot be told of holds up no other.
    try:
        change = _change(reader, item, how, redact)
    except UserError as error:
        name, report = reader.item_name(*item), report_of(reader, *item)
        return Landed(
            item=name,
            label=label_of(reader, *item),
            status="refused",
            branch=report.branch if report is not None else None,
            message=f"{error}{f' ({error.hint})' if error.hint else ''}".removeprefix(f"{name}: "),
        )
    return land.land_change(change)


def _change(reader: RunReader, item: Item, how: HowToLand, redact: Callable[[str], str]) -> Change:
    # The check of the job, or the one that was asked for, is prepared as by hand: in the checkout, not in the workspace.
    job_id, index = item
    job, report = reader.job(job_id), report_of(reader, *item)
    assert report is not None
    check = None
    if not how.no_check and (how.script is not None or job.check is not None):
        prepared, environment = prepared_by_hand(reader, *item, in_workspace=False)
        wanted = how.script if how.script is not None else prepared.check
        assert wanted is not None
        check = CheckScript(wanted, prepared.cwd, environment, job.limits.timeout_seconds, redact)
    # A copy has no commit, only a patch.
    made = commit_of(reader, *item)
    return Change(
        run_id=reader.run_dir.run_id,
        item=reader.item_name(*item),
        label=label_of(reader, *item, reader.history.jobs[job_id].record(index)),
        commit=made.commit if made is not None else None,
        base=made.base if made is not None else None,
        patch=patch_of(reader, *item) if report.kind == "copy" else b"",
        folder=reader.history.header.folder,
        branch=report.branch,
        check=check,
    )


def _remove_landed(reader: RunReader, items: Sequence[Item], note: Callable[[str], None]) -> list[str]:
    """Remove the worktrees of these items, and their branches; those that went, by branch."""
    run_dir = reader.run_dir
    # A run that goes on leaves them to `prune`.
    if reader.is_alive:
        return []
    try:
        # Under the run's lock no attempt begins in one of them.
        with holding(lock_run(run_dir)):
            reader = RunReader.read(run_dir)
            names = dict.fromkeys(_workspace_of(reader, *item) for item in items)
            removed = (_removed(reader, name, note) for name in names if name and not _goes_on(reader, name))
            return [branch for branch in removed if branch is not None]
    except (RunHeldError, StateUnwritableError):
        return []


def _removed(reader: RunReader, name: str, note: Callable[[str], None]) -> str | None:
    path = str(reader.run_dir.workspace(name))
    try:
        return remove_landed(path)
    except (GitFailed, OSError) as error:
        note(f"{path} is landed, and stays: {error}")
        return None


def _workspace_of(reader: RunReader, job_id: str, index: int) -> str:
    ended = reader.history.jobs[job_id].last_end(index)
    return ended.workspace if ended is not None else ""


def _goes_on(reader: RunReader, name: str) -> bool:
    """Whether an item that has not succeeded has begun in this workspace: it goes on there."""
    history = reader.history
    starts = [*history.open_starts.values(), *(each for past in history.jobs.values() for each in past.unended.values())]
    return any(start.workspace == name for start in starts) or any(
        _workspace_of(reader, job_id, index) == name
        for job_id, past in history.jobs.items()
        for index in range(past.known)
        if past.status(index) is not Status.SUCCEEDED
    )
