"""Which fixtures there are (`tests/fixtures`), and what whatever the tests start finds: signals, and this checkout."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
from pathlib import Path

import pytest

pytest.register_assert_rewrite("drivers", "fixtures")

pytest_plugins = ["fixtures.isolation", "fixtures.playing", "fixtures.programs"]

collect_ignore = ["agent_samples", "store/recorded_runs"]
"""Hundreds of folders without a test, and each tester would look into all of them."""

IN_MEMORY = "/dev/shm"

ROOM_FOR_FOLDERS = 2 << 30
"""Bytes: far more than all tests that run at the same time have ever had."""

PACKAGE = Path(__file__).resolve().parents[1] / "orchestrator"


def pytest_configure() -> None:
    """What runs the tests may ignore signals (a shell's background, nohup), and all that the tests start would inherit that."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    _forget_others_packages()
    _take_folders_from_memory()
    from drivers.sweeps import register_profiles  # not before `register_assert_rewrite`

    register_profiles()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have each of several testers begin its imports at another file.

    In a fresh clone each assertion has to be rewritten once, which takes longer than all other imports together; testers that
    began at the same file would do all of it at the same time. So each begins with a part that it leaves to the others.
    """
    tester = getattr(session.config, "workerinput", None)
    if tester is None:
        return
    modules = [path for name in session.config.args for path in _test_modules(Path(name.partition("::")[0]))]
    first = len(modules) * int(tester["workerid"].removeprefix("gw")) // int(tester["workercount"])
    for path in modules[first:] + modules[:first]:
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        # What cannot be imported, and why, is told when the tests are collected.
        with contextlib.suppress(Exception):
            importlib.import_module(path.stem)


def _test_modules(path: Path) -> list[Path]:
    return sorted(path.rglob("test_*.py")) if path.is_dir() else [path]


def pytest_collection_finish() -> None:
    """Thousands of tests and all modules stay until the end: no collection of garbage has to walk through them again.

    What a test leaves is small, so it is looked for less often, too: at each 700 objects it took a fourteenth of a tester's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


def pytest_unconfigure() -> None:
    """Let go of what the workers of tests were forked from: of its socket, still open at the very end, Python 3.12 would warn."""
    from orchestrator.workers.warm_process import let_go_of_warm_process

    let_go_of_warm_process()


def _take_folders_from_memory() -> None:
    """Have the folders of tests lie in memory, where there is room and nobody has named a place: a disk's are a seventh dearer.

    No test asks a disk what is left when the power goes: what is synced, and in which order, is told by the calls of the program.
    One that counts on the time of a sync takes `disk_path`.
    """
    if any(name in os.environ for name in ("PYTEST_DEBUG_TEMPROOT", "TMPDIR")):
        return
    with contextlib.suppress(OSError):
        found = os.statvfs(IN_MEMORY)
        is_fit = os.access(IN_MEMORY, os.W_OK | os.X_OK) and not found.f_flag & (os.ST_NOEXEC | os.ST_RDONLY)
        if is_fit and found.f_bavail * found.f_frsize >= ROOM_FOR_FOLDERS:
            os.environ["PYTEST_DEBUG_TEMPROOT"] = IN_MEMORY


def _forget_others_packages() -> None:
    """What the tests start runs this checkout: drop folders of PYTHONPATH that hold somebody else's package `orchestrator`."""
    if "PYTHONPATH" not in os.environ:
        return
    folders = os.environ["PYTHONPATH"].split(os.pathsep)
    kept = [folder for folder in folders if not (other := Path(folder, "orchestrator")).exists() or other.samefile(PACKAGE)]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, kept))
