"""Where one story is played with the program that is recorded, and what is saved of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

PLACE = Path("/tmp/recorded")
PYTHON = PLACE / "program" / ".venv" / "bin" / "python"
RUN = "recorded"


class Stage:
    """Where one story is played: an empty home and project."""

    def __init__(self) -> None:
        for name in ("home", "project", "state", "user"):
            shutil.rmtree(PLACE / name, ignore_errors=True)
            (PLACE / name).mkdir(mode=0o700)
        self.project = PLACE / "project"
        self.home = PLACE / "home"
        self.told: dict[str, Any] = {}
        self.faults = ""
        """What the supervisors of the story are armed with (`workers.faultpoints`)."""
        self._env = {
            "PATH": f"{PYTHON.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(PLACE / "user"),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "ORCHESTRATE_HOME": str(self.home),
            "XDG_STATE_HOME": str(PLACE / "state"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **{f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }

    def write(self, name: str, text: str) -> None:
        path = self.project / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def sh(self, script: str) -> None:
        subprocess.run(["/bin/sh", "-ec", script], cwd=self.project, env=self._env, check=True)

    def start(self, *words: str) -> subprocess.Popen[str]:
        argv = [str(PYTHON), "-m", "orchestrator", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            argv,
            cwd=self.project,
            env=self._env | {"ORCHESTRATE_FAULT": self.faults},
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )

    def cli(self, *words: str, exit_code: int = 0) -> str:
        process = self.start(*words)
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == exit_code, (words, process.returncode, stdout, stderr)
        return stdout

    def run(self, *words: str, exit_code: int = 0, run_id: str = RUN) -> None:
        self.cli("run", "jobs.toml", "--run-id", run_id, *words, exit_code=exit_code)

    def ran(self, count: int) -> None:
        """Wait until so many items have witnessed."""
        self.wait(lambda: len((self.project / "ran.txt").read_text().split()) >= count)

    def wait(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                if condition():
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def item_is(self, item: str, status: str, run_id: str = RUN) -> Callable[[], bool]:
        def is_so() -> bool:
            if not (self.home / "runs" / run_id / "checkpoint.json").exists():
                return False
            results = json.loads(self.cli("results", run_id, "--json"))
            return any(each["item"] == item and each["status"] == status for each in results)

        return is_so

    def kill_supervisors(self) -> None:
        for path in self.home.glob("runs/*/supervisor.json"):
            try:
                os.kill(json.loads(path.read_text())["pid"], signal.SIGKILL)
            except ProcessLookupError:
                continue

    def kill_all(self) -> None:
        """Everything of this home with SIGKILL: supervisors first, workers, what they run."""
        self.kill_supervisors()
        left = [process for process in psutil.process_iter() if is_ours(process)]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=10)

    def no_worker_left(self) -> bool:
        return not any(is_ours(process) for process in psutil.process_iter())

    def save(self, folder: Path) -> None:
        assert self.no_worker_left()
        self.told["status"] = json.loads(self.cli("status", RUN, "--json"))
        self.told["results"] = json.loads(self.cli("results", RUN, "--json"))
        self.told["logs"] = {each["item"]: self.cli("logs", RUN, each["item"]) for each in self.told["results"] if each["stdout"]}
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("home", "project", "state"):
            shutil.copytree(PLACE / name, folder / name, symlinks=True, ignore=_left_out)
        for path in sorted(folder.rglob(".git"), reverse=True):
            path.rename(path.with_name("dot-git"))
        self.told["empty_folders"] = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if _is_empty(path))
        (folder / "told.json").write_text(json.dumps(self.told, indent=1, sort_keys=True) + "\n")


def is_ours(process: psutil.Process) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
            return False
        return process.environ().get("ORCHESTRATE_HOME") == str(PLACE / "home") or Path(process.cwd()) == PLACE / "project"
    except psutil.Error:
        return False


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _left_out(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith((".sock", ".lock")) or name in ("__pycache__", "hooks", "lock")]
