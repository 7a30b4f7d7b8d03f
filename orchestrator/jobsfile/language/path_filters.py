"""Filters for paths, and for words of a command line: pure functions of text, which look at no file.

The first line of each docstring is what the page of templates says of the filter.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterator
from typing import Any

from jinja2.runtime import Undefined

from orchestrator.jobsfile.language.template import RenderError
from orchestrator.jobsfile.language.values import kind_in_words, text_of


def basename(path: Any) -> str:
    """The last part of a path: `out/a.tar.gz` gives `a.tar.gz`."""
    text = _text("basename", path)
    return os.path.basename(text.rstrip("/")) or text[:1]


def dirname(path: Any) -> str:
    """The folder of a path: `out/a.gz` gives `out`, `a.gz` gives `.`."""
    text = _text("dirname", path)
    return os.path.dirname(text.rstrip("/")) or ("/" if text.startswith("/") else ".")


def stem(path: Any) -> str:
    """The last part of a path without its suffix: `out/a.tar.gz` gives `a.tar`."""
    return os.path.splitext(basename(_text("stem", path)))[0]


def suffix(path: Any) -> str:
    """The suffix of a path, with its dot: `out/a.tar.gz` gives `.gz`, `a` gives nothing."""
    return os.path.splitext(basename(_text("suffix", path)))[1]


def with_suffix(path: Any, new: Any) -> str:
    """The path with another suffix: `"out/a.png" | with_suffix(".webp")` gives `out/a.webp`; `""` takes it off."""
    text, wanted = _text("with_suffix", path).rstrip("/"), _text("with_suffix", new)
    if wanted and (not wanted.startswith(".") or "/" in wanted or wanted == "."):
        raise RenderError(f'with_suffix: expected a suffix such as ".webp", or "" for none, got "{wanted}"')
    if basename(text) in ("", "/", ".", ".."):
        raise RenderError(f'with_suffix: "{path}" names no file')
    return os.path.splitext(text)[0] + wanted


def relative_to(path: Any, folder: Any) -> str:
    """The path as seen from a folder: `"src/a/b.py" | relative_to("src")` gives `a/b.py`. Links are not followed."""
    text, start = os.path.normpath(_text("relative_to", path)), os.path.normpath(_text("relative_to", folder))
    if text.startswith("/") is not start.startswith("/"):
        raise RenderError(f'relative_to: of "{text}" and "{start}" one is absolute and the other is not')
    parts, above = _parts(text), _parts(start)
    while parts and above and parts[0] == above[0]:
        del parts[0], above[0]
    if ".." in above:
        raise RenderError(f'relative_to: where "{start}" lies cannot be told from its name')
    return "/".join([".."] * len(above) + parts) or "."


def split(text: Any, separator: Any = None, most: int = -1) -> list[str]:
    """The parts of a text between separators (default: white space): `"a,b" | split(",")` gives a list of two."""
    return _text("split", text).split(None if separator is None else _text("split", separator), most)


def shell_join(words: Any) -> str:
    """A list as one command line, each word quoted for the shell: for a command that hands it to another shell, as `ssh` does."""
    import shlex  # Few templates join words.

    if isinstance(words, list | tuple | range | Iterator):
        return " ".join(shlex.quote(_any_text(each)) for each in words)
    return shlex.quote(_any_text(words))


PATH_FILTERS: dict[str, Callable[..., Any]] = {
    filter_.__name__: filter_ for filter_ in (basename, dirname, stem, suffix, with_suffix, relative_to, split, shell_join)
}


def _text(name: str, value: Any) -> str:
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()
    if not isinstance(value, str):
        raise RenderError(f"{name}: expected text, got {kind_in_words(value)}")
    return str.__str__(value)


def _any_text(value: Any) -> str:
    return _text("shell_join", value if isinstance(value, str | Undefined) else text_of(value))


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
