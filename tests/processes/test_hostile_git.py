"""What an agent leaves in its workspace for git to run: nothing of it runs, whoever asks, and its work is told of."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest
from drivers.git_repository import Repository
from drivers.planting_agent import Item
from drivers.sweeps import sweep

from orchestrator.attempts.workspaces import changes
from orchestrator.attempts.workspaces.changes import patch_so_far
from orchestrator.attempts.workspaces.landing import Change, landing
from orchestrator.workers.processes.spawn import CannotStart
from orchestrator.workers.protocol import AttemptClass
from orchestrator.workers.workspaces import settings, worktrees
from orchestrator.workers.workspaces.git import GitFailed
from orchestrator.workers.workspaces.record import WorkspaceRecord, read_record, write_record
from orchestrator.workers.workspaces.removal import remove_workspace
from orchestrator.workers.workspaces.ties import put_back_tie, refuse_other_tie

pytestmark = pytest.mark.usefixtures("no_git_configuration")

OTHER = "is {}, not the file that was made there: git is not asked. The work stays; without that .git try again"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo", **{"a.txt": "a\n"})


TIES = {
    "a folder": "rm .git; git init -q; plant; echo $attributes | tee .gitattributes > .git/info/attributes",
    "a folder that leads out": "rm .git; git init -q; git config core.worktree $W; echo secret > $W/host.txt",
    "a link": "git init -q inner; cd inner; plant; cd ..; rm .git; ln -s inner/.git .git; echo $attributes > .gitattributes",
    "another file": "git init -q inner; (cd inner; plant); echo gitdir: inner/.git > .git; echo $attributes > .gitattributes",
    "a pipe": "rm .git; mkfifo .git",
    "a file without an end": "rm .git; truncate -s 1G .git",
}


@pytest.mark.parametrize("tie", sweep(TIES, quick=1))
def test_a_git_folder_that_the_agent_put_there_runs_nothing_and_is_refused_in_words(
    tmp_path: Path, repository: Repository, tie: str
) -> None:
    item = Item(tmp_path, repository.path)
    end, report = item.attempt(f"echo b >> a.txt; {TIES[tie]}")
    kind = {"a folder that leads out": "a folder", "a link": "a link", "a folder": "a folder"}.get(tie, "another file")
    words = f"{item.path}/.git {OTHER.format(kind)}"
    assert (end.attempt_class, end.message) == (AttemptClass.COMMAND_FAILED, f"its changes could not be kept: {words}")
    assert report is not None
    assert (report.path, report.commit) == (str(item.path), None)
    with pytest.raises(GitFailed, match=r"git is not asked"):
        patch_so_far(str(item.path), None)
    with pytest.raises(CannotStart, match=r"git is not asked"):
        item.attempt()
    # Without it the work that is paid for is kept, and nothing besides.
    subprocess.run(["rm", "-rf", ".git", "inner"], cwd=item.path, check=True)
    assert item.attempt(looks=True)[0].attempt_class is AttemptClass.OK
    assert ("+b" in item.patch(), "secret" in item.patch(), item.witness.exists()) == (True, False, False)
    remove_workspace(str(item.path))
    assert not item.witness.exists()


def test_a_git_file_is_the_one_that_was_made_byte_for_byte_and_one_that_is_gone_is_put_back(tmp_path: Path) -> None:
    record, place = WorkspaceRecord(kind="worktree", source="/", tie="gitdir: /a\n"), tmp_path / ".git"
    put_back_tie(str(tmp_path), record)
    refuse_other_tie(str(tmp_path), record)
    assert place.read_text() == record.tie
    for other in ("gitdir: /b\n", "gitdir: /a\n\n", ""):
        place.write_text(other)
        put_back_tie(str(tmp_path), record)
        with pytest.raises(GitFailed, match="is another file"):
            refuse_other_tie(str(tmp_path), record)
    place.unlink()
    place.symlink_to(tmp_path / "elsewhere")
    put_back_tie(str(tmp_path), record)
    assert not (tmp_path / "elsewhere").exists()


def test_git_is_told_where_it_works_whatever_git_folder_comes_between_the_look_and_the_call(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for looks in (worktrees, changes):
        monkeypatch.setattr(looks, "refuse_other_tie", lambda *_: None)
    item = Item(tmp_path, repository.path)
    head = repository.head()
    # What an agent that commits may write in the repository leads to another one, too.
    other = (
        'git init -q $W/evil; cat $W/planted >> $W/evil/.git/config; echo $W/evil/.git > "$(git rev-parse --git-dir)/commondir"'
    )
    script = f"echo b >> a.txt; {other}; {TIES['a folder']}; echo secret > $W/host.txt; git config core.worktree $W"
    end, report = item.attempt(script, looks=True)
    assert (end.attempt_class, item.witness.exists()) == (AttemptClass.OK, False), end.message
    assert report is not None
    assert (repository.show(f"{report.commit}:a.txt"), repository.head()) == ("a\nb", head)
    assert ("+b" in item.patch(), "secret" in item.patch()) == (True, False)


def clone_with_part(root: Path, repository: Repository) -> str:
    """Give the repository a submodule; the setup that fetches it."""
    part = Repository(root / "part", **{"a.txt": "a\n"})
    allowed = "git -c protocol.file.allow=always submodule --quiet"
    subprocess.run(f"{allowed} add {part.path} part", cwd=repository.path, shell=True, check=True)
    repository.commit("Add a part")
    return f"{allowed} update --init"


INNER = "git init -q new; cd new; echo n > n; git add n; mine commit -qm n; plant; echo $attributes > .git/info/attributes; cd .."
SUBMODULE = "cd part; plant; echo $attributes > .gitattributes; cd .."


@pytest.mark.parametrize("name", sweep(["new", "part"], quick=1))
def test_a_repository_inside_of_a_workspace_is_looked_at_without_its_configuration(
    tmp_path: Path, repository: Repository, name: str
) -> None:
    setup = clone_with_part(tmp_path, repository) if name == "part" else None
    item = Item(tmp_path, repository.path, setup=setup, keep_seconds=0.0)
    base = repository.head()
    hostile = SUBMODULE if name == "part" else f"{INNER}; git add new; echo x > new/x"
    end, report = item.attempt(f"{hostile}; echo b >> a.txt", looks=True)
    assert (end.attempt_class, item.witness.exists()) == (AttemptClass.OK, False), end.message
    assert report is not None
    told = f"{name} is a repository of its own: what was done in it stays in the workspace alone"
    assert (report.note, report.path) == (told, str(item.path))
    # What was in the base stays in it, and nothing new of the kind comes.
    assert repository.git("diff", "--name-only", base, str(report.commit)) == "a.txt"
    assert "160000" not in item.patch()


@pytest.mark.slow
def test_a_repository_inside_of_a_copy_is_looked_at_without_its_configuration(tmp_path: Path, repository: Repository) -> None:
    item = Item(tmp_path, repository.path, "copy")
    script = f"{INNER}; git init -q; plant; echo $attributes | tee .gitattributes > .git/info/attributes; echo b >> a.txt"
    end, report = item.attempt(script, looks=True)
    assert (end.attempt_class, item.witness.exists()) == (AttemptClass.OK, False), end.message
    assert report is not None
    assert "new is a repository of its own" in report.note
    assert ("+b" in item.patch(), "160000" in item.patch()) == (True, False)


def test_settings_that_an_agent_changed_in_the_users_repository_do_not_count_and_the_users_own_do(
    tmp_path: Path, repository: Repository
) -> None:
    """Its sandbox has to let it write there, or it could not commit."""
    repository.git("config", "filter.ours.clean", "tr a-z A-Z")
    subprocess.run(["git", "config", "--global", "filter.all.clean", "tr a b"], check=True)
    item = Item(tmp_path, repository.path)
    attributes = "printf '%s\\n' '* filter=x' '*.all filter=all' '*.ours filter=ours' '*.odd filter=a=b' > .gitattributes"
    set_odd = 'git config "filter.a=b.clean" "$W/run odd"; git config filter.all.clean "$W/run all"'
    odd = f"{set_odd}; git config --unset filter.ours.clean"
    end, report = item.attempt(f"plant; {odd}; {attributes}; for end in all ours odd; do echo a > a.$end; done", looks=True)
    assert (end.attempt_class, item.witness.exists()) == (AttemptClass.OK, False), end.message
    assert report is not None
    kept = [repository.show(f"{report.commit}:a.{end}") for end in ("all", "ours", "odd")]
    assert kept == ["b", "A", "a"]
    assert "changed since the run began do not count: filter.a=b.clean, filter.all.clean" in report.note


def test_a_merge_driver_that_an_agent_configured_merges_nothing_and_one_of_the_users_does(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repo", **dict.fromkeys(("a.txt", "b.txt", "c.ours"), "1\n2\n3\n4\n5\n"))
    repository.git("config", "merge.ours.driver", "echo ours > %A")
    item = Item(tmp_path, repository.path)
    everywhere = '"$(git rev-parse --git-common-dir)/info/attributes"'
    # By the name of one of the user's, too, and for all files that have no attribute.
    drivers = 'git config merge.ours.driver "$W/run ours"; git config merge.default x'
    attributes = f"printf '%s\\n' 'b.* -merge' 'b.* merge' '*.ours merge=ours' | tee .gitattributes > {everywhere}"
    _, report = item.attempt(f"plant; {drivers}; {attributes}; for file in a.txt b.txt c.ours; do echo 6 >> $file; done")
    assert report is not None
    for name in ("a.txt", "b.txt", "c.ours"):
        repository.write(name, "0\n1\n2\n3\n4\n5\n")
    repository.git("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "add", "-u", ".")
    repository.git(
        "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "commit", "-qm", "the user's, of the same files"
    )
    item.witness.unlink(missing_ok=True)
    change = Change(run_id="r", item="port:0", label=None, commit=report.commit, base=report.base, folder=str(repository.path))
    with landing(str(repository.path), print, tmp_path / "home", item.task.settings_path) as land:
        landed = land.land_change(change)
    assert (landed.status, item.witness.exists()) == ("landed", False), landed.message
    assert (repository.path / "a.txt").read_text().split() == list("0123456")
    assert (repository.path / "c.ours").read_text() == "ours\n"


def test_an_item_that_has_git_see_less_hides_and_loses_no_change(tmp_path: Path, repository: Repository) -> None:
    item = Item(tmp_path, repository.path)
    settings = "git config core.ignoreCase true; git config core.fileMode false; git config core.bigFileThreshold 1"
    _, report = item.attempt(f"{settings}; echo b > A.txt; chmod +x a.txt")
    assert report is not None
    assert report.note.endswith("do not count: core.bigfilethreshold, core.filemode, core.ignorecase")
    assert "\n+b\n" in item.patch()
    assert "new mode 100755" in item.patch()
    # The next one, too, that has done nothing of the kind.
    item.path = item.path.with_name("1")
    item.task = msgspec.structs.replace(item.task, path=str(item.path), cwd=str(item.path), branch="orchestrate/run/port.1")
    item.attempt("echo c > A.txt")
    assert "\n+c\n" in item.patch()


def test_a_git_that_does_not_heed_the_settings_that_count_is_not_asked(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One before 2.31 passes over variables without a word, and would run what an agent had configured."""
    told = settings.git(str(repository.path), "config", "--list", "--show-scope", "-z")
    monkeypatch.setattr(settings, "git", lambda *_, **__: told)
    with pytest.raises(CannotStart, match=r"git 2\.31 or newer is needed"):
        Item(tmp_path, repository.path).attempt()


def test_a_git_that_stands_in_the_workspace_is_not_taken_for_git(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = Item(tmp_path, repository.path)
    monkeypatch.setenv("PATH", f":bin:{os.environ['PATH']}")
    end, _ = item.attempt('mkdir bin; cp "$W/run" bin/git; cp "$W/run" git', looks=True)
    assert (end.attempt_class, item.witness.exists()) == (AttemptClass.OK, False), end.message


def test_a_filter_of_the_users_that_is_a_file_of_the_repository_is_not_run_once_the_agent_has_changed_it(
    tmp_path: Path, repository: Repository
) -> None:
    repository.git("config", "filter.x.clean", "sh ./tools/upper.sh")
    repository.write("tools/upper.sh", "tr a-z A-Z")
    repository.write(".gitattributes", "*.up filter=x\n")
    repository.commit("A filter")
    item = Item(tmp_path, repository.path)
    _, report = item.attempt("echo a > a.up")
    assert report is not None
    assert repository.show(f"{report.commit}:a.up") == "A"
    end, _ = item.attempt('echo b > a.up; echo "$W/run" > tools/upper.sh')
    told = f"filter.x.clean runs tools/upper.sh, which was changed in {item.path}: git is not asked"
    assert (end.message, item.witness.exists()) == (f"its changes could not be kept: {told}", False)


def test_a_worktree_of_an_earlier_version_is_pinned_to_what_its_repository_knows(tmp_path: Path, repository: Repository) -> None:
    item = Item(tmp_path, repository.path)
    item.attempt("echo b >> a.txt")
    record = read_record(str(item.path))
    assert record is not None
    record.git_dir = record.common_dir = record.tie = record.settings_path = ""
    write_record(str(item.path), record)
    end, report = item.attempt("echo c >> a.txt")
    assert end.attempt_class is AttemptClass.OK, end.message
    assert report is not None
    assert repository.show(f"{report.commit}:a.txt") == "a\nb\nc"


@pytest.mark.slow
def test_what_git_fetches_for_a_partial_clone_comes_from_where_the_user_said(tmp_path: Path, repository: Repository) -> None:
    repository.git("config", "uploadpack.allowFilter", "true")
    repository.git("config", "uploadpack.allowAnySHA1InWant", "true")
    clone = tmp_path / "clone"
    partial = ("clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{repository.path}", str(clone))
    repository.git(*partial)
    item = Item(tmp_path, clone)
    assert item.attempt("cat a.txt; echo b >> a.txt")[0].attempt_class is AttemptClass.OK
    assert item.patch()
    # What is not there yet is fetched no more, once somebody has changed where from.
    repository.write("a.txt", "new\n")
    repository.commit("second")
    repository.git("-C", str(clone), "fetch", "-q", "--filter=blob:none")
    repository.git("-C", str(clone), "update-ref", "HEAD", "origin/main")
    repository.git("-C", str(clone), "config", "remote.origin.uploadpack", f"{tmp_path}/run uploadpack")
    item.task = msgspec.structs.replace(item.task, path=f"{item.path}1", cwd=f"{item.path}1", branch="orchestrate/run/port.1")
    with pytest.raises(CannotStart, match="git reset"):
        item.attempt()
    assert not item.witness.exists()


OTHERS_BRANCH = {
    "checked out": "git symbolic-ref HEAD refs/heads/main; echo b >> a.txt",
    "in place of its own": "git symbolic-ref refs/heads/orchestrate/run/port.0 refs/heads/main; echo b >> a.txt",
    "removed with its own": "git symbolic-ref refs/heads/orchestrate/run/port.0 refs/heads/main",
}


@pytest.mark.parametrize("way", sweep(OTHERS_BRANCH, quick=1))
def test_a_branch_of_the_users_that_an_agent_has_gone_to_is_neither_moved_nor_removed(
    tmp_path: Path, repository: Repository, way: str
) -> None:
    item, base = Item(tmp_path, repository.path), repository.head("main")
    end, report = item.attempt(OTHERS_BRANCH[way])
    assert end.attempt_class is AttemptClass.OK, end.message
    assert report is not None
    assert (repository.head("main"), repository.git("status", "--porcelain")) == (base, "")
    if report.commit is not None:
        assert repository.head(f"{report.commit}^") == base
        assert repository.git("for-each-ref", "--format=%(refname:short) %(symref)", "--contains", report.commit) == report.branch


TAKEN = {
    "a branch": "git branch orchestrate/run/port.0",
    "its lock": "mkdir -p .git/refs/heads/orchestrate/run; touch .git/refs/heads/orchestrate/run/port.0.lock",
    "a branch below": "git branch orchestrate/run/port.0/x",
}


@pytest.mark.parametrize("taken", sweep(TAKEN, quick=1))
def test_an_item_that_takes_the_name_of_anothers_branch_holds_it_up_no_more_than_by_a_number(
    tmp_path: Path, repository: Repository, taken: str
) -> None:
    subprocess.run(["/bin/sh", "-ec", TAKEN[taken]], cwd=repository.path, check=True)
    base = repository.head("main")
    item = Item(tmp_path, repository.path)
    end, report = item.attempt("echo b >> a.txt")
    assert report is not None
    assert (end.attempt_class, report.branch) == (AttemptClass.OK, "orchestrate/run/port.0+2"), end.message
    assert repository.head("orchestrate/run/port.0+2^") == base
