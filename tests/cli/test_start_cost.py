"""What the start of a program costs that runs a thousand times a day: no class that is dear to define, no needless library."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from orchestrator.workers.launch import worker_argv

MOST_OF_A_RUN, MOST_OF_OTHERS, MOST_OF_A_VERSION = 344, 206, 10
"""Our modules of a plain run, those of others there, ours of `--version`: 313, 187 and 9 when this was written, and a tenth."""
TOO_MANY = (
    "each module costs a start half a millisecond: import it where it is needed (`python -X importtime` tells what it costs)"
)


def modules_after(program: str) -> list[str]:
    """What is loaded once a new interpreter has run `program`."""
    told = f"{program}\nimport sys; print(*(name for name, module in sys.modules.items() if module is not None))"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=30)
    return found.stdout.splitlines()[-1].split()


def own_of(modules: list[str]) -> list[str]:
    return [name for name in modules if name.split(".")[0] in ("orchestrator", "workers")]


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
}
"""What needs more than a struct can: a field that is not compared, attributes that are worked out once."""


def test_hardly_a_class_that_a_run_loads_is_a_dataclass() -> None:
    """Each costs half a millisecond to define, a struct a fiftieth of that: a hundred were a fifth of the start."""
    found = subprocess.run([sys.executable, "-c", LISTED], capture_output=True, text=True, check=True, timeout=30)
    assert set(found.stdout.split()) <= DEAR


def test_a_run_without_a_terminal_loads_nothing_that_draws_or_serves() -> None:
    loaded = modules_after(
        "from orchestrator.cli import entry; entry._load_structs()\n"
        "import orchestrator.cli.run, orchestrator.runs.commands, orchestrator.supervisor.session, orchestrator.engines.local"
    )
    draws_or_serves = {"rich", "asyncio", "distributed", "starlette", "yaml", "jsonschema", "email", "tarfile", "gzip", "shutil"}
    for_few = {"typing_extensions", "jinja2", "subprocess", "tempfile", "ssl", "difflib", "csv", "graphlib", "importlib.metadata"}
    locks_by_more_than_a_call = {"filelock", "logging"}
    assert not (draws_or_serves | for_few | locks_by_more_than_a_call) & set(loaded)
    assert len(own_of(loaded)) <= MOST_OF_A_RUN, TOO_MANY
    assert len(loaded) - len(own_of(loaded)) <= MOST_OF_OTHERS, TOO_MANY


def test_the_version_is_told_by_few_modules() -> None:
    loaded = modules_after("from orchestrator.cli import main; main(['--version'])")
    assert len(own_of(loaded)) <= MOST_OF_A_VERSION, TOO_MANY
    assert not {"click", "msgspec", "json", "socket", "pathlib"} & set(loaded)


WORKER = """
import os, sys
for number, given in enumerate(sys.argv[1:3], 3):
    os.dup2(int(given), number)
os._exit = lambda code: print(code, *(name for name, module in sys.modules.items() if module is not None))
del sys.argv[1:3], sys.argv[0]
main = sys.argv[0]
exec(compile(open(main).read(), main, "exec"), {"__name__": "__main__", "__file__": main, "__package__": None})
"""
"""A worker whose supervisor is gone. It tells what it has loaded."""


def test_a_worker_loads_only_what_a_plain_command_needs() -> None:
    python, isolated, without_site, *words = worker_argv("/nowhere")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    with theirs, open(os.devnull, "rb") as lock:
        given = (theirs.fileno(), lock.fileno())
        argv = [python, isolated, without_site, "-c", WORKER, *map(str, given), *words]
        told = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30, pass_fds=given)
    code, *loaded = told.stdout.split()
    assert (code, told.stderr) == ("0", "")
    needless = {"inspect", "typing_extensions", "json", "traceback", "subprocess", "tempfile", "logging", "dataclasses"}
    assert not needless & set(loaded)
    own = [name for name in loaded if name.startswith("orchestrate_workers.")]
    assert not [name for name in own if name.startswith(("orchestrate_workers.agents", "orchestrate_workers.workspaces"))]
    assert len(own) <= 47, "43 and a tenth: import what a plain command does not need where it is needed"
    assert not {name.split(".")[0] for name in loaded} & {"orchestrator", "jinja2", "psutil", "filelock", "click", "rich"}
