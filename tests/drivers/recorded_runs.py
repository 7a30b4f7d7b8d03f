"""Runs that earlier versions recorded (`tests/store/recorded_runs`), laid out as if they had run in a test's own folder.

A record tells absolute paths, all of them below `PLACE`. `lay_out` gives them the test's folder instead, and each checksum over
such a line its new value: that is all that it changes. What a line says stays as the old program wrote it.
"""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[1] / "store" / "recorded_runs"
PLACE = b"/tmp/recorded"
RUN = "recorded"

NAMES = sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.glob("*/*/told.json"))
"""`VERSION/STORY` of each recording."""


def told_by_old_program(name: str, folder: Path | None = None) -> dict[str, Any]:
    """What the program that ran it said of it: `status`, `results`, `logs`; laid out in `folder`, if one is given."""
    text = (ROOT / name / "told.json").read_text()
    told: dict[str, Any] = json.loads(text if folder is None else text.replace(PLACE.decode(), str(folder)))
    return told


def copy_recording(name: str, folder: Path) -> None:
    """The recording byte for byte: `home`, `project` and `state` in `folder`."""
    for part in ("home", "project", "state"):
        if (ROOT / name / part).is_dir():
            shutil.copytree(ROOT / name / part, folder / part, symlinks=True, dirs_exist_ok=True)
    for empty in told_by_old_program(name)["empty_folders"]:
        (folder / empty).mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.rglob("dot-git"), reverse=True):
        path.rename(path.with_name(".git"))


def lay_out(name: str, folder: Path) -> None:
    """The recording as if it had been made in `folder`."""
    copy_recording(name, folder)
    for path in folder.rglob("*"):
        # What an item wrote is told by its hash, and says nothing of where it lies.
        if path.is_file() and not path.is_symlink() and "outputs" not in path.parts:
            data = path.read_bytes()
            if PLACE in data:
                path.write_bytes(_moved(path, data, str(folder).encode()))


def _moved(path: Path, data: bytes, place: bytes) -> bytes:
    moved = data.replace(PLACE, place)
    if path.name.startswith("journal-"):
        return _recommitted(moved)
    if path.name == "checkpoint.json":
        body, _, _ = moved.rpartition(b'\n],"crc":')
        return body + b'\n],"crc":%d}\n' % zlib.crc32(body)
    if path.name == "log" and path.parent.parent.name == "workers":
        lines = (line.rpartition(b" ")[0] for line in moved.splitlines() if line)
        return b"".join(b"%b %08x\n" % (line, zlib.crc32(line)) for line in lines)
    assert path.parent.name != "items", "a list tells its own checksum"
    return moved


def _recommitted(journal: bytes) -> bytes:
    """Each commit line with the place and the checksum that its group has now."""
    done = b""
    group = last = b""
    for line in journal.splitlines(keepends=True):
        if not line.startswith(b'{"type":"commit",'):
            group += line
            continue
        commit = msgspec.json.decode(line)
        commit.update(offset=len(done), crc=zlib.crc32(group))
        if "number" in commit:
            commit.update(length=len(group), before=zlib.crc32(last))
        last = msgspec.json.encode(commit)
        done += group + last + b"\n"
        group = b""
    return done + group


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
