"""A check confirms what an attempt did: beside a real worker, with what is left of the attempt's time."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from drivers.fake_agents import FAKE_ARGV, STATE_VARIABLE, Witness, claude_reading
from drivers.git_repository import Repository
from drivers.processes import is_living, pids_in, wait_until
from drivers.worker_driver import WorkerDriver, may_be_locked

from orchestrator.workers.processes.dead_tree import end_tree_of_dead_worker
from orchestrator.workers.protocol import (
    AgentTask,
    AttemptClass,
    Check,
    Creates,
    EndReason,
    Outcome,
    Spawned,
    Start,
    WorkspaceTask,
)

FAILED = AttemptClass.CHECK_FAILED


class CheckDriver(WorkerDriver):
    """A worker whose attempts are shell scripts with a check."""

    def check(self, check: str, script: str = ":", **settings: Any) -> Outcome:
        self.begin(check, script, **settings)
        return self.outcome()

    def begin(self, check: str, script: str = ":", **settings: Any) -> Start:
        return self.start("/bin/sh", "-c", script, check=Check(script=check, path=str(self.root / "outputs/check")), **settings)


WORKER = CheckDriver


def test_a_check_that_passes_leaves_the_success_as_it_was(worker: CheckDriver) -> None:
    outcome = worker.check("cat made; echo noise >&2", "echo x > made; echo out")
    assert (outcome.attempt_class, outcome.message, outcome.exit_code) == (AttemptClass.OK, "", 0)
    assert (outcome.stdout.inline, outcome.stderr.size, outcome.check.size) == (b"out\n", 0, 0)
    assert [type(line) for line in worker.log()].count(Spawned) == 2


def test_a_check_that_fails_tells_what_it_wrote(worker: CheckDriver) -> None:
    outcome = worker.check("echo one; echo two >&2; exit 3")
    assert (outcome.attempt_class, outcome.message, outcome.exit_code) == (FAILED, "check: exit code 3", 0)
    assert outcome.check.inline == b"one\ntwo\n"
    assert (worker.root / "outputs/check").read_bytes() == b"one\ntwo\n"
    assert worker.logged_outcomes() == {0: outcome}
    outcome = worker.check("kill -SEGV $$")
    assert (outcome.message, outcome.check.size) == ("check: ended by SIGSEGV", 0)


def test_a_failure_is_not_checked(worker: CheckDriver) -> None:
    outcome = worker.check("touch checked", "exit 4")
    assert (outcome.attempt_class, outcome.message) == (AttemptClass.COMMAND_FAILED, "exit code 4")
    assert not (worker.root / "checked").exists()


def test_a_check_sees_what_the_attempt_saw(worker: CheckDriver) -> None:
    """Folder, environment, mark, locks; and the end of its standard input."""
    (worker.root / "place").mkdir()
    lock = worker.lock(worker.root / "slot")
    check = "pwd; echo $ADDED-$ORCHESTRATE_MARK; ls /proc/self/fd | grep -c '^6.$'; cat; exit 1"
    outcome = worker.check(check, cwd=str(worker.root / "place"), env={"ADDED": "1"}, stdin="for the agent", locks=[lock])
    assert (outcome.check.inline or b"").decode().splitlines() == [f"{worker.root}/place", f"1-{worker.mark}", "1"]
    os.close(lock)
    assert may_be_locked(worker.root / "slot")


def test_a_script_that_is_too_large_for_an_argument_is_run_all_the_same(worker: CheckDriver) -> None:
    assert worker.check("# filler\n" * 30_000 + "exit 5").message == "check: exit code 5"


@pytest.mark.parametrize("filler", [0, 30_000])
def test_a_check_ends_with_its_first_command_that_fails(worker: CheckDriver, filler: int) -> None:
    outcome = worker.check("# filler\n" * filler + "echo before; false; echo behind")
    assert (outcome.attempt_class, outcome.check.inline) == (FAILED, b"before\n")
    assert worker.check("set +e; false; echo behind").attempt_class is AttemptClass.OK


def test_of_a_long_output_the_end_is_kept(worker: CheckDriver) -> None:
    outcome = worker.check("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo the reason; exit 1")
    kept = Path(outcome.check.path or "").read_bytes()
    first, second, *_, last = kept.decode().splitlines()
    assert first.startswith("[orchestrate: only the last ")
    assert second.startswith("line ")
    assert (last, outcome.check.is_cut, outcome.check.size) == ("the reason", True, len(kept))
    assert 60_000 < len(kept) < 70_000
    assert worker.check("exit 1").check.size == 0, "the next one must not see it"


def test_what_is_promised_is_kept_once_the_check_has_passed(worker: CheckDriver) -> None:
    creates = Creates(temporary=str(worker.root / "made.new"), final=str(worker.root / "made"))
    script = f"echo x > {creates.temporary}"
    check = f"test -e {creates.temporary} && test ! -e {creates.final}"
    assert worker.check(f"{check} && exit 1", script, creates=[creates]).attempt_class is FAILED
    assert sorted(path.name for path in worker.root.glob("made*")) == []
    assert worker.check(check, script, creates=[creates]).attempt_class is AttemptClass.OK
    assert sorted(path.name for path in worker.root.glob("made*")) == ["made"]


def test_a_folder_that_the_attempt_removed_fails_its_check(worker: CheckDriver) -> None:
    (worker.root / "place").mkdir()
    outcome = worker.check(":", f"rmdir {worker.root}/place", cwd=str(worker.root / "place"))
    assert (outcome.attempt_class, outcome.message) == (FAILED, f"check: cwd {worker.root}/place: No such file or directory")


class TestEnded:
    def test_it_has_what_is_left_of_the_time(self, worker: CheckDriver) -> None:
        outcome = worker.check("echo begun; sleep 600", "sleep 0.3", timeout_seconds=2.0)
        assert (outcome.attempt_class, outcome.ended_by) == (AttemptClass.TIMEOUT, EndReason.TIMEOUT)
        assert (outcome.message, outcome.check.inline) == ("check: timed out after 2s", b"begun\n")

    def test_its_silence_is_not_the_agents(self, worker: CheckDriver) -> None:
        assert worker.check("sleep 0.8", stall_timeout_seconds=0.3).attempt_class is AttemptClass.OK

    @pytest.mark.parametrize("reason", [EndReason.CANCEL, EndReason.DRAIN])
    def test_who_ends_it_ends_the_attempt(self, worker: CheckDriver, reason: EndReason) -> None:
        start = worker.begin("echo $$ >> pids; trap '' TERM; sleep 600 & wait; sleep 600")
        (pid,) = pids_in(worker.root / "pids", 1)
        worker.end(start, reason, grace=0.2)
        outcome = worker.outcome()
        assert (outcome.attempt_class, outcome.ended_by) == (AttemptClass.CANCELLED, reason)
        assert not is_living(pid)

    def test_what_it_left_behind_goes_with_it(self, worker: CheckDriver) -> None:
        outcome = worker.check("setsid sleep 600 & echo $! >> pids", grace_seconds=1)
        assert (outcome.attempt_class, outcome.leftovers) == (AttemptClass.OK, 1)
        assert not is_living(pids_in(worker.root / "pids", 1)[0])

    def test_an_end_that_comes_between_the_agent_and_its_check_is_heard(self, worker: CheckDriver) -> None:
        """The agent has exited, what it left behind is being ended: no check begins after that."""
        script = "(trap '' TERM; echo $$ >> pids; while :; do sleep 0.1; done) & until test -e pids; do sleep 0.01; done"
        start = worker.begin("touch checked", script, grace_seconds=600)
        agent = worker.agent()
        wait_until(lambda: not is_living(agent.pid), "the agent exits")
        worker.end(start, EndReason.DRAIN, grace=0)
        outcome = worker.outcome()
        assert (outcome.attempt_class, outcome.message) == (AttemptClass.CANCELLED, "ended by a drain before its check")
        assert not (worker.root / "checked").exists()

    def test_a_supervisor_that_is_killed_does_not_stop_it(self, worker: CheckDriver) -> None:
        os.mkfifo(worker.root / "go")
        worker.begin("echo $$ >> pids; read line < go; exit 3")
        pids_in(worker.root / "pids", 1)
        worker.disconnect()
        (worker.root / "go").write_text("go\n")
        assert worker.wait_exit() == 0
        (outcome,) = worker.logged_outcomes().values()
        assert (outcome.attempt_class, outcome.message) == (FAILED, "check: exit code 3")

    def test_a_killed_worker_leaves_what_leads_to_it(self, worker: CheckDriver) -> None:
        """Without its mark: the log names it, and it writes to the worker's file."""
        worker.begin("echo $$ >> pids; exec env -i /bin/sleep 600")
        (pid,) = pids_in(worker.root / "pids", 1)
        worker.kill()
        assert end_tree_of_dead_worker(worker.log(), mark=worker.mark, grace_seconds=0, folder=str(worker.folder)) == 1
        assert not is_living(pid)


class TestOfAnAgent:
    def tell(self, worker: CheckDriver, script: str, check: str, **settings: Any) -> Outcome:
        task = AgentTask(
            agent="fake",
            reading=claude_reading(),
            text_path=str(worker.root / "answer"),
            exit_grace_seconds=settings.pop("exit", 10.0),
            expect=settings.pop("expect", None),
        )
        env = {STATE_VARIABLE: str(worker.root / "state")}
        path = str(worker.root / "outputs/check")
        worker.start(*FAKE_ARGV, stdin=f"fake: {script}", agent=task, check=Check(script=check, path=path), env=env, **settings)
        return worker.outcome()

    def test_its_success_by_the_stream_is_confirmed_and_its_report_kept(self, worker: CheckDriver) -> None:
        outcome = self.tell(worker, "ok write=made:x cost=0.25", "grep y made; exit 1")
        assert (outcome.attempt_class, outcome.message) == (FAILED, "check: exit code 1")
        assert outcome.agent is not None
        assert (outcome.agent.cost_usd, outcome.agent.session_id) == (
            0.25,
            Witness(worker.root / "state").prompts()[0]["session"],
        )

    def test_a_failure_by_the_stream_with_exit_0_is_not_checked(self, worker: CheckDriver) -> None:
        assert self.tell(worker, "fail", "touch checked").attempt_class is AttemptClass.AGENT_FAILED
        assert not (worker.root / "checked").exists()

    @pytest.mark.parametrize(
        ("script", "lacking"),
        [
            ("ok text=' '", "nothing was said"),
            ("ok text='Unknown command: /x' turns=0", "it took no turn"),
            ("ok text=yes", ""),
            ("ok structured=0 text=", ""),
        ],
    )
    def test_without_the_answer_that_is_expected_it_has_failed_and_is_not_checked(
        self, worker: CheckDriver, script: str, lacking: str
    ) -> None:
        outcome = self.tell(worker, script, "touch checked", expect="answer")
        told = (AttemptClass.AGENT_FAILED, f'{lacking}, and expect = "answer"') if lacking else (AttemptClass.OK, "")
        assert ((outcome.attempt_class, outcome.message), (worker.root / "checked").exists()) == (told, not lacking)

    @pytest.mark.usefixtures("no_git_configuration")
    @pytest.mark.parametrize("kind", ["worktree", "copy", "temp"])
    def test_without_the_change_that_is_expected_it_has_failed(self, worker: CheckDriver, kind: Any) -> None:
        repository = Repository(worker.root / "repo", a="a\n")
        path = worker.root / "workspaces" / "item"
        task = WorkspaceTask(
            kind=kind,
            path=str(path),
            source=str(repository.path),
            cwd=str(path),
            branch="item",
            message="item\n",
            patch_path=str(worker.root / "patch"),
            keep_seconds=0.0,
        )
        tries = [
            self.tell(worker, script, check, expect="change", workspace=task, cwd=str(path))
            for script, check in [
                ("ok", "true"),
                ("ok write=made:x", "exit 1"),
                ("ok text=unchanged", "true"),  # the item has changed something: an attempt before has
            ]
        ]
        assert [(each.attempt_class, each.message) for each in tries] == [
            (AttemptClass.AGENT_FAILED, 'nothing was changed, and expect = "change"'),
            (AttemptClass.CHECK_FAILED, "check: exit code 1"),
            (AttemptClass.OK, ""),
        ]

    def test_one_that_lingers_is_checked_once_it_is_gone(self, worker: CheckDriver) -> None:
        outcome = self.tell(worker, "ok pid=pids linger", "! kill -0 $(cat pids)", exit=0.2)
        assert (outcome.attempt_class, outcome.ended_by, outcome.signal) == (
            AttemptClass.OK,
            EndReason.LINGERING,
            signal.SIGTERM,
        )
