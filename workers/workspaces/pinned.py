"""A working tree and its repository, as they were recorded: git is told both, and looks for nothing.

Left to itself git takes what stands in `.git`, and runs what the configuration there names. In a workspace that is an agent's to
write; so a bare folder is given to git only for a repository of the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Pinned(NamedTuple):
    """`folder`: the root of the working tree; `git_dir`, `common_dir`: where git's own files are. All absolute.

    `variables`: the environment for each git that works there. `excludes`: what `info/exclude` said before somebody changed it
    (`settings`); None: it counts as it stands.
    """

    folder: str
    git_dir: str
    common_dir: str
    variables: Mapping[str, str] = MappingProxyType({})
    excludes: str | None = None

    def having(self, variables: Mapping[str, str]) -> Pinned:
        """The same, with more variables."""
        return self._replace(variables={**self.variables, **variables})


Where = str | Pinned
"""Where git works. Text: a folder of the user's own, whose repository git finds."""


def folder_of(where: Where) -> str:
    """Where git is started."""
    return where if isinstance(where, str) else where.folder


def variables_of(where: Where) -> dict[str, str]:
    """What has git look for nothing, and what else is for it there."""
    if isinstance(where, str):
        return {}
    told = {"GIT_DIR": where.git_dir, "GIT_COMMON_DIR": where.common_dir, "GIT_WORK_TREE": where.folder}
    return {**told, **where.variables}
