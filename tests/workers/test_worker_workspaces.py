"""An attempt in a workspace of its own: made beside the agent, found again by the next attempt, kept once it succeeded."""

from __future__ import annotations

import errno
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from drivers.git_repository import Repository
from drivers.sweeps import sweep
from drivers.worker_driver import WorkerDriver
from drivers.workspace_items import WorkspaceItem, patch_of, report_of

from orchestrator.workers.attempt_end import AttemptEnd
from orchestrator.workers.protocol import AttemptClass
from orchestrator.workers.workspaces import workspace as workspaces
from orchestrator.workers.workspaces.removal import remove_workspace
from orchestrator.workers.workspaces.workspace import Workspace

pytestmark = pytest.mark.usefixtures("no_git_configuration")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo", **{"a.txt": "a\n", ".gitignore": ".env\nbuild/\n"})


def test_a_worktree_whose_git_file_the_agent_removed_is_joined_to_its_repository_again(
    worker: WorkerDriver, repository: Repository
) -> None:
    outcome = WorkspaceItem(worker.root, "worktree", repository.path).run(worker, "echo b >> a.txt; rm .git")
    assert (outcome.attempt_class, outcome.message) == (AttemptClass.OK, "")
    assert repository.git("show", f"{report_of(outcome).commit}:a.txt") == "a\nb"


def test_all_that_was_done_in_a_worktree_is_one_commit_and_one_patch(worker: WorkerDriver, repository: Repository) -> None:
    first = repository.head()
    item = WorkspaceItem(worker.root, "worktree", repository.path)
    script = "echo b >> a.txt; printf '\\0\\1' > new.bin; rm README; mkdir build; echo x > build/ignored"
    outcome = item.run(worker, script)
    assert outcome.attempt_class is AttemptClass.OK, outcome.message
    report = report_of(outcome)
    assert (report.path, report.base, report.branch) == (str(item.path), first, "orchestrate/run/port.0")
    assert report.commit == repository.head("orchestrate/run/port.0")
    assert repository.git("log", "-1", "--format=%an %s", report.commit) == "orchestrate port.0"
    assert repository.git("diff", "--name-status", first, report.commit).split("\n") == ["D\tREADME", "M\ta.txt", "A\tnew.bin"]
    assert repository.head() == first
    assert not (repository.path / "new.bin").exists()
    subprocess.run(["git", "-C", repository.path, "apply", "--index"], input=patch_of(outcome), check=True)
    assert repository.git("write-tree") == repository.head(f"{report.commit}^{{tree}}")


def test_a_failed_attempt_leaves_its_edits_to_the_next_and_both_start_from_one_commit(
    worker: WorkerDriver, repository: Repository
) -> None:
    first = repository.head()
    item = WorkspaceItem(worker.root, "worktree", repository.path)
    outcome = item.run(worker, "echo half > b.txt; exit 3")
    assert (outcome.attempt_class, report_of(outcome).path) == (AttemptClass.COMMAND_FAILED, str(item.path))
    repository.write("a.txt", "changed meanwhile\n")
    repository.commit("second")
    outcome = item.run(worker, "cat a.txt b.txt")
    assert (outcome.stdout.inline, report_of(outcome).base) == (b"a\nhalf\n", first)


def test_who_runs_again_after_its_workspace_is_gone_goes_on_from_its_branch(worker: WorkerDriver, repository: Repository) -> None:
    first = repository.head()
    item = WorkspaceItem(worker.root, "worktree", repository.path, keep_seconds=0.0)
    report = report_of(item.run(worker, "echo b > b.txt"))
    assert (report.path, len(repository.worktrees())) == (None, 1)
    repository.commit("meanwhile")
    outcome = item.run(worker, "cat b.txt; echo c > c.txt")
    assert (outcome.attempt_class, outcome.stdout.inline) == (AttemptClass.OK, b"b\n")
    assert (report_of(outcome).base, repository.head(f"{report_of(outcome).commit}~1")) == (first, report.commit)
    remove_workspace(str(item.path))
    assert os.listdir(item.path.parent) == []
    assert "orchestrate/run/port.0" in repository.branches()


def test_the_commits_of_the_agent_stay_as_they_are_also_on_a_branch_of_its_own(
    worker: WorkerDriver, repository: Repository
) -> None:
    item = WorkspaceItem(worker.root, "worktree", repository.path)
    commit = "git -c user.name=agent -c user.email=a@b commit -qam mine"
    outcome = item.run(
        worker, f"echo b >> a.txt; {commit}; git checkout -qb elsewhere; echo c >> a.txt; {commit}; echo d >> a.txt"
    )
    report = report_of(outcome)
    assert repository.git("log", "--format=%an", f"{report.base}..{report.commit}").split() == ["orchestrate", "agent", "agent"]
    assert report.commit == repository.head("orchestrate/run/port.0")


def test_a_workspace_without_a_change_goes_and_its_branch_with_it(worker: WorkerDriver, repository: Repository) -> None:
    (repository.path / ".env").write_text("SECRET=1\n")
    item = WorkspaceItem(worker.root, "worktree", repository.path, include=[".env"])
    outcome = item.run(worker, "cat .env; mkdir build; touch build/x")
    assert outcome.stdout.inline == b"SECRET=1\n"
    report = report_of(outcome)
    assert (report.path, report.commit, report.patch.size) == (None, None, 0)
    assert (os.listdir(item.path.parent), repository.branches(), len(repository.worktrees())) == ([], {"main"}, 1)


def test_a_branch_that_somebody_has_checked_out_stays(worker: WorkerDriver, repository: Repository) -> None:
    elsewhere = worker.root / "elsewhere"
    item = WorkspaceItem(worker.root, "worktree", repository.path)
    outcome = item.run(worker, f"git checkout -q --detach; git worktree add -q {elsewhere} orchestrate/run/port.0")
    assert (outcome.attempt_class, report_of(outcome).path, item.path.exists()) == (AttemptClass.OK, None, False)
    assert "orchestrate/run/port.0" in repository.branches()
    remove_workspace(str(item.path))
    assert repository.worktrees() == [str(repository.path), str(elsewhere)]


@pytest.mark.parametrize(
    "work", ["echo b >> part/a.txt", "cd part && git -c user.name=a -c user.email=a commit -qm x --allow-empty"]
)
def test_what_was_done_in_a_submodule_is_told_and_stays(worker: WorkerDriver, repository: Repository, work: str) -> None:
    part = Repository(worker.root / "part", **{"a.txt": "a\n"})
    allowed = "git -c protocol.file.allow=always"
    subprocess.run(f"{allowed} submodule --quiet add {part.path} part", cwd=repository.path, shell=True, check=True)
    repository.commit("Add a part")
    setup = f"{allowed} submodule --quiet update --init"
    untouched = WorkspaceItem(worker.root, "worktree", repository.path, "port.0", setup=setup)
    assert report_of(untouched.run(worker, "true")).path is None
    item = WorkspaceItem(worker.root, "worktree", repository.path, "port.1", setup=setup, keep_seconds=0.0)
    outcome = item.run(worker, work)
    report = report_of(outcome)
    assert (outcome.attempt_class, report.path) == (AttemptClass.OK, str(item.path))
    assert report.note == "part is a repository of its own: what was done in it stays in the workspace alone"
    subprocess.run(f"{allowed} -C part pull -q; {allowed} -C part reset -q --hard origin", cwd=item.path, shell=True, check=True)
    assert (report_of(item.run(worker, "true")).path, item.path.exists()) == (None, False)


def test_what_an_agent_cloned_into_a_copy_is_told_and_stays(worker: WorkerDriver, repository: Repository) -> None:
    item = WorkspaceItem(worker.root, "copy", repository.path, keep_seconds=0.0)
    commit = "git -c user.name=a -c user.email=a@b commit -qm x --allow-empty"
    report = report_of(item.run(worker, f"git init -q inner && cd inner && {commit} && echo x > work.txt"))
    assert report.path is not None
    assert (Path(report.path) / "inner" / "work.txt").exists()
    assert "inner is a repository of its own" in report.note


@pytest.mark.parametrize("kind", ["worktree", "copy"])
def test_a_repository_that_an_agent_has_only_begun_fails_nothing_and_stays(
    worker: WorkerDriver, repository: Repository, kind: str
) -> None:
    item = WorkspaceItem(worker.root, kind, repository.path, keep_seconds=0.0)
    begin = "git init -q new; echo x > new/work.txt; mkdir sub; git init -q sub/deep; echo y > sub/kept.txt"
    outcome = item.run(worker, f"{begin}; echo b >> a.txt")
    report = report_of(outcome)
    assert (outcome.attempt_class, report.path) == (AttemptClass.OK, str(item.path))
    told = "is a repository of its own: what was done in it stays in the workspace alone"
    assert report.note == f"new {told}; sub/deep {told}"
    patch = patch_of(outcome)
    assert [b"+b" in patch, b"sub/kept.txt" in patch, b"work.txt" in patch] == [True, True, False]
    assert (item.path / "new" / "work.txt").exists()


MERGE = """
git config user.name a; git config user.email a@b; git checkout -qb other; echo theirs > a.txt; git rm -q gone.txt
printf 'theirs\\0' > image; git commit -qam theirs; git checkout -q -; echo ours > a.txt; echo more >> gone.txt
printf 'ours\\0' > image; git commit -qam ours; git merge -q other
"""


@pytest.mark.parametrize(
    ("resolve", "in_conflict"),
    sweep(
        [
            ("true", "a.txt, gone.txt, image"),
            ("git add image; rm gone.txt; echo both > a.txt", ""),
            ("git rm -q gone.txt; git add image", "a.txt"),
            ("git add image a.txt; echo x >> gone.txt", "gone.txt"),
            ("git add --all", ""),
        ],
        quick=2,
    ),
)
def test_a_merge_that_an_agent_left_unfinished_is_no_success(
    worker: WorkerDriver, repository: Repository, resolve: str, in_conflict: str
) -> None:
    """It would be committed with its markers. One that it has resolved, told to git or not, is committed."""
    repository.write("gone.txt", "gone\n")
    repository.write("image", "\0")
    repository.commit("three files")
    item = WorkspaceItem(worker.root, "worktree", repository.path)
    outcome = item.run(worker, f"{MERGE}{resolve}; exit 0")
    if not in_conflict:
        assert (outcome.attempt_class, outcome.message) == (AttemptClass.OK, "")
        assert repository.git("rev-list", "--merges", str(report_of(outcome).commit), "-1") == report_of(outcome).commit
        return
    told = f"a merge was begun in the workspace and is not finished; in conflict: {in_conflict}"
    assert (outcome.attempt_class, outcome.message) == (AttemptClass.COMMAND_FAILED, f"its changes could not be kept: {told}")
    # Nothing is lost: the next attempt finishes it where it stands.
    outcome = item.run(worker, "git checkout -q --theirs a.txt; git rm -q gone.txt; git add --all")
    assert (outcome.attempt_class, outcome.message) == (AttemptClass.OK, "")


def test_what_was_copied_into_a_worktree_is_never_committed(worker: WorkerDriver, repository: Repository) -> None:
    repository.write("secret.key", "unignored\n")
    item = WorkspaceItem(worker.root, "worktree", repository.path, include=["*.key"])
    report = report_of(item.run(worker, "cat secret.key > shown.txt"))
    assert report.commit is not None
    assert repository.git("diff", "--name-only", str(report.base), report.commit) == "shown.txt"


def test_setup_runs_once_and_what_it_says_is_told_only_if_it_fails(worker: WorkerDriver, repository: Repository) -> None:
    count = worker.root / "count"
    setup = f"echo setup >> {count}; echo noise; [ -e {worker.root}/good ] || echo broken >&2; [ -e {worker.root}/good ]; echo on"
    item = WorkspaceItem(worker.root, "worktree", repository.path, setup=setup)
    outcome = item.run(worker, "echo never")
    assert (outcome.attempt_class, outcome.message) == (AttemptClass.COMMAND_FAILED, "setup: exit code 1")
    assert (outcome.stdout.inline, outcome.stderr.inline) == (b"noise\n", b"broken\n")
    (worker.root / "good").touch()
    for _ in range(2):
        assert item.run(worker, "echo agent; exit 1").stdout.inline == b"agent\n"
    assert count.read_text() == "setup\n" * 2


def test_a_branch_that_is_somebody_elses_is_refused_in_words(worker: WorkerDriver, repository: Repository) -> None:
    repository.git("branch", "mine")
    outcome = WorkspaceItem(worker.root, "worktree", repository.path, branch="mine").run(worker, "touch x")
    assert outcome.attempt_class is AttemptClass.CANNOT_START
    assert outcome.message == "workspace: branch: mine is there already, and not this item's; `branch` gives it another name"
    outcome = WorkspaceItem(worker.root, "worktree", repository.path, branch="a..b").run(worker, "touch x")
    assert outcome.message == "workspace: branch: 'a..b' cannot be the name of a branch"
    outcome = WorkspaceItem(worker.root, "worktree", repository.path, base="nowhere").run(worker, "touch x")
    assert "has no commit 'nowhere'" in outcome.message


def test_names_that_git_cannot_have_beside_each_other_are_numbered(tmp_path: Path, repository: Repository) -> None:
    """`src` beside `src/x`, in whichever order; and a branch of the user's that is called as ours begin."""
    repository.git("branch", "orchestrate")
    wanted = ["port/src", "port/src/x", "port/src/x/y", "deep/a/b", "deep/a", "deep/a+2/c", "orchestrate/run/port.0"]
    made: list[str] = []
    for number, branch in enumerate(wanted):
        item = WorkspaceItem(tmp_path, "worktree", repository.path, f"port.{number}", branch=branch)
        workspace = Workspace(item.task, "mark")
        assert workspace.enter(lambda _: AttemptEnd(AttemptClass.OK)).attempt_class is AttemptClass.OK
        (item.path / f"{number}.txt").touch()
        _, report = workspace.finish(AttemptEnd(AttemptClass.OK), str(tmp_path / "patch"), 1000)
        assert report is not None
        assert repository.head(f"refs/heads/{report.branch}") == report.commit
        made.append(f"{report.branch}{' (told)' if report.note else ''}")
    assert made == [
        "port/src",
        "port/src+2/x (told)",
        "port/src+2/x+2/y (told)",
        "deep/a/b",
        "deep/a+2 (told)",
        "deep/a+2+2/c (told)",
        "orchestrate+2/run/port.0",
    ]
    # What we have named goes with its workspace once it is merged, what the user has named stays.
    for number, branch in ((6, "orchestrate+2/run/port.0"), (1, "port/src+2/x")):
        repository.git("merge", "-q", f"refs/heads/{branch}")
        remove_workspace(str(tmp_path / f"workspaces/port.{number}"))
    assert {"orchestrate", "port/src+2/x"} < repository.branches()
    assert "orchestrate+2/run/port.0" not in repository.branches()


def test_a_copy_has_the_files_as_they_are_and_a_patch_without_git_in_it(worker: WorkerDriver, repository: Repository) -> None:
    repository.write("a.txt", "not committed\n")
    repository.write(".env", "ignored\n")
    (repository.path / "link").symlink_to("a.txt")
    item = WorkspaceItem(worker.root, "copy", repository.path, left_out=[str(worker.root)])
    outcome = item.run(worker, "ls -A; cat link .env; echo more >> a.txt")
    assert outcome.stdout.inline == b".env\n.gitignore\nREADME\na.txt\nlink\nnot committed\nignored\n"
    assert b"+more\n" in patch_of(outcome)
    assert report_of(outcome).commit is None
    assert (repository.path / "a.txt").read_text() == "not committed\n"


def test_an_empty_folder_is_kept_if_something_is_in_it(worker: WorkerDriver) -> None:
    item = WorkspaceItem(worker.root, "temp", worker.root)
    assert report_of(item.run(worker, "ls -A")).path is None
    assert report_of(item.run(worker, "touch x")).path == str(item.path)


def test_artifacts_are_copied_bounded_and_never_from_outside(worker: WorkerDriver) -> None:
    (worker.root / "outside").write_text("secret")
    item = WorkspaceItem(worker.root, "temp", worker.root, artifacts=["out/*", "none/*.json"], keep_seconds=0.0)
    script = f"mkdir out; echo 1 > out/a; ln -s a out/b; ln -s {worker.root}/outside out/c; head -c 2000 /dev/zero > out/d"
    report = report_of(item.run(worker, script, max_output_bytes=1000))
    kept = [Path(path) for path in report.artifacts]
    assert [(path.name, path.read_text()) for path in kept] == [("a", "1\n"), ("b", "1\n")]
    assert report.note == "out/c leads out of the workspace; out/d does not fit into max_output; no file matches none/*.json"
    assert (report.path, item.path.exists()) == (None, False)


@pytest.mark.parametrize(("kind", "settings"), [("copy", {}), ("temp", {"artifacts": ["new"]})], ids=["a patch", "artifacts"])
def test_what_has_no_place_because_outputs_is_no_folder_is_the_states_failure(
    tmp_path: Path, repository: Repository, kind: str, settings: dict[str, Any]
) -> None:
    item = WorkspaceItem(tmp_path, kind, repository.path, **settings)
    workspace = Workspace(item.task, "mark")
    workspace.enter(lambda _: AttemptEnd(AttemptClass.OK))
    (item.path / "new").write_text("work")
    (tmp_path / "outputs").write_text("a file where the folder should be")
    (tmp_path / "worker").mkdir()
    end, _ = workspace.finish(AttemptEnd(AttemptClass.OK), str(tmp_path / "worker" / "patch"), 1000)
    assert end.attempt_class is AttemptClass.STATE_ERROR
    words = f"{tmp_path}/outputs is no folder any more: move away what stands there"
    assert end.message.startswith(f"its changes could not be kept: {words}")
    assert (item.path / "new").exists(), "the work stays for the next attempt"


def test_a_workspace_that_cannot_be_removed_is_told_and_fails_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may have left files of another user in it."""

    def refuse(path: str, *, is_over: bool) -> None:
        del is_over
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(workspaces, "remove_workspace", refuse)
    item = WorkspaceItem(tmp_path, "temp", tmp_path)
    workspace = Workspace(item.task, "mark")
    workspace.enter(lambda _: AttemptEnd(AttemptClass.OK))
    end, report = workspace.finish(AttemptEnd(AttemptClass.OK), str(tmp_path / "patch"), 1000)
    assert report is not None
    assert (end.attempt_class, report.path) == (AttemptClass.OK, str(item.path))
    assert report.note == f"{item.path} cannot be removed: Permission denied: {item.path}"


def test_eight_at_once_add_their_worktrees(tmp_path: Path, repository: Repository) -> None:
    def made(number: int) -> AttemptClass:
        item = WorkspaceItem(tmp_path, "worktree", repository.path, f"port.{number}")
        return Workspace(item.task, "mark").enter(lambda _: AttemptEnd(AttemptClass.OK)).attempt_class

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(made, range(8))) == [AttemptClass.OK] * 8
    assert len(repository.worktrees()) == 9
    for number in range(8):
        assert (tmp_path / f"workspaces/port.{number}/a.txt").read_text() == "a\n"
        remove_workspace(str(tmp_path / f"workspaces/port.{number}"))
    assert (repository.worktrees(), repository.branches()) == ([str(repository.path)], {"main"})


@pytest.mark.parametrize("kind", ["worktree", "copy"])
def test_what_an_agent_leaves_of_its_own_is_no_work(worker: WorkerDriver, repository: Repository, kind: str) -> None:
    item = WorkspaceItem(worker.root, kind, repository.path, litter=[".aider.*history*", ".aider.tags.cache.v*/**"])
    litter = "mkdir .aider.tags.cache.v4; echo x | tee .aider.tags.cache.v4/cache.db .aider.chat.history.md"
    outcome = item.run(worker, f"{litter}; echo mine > .aider.conf.yml")
    assert outcome.attempt_class is AttemptClass.OK, outcome.message
    patch = patch_of(outcome)
    assert b".aider.conf.yml" in patch
    assert b"cache" not in patch
    assert b"history" not in patch


def test_an_attempt_that_left_nothing_but_litter_did_nothing(worker: WorkerDriver, repository: Repository) -> None:
    item = WorkspaceItem(worker.root, "worktree", repository.path, litter=["*.log"], keep_seconds=0.0)
    outcome = item.run(worker, "echo x > a.log")
    assert (report_of(outcome).commit, report_of(outcome).path) == (None, None)


def test_a_file_of_the_repository_that_looks_like_litter_stays_in_it(worker: WorkerDriver, repository: Repository) -> None:
    repository.write("kept.log", "ours\n")
    repository.commit("Keep a log")
    item = WorkspaceItem(worker.root, "worktree", repository.path, litter=["*.log"])
    outcome = item.run(worker, "echo more >> kept.log; echo x > new.txt")
    commit = report_of(outcome).commit
    assert commit is not None
    assert repository.git("show", f"{commit}:kept.log") == "ours"
