"""The jobs that a translation makes, and what is known of them while it goes on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.cli.importing.code import Code
from orchestrator.cli.importing.workflow import Step

_LONGEST_ID = 56
"""Of the 64 characters of a job's id: there is room for a number behind it."""

Form = Literal["shell", "json", "agent", "gate", "fan-in"]
"""Which fields a step's output has, and what they are here."""


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """A condition that steps stand under. `is_all`: it holds only where those around it hold, so they need not be said."""

    code: Code
    is_all: bool = False


Guards = tuple[Guard, ...]


@dataclass(slots=True, eq=False)
class MadeJob:
    """A job of the new file. `keys` in the order in which they are written; `needs` and `when` are worked out of the rest.

    `after`: the jobs before it. `named`: those that its templates name. `places`: the steps whose notes stand above it.
    `can_be_skipped`: a choice skips it although its guards hold. `chain`: the job whose items it follows.
    `is_whole_fan_out`: it is known by the name of a fan-out, all of whose template it is.
    """

    id: str
    step: Step
    guards: Guards
    after: list[MadeJob]
    form: Form
    keys: dict[str, Any] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    places: list[str] = field(default_factory=list)
    can_be_skipped: bool = False
    can_be_null: bool = False
    is_fan_out: bool = False
    is_whole_fan_out: bool = False
    chain: MadeJob | None = None
    when: str | bool | None = None

    def runs_where(self, guards: Guards) -> bool:
        """Whether it has run wherever `guards` hold."""
        return self.guards == guards[: len(self.guards)]


class JobIds:
    """Gives each step an id that a job may have, and none twice."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def make(self, wanted: str) -> str:
        """A new id, as near to `wanted` as can be."""
        base = re.sub(r"[^a-z0-9_]+", "_", wanted.lower()).strip("_")[:_LONGEST_ID] or "step"
        if not base[0].isalpha():
            base = f"step_{base}"[:_LONGEST_ID]
        id_, number = base, 1
        while id_ in self._used:
            number += 1
            id_ = f"{base}_{number}"
        self._used.add(id_)
        return id_
