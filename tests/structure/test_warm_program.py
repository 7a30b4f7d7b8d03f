"""A forked process of the command line is what a started one is, wherever a test could tell the difference."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from drivers.processes import is_living, wait_until
from drivers.warm_program import WarmProcess, warm_program

TELLS = """\
import json, os, resource, signal, sys, threading
print(json.dumps({
    "name": __name__, "main": vars(sys.modules["__main__"]) is globals(), "argv": sys.argv, "orig_argv": sys.orig_argv,
    "path": sys.path, "environment": dict(os.environ), "cwd": os.getcwd(), "descriptors": sorted(os.listdir("/proc/self/fd")),
    "group": os.getpgid(0), "session": os.getsid(0), "parent": os.getppid() > 1, "threads": threading.active_count(),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), "wakeup": signal.set_wakeup_fd(-1),
    "handlers": [str(signal.getsignal(number)).split(" at ")[0] for number in sorted(signal.valid_signals())],
    "ignored": [line for line in open("/proc/self/status") if line.startswith(("SigIgn", "SigCgt", "Umask"))],
    "limits": resource.getrlimit(resource.RLIMIT_NOFILE), "recursion": sys.getrecursionlimit(), "flags": str(sys.flags),
    "streams": [[stream.fileno(), stream.name, stream.mode, stream.encoding, stream.errors, stream.line_buffering,
                 stream.newlines, stream.write_through, stream.buffer.name, type(stream.buffer).__name__, stream.isatty()]
                for stream in (sys.stdin, sys.stdout, sys.stderr)],
}))
"""
ENDS = {
    "with a code": ("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", 3),
    "with a large code": ("import sys; sys.exit(259)", 3),
    "with its stdout closed": ("import os, sys; sys.stdout = open(1, 'w', closefd=False); print('lost'); os.close(1)", 120),
    "without one": ("print('out')", 0),
    "with words": ("import sys; sys.exit('no')", 1),
    "with an exception": ("def f(): raise ValueError('no')\nf()", 1),
    "behind its exit handlers": ("import atexit, json; atexit.register(lambda: print(json.dumps('last')))", 0),
    "behind its threads": (
        "import threading, time; threading.Thread(target=lambda: (time.sleep(0.01), print('late'))).start()",
        0,
    ),
    "by a signal": ("import os, signal; print('lost'); os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "by Ctrl-C": ("import os, signal; os.kill(os.getpid(), signal.SIGINT); signal.pause()", -signal.SIGINT),
    "at once": ("import os; print('lost'); os._exit(5)", 5),
}


class Said(NamedTuple):
    code: int
    stdout: str
    stderr: str


class Stage:
    """Modules in the test's folder, each run as a fork and as a process of its own, with the same streams."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, text: str) -> None:
        (self.folder / "tried.py").write_text(text)

    def both(self, *words: str, module: str = "tried", own_session: bool = False) -> tuple[Said, Said]:
        """What the fork said, and what the started process said."""
        return tuple(self._say(words, module, is_warm=is_warm, own_session=own_session) for is_warm in (True, False))  # type: ignore[return-value]

    def _say(self, words: tuple[str, ...], module: str, *, is_warm: bool, own_session: bool) -> Said:
        out, err = self.folder / "out", self.folder / "err"
        process: WarmProcess | subprocess.Popen[bytes]
        with out.open("wb") as stdout, err.open("wb") as stderr:
            if is_warm:
                process = self.start(*words, module=module, streams=(stdout.fileno(), stderr.fileno()), own_session=own_session)
            else:
                process = subprocess.Popen(
                    [sys.executable, "-m", module, *words],
                    cwd=self.folder,
                    env=os.environ,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=own_session,
                )
            code = process.wait(60)
        return Said(code, out.read_text(), err.read_text())

    def start(
        self, *words: str, module: str = "tried", streams: tuple[int, int] = (1, 2), own_session: bool = False
    ) -> WarmProcess:
        with open(os.devnull, "rb") as nothing:
            return warm_program().start(
                words,
                cwd=self.folder,
                env=os.environ,
                streams=(nothing.fileno(), *streams),
                own_session=own_session,
                module=module,
            )


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.parametrize("own_session", [False, True])
def test_it_finds_what_a_started_process_finds(stage: Stage, own_session: bool) -> None:
    stage.write(TELLS)
    found: list[dict[str, Any]] = []
    for said in stage.both("a", "b c", "\udcff", own_session=own_session):
        assert (said.code, said.stderr) == (0, "")
        found.append(json.loads(said.stdout))
    if own_session:
        assert all(each["session"] == each["group"] for each in found)
        assert len({each.pop("session") for each in found} | {each.pop("group") for each in found}) == 2
    assert found[0] == found[1]


@pytest.mark.parametrize("way", ENDS)
def test_it_ends_as_a_started_process_ends(stage: Stage, way: str) -> None:
    program, code = ENDS[way]
    stage.write(program)
    forked, started = stage.both()
    assert forked.code == started.code == code
    assert forked.stdout == started.stdout
    assert forked.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:], "above it stand the lines of the server"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("words", ["--version", "no-such-command", "run no-such-file.toml", "list"])
def test_the_command_line_says_the_same(stage: Stage, words: str) -> None:
    forked, started = stage.both(*words.split(), module="orchestrator")
    assert forked == started


def test_it_is_shown_with_its_own_arguments_and_environment(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATE_HOME", "/a home")
    stage.write("import signal; signal.pause()")
    process = stage.start("word")
    shown = psutil.Process(process.pid)
    try:
        wait_until(lambda: shown.cmdline()[:4] == [sys.executable, "-m", "tried", "word"], "the arguments are shown")
        # Written behind the arguments, so seen a little later.
        wait_until(lambda: shown.environ() == dict(os.environ), "its environment is shown")
    finally:
        process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert not is_living(process.pid)


def test_a_signal_that_comes_at_once_is_not_lost(stage: Stage) -> None:
    stage.write("import signal; signal.pause()")
    for number in (signal.SIGTERM, signal.SIGINT):
        process = stage.start()
        process.send_signal(number)
        assert process.wait(60) == -number


def test_one_that_has_ended_keeps_its_number_until_it_is_waited_for(stage: Stage) -> None:
    stage.write("pass")
    process = stage.start()
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "it has ended")
    assert process.wait(60) == 0
    assert not psutil.pid_exists(process.pid)


def test_an_environment_that_python_reads_when_it_starts_needs_a_started_process() -> None:
    program = warm_program()
    assert not program.needs_own_interpreter(os.environ)
    assert program.needs_own_interpreter({**os.environ, "PYTHONPATH": "/somewhere"})
    assert program.needs_own_interpreter({**os.environ, "LC_ALL": "tr_TR"})
    assert program.needs_own_interpreter({})
