"""How a script of a jobs file is run (`shell`, `check`, `setup`): by /bin/sh, and no further than its first command that fails.

`-e` is what `make` and CI runners have: a step that fails is not hidden by the one after it. A script says `set +e` where that is
not meant.
"""

from __future__ import annotations

SHELL = ["/bin/sh", "-e"]
"""Behind it stands the path of a script."""


def script_argv(script: str) -> list[str]:
    """The argv that runs `script`, which must be no larger than an argument may be."""
    return ["/bin/sh", "-ec", script]


def is_script(argv: list[str]) -> bool:
    """Whether `script_argv` made it."""
    return len(argv) == 3 and argv[:2] == ["/bin/sh", "-ec"]
