"""What lies beneath a folder that a stranger may write: no link in the place of anything leads out of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from orchestrator.workers.files import beneath
from orchestrator.workers.files.beneath import OutsideError, enter_beneath, open_beneath, real_beneath, real_root
from orchestrator.workers.files.config_folder import ConfigFolder
from orchestrator.workers.files.copying import copy_matches, keep_files, remove_folder
from orchestrator.workers.protocol import ConfigTask


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace beside a folder `outside` that has a secret; the current directory comes back."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    root = tmp_path / "workspace"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "file").write_text("inside")
    monkeypatch.chdir(tmp_path)
    return root


def test_links_that_stay_inside_are_followed(root: Path, tmp_path: Path) -> None:
    (root / "here").symlink_to("sub")
    (root / "sub" / "up").symlink_to(tmp_path / "workspace" / "here")
    # The way to the root may have links: that is the user's own doing.
    (tmp_path / "way").symlink_to(tmp_path)
    found = real_root(str(tmp_path / "way" / "workspace"))
    descriptor = open_beneath(str(tmp_path / "way" / "workspace" / "sub" / "up" / "file"), found)
    assert os.pread(descriptor, 100, 0) == b"inside"
    os.close(descriptor)
    enter_beneath(str(root / "here"), found)
    assert Path.cwd() == root / "sub"
    assert real_beneath(str(root / "here" / "new" / "deep"), found) == str(root / "sub" / "new" / "deep")


def test_a_link_that_leads_out_is_refused_and_where_to_is_told(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing is opened to be read before it is known where it lies: a pipe would be waited for, and a device may do something.
    opens = os.open

    def only_a_place(path: str, flags: int, mode: int = 0o777) -> int:
        assert flags & os.O_PATH, path
        return opens(path, flags, mode)

    if sys.platform == "linux":
        monkeypatch.setattr(beneath.os, "open", only_a_place)
    outside = tmp_path / "outside"
    # Absolute, relative, through another link, by the name of our own root folder, and to a folder whose name begins alike.
    (tmp_path / "workspace2").mkdir()
    leads = [str(outside), "../outside", "a", f"/proc/self/root{outside}", "../workspace2", "/proc/self/cwd/outside", ".."]
    for name, target in zip("abcdefg", leads, strict=True):
        (root / name).symlink_to(target)
    found = real_root(str(root))
    for name in "abcdefg":
        with pytest.raises(OutsideError, match="a link leads out of the workspace, to "):
            enter_beneath(str(root / name), found)
    for name in "abcd":
        with pytest.raises(OutsideError):
            open_beneath(str(root / name / "secret"), found)
        with pytest.raises(OutsideError):
            real_beneath(str(root / name / "new"), found)
    assert Path.cwd() == tmp_path
    # The workspace itself.
    (tmp_path / "stand-in").symlink_to(outside)
    with pytest.raises(OutsideError):
        real_root(str(tmp_path / "stand-in"))


@pytest.mark.parametrize("is_file", [False, True], ids=["a folder", "a file"])
def test_a_link_that_comes_between_the_look_and_the_use_changes_nothing(
    is_file: bool, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = beneath.place_of

    def is_replaced(descriptor: int) -> str:
        found = looks(descriptor)
        (root / "sub").rename(root / "was")
        (root / "sub").symlink_to(tmp_path / "outside")
        return found

    monkeypatch.setattr(beneath, "place_of", is_replaced)
    (tmp_path / "outside" / "file").write_text("outside")
    found = real_root(str(root))
    if is_file:
        descriptor = open_beneath(str(root / "sub" / "file"), found)
        assert os.pread(descriptor, 100, 0) == b"inside"
        os.close(descriptor)
    else:
        enter_beneath(str(root / "sub"), found)
        assert Path.cwd() == root / "was"


def test_artifacts_of_a_folder_that_is_a_link_now_are_none(root: Path, tmp_path: Path) -> None:
    (root / "sub" / "file").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(OutsideError, match="leads out of the workspace"):
        keep_files(["*"], str(root / "sub"), str(tmp_path / "kept"), 1000, real_root(str(root)))
    assert not (tmp_path / "kept").exists()


def test_a_hard_link_to_a_file_of_another_user_is_no_artifact(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One's own may have several names: a build tool makes such, and the agent could have read the file anyhow."""
    os.link(tmp_path / "outside" / "secret", root / "sub" / "linked")
    kept, notes = keep_files(["*"], str(root / "sub"), str(tmp_path / "a" / "b" / "c" / "kept"), 1000)
    assert ([os.path.basename(each) for each in kept], notes) == (["file", "linked"], [])
    real = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: real + 1)
    kept, notes = keep_files(["*"], str(root / "sub"), str(tmp_path / "a" / "b" / "c" / "again"), 1000)
    assert [os.path.basename(each) for each in kept] == ["file"]
    assert notes == ["linked is a hard link to a file of another user"]


def test_what_is_included_is_not_written_through_a_link_of_the_commit(root: Path, tmp_path: Path) -> None:
    (tmp_path / "source" / "conf").mkdir(parents=True)
    (tmp_path / "source" / "conf" / ".env").write_text("x")
    (root / "conf").symlink_to(tmp_path / "outside")
    with pytest.raises(OutsideError):
        copy_matches(["conf/.env"], str(tmp_path / "source"), str(root), real_root(str(root)))
    assert os.listdir(tmp_path / "outside") == ["secret"]


def test_of_a_link_that_is_to_be_removed_the_link_alone_goes(root: Path, tmp_path: Path) -> None:
    (root / "deep").mkdir()
    (root / "deep" / "link").symlink_to(tmp_path / "outside")
    # The link goes once its folder may be written, for which root need not wait; nothing changes what it leads to.
    for folder in (tmp_path / "outside", root / "deep"):
        folder.chmod(0o500)
    (tmp_path / "stand-in").symlink_to(tmp_path / "outside")
    for path in (root, tmp_path / "stand-in"):
        remove_folder(str(path))
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (tmp_path / "outside" / "secret").read_text() == "secret"
    assert (tmp_path / "outside").stat().st_mode & 0o777 == 0o500


def test_a_login_is_neither_fetched_from_nor_put_where_a_link_of_an_agent_leads(tmp_path: Path) -> None:
    for name in ("real/sub", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "real" / "sub" / "auth.json").write_text("the user's")
    folder = str(tmp_path / "agents" / "fake")
    task = ConfigTask(variable="X", folder=folder, real=str(tmp_path / "real"), is_own=True, shared=["sub/auth.json"])
    config = ConfigFolder.take_folder(task, None)
    own = Path(config.path)
    (own / "sub" / "auth.json").unlink()
    (own / "sub").rmdir()
    (own / "sub").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "auth.json").write_text("another's")
    config.let_go()
    assert (tmp_path / "real" / "sub" / "auth.json").read_text() == "the user's"
    assert not (tmp_path / "outside" / "auth.json").is_symlink()
    ConfigFolder.take_folder(task, None).let_go()
    assert os.listdir(tmp_path / "outside") == ["auth.json"]
