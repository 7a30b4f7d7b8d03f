"""What the start of a program costs that runs a thousand times a day: no class that is dear to define, no needless library."""

from __future__ import annotations

import subprocess
import sys

LISTED = """
import dataclasses, sys
sys.argv = ["orchestrate"]
import orchestrator.cli.run, orchestrator.runs.commands, orchestrator.supervisor.session
for module in list(sys.modules.values()):
    if module.__name__.startswith(("orchestrator", "workers")):
        for each in vars(module).values():
            if isinstance(each, type) and each.__module__ == module.__name__ and dataclasses.is_dataclass(each):
                print(f"{module.__name__}.{each.__name__}")
"""

DEAR = {
    "orchestrator.jobsfile.language.template.Template",
    "orchestrator.reading.run_reader.RunReader",
    "orchestrator.cli.invocation.Invocation",
}
"""What needs more than a struct can: a field that is not compared, attributes that are worked out once."""


def test_hardly_a_class_that_a_run_loads_is_a_dataclass() -> None:
    """Each costs half a millisecond to define, a struct a fiftieth of that: a hundred were a fifth of the start."""
    found = subprocess.run([sys.executable, "-c", LISTED], capture_output=True, text=True, check=True, timeout=30)
    assert set(found.stdout.split()) <= DEAR


def test_a_run_without_a_terminal_loads_nothing_that_draws_or_serves() -> None:
    listed = "import sys, orchestrator.cli.run, orchestrator.runs.commands, orchestrator.supervisor.session; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True, timeout=30)
    assert not {"rich", "asyncio", "distributed", "starlette", "yaml", "jsonschema", "email", "tarfile", "gzip", "shutil"} & set(
        found.stdout.split()
    )
