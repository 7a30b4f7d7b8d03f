"""Where programs are looked for that we start by their name: never in a folder in which an item may have put one.

`node_modules/.bin` and `.` in PATH mean the folder that a process stands in. In a workspace, or where a user looks at what an
agent did, that is a folder that an agent writes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping


def absolute_path(environment: Mapping[str, str]) -> str:
    """PATH of the environment without its relative folders; the system's own where it has none."""
    places = environment.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(place for place in places if os.path.isabs(place))
