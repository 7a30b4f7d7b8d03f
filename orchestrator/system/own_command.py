"""How we start ourselves and the programs that come with us: by the path of our own files.

`python -m orchestrator` would search the path of modules, where a project may have an `orchestrator` of its own (`PYTHONPATH=.`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGE = str(Path(__file__).resolve().parent.parent)
"""The folder of the package `orchestrator` (absolute)."""


def own_argv(*words: str) -> list[str]:
    """`orchestrate WORDS…` by this interpreter. -P: the folder of the file is no place to look for modules."""
    return [sys.executable, "-P", f"{PACKAGE}/__main__.py", *words]


def program_argv(file: str, *words: str) -> list[str]:
    """A program of ours that needs the standard library alone: `file` is its path in the package.

    -I and -S: neither the environment nor the current folder nor an installed package has a say in what it imports, and it starts
    in half the time.
    """
    return [sys.executable, "-I", "-S", f"{PACKAGE}/{file}", *words]


def filled_command(words: Sequence[str]) -> list[str]:
    """The command of a profile with `{python}` as its first word replaced by this interpreter, `{orchestrator}` by our folder."""
    python = [sys.executable] if words[:1] == ["{python}"] else list(words[:1])
    return [*python, *(word.replace("{orchestrator}", PACKAGE) for word in words[1:])]
