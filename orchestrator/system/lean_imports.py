"""Libraries that this program needs, without those that they import for functions that it does not call.

Promise: no such function is lost. A stand-in is in `sys.modules` only while it is imported from, and whatever of it stays in use
does as the function does for which it stands.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

_SEEN_IN = ((3, 11), (3, 12), (3, 13))
"""The versions of Python of which it was seen what their modules take from those for which others stand in."""


def load_lean() -> None:
    """Import msgspec and pathlib. Nothing else is to be imported meanwhile. In another Python they come as they are."""
    if sys.version_info[:2] not in _SEEN_IN:
        return
    instead = {
        # msgspec takes from `typing`, then, what it would take from there.
        "typing_extensions": None,
        # uuid, which msgspec loads, asks it for the system: as it is loaded it compiles patterns.
        "platform": _module("platform", system=_system),
        # pathlib has it for `as_uri`. It loads ipaddress.
        "urllib.parse": _module("urllib.parse", quote_from_bytes=_quote_from_bytes),
    }
    stand_ins = {name: module for name, module in instead.items() if name not in sys.modules}
    sys.modules.update(stand_ins)  # type: ignore[arg-type]  # None: there is none
    try:
        import pathlib  # noqa: F401

        import msgspec  # noqa: F401
    finally:
        for name in stand_ins:
            del sys.modules[name]


def _module(name: str, **functions: object) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(functions)
    return module


def _system() -> str:
    return os.uname().sysname


def _quote_from_bytes(data: bytes) -> str:
    from urllib.parse import quote_from_bytes

    return quote_from_bytes(data)
