"""The real CLIs for `make test-agents`: npm packages in the user's cache. `python packages.py` installs what is missing.

The versions are those that the profiles were written for: another one would test the registry of the day, not this repository.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {"claude": "@anthropic-ai/claude-code@2.1.197", "codex": "@openai/codex@0.169.0"}
INSTALL_SECONDS = 900


def folder() -> Path:
    """One for each set of versions; nothing else is in it."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    versions = "-".join(package.rpartition("@")[2] for package in PACKAGES.values())
    return Path(cache, "orchestrate-tests", f"agents-{versions}-{platform.machine()}")


def programs() -> Path:
    """The folder to put on PATH."""
    return folder() / "node_modules" / ".bin"


def missing() -> list[str]:
    return [name for name in PACKAGES if not (programs() / name).exists()]


def install() -> str | None:
    """Why they cannot be had; None if they are there. An installation appears under its name when it is whole."""
    if not missing():
        return None
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not on PATH"
    beside = folder().with_name(f"{folder().name}.{os.getpid()}")
    beside.mkdir(parents=True)
    try:
        argv = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(beside), *PACKAGES.values()]
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
        if done.returncode != 0:
            return f"npm could not install them: {done.stderr.strip()[-500:]}"
        shutil.rmtree(folder(), ignore_errors=True)
        beside.rename(folder())
    except subprocess.TimeoutExpired:
        return f"npm took longer than {INSTALL_SECONDS} s"
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return None


if __name__ == "__main__":
    if why := install():
        print(f"the agent CLIs are not installed: {why}", file=sys.stderr)  # noqa: T201
