"""Whether files that are there are older than what they are made of (`sources`), as `make` asks it."""

from __future__ import annotations

import os
from collections.abc import Iterable

from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.jobsfile.globs import matching_paths


def newer_source(made: Iterable[str], sources: Iterable[str], folder: str) -> str | None:
    """The first of `sources` that was changed after one of `made` was; None: they are up to date.

    `sources`: paths and patterns, relative to `folder`. Raises ItemRefused for a path at which nothing is; a pattern may match
    nothing.
    """
    made_at = min(os.stat(path).st_mtime_ns for path in made)
    for source in sources:
        for path in _paths(source, folder):
            try:
                if os.stat(os.path.join(folder, path)).st_mtime_ns > made_at:
                    return path
            except OSError as error:
                raise ItemRefused(f"sources: {path}: {error.strerror}") from error
    return None


def _paths(source: str, folder: str) -> Iterable[str]:
    # An item may be called `a[1].png`: what is there is no pattern.
    is_pattern = any(character in source for character in "*?[") and not os.path.lexists(os.path.join(folder, source))
    return matching_paths(source, folder) if is_pattern else (source,)
