"""How a script of a jobs file is run (`shell`, `check`, `setup`): by /bin/sh, and no further than its first command that fails.

`-e` is what `make` and CI runners have: a step that fails is not hidden by the one after it. A script says `set +e` where that is
not meant.
"""

from __future__ import annotations

from collections.abc import Sequence

SHELL = ["/bin/sh", "-e"]
"""Behind it stands the path of a script."""


SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "mksh", "ash")
"""Programs that read a script as we quote for it."""


def script_argv(script: str) -> list[str]:
    """The argv that runs `script`, which must be no larger than an argument may be."""
    return ["/bin/sh", "-ec", script]


def is_script(argv: list[str]) -> bool:
    """Whether the last word of `argv` is a script, of `script_argv` or of a `shell_program`."""
    return is_shell_program(argv[:-1]) and argv[0].rpartition("/")[2] in SHELLS


def is_shell_program(words: Sequence[str]) -> bool:
    """Whether a shell runs, as a script, the word that comes behind `words`: its last option is `-c`, alone or with others."""
    is_option = len(words) > 1 and words[-1].startswith("-") and words[-1].endswith("c")
    return is_option and any(word.rpartition("/")[2] in SHELLS for word in words[:-1])


def argv_of_file(program: Sequence[str]) -> list[str] | None:
    """The words in front of the path of a script that is too long to be a word behind `program`; None: there are none."""
    if program[0].rpartition("/")[2] not in SHELLS:
        return None
    # `-c` alone goes, of `-ec` the letter.
    left = program[-1][:-1]
    return [*program[:-1], left] if left != "-" else list(program[:-1])


def interpreter_of(script: str) -> list[str]:
    """What `#!` at the beginning of a script names: a program and, as the kernel has it, one argument at most."""
    return script[2:].partition("\n")[0].strip().split(None, 1)
