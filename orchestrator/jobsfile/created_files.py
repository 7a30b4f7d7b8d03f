"""Which files each item of a job makes (`creates`), as far as that is known before they start: no two may make one of them.

Two items with one file would run beside each other, and the file would be that of whichever ended last.
Refuses to handle: paths that tell of what an item follows (`parent`), and items of two jobs, of which `when` may let one run.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.jobsfile.language.template import RenderError, Template
from orchestrator.jobsfile.language.values import text_of
from orchestrator.jobsfile.model import Promised
from orchestrator.workers.lazy_pattern import lazy_pattern

_ITEM_ALONE = lazy_pattern(r"([^{}]*)\{\{\s*item\s*\}\}([^{}]*)")


class SameFile(Exception):
    """Two items of a list would make one file: `first` and `second` are their indices."""

    def __init__(self, first: int, second: int, path: str) -> None:
        super().__init__(first, second, path)
        self.first, self.second, self.path = first, second, path

    def in_words(self, job_id: str) -> str:
        """What is wrong with the `creates` of this job, and what to do."""
        names = f"{job_id}:{self.first} and {job_id}:{self.second}"
        return f"{names} would both make {self.path}; name in it what tells them apart, such as {{{{ item }}}} or {{{{ index }}}}"


def certain_paths(creates: Promised, cwd: Template | None) -> list[str]:
    """The paths that are the same for each item, whatever the run is given."""
    if cwd is not None and not cwd.is_static:
        return []
    folder = cwd.source if cwd is not None else ""
    return [os.path.normpath(os.path.join(folder, each.source)) for each in creates.paths if each.is_static]


class CreatedFiles:
    """The files of one job's items, added in order. `known`: the names that a context of `add` has.

    About 100 bytes an item, as long as this lives: while the list is made.
    """

    def __init__(
        self,
        creates: Promised,
        cwd: Template | None,
        when: Template | None,
        token: Template | None,
        known: Collection[str],
    ) -> None:
        self._creates, self._cwd, self._when, self._token = creates, cwd, when, token
        templates = [*creates.paths, *(each for each in (cwd, when, token) if each is not None)]
        self._is_known = all(template.names <= set(known) for template in templates)
        self._around = _ITEM_ALONE.fullmatch(creates.paths[0].source) if len(creates.paths) == 1 else None
        self._makers: dict[str, tuple[int, str | None]] = {}
        """By path: the item that makes it, and its token."""

    def add(self, index: int, context: Mapping[str, Any]) -> None:
        """The next item. Raises SameFile. One whose templates are wrong for it makes nothing: it fails when it starts."""
        if not self._is_known:
            return
        try:
            if self._when is not None and self._when.render(context) not in (True, "true"):
                return
            paths = self._paths(context)
            token = None if self._token is None else text_of(self._token.render(context))
        except (RenderError, ValueError):
            return
        for path in paths:
            first, other = self._makers.setdefault(path, (index, token))
            # Items with one token are the same work: one of them makes the file, and the others share its outcome.
            if first != index and (token is None or token != other):
                raise SameFile(first, index, path)

    def _paths(self, context: Mapping[str, Any]) -> list[str]:
        item = context.get("item")
        if self._around is not None and isinstance(item, str):
            # The usual path, of which a list may have a million: it needs no template.
            paths = [f"{self._around[1]}{item}{self._around[2]}"]
        else:
            values = [template.render(context) for template in self._creates.paths]
            paths = [text_of(each) for value in values for each in (value if type(value) is list else (value,))]
        if self._cwd is not None:
            folder = text_of(self._cwd.render(context))
            paths = [os.path.join(folder, path) for path in paths]
        return [os.path.normpath(path) for path in paths]
