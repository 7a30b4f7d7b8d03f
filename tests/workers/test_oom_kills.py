"""What the kernel kills for want of memory is told as that: by the counter of the control group, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.control_groups import ControlGroups
from drivers.fake_agents import FAKE_ARGV, claude_reading
from drivers.worker_driver import WorkerDriver

from orchestrator.workers.attempt_end import AttemptEnd, with_oom_kills_told
from orchestrator.workers.processes import oom_kills
from orchestrator.workers.protocol import AgentTask, AttemptClass, Check, EndReason


@pytest.fixture
def groups(tmp_path: Path) -> ControlGroups:
    return ControlGroups(tmp_path)


@pytest.fixture
def counted(groups: ControlGroups, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    groups.read_here(monkeypatch)
    yield
    oom_kills._events_path.cache_clear()


@pytest.mark.usefixtures("counted")
class TestCounting:
    def test_the_count_is_that_of_the_own_group(self, groups: ControlGroups) -> None:
        events = groups.events
        assert oom_kills.oom_kills() == (str(events), 1)
        events.write_text("oom_kill 4\n")
        since = [oom_kills.killed_since(before) for before in ((str(events), 1), (str(events), 4), (str(events), 5), None)]
        assert since == [3, 0, 0, 0]

    def test_in_a_container_that_has_another_name_outside_it_is_that_of_the_top(self, groups: ControlGroups) -> None:
        groups.own.write_text("0::/docker/0123\n")
        (groups.groups / "memory.events").write_text("oom_kill 9\n")
        assert oom_kills.oom_kills() == (str(groups.groups / "memory.events"), 9)

    @pytest.mark.parametrize("own", [b"4:memory:/app/run\n", b"0::/else\n", b"", b"\0", b"0::/caf\xe9\n"])
    def test_without_cgroup_v2_nothing_is_known(self, groups: ControlGroups, own: bytes) -> None:
        groups.own.write_bytes(own)
        assert oom_kills.oom_kills() is None

    @pytest.mark.parametrize("events", [b"", b"oom_kill\n", b"oom_kill x\n", b"\xff\xfe"])
    def test_what_is_no_count_is_none(self, groups: ControlGroups, events: bytes) -> None:
        groups.events.write_bytes(events)
        assert oom_kills.oom_kills() is None

    def test_a_group_that_is_gone_meanwhile_tells_nothing(self, groups: ControlGroups) -> None:
        before = oom_kills.oom_kills()
        groups.events.unlink()
        assert oom_kills.killed_since(before) == 0


@pytest.mark.parametrize(
    "end",
    [
        AttemptEnd(AttemptClass.OK),
        AttemptEnd(AttemptClass.TIMEOUT, "timed out", None, 9, EndReason.TIMEOUT),
    ],
)
def test_a_success_and_an_end_of_ours_have_their_reason_already_and_cost_no_look(
    end: AttemptEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("orchestrator.workers.attempt_end.killed_since")
    assert with_oom_kills_told(end, ("/somewhere", 0)) == end


def test_an_attempt_that_the_kernel_killed_for_want_of_memory_says_so(
    groups: ControlGroups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups.read_in_workers(monkeypatch)
    kill = groups.kill
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
