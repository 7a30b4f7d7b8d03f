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
from orchestrator.workers.workspaces.staging import stage_all
from orchestrator.workers.workspaces.ties import pinned_checkout

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


def test_what_an_item_has_git_ignore_for_all_is_staged_all_the_same(tmp_path: Path, repository: Repository) -> None:
    kept = str(tmp_path / "settings.json")
    place = Pinned(str(repository.path), f"{repository.path}/.git", f"{repository.path}/.git")
    excludes = repository.path / ".git" / "info" / "exclude"
    excludes.parent.mkdir(exist_ok=True)
    excludes.write_text("# a person's\nown.log\n")
    repository.write(".gitignore", "*.o\n")
    keep_settings(place, kept)
    assert (settled(place, kept).excludes, settled(place, kept).changed) == (None, [])
    excludes.write_text("*\n")
    found = settled(place, kept)
    assert found.changed == ["info/exclude"]
    for name in ("new.txt", "own.log", "a.o", "-x [1].txt", "sub/new.txt"):
        repository.write(name, "")
    place = place.having(found.variables)._replace(excludes=found.excludes)
    stage_all(place, "HEAD")
    assert git(place, *DIFF, "--cached", "--name-only", "-z").split("\0") == [
        "-x [1].txt",
        ".gitignore",
        "new.txt",
        "sub/new.txt",
        "",
    ]


def test_attributes_that_an_item_gave_all_files_are_told(tmp_path: Path, repository: Repository) -> None:
    """Nothing makes git read others in their place."""
    kept = str(tmp_path / "settings.json")
    keep_settings(str(repository.path), kept)
    assert pinned_checkout(str(repository.path), kept)[1] == []
    (repository.path / ".git" / "info").mkdir(exist_ok=True)
    (repository.path / ".git" / "info" / "attributes").write_text("* -diff\n")
    told = pinned_checkout(str(repository.path), kept)[1]
    assert len(told) == 1
    assert told[0].startswith(f"info/attributes of {repository.path} was changed since the run began")
