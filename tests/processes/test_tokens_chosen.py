"""What a job chooses about work that is in flight, done, or done otherwise: each row of the table, with real runs."""

from __future__ import annotations

from drivers.processes import is_living, wait_until
from drivers.token_runs import TOKEN, TokenRuns

RUNS = TokenRuns


HOUR = 'token_ttl = "1h"'


# In flight.


def test_beside_a_holder_of_another_run_an_item_is_refused_runs_anyway_or_joins(runs: TokenRuns) -> None:
    """The refused fail without a start. What ran anyway is nobody's: who joins gets what the holder came to."""
    work = runs.witnessed(f"{runs.gated()}; echo done")
    runs.job(keys=HOUR)
    second = ""
    for job, if_running, script in (("other", "join", "echo other"), ("rejects", "reject", work), ("anyway", "run_anyway", work)):
        keys = f"token = {TOKEN!r}\n{HOUR}\nif_running = {if_running!r}\ncontinue_on_error = true"
        second += f"[jobs.{job}]\n{keys}\nshell = '''{script}'''\n"
    runs.write(second, "second.toml")
    holder = runs.holder()
    beside = runs.start("second", "--slots", "2", file="second.toml")
    runs.wait_for("begin", "second/anyway")
    assert (runs.record().state, runs.record().holder.words) == ("held", "first/go")
    waiting = runs.waiter("third")
    wait_until(lambda: [runs.status_of("second", item) for item in ("other", "rejects")] == ["failed"] * 2, "two are refused")
    runs.open_gate(count=2)
    for command, code in ((holder, 0), (beside, 1), (waiting, 0)):
        runs.assert_exit(command, code)
    assert runs.starts() == ["first/go", "second/anyway"]
    assert (runs.folder / "overlaps").exists(), "the two must have run at once, or this test sees nothing"
    fields = ("status", "attempts", "deduped_from")
    found = [tuple(result[field] for field in fields) for result in runs.results_of("second").values()]
    assert found == [("failed", 0, None), ("failed", 0, None), ("succeeded", 1, None)]
    other, rejected, _ = [str(result["error"]) for result in runs.results_of("second").values()]
    assert all(word in other for word in (TOKEN, "in flight", "first/go", runs.record().payload)), other
    assert f"token {TOKEN!r} is in flight: first/go does its work" in rejected
    runs.assert_shared("third", "first/go")


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
    holder = runs.holder("first", "--progress", "lines")
    wait_until(lambda: (runs.folder / "child").exists() and (runs.folder / "child").read_text().strip(), "its child")
    child = int((runs.folder / "child").read_text())
    second = runs.start("second", file="new.toml")
    runs.assert_exit(second, 0)
    assert not is_living(child)
    assert holder.exit_code() in (1, 4)
    assert "replaced by second/go" in holder.stderr, "a run that failed says why, and this is all that was wrong with it"
    assert "cancelled go: replaced by second/go\n" in holder.stderr + holder.stdout
    runs.assert_started("first/go", "second/go")
    replaced(runs, "first", "second/go")
    assert not runs.result_of("second")["promoted"]
    assert runs.record().promotions == 0
    resumed = runs.launch("resume", "first")
    resumed.exit_code()
    runs.assert_started("first/go", "second/go")
    replaced(runs, "first", "second/go")


def test_replace_of_a_holder_whose_supervisor_was_killed(runs: TokenRuns) -> None:
    """Its agent lives: whoever replaces it takes that run over for as long as it takes to end it."""
    runs.job()
    runs.job("echo new", REPLACES, name="new.toml")
    holder = runs.holder()
    _, agent = runs.process_of("first", "go")
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
    assert not runs.folder_of("first").path.exists()
    runs.assert_shared("second", "first/go", large)
    runs.open_gate()
    runs.assert_exit(second, 0)
