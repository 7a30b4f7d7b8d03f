"""Which settings of the user's repository count in a call of ours, after an agent that may write there has changed them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drivers.git_repository import Repository

from orchestrator.workers.workspaces.changes import DIFF
from orchestrator.workers.workspaces.git import git
from orchestrator.workers.workspaces.pinned import Pinned
from orchestrator.workers.workspaces.settings import keep_settings, settled

pytestmark = pytest.mark.usefixtures("no_git_configuration")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo", **{"a.txt": "a\n"})


def test_hooks_that_stand_in_a_configuration_are_off_whoever_wrote_them(repository: Repository) -> None:
    """From git 2.54 on; an older one knows none."""
    repository.git("config", "hook.a=b.event", "post-commit")
    repository.git("config", "hook.a=b.command", "true")
    said = git(str(repository.path), "config", "hook.a=b.enabled", env=settled(str(repository.path), "").variables)
    assert said == git(str(repository.path), "config", "hook.post-commit.enabled") == "false"


def test_files_that_the_repository_was_told_to_read_since_are_not_read(tmp_path: Path, repository: Repository) -> None:
    """A pipe is waited for, and `/dev/zero` takes all the memory."""
    place = Pinned(str(repository.path), f"{repository.path}/.git", f"{repository.path}/.git")
    repository.git("config", "core.excludesFile", str(tmp_path / "excludes"))
    (tmp_path / "excludes").write_text("own\n")
    keep_settings(place, str(tmp_path / "settings.json"))
    os.mkfifo(tmp_path / "pipe")
    for key in ("core.attributesFile", "core.excludesFile", "diff.orderFile"):
        repository.git("config", key, str(tmp_path / "pipe"))
    found = settled(place, str(tmp_path / "settings.json"))
    assert found.changed == ["core.attributesfile", "core.excludesfile"]
    place = place.having(found.variables)
    for name in ("own", "new"):
        repository.write(name, "")
    git(place, "add", "--all", time_limit_seconds=20)
    assert git(place, *DIFF, "--cached", "--name-only", time_limit_seconds=20) == "new"


def test_a_fetch_that_would_start_another_program_than_before_is_none(tmp_path: Path, repository: Repository) -> None:
    """Of the stores that the agent has put beside the objects of a partial clone."""
    kept = str(tmp_path / "settings.json")
    repository.git("config", "remote.origin.promisor", "true")
    keep_settings(str(repository.path), kept)
    repository.git("config", "core.alternateRefsCommand", str(tmp_path / "run"))
    found = settled(str(repository.path), kept)
    assert (found.changed, found.variables["GIT_ALLOW_PROTOCOL"]) == (["where git fetches from"], "")
