"""A folder that is made for the state has its name synced: a power loss must not take a home, or all tokens, with all in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.store.home import home_folder, tokens_folder
from orchestrator.system.locks.lock_file import try_lock_in_state


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is done, in order: ("mkdir", folder) and ("sync", folder)."""
    done: list[tuple[str, str]] = []
    mkdir, fsync = os.mkdir, os.fsync

    def making(path: str | os.PathLike[str], mode: int = 0o777) -> None:
        mkdir(path, mode)
        done.append(("mkdir", os.fspath(path)))

    def syncing(fd: int) -> None:
        done.append(("sync", os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    monkeypatch.setattr(os, "mkdir", making)
    monkeypatch.setattr(os, "fsync", syncing)
    return done


def assert_synced(steps: list[tuple[str, str]], *made: Path) -> None:
    assert [path for what, path in steps if what == "mkdir"] == [str(each) for each in made]
    for each in made:
        at = steps.index(("mkdir", str(each)))
        assert ("sync", str(each.parent)) in steps[at:], f"the name of {each} was never synced"


def test_a_new_home_and_what_is_above_it(tmp_path: Path, steps: list[tuple[str, str]]) -> None:
    home = tmp_path / "a" / "b" / "home"
    assert home_folder(str(home)) == home
    assert_synced(steps, home.parent.parent, home.parent, home)
    steps.clear()
    home_folder(str(home))
    assert steps == [], "a home that is there costs nothing"


def test_the_folder_of_the_tokens(tmp_path: Path, steps: list[tuple[str, str]]) -> None:
    folder = tokens_folder(tmp_path)
    fd = try_lock_in_state(folder / "key.lock")
    assert fd is not None
    os.close(fd)
    assert_synced(steps, folder)
