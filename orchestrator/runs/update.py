"""`resume --update`: a run goes on with the jobs file as it is now.

The update is drafted first (`update_draft`), which changes nothing. Then the new text and the new lists are written durably under
new names, and one group of the journal makes the update.

Promise: after a kill at any moment the run has the old file or the new one. An attempt that would do something else by the new
file has ended before the update is made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from orchestrator.runs.edited_file import read_edited
from orchestrator.runs.end_old_attempts import end_attempts
from orchestrator.runs.offline_recorder import OfflineRecorder
from orchestrator.runs.run_requests import UpdateRequest
from orchestrator.runs.update_draft import Draft, draft_update
from orchestrator.store.durable_file import unwritable, write_durably
from orchestrator.store.item_list import write_item_list
from orchestrator.store.kept_files import encode_kept
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.opening import read_file
from orchestrator.workers.files.syncing import sync_folder


def update_run(run_dir: RunDir, request: UpdateRequest, note: Callable[[str], None]) -> None:
    """Let the run, which the caller holds, have the jobs file as it is now. `note` gets words for people.

    Raises UserError, JobsFileError with every mistake: then nothing was changed; StateUnwritableError.
    """
    edited = read_edited(run_dir, request)
    draft = draft_update(run_dir, edited)
    for line in draft.plan.lines():
        note(line)
    with OfflineRecorder.open(run_dir) as recorder:
        # What still runs and would do something else now is ended first. Each end is recorded, so the draft is made again.
        if draft.to_end:
            note(f"ending what still runs and would do something else now ({len(draft.to_end)})")
            end_attempts(recorder, draft.to_end, note)
            draft = draft_update(run_dir, edited)
        # Before the record that tells its checksum: after a kill in between it is refused as before, with the same way out.
        if edited.config is not None:
            write_durably(run_dir.config_toml, edited.config)
        commit_update(recorder, draft)


def commit_update(recorder: OfflineRecorder, draft: Draft) -> None:
    """Let the run have the new file. Survives power loss on return. Raises StateUnwritableError: it has one of the two."""
    run_dir, revision, past = recorder.run_dir, draft.header.revision, recorder.history.header
    # Nothing changes: then there is no new revision, and a run that is updated again and again does not grow.
    is_same_text = _has_text(run_dir.jobs_toml(past.revision), draft.text)
    if is_same_text and not draft.records and draft.header == msgspec.structs.replace(past, revision=revision):
        return
    try:
        # Remove what a killed update has left: a list that stands would be taken for one that was made later.
        for path in (run_dir.path / "items").glob(f"*-{revision}.jsonl"):
            path.unlink()
        if (run_dir.path / "items").exists():
            sync_folder(run_dir.path / "items")
    except OSError as error:
        raise unwritable(run_dir.path, error) from error
    # The new lists and the new text stand, under names that nobody reads yet, before a record names them.
    for job_id, values in draft.lists.items():
        write_item_list(run_dir.items(job_id, revision), values)
    if draft.kept is not None:
        write_durably(run_dir.kept_files(revision), encode_kept(draft.kept))
    write_durably(run_dir.jobs_toml(revision), draft.text.encode())
    fault_point("update.written")
    # This group is the update.
    recorder.record_group([draft.header, *draft.records])
    fault_point("update.recorded")
    recorder.make_durable()


def _has_text(path: Path, text: str) -> bool:
    try:
        return read_file(path) == text.encode()
    except OSError:  # lost: the update brings a new one
        return False
