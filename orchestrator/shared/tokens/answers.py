"""An item that asks for its token, what it is told at once, and what those who joined are told later."""

from __future__ import annotations

import msgspec

from orchestrator.core.states import ItemRef
from orchestrator.core.tokens import Asker
from orchestrator.jobsfile.model import OutputKind
from orchestrator.workers.protocol import Outcome


class Asking(Asker, frozen=True, kw_only=True):
    """An item that wants its token. `output`, `schema`, `is_loop`: as of `TokenRecord`.

    `makes_file`: the file that it promises is missing, so a success of its own run does not count for it.
    """

    item: ItemRef
    name: str
    output: OutputKind
    schema: str | None
    is_loop: bool
    makes_file: bool


class Granted(msgspec.Struct, frozen=True):
    """The token is the item's. `begin` or `give_back` must follow; the descriptor stays the desk's to close."""

    lock_fd: int
    promotions: int


class Unregistered(msgspec.Struct, frozen=True):
    """The item runs beside the one that is in flight."""


class Joins(msgspec.Struct, frozen=True):
    """The item waits; `poll` tells it what came of it. `words`: whom it waits for."""

    words: str


class Shared(msgspec.Struct, frozen=True):
    """The work is done: this is the outcome. `deduped_from`: `RUN/ITEM`."""

    outcome: Outcome
    is_success: bool
    deduped_from: str


class Refused(msgspec.Struct, frozen=True):
    """The item must not run, in words."""

    message: str


Answer = Granted | Unregistered | Joins | Shared | Refused


class SharedWith(msgspec.Struct, frozen=True):
    """The work that these items joined is done."""

    items: tuple[ItemRef, ...]
    outcome: Outcome
    is_success: bool
    deduped_from: str


class RefusedAll(msgspec.Struct, frozen=True):
    """These items wait for what they cannot share, in words."""

    items: tuple[ItemRef, ...]
    message: str


class TryAgain(msgspec.Struct, frozen=True):
    """The work that this item joined came to no verdict, or may have: it may ask again."""

    items: tuple[ItemRef, ...]


class ReplaceAsked(msgspec.Struct, frozen=True):
    """An item of this run is to be cancelled on behalf of another (`by`, `RUN/ITEM`)."""

    item: ItemRef
    by: str


Told = SharedWith | RefusedAll | TryAgain | ReplaceAsked
