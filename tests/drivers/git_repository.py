"""A git repository under test, made without anything that is configured on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def forget_configuration(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Nothing that this machine's user or system has set reaches git: no identity, no hooks, no signing."""
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    empty = folder / "gitconfig"
    empty.write_text("")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(empty))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


class Repository:
    """At `path`, with one commit on `main`."""

    def __init__(self, path: Path, **files: str) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")
        for name, text in {"README": "read me\n", **files}.items():
            self.write(name, text)
        self.commit("first")

    def git(self, *arguments: str) -> str:
        identity = {f"GIT_{role}_{key}": "tester@localhost" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        return subprocess.run(
            ["git", "-C", str(self.path), *arguments],
            env=os.environ | identity,
            check=True,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=60,
        ).stdout.strip()

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.head()

    def head(self, name: str = "HEAD") -> str:
        return self.git("rev-parse", name)

    def branches(self) -> set[str]:
        return set(self.git("for-each-ref", "--format=%(refname:short)", "refs/heads").split())

    def worktrees(self) -> list[str]:
        """Paths of all, the main one first."""
        lines = self.git("worktree", "list", "--porcelain").splitlines()
        return [line.removeprefix("worktree ") for line in lines if line.startswith("worktree ")]

    def show(self, place: str) -> str:
        """A file of a commit: `COMMIT:PATH`."""
        return self.git("show", place)


class FakeGit:
    """Stands before git in PATH, in a `folder` of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        self.real = shutil.which("git")
        monkeypatch.setenv("PATH", f"{self.folder}:{os.environ['PATH']}")

    def replace(self, command: str, instead: str) -> None:
        """The next call of `command`, but no later one, does `instead`: a script in which `$git` is the real one."""
        done = self.folder / "done"
        done.unlink(missing_ok=True)
        (self.folder / "git").write_text(
            f'#!/bin/sh\ngit={self.real}\ncase " $* " in *" {command} "*) [ -e {done} ] || {{ : > {done}; {instead}; }};; esac\n'
            f'exec {self.real} "$@"\n'
        )
        (self.folder / "git").chmod(0o755)
