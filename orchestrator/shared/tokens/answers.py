"""The question of an item that asks for its token, the answers that it gets at once, and what joiners are told later."""

from __future__ import annotations

import msgspec

from orchestrator.core.states import ItemRef
from orchestrator.core.tokens import Asker
from orchestrator.jobsfile.model import OutputKind
from orchestrator.workers.protocol import Outcome


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The token that an item wants, and for what work.

    `makes_file`: the file that the item promises is missing, so what was done before does not count for it. `is_asked`: a person
    wants the work done once more, so what another run did before does not count. `schema`: the JSON Schema for its answer.
    """

    token: str
    payload: str
    makes_file: bool = False
    is_asked: bool = False
    schema: str | None = None


class Asking(Asker, frozen=True, kw_only=True):
    """The question of an item. `output`, `schema`, `is_loop`: as of `TokenRecord`; `makes_file`: as of `Wanted`."""

    item: ItemRef
    name: str
    output: OutputKind
    schema: str | None
    is_loop: bool
    makes_file: bool


class Granted(msgspec.Struct, frozen=True):
    """The token is the item's. `begin_attempt` or `give_back` must follow; the descriptor stays the desk's to close."""

    lock_fd: int
    promotions: int


class Unregistered(msgspec.Struct, frozen=True):
    """The item runs beside the work in flight; the token knows nothing of it."""


class Joins(msgspec.Struct, frozen=True):
    """The item waits; `poll` tells it what came of the work. `words`: for whom it waits."""

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
    """These items wait for work that they cannot share, in words."""

    items: tuple[ItemRef, ...]
    message: str


class TryAgain(msgspec.Struct, frozen=True):
    """The work that these items joined came to no verdict, or to one that they cannot use: they may ask again."""

    items: tuple[ItemRef, ...]


class ReplaceAsked(msgspec.Struct, frozen=True):
    """An item of this run is to be cancelled on behalf of another (`by`, `RUN/ITEM`)."""

    item: ItemRef
    by: str


Told = SharedWith | RefusedAll | TryAgain | ReplaceAsked
