"""What of the own folder of a slot (`config_folder`) is the user's by a link: noted beside it, for `prune` has no profile.

HOME/agents/NAME/K.links
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec

from ..byte_text import encode_json, json_decoder
from ..foreign import ForeignBytesError, decode_struct
from ..protocol import ConfigTask
from .opening import StrangeFileError, read_file, replace_file


class Links(msgspec.Struct, frozen=True):
    """`shared` (relative paths) are the user's, in the folder `real` (absolute)."""

    real: str = ""
    shared: list[str] = []


_decode: Callable[[bytes], Links] = json_decoder(Links)


def note_links(slot: str, task: ConfigTask) -> None:
    """Note it of the folder `slot` (absolute). Survives SIGKILL. Raises OSError."""
    noted = encode_json(Links(real=task.real, shared=task.shared))
    path = links_path(slot)
    with suppress(FileNotFoundError, StrangeFileError):
        if read_file(path) == noted:
            return
    replace_file(path, noted)


def noted_links(slot: str) -> Links | None:
    """What is noted of the folder `slot`; None: nothing, as of those that earlier versions made, or nothing that can be read."""
    try:
        return decode_struct(_decode, read_file(links_path(slot)))
    except (FileNotFoundError, StrangeFileError, ForeignBytesError):
        return None


def links_path(slot: str) -> str:
    """Where it is noted."""
    return f"{slot}.links"
