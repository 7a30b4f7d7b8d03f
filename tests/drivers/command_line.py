"""The command line under test: `python -m orchestrator` run to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from drivers.processes import kill, processes_of


class RunCli(Protocol):
    """Runs `python -m orchestrator ARGUMENTS` to its end; stdout and stderr as text. On expiry its processes are killed."""

    def __call__(
        self,
        *arguments: str | os.PathLike[str],
        stdin: str | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]: ...


class Program:
    """The real program with the home `home`, in `folder` unless a call says otherwise."""

    def __init__(self, home: Path, folder: Path) -> None:
        self._home = home
        self._folder = folder

    def __call__(
        self,
        *arguments: str | os.PathLike[str],
        stdin: str | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "orchestrator", *(os.fspath(argument) for argument in arguments)]
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd or self._folder,
            env={**os.environ, **(env or {})},
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            own = psutil.Process(process.pid)
            kill([*own.children(recursive=True), own, *processes_of(self._home)])
            stdout, stderr = process.communicate()
            pytest.fail(f"still running after {timeout:g} s: {argv}\nstdout: {stdout[-2000:]}\nstderr: {stderr[-2000:]}")
        return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)
