"""The files that an item promises (`creates`): where they are made, and under which names meanwhile."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from orchestrator.attempts.template_texts import ItemRefused, refuse_nul, rendered_arguments, rendered_text, size_in_bytes
from orchestrator.jobsfile.model import Promised
from orchestrator.system.digests import sha256_hex
from orchestrator.workers.byte_text import bytes_of_text
from orchestrator.workers.protocol import Creates

_LONGEST_SUFFIX = 32
"""Characters of the suffixes that a temporary name keeps."""


def promised_files(promised: Promised, context: dict[str, Any], cwd: str, temporary_suffix: str) -> list[Creates]:
    """The files, and `creates` in the context: the temporary names. `cwd` (absolute) is what paths are relative to.

    Raises ItemRefused.
    """
    if promised.is_list:
        paths = rendered_arguments(promised.paths, context, "creates")
        if not paths:
            raise ItemRefused("creates: expected the path of a file, got an empty list")
    else:
        paths = [rendered_text(promised.paths[0], context, "creates")]
    files = [_promised(path, cwd, temporary_suffix) for path in paths]
    finals = [os.path.normpath(each.final) for each in files]
    if twice := next((path for path in finals if finals.count(path) > 1), None):
        raise ItemRefused(f"creates: {twice} is named twice")
    temporary = [each.temporary for each in files]
    context["creates"] = temporary if promised.is_list else temporary[0]
    return files


def existing_in_words(files: Sequence[Creates]) -> str:
    """Of an item that is done: that its files are there."""
    first, *others = [each.final for each in files]
    if not others:
        return f"{first} exists"
    return f"{first} and {others[0]} exist" if len(others) == 1 else f"{first} and {len(others)} more exist"


def _promised(path: str, cwd: str, temporary_suffix: str) -> Creates:
    """One file. Its temporary name is short, however long the final one is, and keeps the suffixes: they tell formats."""
    if not path or path.endswith(("/", "/.", "/..")) or path in (".", ".."):
        raise ItemRefused(f"creates: expected the path of a file, got {path!r}")
    refuse_nul(path, "creates")
    size_in_bytes(path, "creates")
    final = os.path.join(cwd, path)
    parent, name = os.path.split(final)
    return Creates(temporary=os.path.join(parent, _stem(final, temporary_suffix) + _suffixes(name)), final=final)


def _stem(final: str, temporary_suffix: str) -> str:
    return f".{sha256_hex(bytes_of_text(final + temporary_suffix))[:12]}.part"


def _suffixes(name: str) -> str:
    """`.tar.gz` of `a.tar.gz`; the last suffix alone where all together are too long, none where that is."""
    _, dot, rest = name.lstrip(".").partition(".")
    if dot and len(rest) < _LONGEST_SUFFIX:
        return dot + rest
    last = os.path.splitext(name)[1]
    return last if len(last) <= _LONGEST_SUFFIX else ""
