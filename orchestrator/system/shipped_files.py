"""Where the files lie that come with the program.

A wheel carries configs/ inside the package; a checkout, and so an editable install, has it beside the package.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import UserError

_PACKAGE = Path(__file__).resolve().parent.parent


def examples_folder() -> Path:
    """The folder with the shipped jobs files (`NAME.toml`). Raises UserError if this installation has none."""
    return _configs() / "examples"


def agents_folder() -> Path:
    """The folder with the shipped profiles (`NAME.toml`). Raises UserError if this installation has none."""
    return _configs() / "agents"


def agent_errors_file() -> Path:
    """The file that tells, for every profile, what providers say when a call fails. Raises UserError as `agents_folder`."""
    return _configs() / "agent_errors.toml"


def _configs() -> Path:
    for configs in (_PACKAGE / "configs", _PACKAGE.parent / "configs"):
        if (configs / "examples").is_dir():
            return configs
    raise UserError("this installation lacks its configs/examples folder", "install orchestrate again")
