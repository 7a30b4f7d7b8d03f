"""What the start of a program costs that runs a thousand times a day: no class that is dear to define, no needless library."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.workers.launch import worker_argv

MOST_OF_A_RUN, MOST_OF_OTHERS, MOST_OF_A_VERSION, MOST_OF_A_WORKER = 330, 118, 10, 54
"""Modules: ours of a plain run, those of others there, ours of `--version`, ours of a worker. 300, 107, 9 and 49 when this was
written; a tenth is head-room."""
TOO_MANY = """
A start costs a third of a millisecond for each module. Look which one is new (`python -X importtime -m orchestrator run FILE`).
Import what a plain run does not use in the function that uses it; a regular expression is made by `lazy_pattern`. If a plain run
uses it, raise the bound, and say by how much a start became dearer (valgrind --tool=cachegrind --cache-sim=no)."""


def modules_after(program: str, env: dict[str, str] | None = None) -> list[str]:
    """What is loaded once a new interpreter has run `program`."""
    told = f"{program}\nimport sys; print(*(name for name, module in sys.modules.items() if module is not None))"
    found = subprocess.run([sys.executable, "-c", told], env=env, capture_output=True, text=True, check=True, timeout=30)
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
            if not isinstance(each, type) or each.__module__ != module.__name__:
                continue
            if dataclasses.is_dataclass(each) or issubclass(each, tuple):
                print(f"{module.__name__}.{each.__name__}")
"""


def test_no_class_that_a_run_loads_is_a_dataclass_or_a_named_tuple() -> None:
    """Each costs as much as five structs to define, and more. The first dataclass brings inspect, ast and tokenize."""
    found = subprocess.run([sys.executable, "-c", LISTED], capture_output=True, text=True, check=True, timeout=30)
    assert found.stdout.split() == []


def test_a_run_without_a_terminal_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text('[jobs.a]\ncommand = ["true"]\n')
    env = {**os.environ, "ORCHESTRATE_HOME": str(tmp_path / "home")}
    words = ["orchestrate", "run", str(tmp_path / "jobs.toml"), "--quiet"]
    loaded = modules_after(f"import sys; sys.argv = {words}; from orchestrator.cli import main; assert main() == 0", env)
    draws_or_serves = {"rich", "asyncio", "distributed", "starlette", "yaml", "jsonschema", "email", "tarfile", "gzip", "shutil"}
    for_few = {"typing_extensions", "jinja2", "subprocess", "tempfile", "ssl", "difflib", "csv", "graphlib", "importlib.metadata"}
    of_functions_never_called = {
        "hashlib",
        "platform",
        "urllib.parse",
        "ipaddress",
        "uuid",
        "decimal",
        "selectors",
        "string",
        "textwrap",
    }
    of_readers_of_words = {"click", "inspect", "dataclasses", "gettext", "locale", "json", "shlex"}
    locks_by_more_than_a_call = {"filelock", "logging", "secrets"}
    assert not (draws_or_serves | for_few | of_readers_of_words | locks_by_more_than_a_call) & set(loaded)
    assert not of_functions_never_called & set(loaded)
    assert len(own_of(loaded)) <= MOST_OF_A_RUN, TOO_MANY
    assert len(loaded) - len(own_of(loaded)) <= MOST_OF_OTHERS, TOO_MANY


def test_the_version_is_told_by_few_modules() -> None:
    loaded = modules_after("from orchestrator.cli import main; main(['--version'])")
    assert len(own_of(loaded)) <= MOST_OF_A_VERSION, TOO_MANY
    assert not {"click", "msgspec", "json", "socket", "pathlib"} & set(loaded)


def test_ids_of_runs_are_completed_without_a_reader_of_words_or_of_records(tmp_path: Path) -> None:
    loaded = modules_after(f"from orchestrator.cli import main; main(['complete', '--home', {str(tmp_path)!r}, 'status', ''])")
    assert not {"click", "inspect", "json", "orchestrator.store.records", "orchestrator.reading.run_reader"} & set(loaded)


def test_a_list_of_runs_is_told_without_a_reader_of_words_or_of_records(tmp_path: Path) -> None:
    loaded = modules_after(f"from orchestrator.cli import main; main(['list', '--home', {str(tmp_path)!r}])")
    assert not {"click", "inspect", "json", "orchestrator.store.records", "orchestrator.reading.run_reader"} & set(loaded)


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
    assert len(own) <= MOST_OF_A_WORKER, TOO_MANY
    assert not {name.split(".")[0] for name in loaded} & {"orchestrator", "jinja2", "psutil", "filelock", "click", "rich"}


ENDED = """
import sys, threading
from orchestrator.cli import end_process
sys.stdout.write("said ")
if sys.argv[1:]:
    threading.Thread(target=lambda: (threading.main_thread().join(), print("and done"))).start()
end_process(3)
"""


@pytest.mark.parametrize("words", [[], ["with a thread"]])
def test_a_process_ends_at_once_but_behind_its_words_and_its_threads(words: list[str]) -> None:
    ended = subprocess.run([sys.executable, "-c", ENDED, *words], capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout.split(), ended.stderr) == (3, ["said", "and", "done"] if words else ["said"], "")
