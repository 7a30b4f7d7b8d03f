"""Patterns that are compiled at their first use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from unittest.mock import Mock

import pytest
from drivers.our_source import FILES

from orchestrator.workers import lazy_pattern as module
from orchestrator.workers.lazy_pattern import lazy_pattern

HAVE_SOME = sorted(name for name, path in FILES.items() if "lazy_pattern(" in path.read_text("utf-8") and "lazy" not in path.stem)


def test_a_pattern_is_compiled_once_when_it_is_first_used(monkeypatch: pytest.MonkeyPatch) -> None:
    compiles = Mock(side_effect=re.compile)
    monkeypatch.setattr(module.re, "compile", compiles)
    word = lazy_pattern(r"(\w+) lazy", re.IGNORECASE)
    compiles.assert_not_called()
    for text in ("so LAZY", "as lazy"):
        found = word.match(text)
        assert found is not None
        assert found[1] == text[:2]
    compiles.assert_called_once_with(r"(\w+) lazy", re.IGNORECASE)


def patterns_of(name: str) -> Iterator[re.Pattern[str]]:
    return (each for each in vars(import_module(name)).values() if isinstance(each, module._Pattern))


def test_each_pattern_of_ours_can_be_compiled() -> None:
    """A mistake in one would be told at its first use: by a user's run."""
    assert HAVE_SOME
    for name in HAVE_SOME:
        sources = [each.pattern for each in patterns_of(name)]
        assert sources, name


def test_no_module_compiles_a_pattern_as_it_is_imported() -> None:
    """But for the demo agent, a program of its own."""
    at_import = re.compile(r"^\w+(: [^=\n]*)? = re\.compile", re.MULTILINE)
    compiling = {name for name, path in FILES.items() if at_import.search(path.read_text("utf-8"))}
    assert compiling == {"orchestrator.demo_agent"}, "take `lazy_pattern`"
