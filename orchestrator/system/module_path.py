"""The path of modules of a process that is the program: the folder that it stands in is no place to look for modules.

Only what Python has loaded by itself is imported here: this is called before all else is.
"""

from __future__ import annotations

import os
import sys

_OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


def forget_current_folder() -> None:
    """Take the folder that this process stands in off the path of modules, unless the package itself lies there.

    `python -m` and `PYTHONPATH=.` put it first. An agent may write there: its `json.py` must be run neither by a user who looks
    at what it did, nor by a worker, which gets our path.
    """
    try:
        here = os.stat(".")
    except OSError:  # the folder is gone: nothing can be found in it
        return
    if _is_folder(_OURS, here):
        return
    # What stands before Python's own modules: Python itself put all else there, whatever folder this is.
    standard = os.path.dirname(os.__file__)
    before = sys.path.index(standard) if standard in sys.path else 0
    sys.path[:before] = [entry for entry in sys.path[:before] if not _is_folder(entry or ".", here)]


def _is_folder(path: str, folder: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), folder)
    except OSError:
        return False
