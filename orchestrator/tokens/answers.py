"""An item that asks for its token, what it is told at once, and what those who joined are told later."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.core.states import ItemRef
from orchestrator.core.tokens import Asker
from orchestrator.jobsfile.model import OutputKind
from workers.protocol import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking(Asker):
    """An item that wants its token. `output`: what its output must be for a success.

    `makes_file`: the file that it promises is missing, so a success of its own run does not count for it.
    """

    item: ItemRef
    name: str
    output: OutputKind
    makes_file: bool


@dataclass(frozen=True, slots=True)
class Granted:
    """The token is the item's. `begin` or `give_back` must follow; the descriptor stays the desk's to close."""

    lock_fd: int
    promotions: int


@dataclass(frozen=True, slots=True)
class Unregistered:
    """The item runs beside the one that is in flight."""


@dataclass(frozen=True, slots=True)
class Joins:
    """The item waits; `poll` tells it what came of it. `words`: whom it waits for."""

    words: str


@dataclass(frozen=True, slots=True)
class Shared:
    """The work is done: this is the outcome. `deduped_from`: `RUN/ITEM`."""

    outcome: Outcome
    is_success: bool
    deduped_from: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The item must not run, in words."""

    message: str


Answer = Granted | Unregistered | Joins | Shared | Refused


@dataclass(frozen=True, slots=True)
class SharedWith:
    """The work that these items joined is done."""

    items: tuple[ItemRef, ...]
    outcome: Outcome
    is_success: bool
    deduped_from: str


@dataclass(frozen=True, slots=True)
class RefusedAll:
    """These items wait for what they cannot share, in words."""

    items: tuple[ItemRef, ...]
    message: str


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The work that this item joined came to no verdict, or may have: it may ask again."""

    items: tuple[ItemRef, ...]


@dataclass(frozen=True, slots=True)
class ReplaceAsked:
    """An item of this run is to be cancelled on behalf of another (`by`, `RUN/ITEM`)."""

    item: ItemRef
    by: str


Told = SharedWith | RefusedAll | TryAgain | ReplaceAsked
