"""Imports run one way, as the table of modules in docs/architecture.md says: a group imports only groups that stand before it."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `((?:workers|orchestrator)/[\w/]*)` \| ([^|]+) \|", re.MULTILINE)


def ranks_in(page: str) -> dict[str, int]:
    """Module -> number of its group, counted from the top; a group ends at `·` and at the end of its row."""
    groups = [
        [f"{folder}{name}".replace("/", ".") for name in re.findall(r"`(\w+)`", group)]
        for folder, row in ROW.findall(page)
        for group in row.split(" · ")
    ]
    ranks = {module: rank for rank, group in enumerate(groups) for module in group}
    assert len(ranks) == sum(map(len, groups)), "a module stands in the table twice"
    return ranks


def modules_under(root: Path) -> dict[str, Path]:
    """Module -> its file; a package's `__init__` only if it has more than words in it."""
    found = {}
    for package in ("workers", "orchestrator"):
        for path in sorted((root / package).rglob("*.py")):
            module = ".".join(path.relative_to(root).with_suffix("").parts)
            if path.name != "__init__.py" or any(not isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body):
                found[module] = path
    return found


def imports_of(path: Path, modules: dict[str, Path]) -> set[str]:
    """Our modules that a file imports, also inside functions and for types alone."""
    named: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                named.add(inner if inner in modules else node.module)
    return {
        name if name in modules else f"{name}.__init__" for name in named if name.split(".")[0] in ("workers", "orchestrator")
    }


def against_the_way(modules: dict[str, Path], ranks: dict[str, int]) -> list[str]:
    return [
        f"{module} imports {other}"
        for module, path in modules.items()
        for other in sorted(imports_of(path, modules))
        if ranks[other] >= ranks[module]
    ]


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "architecture.md").read_text("utf-8")


@pytest.fixture(scope="module")
def modules() -> dict[str, Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, timeout=30)
    if listed.returncode != 0:
        return modules_under(ROOT)
    tracked = {ROOT / name for name in listed.stdout.decode().split("\0")}
    return {module: path for module, path in modules_under(ROOT).items() if path in tracked}


def test_the_page_names_every_module_and_no_other(page: str, modules: dict[str, Path]) -> None:
    assert sorted(ranks_in(page)) == sorted(modules)


def test_no_module_imports_what_stands_beside_or_after_it(page: str, modules: dict[str, Path]) -> None:
    assert against_the_way(modules, ranks_in(page)) == []


def test_workers_import_nothing_of_orchestrator(modules: dict[str, Path]) -> None:
    imported = {other for module, path in modules.items() if module.startswith("workers.") for other in imports_of(path, modules)}
    assert imported
    assert all(other.startswith("workers.") for other in imported)


def test_the_core_imports_nothing_of_ours_and_neither_clock_nor_disk_nor_process(modules: dict[str, Path]) -> None:
    core = {module: path for module, path in modules.items() if module.startswith("orchestrator.core.")}
    assert core
    for module, path in core.items():
        assert all(other.startswith("orchestrator.core.") for other in imports_of(path, modules)), module
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {"os", "time", "pathlib", "subprocess", "socket", "signal", "random"} & set(names), module


def test_the_check_sees_an_import_that_runs_back(tmp_path: Path) -> None:
    for name, text in {
        "workers/low.py": "def f():\n    from workers import high\n    return high\n",
        "workers/high.py": "import workers.low\n",
        "workers/twin.py": "from workers.high import x\n",
        "orchestrator/top.py": "from workers import low\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    ranks = ranks_in("| `workers/` | `low` · `high` `twin` | x |\n| `orchestrator/` | `top` | x |\n")
    assert ranks == {"workers.low": 0, "workers.high": 1, "workers.twin": 1, "orchestrator.top": 2}
    assert against_the_way(modules_under(tmp_path), ranks) == [
        "workers.low imports workers.high",
        "workers.twin imports workers.high",
    ]
