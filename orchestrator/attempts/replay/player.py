"""What runs in an agent's place in a replay: it writes what was recorded, makes the recorded changes, and ends in the same way.

    python -I -S player.py FOLDER EXIT_CODE SIGNAL [WORKSPACE]

A program of its own, of the standard library alone: it starts as often as agents do. WORKSPACE is the absolute path of one to
which the recorded changes are made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def main(arguments: list[str]) -> int:
    """The exit code; does not return if it ends by a signal."""
    folder, exit_code, signal_number, *workspaces = arguments
    for workspace in workspaces:
        mistake = _change(workspace, os.path.join(folder, "patch"))
        if mistake:
            sys.stderr.write(f"orchestrate: the recorded changes do not fit here: {mistake}\n")
            return 70
    for name, stream in (("stdout", sys.stdout.buffer), ("stderr", sys.stderr.buffer)):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            with open(path, "rb") as recorded:
                shutil.copyfileobj(recorded, stream)
            stream.flush()
    if int(signal_number):
        os.kill(os.getpid(), int(signal_number))
    return int(exit_code)


def _change(workspace: str, patch: str) -> str:
    """Apply `patch`. What went wrong, in words; empty if nothing did."""
    # Not the git that an earlier change has put into the workspace (`node_modules/.bin`).
    places = [place for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(place)]
    done = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", patch],
        cwd=workspace,
        # A copy may lie in a repository, which is none of its business.
        env={**os.environ, "PATH": os.pathsep.join(places), "GIT_CEILING_DIRECTORIES": os.path.dirname(workspace)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.strip() if done.returncode != 0 else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
