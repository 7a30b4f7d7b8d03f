"""Which variables of our own environment a program is given: names, or `PREFIX*`. What is not named stays with us.

A worker does the same for its agent (`workers.processes.variables`), in bytes: that runs for every attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.workers.environment import BARE as OF_A_PROGRAM

BARE = (*OF_A_PROGRAM, "USER", "LOGNAME")
"""What a program of somebody else's needs besides: no variable of a service among them."""

OUR_OWN = (*BARE, "XDG_*", "PYTHONPATH", "ORCHESTRATE_*")
"""What a command of ours needs besides, if it starts nothing of a job."""


def is_passed(name: str, allowed: Iterable[str]) -> bool:
    """Whether the environment variable `name` is one of `allowed`."""
    return any(name.startswith(each[:-1]) if each.endswith("*") else name == each for each in allowed)


def passed_of(environment: Mapping[str, str], allowed: Iterable[str]) -> dict[str, str]:
    """The variables of `environment` that are among `allowed`."""
    names = tuple(allowed)
    return {name: value for name, value in environment.items() if is_passed(name, names)}
