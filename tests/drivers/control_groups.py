"""Control groups whose counter of kills for want of memory a test moves, and workers that read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.workers import launch
from orchestrator.workers.processes import oom_kills

_WORKERS = Path(launch.__file__).parent

_WRAPPER = f"""
import runpy, sys
sys.path[:] = sys.argv[2:]
package = sys.modules["orchestrate_workers"] = type(sys)("orchestrate_workers")
package.__path__ = [{str(_WORKERS)!r}]
from orchestrate_workers.processes import oom_kills
oom_kills.GROUPS, oom_kills.OWN_GROUP = GROUPS, OWN_GROUP
runpy.run_path({str(_WORKERS / "__main__.py")!r}, run_name="__main__")
"""


class ControlGroups:
    """`groups` stands for /sys/fs/cgroup, `own` for /proc/self/cgroup; whoever reads them is in the group `app/run`."""

    def __init__(self, folder: Path) -> None:
        self.groups = folder / "groups"
        self.own = folder / "own"
        self.own.write_text("1:name=systemd:/else\n0::/app/run\n")
        self.events = self.groups / "app" / "run" / "memory.events"
        self.events.parent.mkdir(parents=True)
        self.events.write_text("low 0\nhigh 3\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n")
        self._folder = folder

    @property
    def kill(self) -> str:
        """A script after which one process more has been killed."""
        more = f"echo oom_kill $(($(sed -n 's/oom_kill //p' {self.events}) + 1))"
        return f"{more} > {self.events}.new; mv {self.events}.new {self.events}"

    def read_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have this process read them. The caller forgets afterwards which group it is in (`_events_path.cache_clear`)."""
        monkeypatch.setattr(oom_kills, "GROUPS", str(self.groups))
        monkeypatch.setattr(oom_kills, "OWN_GROUP", str(self.own))
        oom_kills._events_path.cache_clear()

    def read_in_workers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have workers that are started from now on read them."""
        wrapper = self._folder / "worker.py"
        wrapper.write_text(f"GROUPS, OWN_GROUP = {str(self.groups)!r}, {str(self.own)!r}\n{_WRAPPER}")
        argv = launch.worker_argv

        def wrapped(folder: str) -> list[str]:
            return [str(wrapper) if word.endswith("__main__.py") else word for word in argv(folder)]

        monkeypatch.setattr(launch, "worker_argv", wrapped)
        monkeypatch.setattr(launch, "fork_worker", lambda *_: None)
