"""The program's own source as the tests of its structure read it: each file once, and only when a test asks."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def module_of(path: Path) -> str:
    """The name by which others import it: `orchestrator/workers` is a link to `workers/`."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return f"orchestrator.{name}" if name.split(".")[0] == "workers" else name


FILES = {
    module_of(path): path
    for package in ("workers", "orchestrator")
    for path in sorted((ROOT / package).rglob("*.py"))
    if not path.is_relative_to(ROOT / "orchestrator" / "workers")
}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text("utf-8"))


@cache
def imports() -> dict[str, frozenset[str]]:
    """Module -> our modules that it imports, also inside functions and for types alone."""
    return {module: frozenset(_imports_of(module)) for module in FILES}


def _imports_of(module: str) -> set[str]:
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = ".".join([*_package_of(module, node.level), *filter(None, [node.module])])
            inner = {f"{source}.{each.name}" for each in node.names}
            found |= inner & set(FILES) or {source}
    return found & set(FILES)


def _package_of(module: str, level: int) -> list[str]:
    """What the dots of an import stand for; none of an absolute one."""
    parts = module.split(".") if FILES[module].name == "__init__.py" else module.split(".")[:-1]
    return parts[: len(parts) - level + 1] if level else []
