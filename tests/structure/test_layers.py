"""The house stands in layers, as docs/architecture.md says. Each rule here is one that a newcomer may rely on."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest
from drivers.our_source import FILES, ROOT, imports, module_of, tree_of

LAYERS = [
    {"workers", "errors"},
    {"system", "core"},
    {"views", "control", "jobsfile"},
    {"store"},
    {"reading", "shared", "engines"},
    {"attempts"},
    {"supervisor"},
    {"runs"},
    {"cli", "__init__", "demo_agent"},
    {"__main__"},
]
LAYER_OF = {folder: layer for layer, folders in enumerate(LAYERS) for folder in folders}
LOOSE = {"__init__", "__main__", "errors", "demo_agent"}
"""The modules in the root of `orchestrator/`."""


def folder_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def test_a_folder_imports_only_lower_layers() -> None:
    """`import orchestrator` is for the version, everywhere: the names of the library are loaded when they are asked for."""
    pairs = [(module, other) for module, others in imports().items() for other in sorted(others) if other != "orchestrator"]
    upward = [
        f"{module} imports {other}"
        for module, other in pairs
        if folder_of(module) != folder_of(other) and LAYER_OF[folder_of(module)] <= LAYER_OF[folder_of(other)]
    ]
    assert upward == []


def test_no_files_import_in_a_circle() -> None:
    graphlib.TopologicalSorter(imports()).prepare()


def test_workers_import_nothing_of_orchestrator_and_the_core_only_itself() -> None:
    for alone in ("orchestrator.workers", "orchestrator.core"):
        inside = {module for module in FILES if f"{module}.".startswith(f"{alone}.")}
        assert inside
        assert {other for module in inside for other in imports()[module]} <= inside


def test_the_language_of_jobs_files_knows_no_profile_and_neither_knows_the_jobs() -> None:
    for folder, known in (("language", {"language"}), ("profiles", {"language", "profiles", "kept_files"})):
        inside = [module for module in FILES if module.startswith(f"orchestrator.jobsfile.{folder}.")]
        parts = [other.split(".") for module in inside for other in imports()[module]]
        assert {names[2] for names in parts if names[:2] == ["orchestrator", "jobsfile"]} == known


def test_only_the_loop_changes_the_state_of_the_rules() -> None:
    """Every other part of a supervisor asks the view of it; `opening` makes it, and hands it on."""
    outside = [module for module in FILES if not module.startswith("orchestrator.core.")]
    imports = [(module, node) for module in outside for node in ast.walk(tree_of(module)) if isinstance(node, ast.ImportFrom)]
    holders = {module for module, node in imports if "RunState" in {each.name for each in node.names}}
    assert holders == {"orchestrator.supervisor.loop", "orchestrator.supervisor.opening"}


def test_the_core_has_neither_clock_nor_disk_nor_process() -> None:
    for module in (module for module in FILES if module.startswith("orchestrator.core.")):
        named = {alias.name for node in ast.walk(tree_of(module)) if isinstance(node, ast.Import) for alias in node.names}
        assert not {"os", "time", "pathlib", "subprocess", "socket", "signal", "random"} & named, module


def test_few_modules_lie_loose_in_the_root() -> None:
    assert {path.stem for path in (ROOT / "orchestrator").glob("*.py")} == LOOSE


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES.values()}, key=str), ids=lambda path: path.name)
def test_every_folder_says_what_it_is_for(folder: Path) -> None:
    words = ast.get_docstring(tree_of(module_of(folder / "__init__.py"))) or ""
    assert len(words.split()) >= 30, f"{folder.relative_to(ROOT)}: a paragraph: what it is for, what never happens in it"


def test_no_file_is_longer_than_400_lines() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in FILES.values()}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_no_constructor_takes_more_than_six_arguments() -> None:
    """More of them are parts that want a struct of their own: the supervisor had seventeen."""
    taken = {
        f"{module}.{each.name}": len(part.args.args) + len(part.args.kwonlyargs) - 1
        for module in FILES
        for each in ast.walk(tree_of(module))
        if isinstance(each, ast.ClassDef)
        for part in each.body
        if isinstance(part, ast.FunctionDef) and part.name == "__init__"
    }
    assert taken
    assert {name: count for name, count in taken.items() if count > 6} == {}
