"""The repository that a run works with: the one that its folder was in when the run began, with the settings of that time.

An agent that works in the folder of the jobs file may make a repository there, nearer than the user's, whose configuration names
programs. So no later look finds one: what was found before the first item started is kept with the run.
It refuses to handle: a folder in no repository. A resume looks once more, for the user may have made one since.
"""

from __future__ import annotations

from orchestrator.attempts.workspaces.place import repository_of
from orchestrator.errors import StateRefusedError
from orchestrator.jobsfile.model import JobsFile
from orchestrator.store.checkpoint import read_header
from orchestrator.store.durable_file import unwritable
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.files.opening import read_file
from orchestrator.workers.files.syncing import make_folder, replace_durably
from orchestrator.workers.workspaces.git import GitFailed
from orchestrator.workers.workspaces.settings import keep_settings, kept_settings


def keep_repository(run_dir: RunDir, jobs_file: JobsFile, parent: str | None) -> None:
    """Keep which repository the run works with, unless it is kept. One of its jobs `uses_repository`, and no item is at work.

    Survives power loss.

    `parent`: the item (`RUN/ITEM`) whose child the run is. Raises StateUnwritableError.
    """
    path, root = run_dir.repository_settings, repository_of(jobs_file.folder)
    try:
        make_folder(str(run_dir.workspaces), str(run_dir.path))
        # Items of the run above have been at work in its folder.
        if parent is not None and (above := _kept_above(run_dir, parent, jobs_file.folder)) is not None:
            replace_durably(str(path), above)
            return
        keep_settings(root, str(path))
    except GitFailed:
        return  # if git does not work here, the items say so
    except OSError as error:
        raise unwritable(path, error) from error


def repository_of_run(run_dir: RunDir, folder: str) -> str | None:
    """The root of the repository that a run in `folder` works with; None: there is none. Raises GitFailed, OSError.

    Of a run that an earlier version began: the one that the folder is in now.
    """
    kept = kept_settings(str(run_dir.repository_settings))
    return repository_of(folder) if kept is None or kept.root is None else kept.root or None


def _kept_above(run_dir: RunDir, parent: str, folder: str) -> bytes | None:
    """What the run of the item `parent` has kept, if it works in the same `folder`; None: nothing."""
    above = RunDir.of(run_dir.home, parent.partition("/")[0])
    try:
        return read_file(above.repository_settings) if read_header(above.checkpoint).folder == folder else None
    except (FileNotFoundError, StateRefusedError):
        return None
