"""The jobs that a translation makes, and what is known of each of them meanwhile."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.cli.importing.code import Code
from orchestrator.cli.importing.workflow import Step

_LONGEST_ID = 56
"""Characters of an id that is made: a job's id may have 64, which leaves room for a number."""

Form = Literal["shell", "json", "agent", "gate", "fan-in"]
"""The form of a step's output: it says which fields the output has in Spec Kit, and what they are here."""


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """A condition under which steps run. `is_all`: it holds only where all outer ones hold, so those need not be written."""

    code: Code
    is_all: bool = False


Guards = tuple[Guard, ...]


@dataclass(slots=True, eq=False)
class MadeJob:
    """A job of the new file. `keys`: in the order in which they are written. `needs` and `when` are derived from the rest.

    `after`: the jobs before it. `named`: the jobs that its templates name. `places`: the steps whose notes stand above it.
    `can_be_skipped`: a choice may skip it although its guards hold. `chain`: the job that it follows item by item.
    `is_whole_fan_out`: it is the whole template of a fan-out, and known by the fan-out's name.
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
        """Whether the job has run in all cases in which `guards` hold."""
        return self.guards == guards[: len(self.guards)]


class JobIds:
    """Gives each step an id that a job may have; no id is given twice."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def make(self, wanted: str) -> str:
        """A new id, as close to `wanted` as possible."""
        base = re.sub(r"[^a-z0-9_]+", "_", wanted.lower()).strip("_")[:_LONGEST_ID] or "step"
        if not base[0].isalpha():
            base = f"step_{base}"[:_LONGEST_ID]
        id_, number = base, 1
        while id_ in self._used:
            number += 1
            id_ = f"{base}_{number}"
        self._used.add(id_)
        return id_
