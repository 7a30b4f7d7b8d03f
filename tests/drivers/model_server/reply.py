"""What both protocols of the server answer with."""

from __future__ import annotations

from typing import Any, NamedTuple

Event = tuple[str, dict[str, Any]]
"""A server-sent event: its name and its data."""


class Refusal(NamedTuple):
    status: int
    headers: dict[str, str]
    body: dict[str, Any]
