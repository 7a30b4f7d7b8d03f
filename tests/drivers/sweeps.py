"""Sweeps: many variations of one story, of which the quick suite tells a few and `make test-slow` all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

IN_FULL = 100
"""`max_examples` of the Hypothesis profile `thorough`, in which a property draws as many examples as its test says."""


def register_profiles() -> None:
    """`quick`, which is loaded: a quarter of the examples. `thorough`, which test-slow names: all of them."""
    settings.register_profile("thorough", max_examples=IN_FULL, deadline=None)
    settings.register_profile("quick", max_examples=IN_FULL // 4, deadline=None)
    settings.load_profile("quick")


def examples(count: int, *suppressed: HealthCheck, derandomize: bool = False) -> settings:
    """Settings of a property that draws `count` examples in full. `suppressed`: what Hypothesis is not to complain of."""
    drawn = max(1, count * settings().max_examples // IN_FULL)
    return settings(max_examples=drawn, deadline=None, suppress_health_check=suppressed, derandomize=derandomize)


def sweep(variations: Iterable[Any], *, quick: int) -> list[Any]:
    """The arguments of `parametrize`: all but the first `quick` of them are slow."""
    return [each if place < quick else _slow(each) for place, each in enumerate(variations)]


@contextmanager
def telling(case: object) -> Iterator[None]:
    """Have a failure say which case it was: for a table of hundreds, each checked in less time than a test of its own takes."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"the case: {case}")
        raise


def _slow(variation: Any) -> Any:
    if not hasattr(variation, "marks"):
        values = variation if isinstance(variation, tuple) else (variation,)
        return pytest.param(*values, marks=pytest.mark.slow)
    return pytest.param(*variation.values, id=variation.id, marks=[*variation.marks, pytest.mark.slow])
