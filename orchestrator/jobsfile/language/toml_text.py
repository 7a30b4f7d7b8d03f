"""The text of a TOML file and its tables, with what is wrong with either in words."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from typing import Any

from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.language.suggestions import did_you_mean
from orchestrator.system.named_files import read_named
from orchestrator.workers.lazy_pattern import lazy_pattern

_AT_LINE = lazy_pattern(r" \(at line ([0-9]+), column ([0-9]+)\)")


def read_text(path: str, read: Callable[[str], bytes] = read_named) -> str:
    """The text of a file, without a byte order mark. Raises UserError, JobsFileError (not UTF-8). `read` raises OSError."""
    try:
        content = read(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", _nearest(path)) from None
    except OSError as error:
        hint = _nearest(f"{path}/") if isinstance(error, IsADirectoryError) else "name a file that you can read"
        raise UserError(f"{path}: cannot be read: {error.strerror or error}", hint) from None
    except ValueError:
        raise UserError("a path with a NUL byte names no file") from None
    try:
        # Some editors open a file with a byte order mark, which TOML does not know.
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise JobsFileError(path, [f"{path}:{line}: not UTF-8, which TOML is always in"]) from None


def parse_toml(text: str, path: str) -> dict[str, Any]:
    """The tables of `text`, which came from `path`. Raises JobsFileError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = _syntax_problem(str(error), text, path)
    except RecursionError:
        problem = f"{path}: nested too deeply"
    except ValueError:
        # Of int(): tomllib leaves a number of thousands of digits to it.
        problem = f"{path}: a number in it has too many digits"
    raise JobsFileError(path, [problem])


def _syntax_problem(message: str, text: str, path: str) -> str:
    """tomllib's message with the place in front; it says "end of document" where an editor needs a line, too."""
    at = _AT_LINE.search(message)
    if at:
        line, column = int(at[1]), int(at[2])
    else:
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    words = " ".join(_AT_LINE.sub("", message).replace(" (at end of document)", "").split())
    meant = "; YAML is no TOML: orchestrate import reads Spec Kit workflows" if path.endswith((".yml", ".yaml")) else ""
    return f"{path}:{line}:{column}: invalid TOML: {words[:200]} (line {line}, column {column}){meant}"


def _nearest(path: str) -> str:
    """What to do where no file is at `path`: the nearest TOML file of its folder is named."""
    folder, name = os.path.split(path)
    try:
        there = [each for each in os.listdir(folder or ".") if each.endswith(".toml")]
    except OSError:
        there = []
    meant = did_you_mean(name, there).removeprefix("; did you mean ").removesuffix("?")
    if not meant and len(there) == 1:
        meant = there[0]
    return f"did you mean {os.path.join(folder, meant)}?" if meant else "name a file that is there"
