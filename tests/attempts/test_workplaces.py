"""Where items work, by rules alone: what a chain takes over, what stands for what, what tells whether two items do the same."""

from __future__ import annotations

import errno
import filecmp
import os
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from orchestrator.attempts.rendering import Prepared
from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.attempts.workspaces.assignment import followers
from orchestrator.attempts.workspaces.expiry import remove_all
from orchestrator.attempts.workspaces.landing_check import CheckScript, failure_of
from orchestrator.attempts.workspaces.landing_outcome import landing_told
from orchestrator.attempts.workspaces.place import Workplace, parent_of, repository_of
from orchestrator.cli.exec import go_to
from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.load import load_text
from orchestrator.jobsfile.model import JobsFile
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.files.contents import copy_content
from orchestrator.workers.files.copying import copy_folder, copy_matches, matches, remove_folder
from orchestrator.workers.interruption import Interrupted, heeding
from orchestrator.workers.protocol import AttemptClass, Capture, Outcome
from orchestrator.workers.workspaces.record import WorkspaceRecord, write_record


def loaded(text: str) -> JobsFile:
    return load_text(text, path="/folder/jobs.toml", folder="/folder", user_config=None)


CHAIN = """
[jobs.port]
for_each = [1]
shell = "true"
workspace = { kind = "worktree", base = "main", branch = "port/{{ item }}", include = [".env"], setup = "true", keep = "1h" }
[jobs.review]
for_each = { job = "port" }
shell = "true"
[jobs.other]
for_each = { job = "port" }
shell = "true"
workspace = "worktree"
[jobs.aside]
for_each = { job = "review" }
shell = "true"
workspace = "shared"
[jobs.last]
for_each = { job = "review" }
shell = "true"
[jobs.both]
for_each = { job = ["port", "other"] }
shell = "true"
[jobs.ask]
for_each = { job = "port" }
gate = "Well?"
[jobs.approved]
for_each = { job = "ask" }
shell = "true"
[jobs.home]
land = "last"
"""


def test_a_chain_works_where_the_job_that_it_follows_does_unless_it_says_otherwise() -> None:
    jobs = {job.id: job for job in loaded(CHAIN).jobs}
    kinds = {id_: job.workspace.kind for id_, job in jobs.items()}
    assert kinds == {
        **dict.fromkeys(("port", "review", "other", "last", "approved"), "worktree"),
        **dict.fromkeys(("aside", "both", "ask", "home"), "shared"),
    }
    taken = jobs["review"].workspace
    assert (taken.base, taken.branch) == (None, None), "they follow from what it goes on in"
    assert (taken.include, taken.keep, taken.setup is not None) == ((".env",), 3600.0, True)
    assert jobs["review"].allowed == "edit"
    parents = [parent_of(jobs[id_], jobs) for id_ in ("port", "review", "both", "approved")]
    assert parents == ["", "port", "", "port"], "a gate does no work, so it has no place"


def test_the_first_chain_in_the_file_goes_on_in_a_workspace() -> None:
    assert followers({job.id: job for job in loaded(CHAIN).jobs}) == {"port": "review", "review": "last"}


def test_a_cycle_of_gates_is_told_and_not_followed_for_ever() -> None:
    cycle = "".join(f'[jobs.{one}]\ngate = "?"\nfor_each = {{ job = "{other}" }}\n' for one, other in ("ab", "ba"))
    with pytest.raises(JobsFileError) as told:
        loaded(f'{cycle}[jobs.c]\nshell = "true"\nfor_each = {{ job = "a" }}\n')
    assert told.value.problems == ["/folder/jobs.toml:1: jobs.a: waits for itself: a -> b -> a"]


def test_a_workspace_is_nothing_for_a_landing_or_a_child_run() -> None:
    defaults = '[defaults]\nworkspace = "worktree"\n[jobs.port]\nshell = "true"\n[jobs.home]\nland = "port"\n'
    jobs = {job.id: job for job in loaded(defaults).jobs}
    assert (jobs["port"].workspace.kind, jobs["home"].workspace.kind) == ("worktree", "shared")
    assert (jobs["home"].output, jobs["home"].needs) == ("json", ("port",))


def test_what_has_no_workspace_cannot_be_landed() -> None:
    with pytest.raises(JobsFileError) as told:
        loaded('[jobs.port]\nshell = "true"\n[jobs.home]\nland = "port"\n')
    assert told.value.problems == [
        '/folder/jobs.toml:4: jobs.home.land: port has no worktrees to bring home: it needs workspace = "worktree"'
    ]


def place(**given: Any) -> Workplace:
    return Workplace(**({"kind": "worktree", "name": "port/0", "path": "/ws/port/0", "root": "/repo"} | given))


@pytest.mark.parametrize(
    ("cwd", "there"),
    [("/repo", "/ws/port/0"), ("/repo/sub/", "/ws/port/0/sub"), ("/repo/sub/../a/./b", "/ws/port/0/a/b")],
)
def test_a_place_in_the_repository_stands_for_the_same_place_in_the_worktree(cwd: str, there: str) -> None:
    assert place().inside(cwd) == there
    assert place(kind="shared", name="", path="/repo").inside(cwd) == cwd


@pytest.mark.parametrize("cwd", ["/", "/repository", "/repo/../other", "/repo/.."])
def test_a_place_outside_is_refused(cwd: str) -> None:
    with pytest.raises(ItemRefused, match="lies outside of what the workspace is made of, /repo"):
        place().inside(cwd)


def test_what_an_item_does_depends_on_what_its_workspace_is_made_of_and_not_on_where_it_is() -> None:
    same = place(name="port/7", path="/elsewhere", base="a commit", branch="b", since="c", is_followed=True, keep_seconds=1.0)
    assert same.does == place().does
    others = [place(kind="copy"), place(root="/other"), place(wanted_base="main"), place(setup="x"), place(artifacts=("x",))]
    assert len({each.does for each in [place(), *others]}) == len(others) + 1


def test_the_repository_of_a_folder_is_the_nearest_above_whether_a_clone_or_a_worktree(tmp_path: Path) -> None:
    deep = tmp_path / "outer" / "inner" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "outer" / ".git").mkdir()
    assert repository_of(str(deep)) == str(tmp_path / "outer")
    (tmp_path / "outer" / "inner" / ".git").write_text("gitdir: /somewhere\n")
    assert repository_of(str(deep)) == str(tmp_path / "outer" / "inner")


def test_a_copy_has_no_repository_and_nothing_that_is_no_file(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for name in ("a", ".git/config", "sub/.git", "sub/b", "home/runs/x"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    os.mkfifo(source / "fifo")
    (source / "sub" / "dangling").symlink_to("nowhere")
    (source / "a").chmod(0o755)
    copy_folder(str(source), str(target), [str(source / "home")])
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*"))
    assert found == ["a", "sub", "sub/b", "sub/dangling"]
    assert os.access(target / "a", os.X_OK)
    (target / "a").write_text("changed")
    assert (source / "a").read_text() == "a"
    assert matches(["**/b", "sub", "a*"], str(target)) == ["a", "sub"]


def test_a_folder_that_becomes_a_link_while_it_is_copied_brings_nothing_from_where_that_leads(tmp_path: Path) -> None:
    folder, outside, looks = tmp_path / "source" / "a", tmp_path / "outside", count(1)
    for place in (folder, outside):
        place.mkdir(parents=True)
        (place / "file").write_text(place.name)

    def swap(_: float) -> bool:
        # The source and the folder were listed, and the file is about to be copied.
        if next(looks) == 3:
            folder.rename(tmp_path / "was")
            folder.symlink_to(outside)
        return True

    with pytest.raises(OSError, match=f"a link leads out of the workspace, to {outside}/file"), heeding(swap):
        copy_folder(str(tmp_path / "source"), str(tmp_path / "copy"))
    assert not (tmp_path / "copy" / "a" / "file").exists()


def test_a_hole_in_a_file_stays_one_and_all_else_is_copied(tmp_path: Path) -> None:
    mib = 1 << 20
    parts = {0: b"begin", 8 * mib + 5: b"middle" * (mib // 4), 20 * mib: b"end"}
    (tmp_path / "source").mkdir()
    for name, size in (("hole", 30 * mib), ("full", 20 * mib + 3), ("empty", 0)):
        with (tmp_path / "source" / name).open("wb") as file:
            for place, part in parts.items() if name == "full" or size else ():
                file.seek(place)
                file.write(part)
            file.truncate(size)
    copy_folder(str(tmp_path / "source"), str(tmp_path / "copy"))
    for name in ("hole", "full", "empty"):
        origin, copy = tmp_path / "source" / name, tmp_path / "copy" / name
        assert filecmp.cmp(origin, copy, shallow=False)
        assert copy.stat().st_blocks <= origin.stat().st_blocks + 64


def test_what_is_no_file_is_neither_waited_for_nor_read_for_ever(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    os.mkfifo(tmp_path / "source" / "fifo")
    (tmp_path / "source" / "zero").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="it is no file"):
        copy_matches(["fifo"], str(tmp_path / "source"), str(tmp_path / "copy"), os.path.realpath(tmp_path))
    assert copy_matches(["zero"], str(tmp_path / "source"), str(tmp_path / "copy"), os.path.realpath(tmp_path)) == ["zero"]
    assert (tmp_path / "copy" / "zero").readlink() == Path("/dev/zero")
    # A link that comes between the look and the use is not followed either.
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "source" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        copy_content(str(tmp_path / "source" / "link"), str(tmp_path / "copy" / "link"))


def test_a_copy_hears_the_end_of_its_attempt_between_two_pieces(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "large").write_bytes(bytes(range(256)) * (8 << 12))
    pieces = iter(range(6))
    with pytest.raises(Interrupted), heeding(lambda _: next(pieces, None) is not None):
        copy_folder(str(tmp_path / "source"), str(tmp_path / "copy"))
    assert 0 < (tmp_path / "copy" / "large").stat().st_size < 8 << 20


def test_a_folder_that_was_made_read_only_is_removed(tmp_path: Path) -> None:
    deep = tmp_path / "folder" / "module" / "deep"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    for each in (deep, deep.parent):
        each.chmod(0o500)
    remove_folder(str(tmp_path / "folder"))
    remove_folder(str(tmp_path / "folder"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("is_whole", [False, True], ids=["of a job", "all"])
def test_no_workspace_is_removed_that_a_link_in_the_state_leads_to(tmp_path: Path, is_whole: bool) -> None:
    outside, workspaces = tmp_path / "outside", tmp_path / "run" / "workspaces"
    job = outside / "job" if is_whole else outside
    (job / "0").mkdir(parents=True)
    write_record(str(job / "0"), WorkspaceRecord(kind="temp", source="/"))
    workspaces.parent.mkdir()
    if not is_whole:
        workspaces.mkdir()
    (workspaces if is_whole else workspaces / "job").symlink_to(outside)
    assert remove_all(RunDir(tmp_path / "run")) == []
    assert sorted(os.listdir(job)) == ["0", "0.json"]


def test_a_landing_that_left_something_out_says_which(tmp_path: Path) -> None:
    def told(said: bytes, exit_code: int = 1) -> str:
        ended = Outcome(
            attempt_class=AttemptClass.COMMAND_FAILED,
            started_at=0.0,
            finished_at=0.0,
            duration_seconds=0.0,
            exit_code=exit_code,
            message=f"exit code {exit_code}",
            stdout=Capture(size=len(said), inline=said),
        )
        return landing_told(ended, RunDir(tmp_path)).message

    conflicts = b'{"conflicts":[{"item":"port:1"},{"item":"port:4"}],"failed_checks":[{"item":"port:2"}]}'
    assert told(conflicts) == "2 conflicts (port:1, port:4), 1 failed check (port:2); the others are landed"
    assert told(b"not JSON") == told(b"[]") == told(b'{"conflicts":3}') == "exit code 1"
    assert told(conflicts, 2) == "exit code 2"


def test_the_check_of_a_landing_does_not_run_where_a_link_that_was_landed_leads(tmp_path: Path) -> None:
    for name in ("outside", "repo"):
        (tmp_path / name).mkdir()
    (tmp_path / "repo" / "sub").symlink_to(tmp_path / "outside")
    check = CheckScript(script="touch ran", cwd=str(tmp_path / "repo" / "sub"), env={})
    told = failure_of(check, str(tmp_path / "repo"))
    assert told == f"the check cannot run in {check.cwd}: a link leads out of the workspace, to {tmp_path}/outside"
    assert os.listdir(tmp_path / "outside") == []


def test_by_hand_nobody_is_led_out_of_a_workspace_either(tmp_path: Path) -> None:
    for name in ("outside", "ws"):
        (tmp_path / name).mkdir()
    (tmp_path / "ws" / "sub").symlink_to(tmp_path / "outside")
    prepared = Prepared(
        argv=["true"],
        script=None,
        cwd=str(tmp_path / "ws" / "sub"),
        env={},
        stdin=None,
        creates=[],
        label=None,
        payload="",
        token=None,
        place=place(path=str(tmp_path / "ws")),
    )
    here = os.getcwd()
    with pytest.raises(UserError, match=r"/ws/sub: cannot go there: a link leads out of the workspace"):
        go_to(prepared)
    assert os.getcwd() == here
