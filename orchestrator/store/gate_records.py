"""The records of gates: what was asked, and what somebody chose. See `records`."""

from __future__ import annotations

import msgspec


class GateAsked(msgspec.Struct, frozen=True, tag="asked", kw_only=True, omit_defaults=True):
    """A gate's question is out: the item waits for somebody's choice. An answer that it had before counts no more."""

    job: str
    index: int
    question: str
    options: list[str]
    at: float
    label: str | None = None
    show_file: str | None = None
    """Absolute path of a file that belongs to the question."""


class AnsweredBy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who made a choice: the process that asked for it, as the kernel told of it.

    `program`: its name and the name of the one that started it; `terminal`: as `pts/3`, empty without one. `item`: `RUN/ITEM`
    that it was in, whose job has `control = true`; empty: in none.
    """

    pid: int
    program: str
    user: str
    terminal: str = ""
    item: str = ""


class GateAnswered(msgspec.Struct, frozen=True, tag="answered", kw_only=True, omit_defaults=True):
    """Somebody made the choice. Durable before anything acts on it. `by` None: a version that did not tell has written it."""

    job: str
    index: int
    choice: str
    at: float
    message: str = ""
    by: AnsweredBy | None = None
