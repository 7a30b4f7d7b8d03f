"""What `doctor` says of a machine that takes away what docs/security.md promises."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.cli import checkup_safety
from orchestrator.cli.checkup_safety import weaknesses

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / /srv/my\\040files rw - nfs4 server:/x rw
24 22 0:6 / /srv rw - xfs /dev/sdb rw
25 22 0:7 / /srv/my\\040files/local rw - ext4 /dev/sdc rw
26 22 0:8 / /scratch rw - btrfs /dev/sdd rw
27 22 0:9 / /scratch rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home", "ext4"),
        ("/srv/x", "xfs"),
        ("/srv/my files/x", "nfs4"),
        ("/srv/my files/local/x", "ext4"),
        ("/srv/my files2", "xfs"),
        ("/scratch", "tmpfs"),
    ],
)
def test_the_innermost_mount_around_the_home_tells_its_file_system(path: str, kind: str) -> None:
    assert checkup_safety._kind_of_file_system(path, MOUNTS) == kind
    assert checkup_safety._kind_of_file_system(path, "") == ""


def test_a_file_system_that_promises_less_is_told() -> None:
    told = [list(checkup_safety._of_file_system(path, MOUNTS)) for path in ("/home", "/srv/my files", "/scratch")]
    assert told[0] == []
    assert told[1][0].startswith("/srv/my files lies on nfs4: its locks may not hold")
    assert told[2][0].startswith("/scratch lies on tmpfs: nothing on it survives")


def test_root_and_an_open_umask_are_told() -> None:
    assert list(checkup_safety._of_user(1000, 0o022)) == []
    assert [words.split(":")[0] for words in checkup_safety._of_user(0, 0)] == ["this is root", "umask 000"]


@pytest.mark.parametrize(
    ("platform", "scope", "words"),
    [("linux", "1\n", ""), ("linux", "0\n", "kernel.yama.ptrace_scope is 0"), ("linux", None, "no Yama"), ("darwin", None, "")],
)
def test_memory_that_an_agent_may_read_is_told(platform: str, scope: str | None, words: str) -> None:
    assert bool(words) == any(words in told for told in checkup_safety._of_memory(platform, scope))
    assert words or not list(checkup_safety._of_memory(platform, scope))


def test_a_folder_above_the_home_that_others_may_write_is_told(tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "home").mkdir(parents=True)
    (tmp_path / "link").symlink_to(above)

    def told() -> bool:
        return any(f"{above} has mode" in words for words in weaknesses(tmp_path / "link" / "home"))

    for mode, is_told in ((0o755, False), (0o777, True), (0o1777, False), (0o775, False)):
        above.chmod(mode)
        assert told() == is_told, oct(mode)
    # A group of several people.
    above.chmod(0o775)
    if os.geteuid() == 0:
        os.chown(above, -1, 12345)
        assert told()


def test_a_folder_above_the_home_that_is_another_users_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "above" / "home").mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(tmp_path / "above", 12345, -1)
    else:
        real = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: real + 1)
    assert any(f"{tmp_path / 'above'} belongs to another user" in words for words in weaknesses(tmp_path / "above" / "home"))
