"""Where the files lie that come with the program: examples and agent profiles.

A wheel carries configs/ inside the package; a checkout, and so an editable install, has it beside the package.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import UserError

_PACKAGE = Path(__file__).resolve().parent


def examples_folder() -> Path:
    """The folder with the shipped jobs files (`NAME.toml`). Raises UserError if this installation has none."""
    return _shipped("examples")


def agents_folder() -> Path:
    """The folder with the shipped agent profiles (`NAME.toml`). Raises UserError if this installation has none."""
    return _shipped("agents")


def _shipped(name: str) -> Path:
    for configs in (_PACKAGE / "configs", _PACKAGE.parent / "configs"):
        if (configs / name).is_dir():
            return configs / name
    raise UserError(f"this installation lacks its configs/{name} folder", "install orchestrate again")
