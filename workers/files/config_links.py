"""What of the own folder of a slot (`config_folder`) is the user's by a link: noted beside it, for `prune` has no profile.

HOME/agents/NAME/K.links
"""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec

from ..protocol import ConfigTask


class Links(msgspec.Struct, frozen=True):
    """`shared` (relative paths) are the user's, in the folder `real` (absolute)."""

    real: str = ""
    shared: list[str] = []


def note_links(slot: str, task: ConfigTask) -> None:
    """Note it of the folder `slot` (absolute). Survives SIGKILL. Raises OSError."""
    noted = msgspec.json.encode(Links(real=task.real, shared=task.shared))
    path = links_path(slot)
    with suppress(FileNotFoundError), open(path, "rb") as file:
        if file.read() == noted:
            return
    with open(f"{path}.new", "wb") as file:
        file.write(noted)
    os.replace(f"{path}.new", path)


def noted_links(slot: str) -> Links | None:
    """What is noted of the folder `slot`; None: nothing, as of those that earlier versions made, or nothing that can be read."""
    try:
        with open(links_path(slot), "rb") as file:
            return msgspec.json.decode(file.read(), type=Links)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def links_path(slot: str) -> str:
    """Where it is noted."""
    return f"{slot}.links"
