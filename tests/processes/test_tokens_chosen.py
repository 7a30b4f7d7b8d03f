"""What a job chooses about work that is in flight, done, or done otherwise: each row of the table, with real runs."""

from __future__ import annotations

import re
import shutil

import pytest
from drivers.processes import is_living, wait_until
from drivers.run_driver import Command
from drivers.token_runs import TOKEN, TokenRuns

RUNS = TokenRuns


HOUR = 'token_ttl = "1h"'


def failed_with(runs: TokenRuns, command: Command, run_id: str, item: str = "go") -> str:
    """The words with which the item failed, without a start."""
    runs.assert_exit(command, 1)
    result = runs.result_of(run_id, item)
    assert (result["status"], result["attempts"], result["deduped_from"]) == ("failed", 0, None)
    return str(result["error"])


# In flight.


def test_another_payload_in_flight_is_refused_and_both_are_named(runs: TokenRuns) -> None:
    runs.job()
    runs.job(f"{runs.gated()}; echo other", name="other.toml")
    holder = runs.holder()
    words = failed_with(runs, runs.start("second", file="other.toml"), "second")
    assert all(word in words for word in (TOKEN, "in flight", "first/go", runs.record().payload)), words
    assert len(set(re.findall("[0-9a-f]{16}", words))) == 2, words
    runs.open_gate()
    runs.assert_exit(holder, 0)
    runs.assert_started("first/go")


def test_another_payload_of_the_same_run_in_flight_is_refused(runs: TokenRuns) -> None:
    script = runs.witnessed(f"{runs.gated()}; echo {{{{ item }}}}")
    runs.write(
        f"[run]\nslots = 2\n[jobs.go]\nfor_each = ['a', 'b', 'a']\ntoken = {TOKEN!r}\ncontinue_on_error = true\n"
        f"shell = '''{script}'''\n"
    )
    command = runs.holder(item="go:0")
    wait_until(lambda: runs.status_of("first", "go:1") == "failed", "go:1 is refused")
    runs.wait_for_waiting("first", "go:2")
    runs.open_gate()
    runs.assert_exit(command, 1)
    runs.assert_started("first/go:0")
    assert "first/go:0" in runs.result_of("first", "go:1")["error"]
    runs.assert_shared("first", "first/go:0", "a", item="go:2")


def test_reject_fails_at_once_and_names_the_holder(runs: TokenRuns) -> None:
    runs.job()
    runs.job(keys='if_running = "reject"', name="rejects.toml")
    holder = runs.holder()
    assert "first/go" in failed_with(runs, runs.start("second", file="rejects.toml"), "second")
    runs.open_gate()
    runs.assert_exit(holder, 0)
    runs.assert_started("first/go")


def test_run_anyway_runs_beside_the_holder_and_is_not_registered(runs: TokenRuns) -> None:
    runs.job(keys=HOUR)
    runs.job(keys=f'if_running = "run_anyway"\n{HOUR}', name="anyway.toml")
    holder = runs.holder()
    second = runs.start("second", file="anyway.toml")
    runs.wait_for("begin", "second/go")
    assert (runs.record().state, runs.record().holder.words) == ("held", "first/go")
    waiting = runs.waiter("third")
    runs.open_gate(count=2)
    for command in (holder, second, waiting):
        runs.assert_exit(command, 0)
    assert sorted(runs.starts()) == ["first/go", "second/go"]
    assert (runs.folder / "overlaps").exists(), "the two must have run at once, or this test sees nothing"
    runs.assert_shared("third", "first/go")
    assert runs.result_of("second")["deduped_from"] is None


# Replacing.


def replaced(runs: TokenRuns, run_id: str, by: str, item: str = "go") -> None:
    result = runs.result_of(run_id, item)
    assert (result["status"], result["replaced_by"]) == ("cancelled", by), result


REPLACES = 'if_running = "replace"'


def test_replace_cancels_the_holder_of_another_run_for_good_and_starts_when_its_tree_is_dead(runs: TokenRuns) -> None:
    """The holder ignores SIGTERM, has a child in a session of its own, and two attempts left."""
    stubborn = f"trap '' TERM; setsid sleep 600 & echo $! > child; {runs.gated()}; echo done"
    runs.job(stubborn, "grace = 0.3\nattempts = 3\nretry = { delay = 0 }")
    runs.job("test -e child && cat child; echo new", REPLACES, name="new.toml")
    holder = runs.holder()
    wait_until(lambda: (runs.folder / "child").exists() and (runs.folder / "child").read_text().strip(), "its child")
    child = int((runs.folder / "child").read_text())
    second = runs.start("second", file="new.toml")
    runs.assert_exit(second, 0)
    assert not is_living(child)
    assert holder.exit_code() in (1, 4)
    assert "replaced by second/go" in holder.stderr, "a run that failed says why, and this is all that was wrong with it"
    runs.assert_started("first/go", "second/go")
    replaced(runs, "first", "second/go")
    assert not runs.result_of("second")["promoted"]
    assert runs.record().promotions == 0
    resumed = runs.launch("resume", "first")
    resumed.exit_code()
    runs.assert_started("first/go", "second/go")
    replaced(runs, "first", "second/go")


def test_the_joiners_of_the_replaced_join_the_replacer(runs: TokenRuns) -> None:
    runs.job()
    runs.job(keys=REPLACES, name="replaces.toml")
    holder = runs.holder()
    waiting = [runs.waiter("w0"), runs.waiter("w1")]
    second = runs.start("second", file="replaces.toml")
    runs.wait_for("begin", "second/go")
    holder.exit_code()
    runs.wait_for_waiting("w0", "go")
    runs.wait_for_waiting("w1", "go")
    runs.open_gate()
    for command in [second, *waiting]:
        runs.assert_exit(command, 0)
    runs.assert_started("first/go", "second/go")
    replaced(runs, "first", "second/go")
    for name in ("w0", "w1"):
        runs.assert_shared(name, "second/go")


@pytest.mark.slow
def test_the_joiners_of_the_replaced_that_do_other_work_than_the_replacer_fail(runs: TokenRuns) -> None:
    runs.job()
    runs.job(f"{runs.gated('new')}; echo new", REPLACES, name="new.toml")
    holder = runs.holder()
    waiting = runs.waiter("w0")
    second = runs.start("second", file="new.toml")
    runs.wait_for("begin", "second/go")
    holder.exit_code()
    words = failed_with(runs, waiting, "w0")
    assert all(word in words for word in (TOKEN, "second/go", "another payload")), words
    runs.open_gate("new")
    runs.assert_exit(second, 0)
    runs.assert_started("first/go", "second/go")


def test_replace_within_one_run(runs: TokenRuns) -> None:
    later = f"[jobs.later]\ntoken = {TOKEN!r}\n{REPLACES}\nshell = '''{runs.witnessed('echo later')}'''\n"
    runs.job(keys="continue_on_error = true", run="slots = 2", more=later)
    command = runs.start("first")
    runs.assert_exit(command, 1)
    replaced(runs, "first", "first/later")
    runs.assert_never_two_at_once()
    assert runs.result_of("first", "later")["output"] == "later"


def test_replace_of_a_holder_whose_supervisor_was_killed(runs: TokenRuns) -> None:
    """Its agent lives: whoever replaces it takes that run over for as long as it takes to end it."""
    runs.job()
    runs.job("echo new", REPLACES, name="new.toml")
    holder = runs.holder()
    agent = runs.agent_in("first")
    runs.worker_in("first")
    holder.kill()
    runs.assert_exit(runs.start("second", file="new.toml"), 0)
    assert not is_living(agent)
    runs.assert_started("first/go", "second/go")
    replaced(runs, "first", "second/go")


def test_replace_of_a_token_that_is_kept_through_a_backoff(runs: TokenRuns) -> None:
    runs.job("exit 3", 'attempts = 2\nretry = { delay = "1h", max_delay = "1h" }')
    runs.job("echo new", REPLACES, name="new.toml")
    holder = runs.start("first")
    wait_until(lambda: runs.status_of("first") == "waiting", "the first attempt has failed")
    runs.assert_exit(runs.start("second", file="new.toml"), 0)
    holder.exit_code()
    runs.assert_started("first/go", "second/go")
    replaced(runs, "first", "second/go")


# Done.


def test_a_verdict_is_replayed_for_as_long_as_the_asker_says(runs: TokenRuns) -> None:
    runs.job("echo done")
    runs.job("echo done", HOUR, name="hour.toml")
    runs.assert_exit(runs.start("first"), 0)
    runs.assert_exit(runs.start("second", file="hour.toml"), 0)
    runs.assert_shared("second", "first/go")
    runs.assert_exit(runs.start("third"), 0)  # its own time to live is 0
    runs.assert_exit(runs.start("fourth", "--fresh", file="hour.toml"), 0)
    runs.assert_started("first/go", "third/go", "fourth/go")
    runs.assert_exit(runs.start("fifth", file="hour.toml"), 0)
    runs.assert_shared("fifth", "fourth/go")


@pytest.mark.parametrize("choice", ["rerun", "reject"])
def test_what_was_done_within_the_time_to_live_is_done_again_or_refused(runs: TokenRuns, choice: str) -> None:
    runs.job("echo done", f'if_done = "{choice}"\n{HOUR}')
    runs.assert_exit(runs.start("first"), 0)
    second = runs.start("second")
    if choice == "rerun":
        runs.assert_exit(second, 0)
        runs.assert_started("first/go", "second/go")
    else:
        assert "first/go" in failed_with(runs, second, "second")
        runs.assert_started("first/go")


@pytest.mark.parametrize("choice", ["rerun", "reject"])
def test_an_edited_job_runs_again_or_is_refused(runs: TokenRuns, choice: str) -> None:
    runs.job("echo old", HOUR)
    runs.job("echo new", f'if_changed = "{choice}"\n{HOUR}', name="edited.toml")
    runs.assert_exit(runs.start("first"), 0)
    second = runs.start("second", file="edited.toml")
    if choice == "rerun":
        runs.assert_exit(second, 0)
        runs.assert_started("first/go", "second/go")
        assert runs.result_of("second")["output"] == "new"
        runs.assert_exit(runs.start("third", file="edited.toml"), 0)
        runs.assert_shared("third", "second/go", "new")
    else:
        words = failed_with(runs, second, "second")
        assert all(word in words for word in ("first/go", "another payload", runs.result_of("first")["payload_hash"])), words
        runs.assert_started("first/go")


def test_within_one_run_what_was_done_is_replayed_always(runs: TokenRuns) -> None:
    """With a time to live of 0, and also in a fresh run."""
    runs.job("echo done", "for_each = [0, 1, 2]", run="slots = 1")
    runs.assert_exit(runs.start("first"), 0)
    runs.assert_exit(runs.start("second", "--fresh"), 0)
    runs.assert_started("first/go:0", "second/go:0")
    for name in ("first", "second"):
        for item in ("go:1", "go:2"):
            runs.assert_shared(name, f"{name}/go:0", item=item)


def test_a_large_output_that_was_shared_survives_the_prune_of_the_run_that_made_it(runs: TokenRuns) -> None:
    large = f"{7:0100000d}"
    runs.job(f"printf '%0{len(large)}d' 7", HOUR)
    script = runs.witnessed(runs.gated(), "stay")
    stay = f"[jobs.stay]\nneeds = ['go']\nshell = '''{script}'''\n"
    runs.job(f"printf '%0{len(large)}d' 7", HOUR, more=stay, name="stays.toml")
    runs.assert_exit(runs.start("first"), 0)
    second = runs.start("second", file="stays.toml")
    runs.wait_for("begin", "second/stay")
    runs.assert_shared("second", "first/go", large)
    pruned = runs.ask("prune", "--older-than", "0s")
    assert [(each["run_id"], each["token"]) for each in pruned] == [("first", None), (None, TOKEN)]
    assert not runs.dir_of("first").path.exists()
    runs.assert_shared("second", "first/go", large)
    runs.open_gate()
    runs.assert_exit(second, 0)


def test_an_output_that_is_gone_is_made_again_and_never_shared_as_nothing(runs: TokenRuns) -> None:
    runs.job("printf '%0100000d' 7", HOUR)
    runs.assert_exit(runs.start("first"), 0)
    shutil.rmtree(runs.dir_of("first").path)
    runs.assert_exit(runs.start("second"), 0)
    runs.assert_started("first/go", "second/go")
    assert runs.result_of("second")["output"] == f"{7:0100000d}"
