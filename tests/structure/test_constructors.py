"""No constructor takes more than six arguments, self apart: what a part needs is given to it as few whole things."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from drivers.our_source import FILES, tree_of

MOST = 6


def constructors() -> Iterator[tuple[str, int]]:
    """Class -> the number of arguments that its `__init__` takes, keyword-only ones and defaults too."""
    for module in FILES:
        for node in ast.walk(tree_of(module)):
            if not isinstance(node, ast.ClassDef):
                continue
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                    taken = inner.args
                    count = len(taken.posonlyargs) + len(taken.args) - 1 + len(taken.kwonlyargs)
                    yield f"{module}.{node.name}", count


def test_no_constructor_takes_more_than_six_arguments() -> None:
    """A struct may have more fields: it is one thing that is passed on as a whole."""
    counts = dict(constructors())
    assert len(counts) > 100
    assert {name: count for name, count in counts.items() if count > MOST} == {}
