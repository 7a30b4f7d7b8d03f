"""Sweeps: many variations of one story, of which the quick suite tells a few and `make test-slow` all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def sweep(variations: Iterable[Any], *, quick: int) -> list[Any]:
    """The arguments of `parametrize`: all but the first `quick` of them are slow."""
    return [each if place < quick else _slow(each) for place, each in enumerate(variations)]


def _slow(variation: Any) -> Any:
    if not hasattr(variation, "marks"):
        values = variation if isinstance(variation, tuple) else (variation,)
        return pytest.param(*values, marks=pytest.mark.slow)
    return pytest.param(*variation.values, id=variation.id, marks=[*variation.marks, pytest.mark.slow])
