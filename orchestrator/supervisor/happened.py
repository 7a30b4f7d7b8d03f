"""Everything that can happen to a supervised run: one union, in the past tense. The loop takes in one at a time.

An engine tells of its attempts (`EngineEvent`); the inbox makes the others of readable descriptors and of the clock. A test can
make any of them by hand, so the loop is tried with every pair of them without a process.
"""

from __future__ import annotations

import signal

import msgspec

from orchestrator.control.messages import Request
from orchestrator.control.requester import Requester
from orchestrator.core.events import Event
from orchestrator.core.states import ItemRef
from orchestrator.engines.engine import EngineEvent
from orchestrator.shared.tokens.answers import Told
from orchestrator.views.prompt import Said


class Signalled(msgspec.Struct, frozen=True):
    """This process got a signal, or its program's `Stopper` was pressed, which counts as SIGTERM."""

    number: signal.Signals


class Asked(msgspec.Struct, frozen=True):
    """A request of `requester` came through the control socket. `client` waits for its reply."""

    client: int
    request: Request
    requester: Requester


class AnswerJudged(msgspec.Struct, frozen=True):
    """The answer of the attempt `sequence` was held against its schema. `told`: by its judge; None: that took too long."""

    sequence: int
    told: bytes | None


class BecameDurable(msgspec.Struct, frozen=True):
    """The ends of these items, on which other jobs depend, survive power loss now."""

    items: tuple[ItemRef, ...]


class TokenNews(msgspec.Struct, frozen=True):
    """Something came of work that items of this run joined, or an item of this run is to be replaced."""

    told: Told


class Answered(msgspec.Struct, frozen=True):
    """A person at the terminal chose something, or nobody sits there any more."""

    said: Said | EOFError | None


class MayBeFree(msgspec.Struct, frozen=True):
    """A slot or another resource that was missing may be had again."""

    event: Event


class WaitGivenUp(msgspec.Struct, frozen=True):
    """These items shall fail, so that a circle of waits ends. `words`: the circle."""

    items: tuple[ItemRef, ...]
    words: str


class TimeCame(msgspec.Struct, frozen=True):
    """The instant has come that the core wanted to be woken for."""


Happened = (
    EngineEvent | AnswerJudged | Signalled | Asked | BecameDurable | TokenNews | Answered | MayBeFree | WaitGivenUp | TimeCame
)
