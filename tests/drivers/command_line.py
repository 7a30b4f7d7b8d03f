"""The command line under test: `python -m orchestrator`, forked from a warm process or started anew."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

import psutil
import pytest

from drivers.processes import LIMIT_SECONDS, kill, processes_of
from drivers.warm_program import WarmProcess, warm_program

ROOM_OF_PIPE = 65536
"""Bytes that a pipe takes before anybody reads it."""


class RunCli(Protocol):
    """Runs `python -m orchestrator ARGUMENTS` to its end; stdout and stderr as text. On expiry its processes are killed."""

    def __call__(
        self,
        *arguments: str | os.PathLike[str],
        stdin: str | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = LIMIT_SECONDS,
    ) -> subprocess.CompletedProcess[str]: ...


class Program:
    """The program with the home `home`, in `folder` unless a call says otherwise.

    Warm unless a call brings an input that no pipe holds, or an environment that Python reads when it starts.
    """

    def __init__(self, home: Path, folder: Path, *, is_warm: bool) -> None:
        self._home = home
        self._folder = folder
        self._is_warm = is_warm

    def __call__(
        self,
        *arguments: str | os.PathLike[str],
        stdin: str | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = LIMIT_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        words = [os.fspath(argument) for argument in arguments]
        folder, environment = cwd or self._folder, {**os.environ, **(env or {})}
        data = None if stdin is None else stdin.encode("utf-8", "surrogateescape")
        is_warm = self._is_warm and len(data or b"") <= ROOM_OF_PIPE and not warm_program().needs_own_interpreter(environment)
        running = (Warm if is_warm else Started)(words, folder, environment, data)
        try:
            stdout, stderr = running.communicate(timeout)
        except subprocess.TimeoutExpired:
            own = psutil.Process(running.process.pid)
            kill([*own.children(recursive=True), own, *processes_of(self._home)])
            stdout, stderr = running.communicate(LIMIT_SECONDS)
            pytest.fail(
                f"still running after {timeout:g} s: {words}\nstdout: {text(stdout)[-2000:]}\nstderr: {text(stderr)[-2000:]}"
            )
        return subprocess.CompletedProcess(words, running.process.wait(timeout), text(stdout), text(stderr))


def text(output: bytes) -> str:
    return output.decode("utf-8", "surrogateescape")


def _readable(stdin: bytes | None) -> BinaryIO:
    """A pipe that holds `stdin` and then ends; without, what has nothing to read. At most `ROOM_OF_PIPE`: nobody reads it yet."""
    if stdin is None:
        return open(os.devnull, "rb")
    reading, writing = os.pipe()
    with open(writing, "wb") as file:
        file.write(stdin)
    return open(reading, "rb")


class Started:
    """A Python of its own for one command line."""

    def __init__(self, words: list[str], folder: Path, environment: Mapping[str, str], stdin: bytes | None) -> None:
        self._stdin = stdin
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *words],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
        )

    def communicate(self, timeout: float) -> tuple[bytes, bytes]:
        """All of stdout and stderr, once nobody has them open. Raises subprocess.TimeoutExpired; may be called again then."""
        return self.process.communicate(self._stdin, timeout)


class Warm:
    """A fork of the warm process for one command line."""

    def __init__(self, words: list[str], folder: Path, environment: Mapping[str, str], stdin: bytes | None) -> None:
        pipes = [os.pipe(), os.pipe()]
        self._said = {reading: bytearray() for reading, _ in pipes}
        self._open = selectors.DefaultSelector()
        for reading in self._said:
            self._open.register(reading, selectors.EVENT_READ)
        stdout, stderr = (writing for _, writing in pipes)
        with _readable(stdin) as given:
            streams = (given.fileno(), stdout, stderr)
            self.process: WarmProcess = warm_program().start(words, cwd=folder, env=environment, streams=streams)
        os.close(stdout)
        os.close(stderr)

    def communicate(self, timeout: float) -> tuple[bytes, bytes]:
        """As of `Started`."""
        deadline = time.monotonic() + timeout
        while self._open.get_map():
            ready = self._open.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise subprocess.TimeoutExpired(self.process.args, timeout)
            for key, _ in ready:
                if data := os.read(key.fd, 65536):
                    self._said[key.fd] += data
                else:
                    self._open.unregister(key.fd)
                    os.close(key.fd)
        self._open.close()
        self.process.wait(max(0.0, deadline - time.monotonic()))
        stdout, stderr = (bytes(said) for said in self._said.values())
        return stdout, stderr
