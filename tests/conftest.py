"""What every test may use: a home of its own, the real command line under a hard time limit, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil
import pytest

if TYPE_CHECKING:  # run_driver stands on this module
    from drivers.fake_agents import Witness
    from drivers.run_driver import RunDriver

PACKAGE = Path(__file__).resolve().parents[1] / "orchestrator"

SETTLE_SECONDS = 30.0
"""How long a worker may take to notice that its supervisor is gone, on a machine that has much else to do."""


def pytest_configure() -> None:
    """What runs the tests may ignore signals (a shell's background, nohup), and all that the tests start would inherit that."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    _forget_others_packages()


def _forget_others_packages() -> None:
    """What the tests start runs this checkout: drop folders of PYTHONPATH that hold somebody else's package `orchestrator`."""
    if "PYTHONPATH" not in os.environ:
        return
    folders = os.environ["PYTHONPATH"].split(os.pathsep)
    kept = [folder for folder in folders if not (other := Path(folder, "orchestrator")).exists() or other.samefile(PACKAGE)]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, kept))


WAIT = "i=0; until test -e NAME; do i=$((i+1)); test $i -lt 3000 || exit 9; sleep 0.01; done"
"""A shell script that waits for the file NAME, for half a minute at most."""


class RunCli(Protocol):
    """Runs `python -m orchestrator ARGUMENTS` to its end; stdout and stderr as text. On expiry its processes are killed."""

    def __call__(
        self,
        *arguments: str | os.PathLike[str],
        stdin: str | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what the person who runs the tests has set, nor the run that may be running the tests."""
    for name in list(os.environ):
        if name.startswith(("ORCHESTRATE_", "XDG_")):
            monkeypatch.delenv(name)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """This test's own home; afterwards no process may be left that belongs to it."""
    folder = tmp_path / "home"
    monkeypatch.setenv("ORCHESTRATE_HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with no_process_left(folder):
        yield folder


@pytest.fixture
def run_cli(home: Path, tmp_path: Path) -> RunCli:
    """The real program in a process of its own, with the test's home, in the test's folder unless `cwd` says otherwise."""

    def run(
        *arguments: str | os.PathLike[str],
        stdin: str | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "orchestrator", *(os.fspath(argument) for argument in arguments)]
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd or tmp_path,
            env={**os.environ, **(env or {})},
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            kill([*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid), *processes_of(home)])
            stdout, stderr = process.communicate()
            pytest.fail(f"still running after {timeout:g} s: {argv}\nstdout: {stdout[-2000:]}\nstderr: {stderr[-2000:]}")
        return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)

    return run


@contextmanager
def no_process_left(home: Path) -> Iterator[None]:
    """Afterwards no process belongs to a run in `home`, or it fails; also what a block that failed has left is ended."""
    try:
        yield
    except BaseException:
        kill(processes_of(home))
        raise
    _, left = psutil.wait_procs(processes_of(home), timeout=SETTLE_SECONDS)
    if left:
        told = "\n".join(describe(process) for process in left)
        kill(left)
        pytest.fail(f"this test left processes behind:\n{told}")


def processes_of(home: Path) -> list[psutil.Process]:
    """Living processes that belong to a run in `home`: by its name in their environment or command line, or by their cwd.

    The cwd finds jobs that were started with an empty environment: a test's jobs run in its own folder, which holds its home.
    """
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for process in psutil.process_iter() if process.pid not in mine and _belongs_to(process, home)]


def _belongs_to(process: psutil.Process, home: Path) -> bool:
    try:
        if process.environ().get("ORCHESTRATE_HOME") == str(home):
            return True
        return any(str(home) in word for word in process.cmdline()) or Path(process.cwd()).is_relative_to(home.parent)
    except psutil.Error:  # gone, a zombie, or another user's: not ours
        return False


def describe(process: psutil.Process) -> str:
    """`PID COMMAND`, also of a process that has gone meanwhile."""
    try:
        return f"{process.pid} {process.cmdline()}"
    except psutil.Error:
        return f"{process.pid} (gone)"


def kill(processes: list[psutil.Process]) -> None:
    """SIGKILL to all, and wait until they are gone."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=SETTLE_SECONDS)


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    """What the agent `fake` notes of its prompts, in the runs of `agent_driver`."""
    from drivers.fake_agents import Witness

    return Witness(tmp_path / "state")


@pytest.fixture
def agent_driver(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunDriver]:
    """Runs of a jobs file that may name the agent `fake`."""
    from drivers.fake_agents import STATE_VARIABLE, add_profile
    from drivers.run_driver import RunDriver

    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    add_profile(tmp_path)
    driver = RunDriver(tmp_path, home)
    yield driver
    driver.close()
