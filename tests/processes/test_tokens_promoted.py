"""Who waits for work that is lost takes it over: exactly one, never two at once, and not for ever."""

from __future__ import annotations

import os
import signal

import pytest
from drivers.run_driver import Command
from drivers.token_runs import TOKEN, TokenRuns

from orchestrator.core.tokens import PROMOTIONS_ALLOWED

RUNS = TokenRuns


def waiters(runs: TokenRuns, count: int) -> dict[str, Command]:
    found = {name: runs.start(name) for name in (f"w{number}" for number in range(count))}
    for name, command in found.items():
        runs.wait_for_waiting(name, "go", command=command)
    return found


@pytest.mark.slow
def test_one_waiter_interrupted_and_one_killed_harm_nobody(runs: TokenRuns) -> None:
    runs.job()
    holder = runs.holder()
    waiting = waiters(runs, 3)
    waiting["w0"].send(signal.SIGINT)
    assert waiting["w0"].exit_code() == 130, waiting["w0"].stderr
    waiting["w1"].kill()
    assert runs.status_of("w2") == "waiting"
    runs.open_gate()
    runs.assert_exit(holder, 0)
    runs.assert_exit(waiting["w2"], 0)
    runs.assert_started("first/go")
    runs.assert_shared("w2", "first/go")
    # Nothing was done for those two, and a resume does it: the verdict is old by then.
    assert runs.status_of("w0") in ("pending", "interrupted")
    runs.open_gate()
    runs.assert_exit(runs.launch("resume", "w0"), 0)
    runs.assert_started("first/go", "w0/go")


def test_a_cancelled_primary_promotes_one_of_three_waiters_and_the_others_share_with_it(runs: TokenRuns) -> None:
    runs.job()
    holder = runs.holder()
    waiting = waiters(runs, 3)
    runs.cancel("first")
    assert holder.exit_code() in (1, 4)
    promoted = runs.begin_of(2)
    runs.open_gate()
    for command in waiting.values():
        runs.assert_exit(command, 0)
    runs.assert_started("first/go", promoted)
    assert runs.result_of("first")["status"] == "cancelled"
    for name in waiting:
        result = runs.result_of(name)
        assert (result["output"], result["promoted"]) == ("done", f"{name}/go" == promoted)
        assert result["deduped_from"] == (None if result["promoted"] else promoted)


def test_a_cancelled_primary_promotes_one_of_its_own_run(runs: TokenRuns) -> None:
    runs.job(keys="for_each = [0, 1, 2, 3]\ncontinue_on_error = true", run="slots = 4")
    command = runs.holder(item="go:0")
    runs.wait_for_waiting("first", "go:1", "go:2", "go:3")
    runs.cancel("first", "go:0")
    assert runs.begin_of(2) == "first/go:1"
    runs.wait_for_waiting("first", "go:2", "go:3")
    runs.open_gate()
    runs.assert_exit(command, 1)
    runs.assert_started("first/go:0", "first/go:1")
    assert [result["status"] for result in runs.results_of("first")] == ["cancelled", *["succeeded"] * 3]
    assert [result["promoted"] for result in runs.results_of("first")] == [False, True, False, False]
    runs.assert_shared("first", "first/go:1", item="go:2")
    runs.assert_shared("first", "first/go:1", item="go:3")


def test_after_three_promotions_in_a_row_all_who_wait_fail(runs: TokenRuns) -> None:
    runs.job()
    commands = {"first": runs.holder()} | waiters(runs, PROMOTIONS_ALLOWED + 2)
    for number in range(1, PROMOTIONS_ALLOWED + 2):
        run_id = runs.begin_of(number).partition("/")[0]
        assert runs.record().promotions == number - 1
        runs.cancel(run_id)
    for command in commands.values():
        command.exit_code()
    assert len(runs.starts()) == 1 + PROMOTIONS_ALLOWED
    runs.assert_never_two_at_once()
    statuses = sorted(str(runs.status_of(name)) for name in commands)
    assert statuses == [*["cancelled"] * 4, "failed", "failed"]
    for name in commands:
        if runs.status_of(name) == "failed":
            assert "lost 4 times in a row" in runs.result_of(name)["error"]
    # Who did not wait starts anew, and counts anew.
    runs.open_gate()
    runs.assert_exit(runs.start("fresh"), 0)
    assert runs.record(TOKEN).promotions == 0


def test_after_three_promotions_in_a_row_the_others_of_one_run_fail(runs: TokenRuns) -> None:
    runs.job(keys="for_each = [0, 1, 2, 3, 4, 5]\ncontinue_on_error = true", run="slots = 2")
    command = runs.holder(item="go:0")
    for number in range(PROMOTIONS_ALLOWED + 1):
        assert runs.begin_of(number + 1) == f"first/go:{number}"
        runs.wait_for_waiting("first", "go:5")
        runs.cancel("first", f"go:{number}")
    runs.assert_exit(command, 1)
    assert len(runs.starts()) == PROMOTIONS_ALLOWED + 1
    assert [result["status"] for result in runs.results_of("first")] == [*["cancelled"] * 4, "failed", "failed"]
    runs.assert_never_two_at_once()


def test_a_cancelled_primary_that_ignores_sigterm_is_gone_before_the_promoted_one_starts(runs: TokenRuns) -> None:
    runs.job(f"trap '' TERM; {runs.gated()}; echo done", "grace = 0.5")
    holder = runs.holder()
    (waiting,) = waiters(runs, 1).values()
    runs.cancel("first")
    holder.exit_code()
    assert runs.begin_of(2) == "w0/go"
    runs.open_gate()
    runs.assert_exit(waiting, 0)
    runs.assert_started("first/go", "w0/go")


@pytest.mark.slow
def test_a_drained_primary_promotes_a_waiter_of_another_run_and_its_own_waiters_stay_for_the_resume(runs: TokenRuns) -> None:
    runs.job(keys="for_each = [0, 1]", run="slots = 2\ndrain_timeout = 0.2")
    runs.job(name="other.toml")
    holder = runs.holder(item="go:0")
    runs.wait_for_waiting("first", "go:1")
    waiting = runs.waiter("second", file="other.toml")
    holder.send(signal.SIGTERM)
    assert holder.exit_code() == 143, holder.stderr
    assert runs.begin_of(2) == "second/go"
    runs.open_gate()
    runs.assert_exit(waiting, 0)
    assert runs.result_of("second")["promoted"]
    assert {result["status"] for result in runs.results_of("first")} <= {"interrupted", "pending"}
    runs.open_gate()
    runs.assert_exit(runs.launch("resume", "first"), 0)
    runs.assert_started("first/go:0", "second/go", "first/go:0")
    runs.assert_shared("first", "first/go:0", item="go:1")


def test_a_daemon_that_an_agent_leaves_behind_keeps_neither_token_nor_slot(runs: TokenRuns) -> None:
    """It has inherited the descriptors of both, in a session of its own, and says so before the agent ends."""
    daemon = "( setsid sh daemon.sh & ); until test -s daemon; do :; done; echo done"
    (runs.folder / "daemon.sh").write_text("trap '' TERM HUP\necho $$ > daemon.new\nmv daemon.new daemon\nexec sleep 600\n")
    after = f"[jobs.after]\nneeds = ['go']\nshell = '''{runs.witnessed(key='after')}'''\n"
    runs.job(daemon, "grace = 0.2", run="slots = 1", more=after)
    command = runs.start("first")
    runs.assert_exit(command, 0)
    pid = int((runs.folder / "daemon").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    (runs.folder / "daemon").unlink()
    runs.assert_exit(runs.start("second"), 0)
    runs.assert_started("first/go", "first/after", "second/go", "second/after")
