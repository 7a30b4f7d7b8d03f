"""Which agent CLIs this machine has, and in which version: asked of each by its own `version` command, all at once.

Only profiles that come with the program, and the user's own, are asked. One that lies beside a jobs file may be anybody's: of a
repository that was just fetched, of an agent that works there. Who lists it has not yet decided to run it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from orchestrator.jobsfile.profiles.profile import Profile
from orchestrator.system.own_command import filled_command
from orchestrator.system.passed_variables import BARE, passed_of
from orchestrator.workers.lazy_pattern import lazy_pattern
from orchestrator.workers.processes.search_path import absolute_path

_TIMEOUT_SECONDS = 10.0
_VERSION = lazy_pattern(r"\d+(?:\.\d+)+(?:[-+][0-9A-Za-z.+-]*[0-9A-Za-z])?")
_LONGEST_TROUBLE = 200

NOT_ASKED = "not asked: of this folder"
"""The trouble of a profile that lies beside a jobs file."""


class Installed(msgspec.Struct, frozen=True):
    """What is installed of an agent. `program` is None if nothing is; `version` if it did not tell: then `trouble` says why."""

    program: str | None = None
    version: str | None = None
    trouble: str = ""
    is_tested: bool = False


def installed(profiles: Sequence[Profile], timeout_seconds: float = _TIMEOUT_SECONDS) -> list[Installed]:
    """One for each profile, in order. Takes at most `timeout_seconds`, and leaves no process of theirs behind."""
    try:
        with ThreadPoolExecutor(max_workers=max(len(profiles), 1)) as pool:
            return list(pool.map(lambda profile: _installed(profile, timeout_seconds), profiles))
    except RuntimeError:
        # The machine has no room for so many threads: one after the other, and mostly nothing is installed.
        return [_installed(profile, timeout_seconds) for profile in profiles]


def _installed(profile: Profile, timeout_seconds: float) -> Installed:
    path = absolute_path(os.environ)
    program = shutil.which(filled_command(profile.command)[0], path=path)
    if program is None:
        return Installed()
    if profile.origin == "jobs file":
        return Installed(program, trouble=NOT_ASKED)
    if not profile.version:
        return Installed(program, trouble="its profile names no version command")
    # A program of our own interpreter finds its modules where we found ours. No key is needed to tell a version.
    ours = ("PYTHONPATH",) if profile.version[0] == "{python}" else ()
    environment = {**passed_of(os.environ, (*BARE, *ours, *profile.pass_env)), "PATH": path, **profile.env}
    told, trouble = _told(filled_command(profile.version), environment, timeout_seconds)
    found = _VERSION.search(told)
    if found is None:
        return Installed(program, trouble=trouble or "it told no version")
    version = found.group()
    return Installed(
        program, version, is_tested=any(version == tested or version.startswith(f"{tested}.") for tested in profile.tested)
    )


def _told(argv: list[str], env: dict[str, str], timeout_seconds: float) -> tuple[str, str]:
    """What a command wrote, and what went wrong in words. The CLI may start others: its whole session ends with it."""
    try:
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        return "", f"{argv[0]}: {error.strerror}"
    # A CLI that waits for a login or the network must not hold up the answer about all the others.
    with process:
        try:
            out, err = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            # Not reaped yet, so its number still names its session and no other.
            os.killpg(process.pid, signal.SIGKILL)
            return "", f"{' '.join(argv)} did not answer within {timeout_seconds:g} s"
    if process.returncode != 0:
        words = err.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        return "", f"{' '.join(argv)}: {words[0][:_LONGEST_TROUBLE]}"
    return out.decode("utf-8", "replace"), ""
