"""Power cuts and workspaces, by a recorded trace: what a record or an outcome tells of was synced before it was written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.git_repository import Repository
from drivers.sweeps import sweep

from orchestrator.workers.attempt_end import AttemptEnd
from orchestrator.workers.protocol import AttemptClass, WorkspaceTask
from orchestrator.workers.workspaces.git import git
from orchestrator.workers.workspaces.record import WorkspaceRecord, read_record, write_record
from orchestrator.workers.workspaces.workspace import Workspace
from orchestrator.workers.workspaces.worktrees import add_worktree, mend_repository

pytestmark = pytest.mark.usefixtures("no_git_configuration")

Step = tuple[str, str]
"""What was done ("write", "rename", "sync", "sync all", "say") and to which file; "say": words of the one that works there."""

WORK = """
import os, subprocess, sys
from orchestrator.workers.attempt_end import AttemptEnd
from orchestrator.workers.protocol import AttemptClass, WorkspaceTask
from orchestrator.workers.workspaces.workspace import Workspace

source, path, kind = sys.argv[1:]
task = WorkspaceTask(kind=kind, path=path, source=source, cwd=path, branch="orchestrate/run/port.0", message="port.0",
    patch_path=path + ".patch", artifacts_folder=path + ".files", include_from=source, left_out=[os.path.dirname(path)])
workspace = Workspace(task, "mark")
workspace.enter(lambda _: AttemptEnd(AttemptClass.OK))
os.write(2, b"ready")
with open(path + "/a.txt", "a") as file:
    file.write("by the agent")
if kind == "worktree":
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a", "commit", "-qam", "by the agent"], cwd=path, check=True)
with open(path + "/new.txt", "w") as file:
    file.write("x" * 10_000)
end, report = workspace.finish(AttemptEnd(AttemptClass.OK), path + ".live", 1000)
assert end.attempt_class is AttemptClass.OK, end
os.write(2, b"kept")
"""

LAND = """
import os, pathlib, sys
from orchestrator.attempts.workspaces.landing import Change, landing
with landing(sys.argv[1], print, pathlib.Path(sys.argv[1] + ".home")) as land:
    for item, commit in (("port:0", sys.argv[2]), ("port:1", sys.argv[3])):
        landed = land.land_change(Change(run_id="r", item=item, label=None, commit=commit, folder=sys.argv[1]))
        assert landed.status == "landed", landed
        os.write(2, b"landed")
"""


@pytest.mark.parametrize("kind", ["worktree", "copy"])
def test_all_that_git_and_a_workspace_wrote_is_synced_before_it_is_told_of(tmp_path: Path, kind: str) -> None:
    repository = Repository(tmp_path / "repo", **{"a.txt": "a\n", "sub/b.txt": "b\n"})
    path = tmp_path / "workspaces" / "port" / "0"
    steps = list(traced(tmp_path / "trace", WORK, str(repository.path), str(path), kind))
    # No name leads to what git had not synced; but for what the agent itself had git do.
    began, ended = steps.index(("say", "ready")), steps.index(("say", "kept"))
    assert not unsynced_when_named(steps[:began])
    # What was written when a record or an outcome told of it, and was not synced as a whole before.
    assert not unsynced(steps[:began], repository.path, path)
    assert not unsynced(steps[:ended], repository.path, path)
    told = [place for place, step in enumerate(steps) if step[0] == "rename" and step[1].endswith("port/0.json")]
    assert len(told) == (3 if kind == "worktree" else 2)
    assert not unsynced(steps[: told[-1]], repository.path, path), "it is recorded as ready"
    assert [what for what, _ in steps[:began]].count("sync all") == 1, "one file system, synced as a whole when all is made"
    if kind == "worktree":
        tie = str(repository.path / ".git" / "worktrees" / "0" / "commondir")
        checked_out = steps.index(("write", f"{path}/a.txt"))
        assert steps.index(("write", tie)) < steps.index(("sync", tie)) < checked_out
    first = next(place for place, (what, name) in enumerate(steps) if what != "say" and name.startswith(f"{path}/"))
    assert ("sync", str(path.parent)) in steps[told[0] : first], "the first record survives before anything is made"


def test_what_is_landed_is_synced_before_it_is_committed_and_before_it_is_told(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repo", **{"a.txt": "a\n"})
    commits = []
    for name in ("b.txt", "c.txt"):
        repository.git("checkout", "-q", "-b", name, "main")
        repository.write(name, "x" * 10_000)
        commits.append(repository.commit(name))
    repository.git("checkout", "-q", "main")
    steps = list(traced(tmp_path / "trace", LAND, str(repository.path), *commits))
    assert not unsynced_when_named(steps)
    told = [place for place, step in enumerate(steps) if step == ("say", "landed")]
    for name, place in zip(("b.txt", "c.txt"), told, strict=True):
        assert not unsynced(steps[:place], repository.path)
        named = next(at for at, (what, path) in enumerate(steps) if what == "rename" and path.endswith("refs/heads/main"))
        written = next(at for at, step in enumerate(steps) if step == ("write", str(repository.path / name)))
        assert "sync all" in {what for what, _ in steps[written:named]}
        steps = [("", "") if at <= place else step for at, step in enumerate(steps)]


def test_a_repository_that_a_power_cut_broke_between_two_steps_of_git_is_mended(tmp_path: Path) -> None:
    """git writes what leads a worktree to its repository without a sync, and refuses all if that is empty."""
    repository = Repository(tmp_path / "repo", **{"a.txt": "a\n"})
    path = str(tmp_path / "workspaces" / "0")
    record = WorkspaceRecord(kind="worktree", source=str(repository.path), branch="orchestrate/run/port.0")
    (tmp_path / "workspaces").mkdir()
    add_worktree(path, record, "HEAD", {}, lambda _: None)
    (repository.path / ".git" / "worktrees" / "0" / "commondir").write_text("")
    # What an agent that commits has put beside it leads nowhere.
    (tmp_path / "empty").touch()
    (repository.path / ".git" / "worktrees" / "planted").mkdir()
    (repository.path / ".git" / "worktrees" / "planted" / "commondir").symlink_to(tmp_path / "empty")
    mend_repository(f"{repository.path}/.git")
    assert (tmp_path / "empty").read_text() == ""
    shutil.rmtree(repository.path / ".git" / "worktrees" / "planted")
    (repository.path / ".git" / "worktrees" / "0" / "commondir").write_text("")
    with pytest.raises(subprocess.CalledProcessError):
        repository.git("fsck")
    add_worktree(path, record, "HEAD", {}, lambda _: shutil.rmtree(path))
    repository.git("fsck")
    assert (repository.worktrees(), Path(path, "a.txt").read_text()) == ([str(repository.path), path], "a\n")


LOST = {
    "commit": "HEAD",
    "tree": "HEAD^{tree}",
    "blob": "HEAD:b.txt",
}


@pytest.mark.parametrize("lost", sweep(["blob", "ref", "index", "commit", "tree"], quick=1))
def test_what_a_power_cut_left_empty_of_an_agents_own_commits_bricks_no_item(tmp_path: Path, lost: str) -> None:
    """Its git had not synced them. Written once more, git would have taken the empty object for what was written."""
    repository = Repository(tmp_path / "repo", **{"a.txt": "a\n"})
    path = tmp_path / "workspaces" / "0"
    task = WorkspaceTask(
        kind="worktree",
        path=str(path),
        source=str(repository.path),
        cwd=str(path),
        branch="orchestrate/run/port.0",
        message="port:0",
        patch_path=str(tmp_path / "patch"),
        artifacts_folder=str(tmp_path / "files"),
    )
    assert Workspace(task, "mark").enter(lambda _: AttemptEnd(AttemptClass.OK)).attempt_class is AttemptClass.OK
    (path / "b.txt").write_text("b\n")
    (path / "new.txt").touch()
    subprocess.run("git add -A; git -c user.name=a -c user.email=a commit -qm mine", shell=True, cwd=path, check=True)
    git_folder = repository.path / ".git"
    if lost in LOST:
        name = repository.git("rev-parse", f"orchestrate/run/port.0{LOST[lost].removeprefix('HEAD')}")
        emptied = git_folder / "objects" / name[:2] / name[2:]
    else:
        emptied = git_folder / ("worktrees/0/index" if lost == "index" else "refs/heads/orchestrate/run/port.0")
    emptied.chmod(0o644)
    emptied.write_bytes(b"")
    # A folder of the user's for that of objects, by an agent that may write there.
    (tmp_path / "zz").mkdir()
    (tmp_path / "zz" / "empty").touch()
    (git_folder / "objects" / "zz").symlink_to(tmp_path / "zz")
    record = read_record(str(path))
    assert record is not None
    record.boot_id = "the boot before"
    write_record(str(path), record)
    # The next attempt does nothing more: all that the agent had done is in the files.
    workspace = Workspace(task, "mark")
    workspace.enter(lambda _: AttemptEnd(AttemptClass.OK))
    end, report = workspace.finish(AttemptEnd(AttemptClass.OK), str(tmp_path / "live"), 1000)
    assert (end.attempt_class, end.message) == (AttemptClass.OK, "")
    assert report is not None
    assert repository.show(f"{report.commit}:b.txt") == "b"
    assert ("its commits were lost when the machine lost its power" in report.note) is (lost != "index")
    assert "files of its own that are empty now: new.txt" in report.note or lost == "index"
    assert (tmp_path / "zz" / "empty").exists()
    (git_folder / "objects" / "zz").unlink()
    repository.git("fsck")


def test_git_syncs_whatever_is_configured(tmp_path: Path) -> None:
    """What the trace shows, where there is no strace."""
    repository = Repository(tmp_path / "repo")
    for name, value in [("core.fsync", "none"), ("core.fsyncMethod", "writeout-only"), ("core.fsyncObjectFiles", "false")]:
        repository.git("config", name, value)
    said = [git(str(repository.path), "config", name) for name in ("core.fsync", "core.fsyncMethod", "core.fsyncObjectFiles")]
    assert said == ["all", "fsync", "true"]


def traced(trace: Path, program: str, *arguments: str) -> Iterator[Step]:
    """The steps of a Python program and of all that it starts."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    calls = "write,writev,pwrite64,copy_file_range,ftruncate,fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat"
    command = [strace, "-f", "-y", "-qq", "-o", str(trace), "-e", f"trace={calls}", "-e", "signal=none"]
    done = subprocess.run([*command, sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    if "ptrace" in done.stderr and done.returncode:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()[:100]}")
    assert done.returncode == 0, done.stderr
    yield from steps_of(trace.read_text())


def steps_of(trace: str) -> Iterator[Step]:
    """A call that another process's came into counts from its end on if it syncs, and from its beginning on if it writes."""
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[pid] = call
            if "sync" in call.partition("(")[0]:
                continue
        elif call.startswith("<... "):
            call = begun.pop(pid)
            if "sync" not in call.partition("(")[0]:
                continue
        if found := re.match(r'write\(2<[^>]*>, "(ready|kept|landed)"', call):
            yield "say", found[1]
        elif found := re.match(r"(write|writev|pwrite64|ftruncate)\(\d+<(/[^>]*)>", call):
            yield "write", found[2]
        elif found := re.match(r"copy_file_range\(\d+<[^>]*>, [^,]*, \d+<(/[^>]*)>", call):
            yield "write", found[1]
        elif found := re.match(r"(fsync|fdatasync)\(\d+<(/[^>]*)>", call):
            yield "sync", found[2]
        elif found := re.match(r"syncfs\(\d+<(/[^>]*)>", call):
            yield "sync all", found[1]
        elif found := re.match(r'(?:rename|link)\w*\((?:AT_FDCWD[^,]*, )?"([^"]+)", (?:AT_FDCWD[^,]*, )?"([^"]+)"', call):
            yield "rename from", found[1]
            yield "rename", found[2]


def unsynced_when_named(steps: list[Step]) -> list[str]:
    """Objects, refs and indexes that were put in place while what was written to them was not synced.

    Names may be relative: ends are compared.
    """
    dirty: set[str] = set()
    found: list[str] = []
    for what, name in steps:
        match what:
            case "write":
                dirty.add(name)
            case "sync":
                dirty.discard(name)
            case "sync all":
                dirty.clear()
            case "rename from":
                end = "/" + re.sub(r"^(\.\.?/)*", "", name).lstrip("/")
                found += [each for each in dirty if each.endswith(end) and re.search("/objects/|/refs/|/index.lock$", each)]
            case _:
                pass
    return found


def unsynced(steps: list[Step], *folders: Path) -> list[str]:
    """What was written or put in place below `folders`, by a relative name too, after all of it was synced for the last time."""
    synced = max((place for place, (what, _) in enumerate(steps) if what == "sync all"), default=-1)
    return [
        name
        for what, name in steps[synced + 1 :]
        if what in ("write", "rename")
        and (not os.path.isabs(name) or any(name.startswith(f"{folder}{end}") for folder in folders for end in ("/", ".git/")))
    ]
