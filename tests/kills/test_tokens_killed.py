"""Who does the work of a token is killed, or stopped: never two agents at once, nothing is paid for twice."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from drivers.processes import is_living, wait_until
from drivers.sweeps import sweep
from drivers.token_runs import TOKEN, TokenRuns

RUNS = TokenRuns


# The supervisor is killed.


def test_the_same_token_run_again_at_once_joins_the_agent_that_outlived_its_supervisor(runs: TokenRuns) -> None:
    runs.job()
    holder = runs.holder()
    worker, _ = runs.process_of("first", "go")
    holder.kill()
    second = runs.waiter("second")
    assert "first/go" in runs.why("second", "go")
    runs.open_gate()
    runs.assert_exit(second, 0)
    assert not is_living(worker)
    runs.assert_started("first/go")
    runs.assert_shared("second", "first/go")
    runs.assert_exit(runs.launch("resume", "first"), 0)
    runs.assert_started("first/go")
    assert runs.result_of("first")["output"] == "done"


def test_the_failure_of_an_agent_that_outlived_its_supervisor_is_no_verdict(runs: TokenRuns) -> None:
    """Its run might have tried again: nobody may tell in its place. Who waits takes the work over, alone."""
    runs.job(f"{runs.gated()}; test $ORCHESTRATE_RUN = second && echo done")
    holder = runs.holder()
    runs.process_of("first", "go")
    holder.kill()
    second = runs.waiter("second")
    runs.open_gate()
    assert runs.begin_of(2) == "second/go"
    third = runs.waiter("third")
    runs.open_gate()
    runs.assert_exit(second, 0)
    runs.assert_exit(third, 0)
    runs.assert_started("first/go", "second/go")
    assert runs.result_of("second")["promoted"]
    runs.assert_shared("third", "second/go")


def test_a_resume_and_a_new_run_at_once_after_the_supervisor_was_killed(runs: TokenRuns) -> None:
    runs.job()
    holder = runs.holder()
    runs.process_of("first", "go")
    holder.kill()
    resume, second = runs.launch("resume", "first"), runs.start("second")
    wait_until(lambda: "adopted go" in resume.stderr or not resume.is_running, "it is adopted")
    runs.wait_for_waiting("second", "go", command=second)
    runs.open_gate()
    runs.assert_exit(resume, 0)
    runs.assert_exit(second, 0)
    runs.assert_started("first/go")
    runs.assert_shared("second", "first/go")


@pytest.mark.parametrize("point", sweep(["supervisor.outcome", "supervisor.recorded:2", "supervisor.acted:2"], quick=1))
def test_the_supervisor_killed_around_start_and_end_of_the_work(runs: TokenRuns, point: str) -> None:
    runs.job("echo done", 'token_ttl = "1h"')
    assert runs.start("first", fault=point).exit_code() == -signal.SIGKILL
    runs.assert_exit(runs.start("second"), 0)
    runs.assert_exit(runs.launch("resume", "first"), 0)
    runs.assert_never_two_at_once()
    assert len(runs.starts()) == 1
    assert {runs.result_of(name)["output"] for name in ("first", "second")} == {"done"}


@pytest.mark.parametrize("point", ["token.publishing", "token.renamed"])
def test_the_supervisor_killed_while_it_publishes(runs: TokenRuns, point: str) -> None:
    runs.job()
    holder = runs.holder(fault=point)
    second = runs.waiter("second")
    runs.open_gate()
    assert holder.exit_code() == -signal.SIGKILL
    runs.assert_exit(second, 0)
    runs.assert_started("first/go")
    runs.assert_shared("second", "first/go")
    runs.assert_exit(runs.launch("resume", "first"), 0)
    runs.assert_started("first/go")


# The worker is killed.


def test_a_killed_worker_costs_an_attempt_and_the_waiter_gets_the_next(runs: TokenRuns) -> None:
    runs.job()
    holder = runs.holder()
    second = runs.waiter("second")
    worker, _ = runs.process_of("first", "go")
    os.kill(worker, signal.SIGKILL)
    assert runs.begin_of(2) == "first/go"
    assert runs.status_of("second") == "waiting"
    runs.open_gate()
    runs.assert_exit(holder, 0)
    runs.assert_exit(second, 0)
    runs.assert_started("first/go", "first/go")
    runs.assert_shared("second", "first/go")


@pytest.mark.parametrize(
    ("sheds", "is_waiting"),
    [*(pytest.param(*each, marks=pytest.mark.slow) for each in ((False, False), (True, False))), (False, True)],
    ids=["run at once", "that shed its descriptors", "waited for"],
)
def test_an_orphaned_agent_is_ended_before_the_work_starts_anew(runs: TokenRuns, sheds: bool, is_waiting: bool) -> None:
    """Worker and supervisor are killed; who asks ends what they left, and takes the work over."""
    wait = f"test $ORCHESTRATE_RUN != first || exec sleep 600; {runs.gated()}"
    script = runs.witnessed(f"{wait}; echo done")
    if sheds:
        (runs.folder / "agent.sh").write_text(script)
        # As Python's subprocess starts others: nothing that it inherited stays open.
        code = "import os; os.closerange(3, 65536); os.execvp('sh', ['sh', 'agent.sh'])"
        runs.write(f"[jobs.go]\ntoken = {TOKEN!r}\ncommand = [{sys.executable!r}, '-I', '-S', '-c', \"{code}\"]\n")
    else:
        runs.write(f"[jobs.go]\ntoken = {TOKEN!r}\nshell = '''{script}'''\n")
    holder = runs.holder()
    worker, agent = runs.process_of("first", "go")
    second = runs.waiter("second") if is_waiting else None
    os.kill(holder.pid, signal.SIGSTOP)  # or it would see the worker's death and end the agent itself
    os.kill(worker, signal.SIGKILL)
    holder.kill()
    assert is_living(agent)
    second = second or runs.start("second")
    assert runs.begin_of(2) == "second/go"
    assert not is_living(agent)
    runs.open_gate()
    runs.assert_exit(second, 0)
    runs.assert_started("first/go", "second/go")
    assert runs.result_of("second")["promoted"]


# The holder is stopped.


@pytest.mark.parametrize("whom", ["supervisor", *(pytest.param(whom, marks=pytest.mark.slow) for whom in ("worker", "agent"))])
def test_a_stopped_holder_is_named_and_never_robbed(runs: TokenRuns, whom: str) -> None:
    runs.job()
    holder = runs.holder()
    worker, agent = runs.process_of("first", "go")
    pid = {"supervisor": holder.pid, "worker": worker, "agent": agent}[whom]
    os.kill(pid, signal.SIGSTOP)
    try:
        second = runs.waiter("second")
        reason = runs.ask("why", "second", "go")[0]["reason"]
        assert f"process {pid} is stopped (SIGSTOP)" in reason
        # Who asks now looks at the holder really, as who waits does once a second.
        third = runs.waiter("third")
        assert runs.status_of("second") == "waiting"
    finally:
        os.kill(pid, signal.SIGCONT)
    runs.open_gate()
    for command in (holder, second, third):
        runs.assert_exit(command, 0)
    runs.assert_started("first/go")
    runs.assert_shared("second", "first/go")
    runs.assert_shared("third", "first/go")
