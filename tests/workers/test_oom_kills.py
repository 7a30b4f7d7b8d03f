"""What the kernel kills for want of memory is told as that: by the counter of the control group, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.fake_agents import FAKE_ARGV, claude_reading
from drivers.worker_driver import WorkerDriver

from orchestrator.workers import launch
from orchestrator.workers.attempt_end import AttemptEnd, with_oom_kills_told
from orchestrator.workers.processes import oom_kills
from orchestrator.workers.protocol import AgentTask, AttemptClass, Check, EndReason

WORKERS = Path(launch.__file__).parent

WRAPPER = f"""
import runpy, sys
sys.path[:] = sys.argv[2:]
package = sys.modules["orchestrate_workers"] = type(sys)("orchestrate_workers")
package.__path__ = [{str(WORKERS)!r}]
from orchestrate_workers.processes import oom_kills
oom_kills.GROUPS, oom_kills.OWN_GROUP = GROUPS, OWN_GROUP
runpy.run_path({str(WORKERS / "__main__.py")!r}, run_name="__main__")
"""


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """Stands for /sys/fs/cgroup; the group of this process is `app/run`."""
    (tmp_path / "own").write_text("1:name=systemd:/else\n0::/app/run\n")
    events = tmp_path / "groups" / "app" / "run" / "memory.events"
    events.parent.mkdir(parents=True)
    events.write_text("low 0\nhigh 3\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n")
    return tmp_path / "groups"


@pytest.fixture
def counted(groups: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(oom_kills, "GROUPS", str(groups))
    monkeypatch.setattr(oom_kills, "OWN_GROUP", str(groups.parent / "own"))
    oom_kills._events_path.cache_clear()
    yield
    oom_kills._events_path.cache_clear()


@pytest.mark.usefixtures("counted")
class TestCounting:
    def test_the_count_is_that_of_the_own_group(self, groups: Path) -> None:
        assert oom_kills.oom_kills() == 1
        (groups / "app" / "run" / "memory.events").write_text("oom_kill 4\n")
        assert (oom_kills.killed_since(1), oom_kills.killed_since(4), oom_kills.killed_since(None)) == (3, 0, 0)

    def test_in_a_container_that_has_another_name_outside_it_is_that_of_the_top(self, groups: Path) -> None:
        (groups.parent / "own").write_text("0::/docker/0123\n")
        (groups / "memory.events").write_text("oom_kill 9\n")
        assert oom_kills.oom_kills() == 9

    @pytest.mark.parametrize("own", ["4:memory:/app/run\n", "0::/else\n", "", "\0"])
    def test_without_cgroup_v2_nothing_is_known(self, groups: Path, own: str) -> None:
        (groups.parent / "own").write_text(own)
        assert oom_kills.oom_kills() is None

    @pytest.mark.parametrize("events", [b"", b"oom_kill\n", b"oom_kill x\n", b"\xff\xfe"])
    def test_what_is_no_count_is_none(self, groups: Path, events: bytes) -> None:
        (groups / "app" / "run" / "memory.events").write_bytes(events)
        assert oom_kills.oom_kills() is None

    def test_a_group_that_is_gone_meanwhile_tells_nothing(self, groups: Path) -> None:
        before = oom_kills.oom_kills()
        (groups / "app" / "run" / "memory.events").unlink()
        assert oom_kills.killed_since(before) == 0


@pytest.mark.parametrize(
    "end",
    [
        AttemptEnd(AttemptClass.OK),
        AttemptEnd(AttemptClass.TIMEOUT, "timed out", None, 9, EndReason.TIMEOUT),
    ],
)
def test_a_success_and_an_end_of_ours_have_their_reason_already(end: AttemptEnd) -> None:
    assert with_oom_kills_told(end, 1) == end


def test_an_attempt_that_the_kernel_killed_for_want_of_memory_says_so(
    groups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = tmp_path / "worker.py"
    values = f"GROUPS, OWN_GROUP = {str(groups)!r}, {str(tmp_path / 'own')!r}\n"
    wrapper.write_text(values + WRAPPER)
    argv = launch.worker_argv

    def wrapped(folder: str) -> list[str]:
        return [str(wrapper) if word.endswith("__main__.py") else word for word in argv(folder)]

    monkeypatch.setattr(launch, "worker_argv", wrapped)
    events = groups / "app" / "run" / "memory.events"
    kill = f"echo oom_kill $(($(sed -n 's/oom_kill //p' {events}) + 1)) > {events}.new; mv {events}.new {events}"
    worker = WorkerDriver(tmp_path / "run")
    try:
        killed = worker.shell(f"{kill}; kill -9 $$")
        child = worker.shell(f"{kill}; {kill}; sh -c 'kill -9 $$'; exit $?")
        other = worker.shell("kill -9 $$")
        well = worker.shell(kill)
        check = worker.shell(":", check=Check(script=f"{kill}; kill -9 $$", path=str(tmp_path / "check")))
        task = AgentTask(agent="fake", reading=claude_reading(), text_path=str(tmp_path / "text"))
        agent = worker.run("/bin/sh", "-c", f"{kill}; exec {' '.join(FAKE_ARGV)} -p 'fake: kill=KILL'", agent=task)
    finally:
        worker.close()
    assert [each.message for each in (killed, child, other, well, check, agent)] == [
        "ended by SIGKILL; the kernel killed a process here for want of memory",
        "exit code 137; the kernel killed 2 processes here for want of memory",
        "ended by SIGKILL",
        "",
        "check: ended by SIGKILL; the kernel killed a process here for want of memory",
        "ended by signal 9; the kernel killed a process here for want of memory",
    ]
    assert (killed.attempt_class, agent.attempt_class) == (AttemptClass.COMMAND_FAILED, AttemptClass.AGENT_FAILED)
