"""The check of a landing. It runs what agents wrote: it gets its item's variables alone, and what it leaves behind is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from tempfile import TemporaryFile

import msgspec

from orchestrator.workers.files.beneath import OutsideError, real_beneath
from orchestrator.workers.shell import script_argv

_LONGEST_OUTPUT = 4000
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.02


class CheckScript(msgspec.Struct, frozen=True):
    """A script for `/bin/sh -e` whose exit code 0 says that all is well. `cwd`: absolute. `env`: all variables that it gets.

    What it runs was written by agents, so these are the variables that the item had, and no others of ours. `redact` takes the
    secrets out of what it says.
    """

    script: str
    cwd: str
    env: Mapping[str, str]
    timeout_seconds: float | None = None
    redact: Callable[[str], str] = str


def failure_of(check: CheckScript, repository: str) -> str:
    """Why the check did not pass; empty if it did."""
    try:
        # What was merged just now may be a link in the place of its folder.
        cwd = real_beneath(check.cwd, os.path.realpath(repository))
    except OutsideError as error:
        return f"the check cannot run in {check.cwd}: {error.strerror}"
    # A file, no pipe: a process that the check leaves behind has a pipe open, too, and may never end.
    with TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                script_argv(check.script),
                cwd=cwd,
                env=check.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return f"the check cannot run in {check.cwd}: {error.strerror}"
        try:
            exit_code = process.wait(check.timeout_seconds)
            words = f"the check ended with exit code {exit_code}" if exit_code else ""
        except subprocess.TimeoutExpired:
            words = f"the check did not end in {check.timeout_seconds:g} s"
        finally:
            # Its whole group: what the check left behind must not change the checkout later.
            _end_group(process)
        if not words:
            return ""
        # From well before what is shown, so that no secret is cut in two where that begins.
        output.seek(max(output.seek(0, os.SEEK_END) - 8 * _LONGEST_OUTPUT, 0))
        said = check.redact(output.read().decode("utf-8", "replace")).strip()[-_LONGEST_OUTPUT:]
    return f"{words}\n{said}".strip()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the process and all of its group to end; kill what does not. A git that is killed leaves its locks in the checkout."""
    give_up_at = time.monotonic() + _GRACE_SECONDS
    # None is left of it, or only those of another user.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < give_up_at:
            process.poll()  # a zombie would count as one of the group
            os.killpg(process.pid, 0)
            time.sleep(_POLL_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
