"""Files of a checkout from which git reads its settings: who changes one of them says what git runs from then on.

A user may have told git to (`include.path = ../team.gitconfig`), or keep his own settings in the repository.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ..files.beneath import lies_beneath
from ..lazy_pattern import lazy_pattern
from .git import git
from .pinned import Pinned

_INCLUDE = lazy_pattern(r"include(if\..*)?\.path", re.DOTALL)
_FILE = "file:"


def setting_files(checkout: Pinned) -> list[str]:
    """Their paths relative to the root of the checkout, also of those that are not there yet. Raises GitFailed."""
    root = os.path.realpath(checkout.folder)
    # By the name that it has in the checkout, and where a link leads.
    both = {each for path in _all(checkout) for each in (os.path.normpath(path), os.path.realpath(path))}
    found = {os.path.relpath(path, top) for path in both for top in {root, checkout.folder} if lies_beneath(path, top)}
    return sorted(name for name in found if name.split("/")[0] != ".git")


def _all(checkout: Pinned) -> Iterator[str]:
    told = git(checkout, "config", "--list", "--show-origin", "-z").split("\0")
    for origin, setting in zip(told[::2], told[1::2], strict=False):
        if not origin.startswith(_FILE):
            continue
        file = os.path.join(checkout.folder, origin.removeprefix(_FILE))
        yield file
        key, _, value = setting.partition("\n")
        if _INCLUDE.fullmatch(key):
            yield os.path.join(os.path.dirname(os.path.realpath(file)), os.path.expanduser(value))
