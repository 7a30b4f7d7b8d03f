"""The text of a TOML file and its tables, with what is wrong with either in words."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any

from orchestrator.errors import JobsFileError, UserError
from orchestrator.system.named_files import read_named
from orchestrator.workers.lazy_pattern import lazy_pattern

_AT_LINE = lazy_pattern(r" \(at line ([0-9]+), column ([0-9]+)\)")


def read_text(path: str, read: Callable[[str], bytes] = read_named) -> str:
    """The text of a file, without a byte order mark. Raises UserError, JobsFileError (not UTF-8). `read` raises OSError."""
    try:
        content = read(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
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
    return f"{path}:{line}:{column}: invalid TOML: {words[:200]} (line {line}, column {column})"
