"""Records of what somebody chose for a run: which part of the file is to run, how many items at once, for how much money."""

from __future__ import annotations

from typing import Literal

import msgspec


class Selection(msgspec.Struct, frozen=True, tag="selection", kw_only=True, omit_defaults=True):
    """What of the jobs file is to run (`--only`, `--limit`); without either all of it. As a record: so from now on."""

    only: tuple[str, ...] = ()
    """Patterns: `JOB`, `JOB:INDEX`, `JOB:LABEL`, also with `*` and `?`."""
    limit: int | None = None
    """So many items of each fan-out, the first that match."""


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the command line chose for a run; kept for its resumes. None: as the jobs file says."""

    slots: int | None = None
    keep_going: bool = False
    fresh: bool = False
    """Outcomes of earlier runs are not replayed (`run --fresh`); work that is in flight is still joined."""
    selection: Selection = Selection()
    """At first; a resume may choose another."""
    replay: bool = False
    """Agents are not started: what the capsule in the run's folder recorded of them is played."""


class SlotsSet(msgspec.Struct, frozen=True, tag="slots", kw_only=True):
    """`orchestrate set RUN slots=N`: from now on this many, also in resumes."""

    slots: int


class BudgetSet(msgspec.Struct, frozen=True, tag="budget", kw_only=True, omit_defaults=True):
    """`orchestrate set RUN budget_usd=40`: from now on so much, of the run or of a job, also in resumes.

    It stands in for `instead_of`, the file's own number (None: it has none): once an update changes that, the file counts again.
    """

    kind: Literal["budget_usd", "budget_tokens"]
    amount: float
    instead_of: float | None = None
    job: str = ""
