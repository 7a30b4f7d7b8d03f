"""How the output of an agent CLI is read: pure data, made of a profile, part of the `Start` of an agent's attempt."""

from __future__ import annotations

import msgspec


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one profile's output is read."""

    format: str = "jsonl"
