"""Libraries that this program needs, without those that they import for functions that it does not call.

Promise: no such function is lost. A stand-in is in `sys.modules` only while it is imported from, and whatever of it stays in use
does as the function does for which it stands. Two kinds of values are left out, as nothing here makes any: msgspec takes a
`Decimal` and a `UUID` for what it does not know. Nothing else is to be imported meanwhile: the process has one thread yet.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

_IS_KNOWN = sys.version_info[:2] in ((3, 11), (3, 12), (3, 13))
"""Whether it was seen what this Python's modules take from those for which others stand in. Of another they come as they are."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def load_lean() -> None:
    """Import msgspec and pathlib."""
    if not _IS_KNOWN or "msgspec" in sys.modules:
        return
    # All of it is there in C, and later versions read no more than that; this one reads it all in Python first.
    if sys.version_info[:2] == (3, 11):
        sys.modules.setdefault("datetime", import_module("_datetime"))
    instead = {
        # msgspec takes from `typing`, then, what it would take from there.
        "typing_extensions": None,
        "decimal": _module("decimal", Decimal=_NoValue),
        "uuid": _module("uuid", UUID=_NoValue, SafeUUID=_NoValue),
        # They are for schemas, and have many classes. With them comes textwrap.
        "msgspec.inspect": _later("msgspec.inspect"),
        "msgspec._json_schema": _module("msgspec._json_schema", schema=_schema, schema_components=_schema_components),
        # pathlib has it for `as_uri`. It loads ipaddress.
        "urllib.parse": _module("urllib.parse", quote_from_bytes=_quote_from_bytes),
    }
    with _standing_in(instead):
        import pathlib  # noqa: F401

        import msgspec  # noqa: F401


def load_lean_for_a_run() -> None:
    """Import socket and tomllib."""
    if not _IS_KNOWN or "socket" in sys.modules or "tomllib" in sys.modules:
        return
    import re

    from orchestrator.workers.lazy_pattern import lazy_pattern

    # It makes enumerations of its three hundred constants: by them a socket is shown, and nothing else.
    instead = {
        "enum": _module("enum", IntEnum=_Numbers, IntFlag=_Numbers),
        "selectors": _later("selectors"),
    }
    with _standing_in(instead):
        import socket
    vars(socket).update(dict.fromkeys(("AddressFamily", "SocketKind", "MsgFlag", "AddressInfo"), int))
    # It compiles patterns of dates and numbers, and `string`, of which it has the letters, one of its own.
    letters = {"ascii_letters": _LETTERS + _LETTERS.upper(), "digits": "0123456789", "hexdigits": "0123456789abcdefABCDEF"}
    instead = {
        "re": _module("re", compile=lazy_pattern, VERBOSE=re.VERBOSE),
        "string": _module("string", **letters),
    }
    with _standing_in(instead):
        import tomllib  # noqa: F401


@contextmanager
def _standing_in(instead: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Have these imported for modules of their names; None: there is none."""
    real = {name: sys.modules[name] for name in instead if name in sys.modules}
    sys.modules.update(instead)  # type: ignore[arg-type]  # None: there is none
    try:
        yield
    finally:
        for name in instead:
            del sys.modules[name]
        sys.modules.update(real)


def _module(name: str, **has: object) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(has)
    return module


def _later(name: str) -> ModuleType:
    """The module of that name, which is imported when something of it is asked for."""
    return _module(name, __getattr__=lambda asked: getattr(import_module(name), asked))


class _NoValue:
    unknown = None
    """Of `SafeUUID`."""


class _Numbers:
    @classmethod
    def _convert_(cls, *_: object) -> None:
        """Leave the constants the numbers that they are."""


def _schema(*of: Any, **options: Any) -> Any:
    return import_module("msgspec._json_schema").schema(*of, **options)


def _schema_components(*of: Any, **options: Any) -> Any:
    return import_module("msgspec._json_schema").schema_components(*of, **options)


def _quote_from_bytes(data: bytes) -> str:
    from urllib.parse import quote_from_bytes

    return quote_from_bytes(data)
