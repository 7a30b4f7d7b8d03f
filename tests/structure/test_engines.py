"""Engines are exchanged at one place, and nothing outside their folder knows how an attempt runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / "orchestrator"
ENGINES = ROOT / "engines"

OPEN_TO_ALL = {"engine", "choice", "onlookers", "orphans"}
"""What others import: what an engine is, which one a run has, what may be seen of a run from outside, what is left of one."""

OF_ENGINES_ALONE = re.compile(
    r"orchestrator\.workers\.(attempt|channel|launch|log|loop|processes\.(dead_tree|tree|runner))\b|"
    r"\b(pidfd_open|pidfd_send_signal|worker_folder|send_fds|recv_fds)\b"
)
"""Running an attempt, its worker's socket, folder and log, its tree of processes."""

LOOK_AT_OTHER_RUNS = {
    # Whoever wins a token ends what its dead holder left, in whichever run: else two agents would do the same work.
    "shared/tokens/holders.py",
    # A run that is started inside an item finds the worker above it, and what that has to lend.
    "shared/nesting/ancestors.py",
    "shared/nesting/inside.py",
    # Whether somebody who asks is in an attempt, of whatever run: its worker is above it.
    "system/enclosing.py",
}
"""They may: what they look at is of no engine of theirs."""


def files_outside() -> dict[str, str]:
    """Path below orchestrator/ -> text, of all modules but those of engines and workers."""
    paths = [path for path in sorted(ROOT.rglob("*.py")) if ENGINES not in path.parents and ROOT / "workers" not in path.parents]
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths}


def calls_in(text: str) -> set[str]:
    """The names that are called."""
    return {node.func.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def test_others_import_only_what_is_open_to_all() -> None:
    imported = {
        (module, name) for name, text in files_outside().items() for module in re.findall(r"orchestrator\.engines\.(\w+)", text)
    }
    assert {module for module, _ in imported} == OPEN_TO_ALL
    choosing = {name for module, name in imported if module == "choice"}
    assert choosing == {"supervisor/session.py", "runs/end_old_attempts.py"}


def test_one_function_chooses_the_engine_and_nothing_else_makes_one() -> None:
    """So a further engine is a module beside the others, and its line in that function."""
    made = {
        (name, path.name)
        for path in ENGINES.glob("*.py")
        for name in calls_in(path.read_text("utf-8"))
        if name.endswith("Engine")
    }
    assert made == {("LocalEngine", "choice.py"), ("InlineEngine", "choice.py")}


def test_nothing_outside_knows_how_an_attempt_runs() -> None:
    knowing = {name for name, text in files_outside().items() if OF_ENGINES_ALONE.search(text)}
    assert knowing == LOOK_AT_OTHER_RUNS | {"store/run_dir.py"}, "and where a worker's folder lies says RunDir"
