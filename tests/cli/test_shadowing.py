"""A project's own packages `workers` and `orchestrator` take the place of ours in no process that we start.

Nor do modules in the folder that a command is given in take the place of Python's, or of those of others.

What is planted here notes that it was imported: the note has to stay empty.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from drivers.git_repository import Repository, forget_configuration

from orchestrator import __version__
from orchestrator.cli import orchestrate_entry
from orchestrator.system.own_command import own_argv

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(sysconfig.get_path("scripts")) / "orchestrate"
LIMIT_SECONDS = 120

PACKAGES = ("orchestrator", "workers")
LOOSE = ("json", "shlex", "subprocess", "tempfile", "tomllib", "click", "jinja2", "msgspec")
"""Modules of Python and of others, each as a file beside the packages: what an agent may leave in the folder that it works in."""

MODULES = ("__main__", "attempts", "cli", "demo_agent", "errors", "launch", "loop", "protocol", "workers")

JOBS = """
[jobs.port]
agent = "demo"
workspace = "worktree"
prompt = "write out/port.txt: ported"

[jobs.home]
land = "port"

[jobs.child]
workflow = "child.toml"

[jobs.nested]
shell = ORCHESTRATE
"""
CHILD = '[jobs.leaf]\nshell = "echo leaf"\n'


class Project:
    """A repository whose top folder holds the packages of PACKAGES, and stands on the path of modules (`PYTHONPATH=.`)."""

    def __init__(self, folder: Path, *regular: str, loose: tuple[str, ...] = ()) -> None:
        """`regular`: the packages that have an `__init__.py`. A folder without one stands behind every regular package.

        `loose`: modules beside the packages.
        """
        self.folder = folder / "project"
        self._note = folder / "imported"
        planted = f"with open({str(self._note)!r}, 'a') as note:\n    note.write(__name__ + '\\n')\n"
        names = [(package, module) for package in PACKAGES for module in MODULES]
        names += [(package, "__init__") for package in regular]
        files = [f"{package}/{module}.py" for package, module in names] + [f"{module}.py" for module in loose]
        self._repository = Repository(self.folder, **dict.fromkeys(files, planted))

    def imported(self) -> list[str]:
        """The planted modules that anybody has imported."""
        return self._note.read_text().split() if self._note.exists() else []

    def told(self, *argv: str, path: str = ".") -> str:
        """Stdout of a command in the project, which exits with 0."""
        ran = subprocess.run(
            argv,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def write(self, **files: str) -> None:
        """Write files, and commit them: a landing wants a clean checkout."""
        for name, text in files.items():
            self._repository.write(f"{name}.toml", text)
        self._repository.commit("jobs")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forget_configuration(monkeypatch, tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def installed_script() -> list[str]:
    """The console script of this environment."""
    if not SCRIPT.exists():
        pytest.skip(f"orchestrate is not installed here: no {SCRIPT}")
    if "orchestrate_entry" not in SCRIPT.read_text():
        pytest.skip(f"{SCRIPT} is of an older installation: install orchestrate again (pip install -e .)")
    return [str(SCRIPT)]


WAYS = {
    # Left to make test-slow: the child run of the others is started so.
    "as we start ourselves": (own_argv, PACKAGES),
    "by the console script": (installed_script, PACKAGES),
    # Of two regular packages Python itself takes the one in the current folder: `-m` is not ours to change.
    "by python -m": (lambda: [sys.executable, "-m", "orchestrator"], ("workers",)),
}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("way", [pytest.param(way, marks=pytest.mark.slow if "ourselves" in way else ()) for way in WAYS])
def test_supervisor_worker_child_run_nested_run_landing_agent_and_player_are_ours(folder: Path, way: str) -> None:
    command, regular = WAYS[way]
    orchestrate = command()
    project = Project(folder, *regular, loose=LOOSE)
    nested = json.dumps(shlex.join([*orchestrate, "run", "child.toml", "--quiet"]))
    project.write(jobs=JOBS.replace("ORCHESTRATE", nested), child=CHILD)
    project.told(*orchestrate, "run", "jobs.toml", "--run-id", "first", "--quiet")
    assert (project.folder / "out" / "port.txt").read_text() == "ported\n"
    project.told(*orchestrate, "capsule", "first", "-o", str(folder / "first.tar.gz"))
    (project.folder / "out" / "port.txt").unlink()  # what is played makes it anew
    project.write(jobs='[jobs.port]\nagent = "demo"\nworkspace = "worktree"\nprompt = "write out/port.txt: ported"\n')
    replayed = json.loads(
        project.told(*orchestrate, "run", "jobs.toml", "--replay", str(folder / "first.tar.gz"), "--json", "--quiet")
    )
    assert (replayed["status"], replayed["ledger"]["replayed"]) == ("completed", 1)
    assert project.imported() == []


@pytest.mark.usefixtures("home")
def test_a_program_that_uses_the_library_gets_its_own_workers(folder: Path) -> None:
    project = Project(folder, "workers")
    project.write(jobs='[jobs.one]\ncommand = ["true"]\n')
    program = "from orchestrator import run; print(run('jobs.toml').status); import workers; print(workers.__file__)"
    status, file = project.told(sys.executable, "-c", program).split()
    assert (status, Path(file)) == ("completed", project.folder / "workers" / "__init__.py")
    assert project.imported() == ["workers"]


def test_an_editable_installation_finds_the_checkout_behind_the_projects_folder(folder: Path) -> None:
    """As `pip install -e` leaves it: the entry module alone lies among the installed modules, beside a folder without code."""
    project = Project(folder, *PACKAGES)
    site = folder / "site"
    (site / "orchestrator" / "configs").mkdir(parents=True)
    shutil.copy(orchestrate_entry.__file__, site / "orchestrate_entry.py")
    script = "import sys; from orchestrate_entry import main; sys.argv = ['orchestrate', '--version']; sys.exit(main())"
    path = os.pathsep.join([".", str(site), str(ROOT)])
    assert project.told(sys.executable, "-c", script, path=path) == f"orchestrate {__version__}\n"
    assert project.imported() == []


def test_the_entry_module_says_what_is_wrong_when_it_stands_alone(tmp_path: Path) -> None:
    shutil.copy(orchestrate_entry.__file__, tmp_path / "orchestrate_entry.py")
    program = "import sys; sys.path[:] = [sys.argv[1], *sys.path[1:3]]; import orchestrate_entry; orchestrate_entry.main()"
    argv = [sys.executable, "-I", "-S", "-c", program, str(tmp_path)]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert ran.returncode == 1
    assert "install orchestrate-runs again" in ran.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_the_tests_themselves_test_ours(folder: Path) -> None:
    """One test that starts a command, run from a project with packages of these names on the path of modules."""
    project = Project(folder, *PACKAGES)
    tested = f"{ROOT}/tests/cli/test_child_files.py::test_a_plan_shows_what_each_child_is_given_and_the_jobs_that_it_has"
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", tested]
    assert "1 passed" in project.told(*argv, path=str(project.folder))
    assert project.imported() == []
