"""What `doctor` says of a machine that takes a promise of docs/security.md away. None of it makes a run fail.

Each look is a function of what was read, so that it can be tried without such a machine.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PTRACE_SCOPE = "/proc/sys/kernel/yama/ptrace_scope"
_MOUNTS = "/proc/self/mountinfo"

_NETWORK = "its locks may not hold between two machines, and what it calls synced may not be: keep the home on a local disk"
_IN_MEMORY = "nothing on it survives a restart of the machine"
_WITHOUT_MODES = "it keeps no permissions, so others may read prompts and outputs, and no promise about power loss"
_WEAKNESSES = {
    **dict.fromkeys(("nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "fuse.sshfs", "fuse.glusterfs", "vboxsf"), _NETWORK),
    **dict.fromkeys(("tmpfs", "ramfs"), _IN_MEMORY),
    **dict.fromkeys(("vfat", "msdos", "exfat"), _WITHOUT_MODES),
    "overlay": "it is the disk of a container, and goes with it: mount a volume there",
}
"""File systems that are known to promise less, by their kind, and what they do not promise."""


def weaknesses(home: Path) -> list[str]:
    """In words what this machine takes away of what is promised, for a state folder at `home`."""
    return [
        *_of_user(os.geteuid(), _umask()),
        *_of_folders(home),
        *_of_memory(sys.platform, _read(_PTRACE_SCOPE)),
        *_of_file_system(os.path.realpath(home), _read(_MOUNTS) or ""),
    ]


def _of_user(uid: int, umask: int) -> Iterator[str]:
    if uid == 0:
        yield "this is root: an agent that is led astray may do anything on this machine; run it as a user of its own"
    if not umask & 0o002:
        yield f"umask {umask:03o}: anyone on this machine may change the files that commands and agents make"


def _of_folders(home: Path) -> Iterator[str]:
    """Whoever may write a folder above the home can put another home in its place."""
    for folder in Path(os.path.realpath(home)).parents:
        found = folder.stat()
        others = stat.S_IWOTH if found.st_gid == os.getegid() else stat.S_IWOTH | stat.S_IWGRP
        if found.st_uid not in (0, os.geteuid()):
            yield f"{folder} belongs to another user ({found.st_uid}), who can put another home in the place of {home}"
        elif found.st_mode & others and not found.st_mode & stat.S_ISVTX:
            yield f"{folder} has mode {stat.S_IMODE(found.st_mode):o}: others can put another home in the place of {home}"


def _of_memory(platform: str, ptrace_scope: str | None) -> Iterator[str]:
    if platform == "linux" and (ptrace_scope or "0").strip() == "0":
        why = "kernel.yama.ptrace_scope is 0" if ptrace_scope else "this kernel has no Yama"
        yield f"{why}: what an agent starts may read the memory of your other programs, your shell and its secrets included"


def _of_file_system(home: str, mounts: str) -> Iterator[str]:
    kind = _kind_of_file_system(home, mounts)
    if kind in _WEAKNESSES:
        yield f"{home} lies on {kind}: {_WEAKNESSES[kind]}"


def _kind_of_file_system(path: str, mounts: str) -> str:
    """What the innermost mount around `path` is of; `mounts`: as /proc/self/mountinfo has them; empty if none is known."""
    found, longest = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5:
            continue
        # The kernel writes blanks and backslashes as octal numbers.
        place = (
            fields[4]
            .encode("utf-8", "surrogateescape")
            .decode("unicode_escape")
            .encode("latin-1")
            .decode("utf-8", "surrogateescape")
            .rstrip("/")
        )
        # A later mount at the same place hides the one before.
        if len(place) >= longest and f"{path}/".startswith(f"{place}/"):
            found, longest = after.split(" ", 1)[0], len(place)
    return found


def _umask() -> int:
    # The stricter one meanwhile: nobody else makes a file in this process, and if so then for itself.
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _read(path: str) -> str | None:
    with suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
    return None
