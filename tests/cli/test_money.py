"""What a run of agents costs, as people and programs are told; budgets that hold; `set`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drivers.command_line import RunCli
from drivers.fake_agents import Witness, add_profile

LEDGER = "· saved 0.00 USD by replay and adoption · paid twice 0"


def write(folder: Path, script: str, *, count: int = 4, run: str = "", keys: str = "") -> None:
    (folder / "jobs.toml").write_text(f"""
[run]
slots = 2
{run}
[jobs.work]
for_each = {list(range(count))}
agent = "fake"
prompt = '''
Do {{{{ item }}}}.
fake: {script}
'''
continue_on_error = true
{keys}
""")


def read(run_cli: RunCli, *arguments: str) -> Any:
    told = run_cli(*arguments)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def test_a_run_pauses_at_its_budget_and_a_resume_goes_on_only_with_a_higher_one(
    run_cli: RunCli, tmp_path: Path, witness: Witness
) -> None:
    write(tmp_path, "ok cost=0.25", count=6, run="budget_usd = 1.1")
    told = run_cli("run", "--run-id", "r", "jobs.toml")
    assert told.returncode == 3
    lines = told.stderr.splitlines()
    assert f"spent 1.00 USD in 4 attempts {LEDGER}" in lines
    alone = "runs alone: nobody knows yet what an item costs, and the budget holds the others until it tells"
    assert [line for line in lines if "alone" in line] == [f"note: work:0 0 {alone}"]
    assert "  budget: spent 1.00 of 1.10 USD (the next is expected to cost 0.25)" in lines
    again = run_cli("resume", "r", "--json")
    assert again.returncode == 3
    summary = json.loads(again.stdout)
    assert (summary["status"], summary["cost_usd"], summary["unknown_costs"]) == ("paused", 1.0, 0)
    assert summary["reason"].startswith("budget: spent 1.00 of 1.10 USD")
    assert len(witness.prompts()) == 4, "the same budget starts nothing more"
    assert "the run is paused (budget: spent 1.00 of 1.10 USD" in run_cli("why", "r", "work:5").stdout
    assert "a budget of 1.25 USD" in run_cli("set", "r", "budget_usd=1.25").stdout
    assert run_cli("resume", "r").returncode == 3
    assert len(witness.prompts()) == 5
    text = (tmp_path / "jobs.toml").read_text()
    (tmp_path / "jobs.toml").write_text(text.replace("budget_usd = 1.1", "budget_usd = 20"))
    assert run_cli("resume", "r", "--update").returncode == 0
    prompts = witness.prompts()
    assert len(prompts) == 6
    caps = [each["argv"][each["argv"].index("--max-budget-usd") + 1] for each in prompts]
    assert (caps[0], caps[4], caps[5]) == ("1.1", "0.25", "18.75"), "what was left when each began"
    assert read(run_cli, "status", "r", "--json")["cost_usd"] == witness.cost() == 1.5


def test_results_and_the_ledger_agree_with_what_was_charged_to_the_cent(
    run_cli: RunCli, tmp_path: Path, witness: Witness
) -> None:
    write(tmp_path, "fail cost=0.013 | rate_limit | ok cost=0.007", keys="attempts = 2\nretry = { delay = 0 }")
    told = run_cli("run", "--json", "jobs.toml")
    assert told.returncode == 0, told.stderr
    summary = json.loads(told.stdout)
    results = read(run_cli, "results", "--json")
    assert [each["cost_usd"] for each in results] == [0.02] * 4
    assert sum(round(each["cost_usd"] * 1e9) for each in results) / 1e9 == summary["cost_usd"]
    assert summary["cost_usd"] == pytest.approx(witness.cost(), abs=1e-9)
    assert summary["ledger"]["attempts"] == len(witness.prompts())


def test_an_unknown_cost_is_said_to_be_unknown_and_a_budget_that_cannot_bound_it_is_named(
    run_cli: RunCli, tmp_path: Path, witness: Witness
) -> None:
    write(tmp_path, "ok no_cost", run="budget_usd = 1.0")
    told = run_cli("run", "jobs.toml")
    assert told.returncode == 0
    assert told.stderr.count("tells no costs, so budget_usd cannot bound it: budget_tokens can") == 1
    assert f"spent an unknown amount in 4 attempts · 600 tokens {LEDGER}" in told.stderr.splitlines()
    summary = read(run_cli, "status", "--json")
    assert (summary["cost_usd"], summary["unknown_costs"]) == (None, 4)
    result = read(run_cli, "results", "--json")[0]
    assert (result["cost_usd"], result["unknown_costs"]) == (None, 1)
    assert len(witness.prompts()) == 4


def test_a_replay_costs_nothing_and_is_told_as_saved(run_cli: RunCli, tmp_path: Path, witness: Witness) -> None:
    write(tmp_path, "ok cost=0.5", count=2, keys='token = "work {{ item }}"\ntoken_ttl = "1h"')
    assert run_cli("run", "jobs.toml").returncode == 0
    told = run_cli("run", "jobs.toml")
    assert "spent 0.00 USD in 0 attempts · saved 1.00 USD by replay and adoption · paid twice 0" in told.stderr.splitlines()
    assert [each["cost_usd"] for each in read(run_cli, "results", "--json")] == [0.0, 0.0]
    assert len(witness.prompts()) == 2


def test_each_round_of_a_loop_has_its_own_cost(run_cli: RunCli, tmp_path: Path, witness: Witness) -> None:
    write(tmp_path, "key=a ok cost=0.1 | ok cost=0.3", count=1, keys='repeat = { until = "{{ round == 2 }}" }')
    assert run_cli("run", "jobs.toml").returncode == 0
    assert [each["cost_usd"] for each in read(run_cli, "results", "--rounds", "--json")] == [0.1, 0.3]
    assert read(run_cli, "results", "--json")[0]["cost_usd"] == pytest.approx(witness.cost()) == 0.4


def test_events_tell_what_each_attempt_cost_and_the_run_so_far(run_cli: RunCli, tmp_path: Path, witness: Witness) -> None:
    write(tmp_path, "ok cost=0.25", count=2)
    events = [json.loads(line) for line in run_cli("run", "--events", "-j", "1", "jobs.toml").stdout.splitlines()]
    charged = [event for event in events if event["event"] == "charged"]
    assert [(each["cost_usd"], each["spent_usd"], each["attempts"]) for each in charged] == [(0.25, 0.25, 1), (0.25, 0.5, 2)]
    assert witness.cost() == 0.5


def test_a_budget_that_is_none_is_refused(run_cli: RunCli, paid_run: str) -> None:
    for setting, said in (
        ("budget_usd=much", "budget_usd=much: not an amount of dollars"),
        (f"budget_tokens={'9' * 400}", ": not a number of tokens"),
        ("work.slots=2", "'work.slots=2' cannot be set"),
        ("list.budget_usd=2", "has no job 'list' that an agent does"),
    ):
        told = run_cli("set", paid_run, setting)
        assert told.returncode == 2, setting
        assert said in told.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("budget_usd=1e300", "budget_usd=1e300: not an amount of dollars"),
        ("budget_usd=-1", "budget_usd=-1: not an amount of dollars"),
        ("budget_tokens=1.5", "budget_tokens=1.5: not a number of tokens"),
        ("nix.budget_usd=2", "has no job 'nix' that an agent does"),
    ],
)
def test_a_budget_of_odd_numbers_or_of_no_job_is_refused(run_cli: RunCli, paid_run: str, setting: str, said: str) -> None:
    told = run_cli("set", paid_run, setting)
    assert told.returncode == 2
    assert said in told.stderr


@pytest.fixture
def paid_run(run_cli: RunCli, tmp_path: Path) -> str:
    """A run of which nothing was selected: it costs no attempt."""
    add_profile(tmp_path)
    write(tmp_path, "ok", keys='\n[jobs.list]\ncommand = ["true"]')
    assert run_cli("run", "--run-id", "r", "--only", "list", "jobs.toml").returncode == 0
    return "r"


def test_a_forecast_runs_a_few_items_and_the_same_run_goes_on_with_the_rest(
    run_cli: RunCli, tmp_path: Path, witness: Witness
) -> None:
    write(tmp_path, "ok cost=0.25", count=6, keys="[jobs.sum]\ncommand = ['echo', '{{ jobs.work.outputs }}']")
    told = run_cli("plan", "--forecast", "2", "--json", "jobs.toml")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    work = found["jobs"][0]
    assert (work["sampled"], work["remaining"], work["at_once"]) == (2, 4, 2)
    assert work["item"]["cost_usd"] == {"p50": 0.25, "p90": 0.25}
    assert work["rest"]["cost_usd"] == found["rest"]["cost_usd"] == {"p50": 1.0, "p90": 1.0}
    assert len(witness.prompts()) == 2
    assert run_cli("resume", found["run_id"], "--all").returncode == 0
    assert len(witness.prompts()) == 6
    counts = read(run_cli, "status", found["run_id"], "--json")["counts"]
    assert counts == {"succeeded": 7}, "what needs all of them has seen all of them"


def test_what_cannot_be_forecast_is_refused_before_anything_runs(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text('[jobs.a]\ncommand = ["true"]\n')
    told = run_cli("plan", "--forecast", "2", "jobs.toml")
    assert told.returncode == 2
    assert "there is nothing to forecast" in told.stderr
    assert run_cli("list").stdout == ""


def test_cost_tells_models_jobs_runs_and_agents_apart_over_all_runs(run_cli: RunCli, tmp_path: Path, witness: Witness) -> None:
    assert run_cli("cost").stdout == "no agent was at work\n"
    write(tmp_path, "ok cost=0.25", count=2, keys='model = "large"')
    assert run_cli("run", "--run-id", "one", "jobs.toml").returncode == 0
    write(tmp_path, "ok no_cost", count=1, keys='model = "small"')
    assert run_cli("run", "--run-id", "two", "jobs.toml").returncode == 0
    by_model = read(run_cli, "cost", "--since", "7d", "--by", "model", "--json")
    rows = [(each["model"], each["attempts"], each["cost_usd"], each["unknown_costs"]) for each in by_model["rows"]]
    assert rows == [("large", 2, 0.5, 0), ("small", 1, None, 1)]
    assert (by_model["total"]["cost_usd"], by_model["total"]["unknown_costs"]) == (witness.cost(), 1) == (0.5, 1)
    assert [each["run"] for each in read(run_cli, "cost", "--by", "run", "--json")["rows"]] == ["one", "two"]
    lines = run_cli("cost", "--by", "job").stdout.splitlines()
    assert lines[0].split() == ["JOB", "ATTEMPTS", "COST", "OF", "UNKNOWN", "COST", "TOKENS"]
    assert lines[1].split() == ["jobs/work", "3", "0.50", "USD", "1", "450"]
    assert lines[2].split() == ["all", "3", "0.50", "USD", "1", "450"]


def test_a_run_that_cannot_be_read_is_named_and_the_others_are_counted(run_cli: RunCli, home: Path, paid_run: str) -> None:
    assert run_cli("cost", "--json").returncode == 0
    (home / "runs" / paid_run / "checkpoint.json").write_text("{}")
    told = run_cli("cost", "--json")
    assert json.loads(told.stdout)["unreadable"] == [paid_run]
    assert f"run {paid_run} is not counted" in told.stderr


def test_what_is_run_again_because_somebody_asked_for_it_is_not_paid_twice(
    run_cli: RunCli, tmp_path: Path, witness: Witness
) -> None:
    write(tmp_path, "ok cost=0.25", count=1)
    assert run_cli("run", "--run-id", "r", "jobs.toml").returncode == 0
    assert run_cli("retry", "r", "work:0").returncode == 0
    ledger = read(run_cli, "status", "r", "--json")["ledger"]
    assert (ledger["attempts"], ledger["cost_usd"], ledger["paid_twice"]) == (2, witness.cost(), 0)


def write_family(folder: Path, *, run: str = "", child: str = "ok cost=0.25") -> None:
    write(folder, child, count=2)
    (folder / "jobs.toml").rename(folder / "child.toml")
    (folder / "parent.toml").write_text(f"""
[run]
slots = 2
{run}
[jobs.each]
for_each = [0, 1, 2]
workflow = "child.toml"
""")


@pytest.mark.slow
def test_a_parent_tells_what_its_child_runs_cost_and_cost_counts_each_attempt_once(
    run_cli: RunCli, tmp_path: Path, witness: Witness
) -> None:
    write_family(tmp_path)
    told = run_cli("run", "--run-id", "top", "--json", "parent.toml")
    assert told.returncode == 0, told.stderr
    summary = json.loads(told.stdout)
    assert (summary["cost_usd"], summary["ledger"]["attempts"]) == (witness.cost(), 6) == (1.5, 6)
    assert [each["cost_usd"] for each in read(run_cli, "results", "top", "--json")] == [0.5] * 3
    assert read(run_cli, "cost", "--json")["total"]["cost_usd"] == 1.5


@pytest.mark.slow
def test_a_budget_of_a_parent_bounds_its_child_runs(run_cli: RunCli, tmp_path: Path, witness: Witness) -> None:
    write_family(tmp_path, run="budget_usd = 1.2")
    told = run_cli("run", "--run-id", "top", "parent.toml")
    assert told.returncode == 3, told.stderr
    assert "  budget: spent 1.00 of 1.20 USD (the next is expected to cost 0.50)" in told.stderr.splitlines()
    assert witness.cost() == 1.0
    assert run_cli("resume", "top").returncode == 3
    assert run_cli("set", "top", "budget_usd=1.5").returncode == 0
    assert run_cli("resume", "top").returncode == 0
    assert witness.cost() == 1.5


@pytest.mark.slow
def test_a_child_run_that_goes_on_is_charged_with_what_is_new(run_cli: RunCli, tmp_path: Path, witness: Witness) -> None:
    write_family(tmp_path)
    text = (tmp_path / "child.toml").read_text().replace("slots = 2", "slots = 1\nbudget_usd = 0.3")
    (tmp_path / "child.toml").write_text(text)
    (tmp_path / "parent.toml").write_text((tmp_path / "parent.toml").read_text().replace("[0, 1, 2]", "[0]"))
    assert run_cli("run", "--run-id", "top", "parent.toml").returncode == 3
    assert read(run_cli, "status", "top", "--json")["cost_usd"] == 0.25
    child = read(run_cli, "results", "top", "--json")[0]["child"]
    assert run_cli("set", child, "budget_usd=1").returncode == 0
    assert run_cli("resume", "top").returncode == 0
    assert read(run_cli, "status", "top", "--json")["cost_usd"] == witness.cost() == 0.5
