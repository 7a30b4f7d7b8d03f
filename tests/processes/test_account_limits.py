"""Real runs of a fake agent whose account is throttled or has reached its usage limit: nothing lost, nothing paid for in vain."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.fake_agents import STATE_VARIABLE, Witness, add_profile
from drivers.many_runs import ManyRuns
from drivers.processes import wait_until
from drivers.run_driver import KILLED

from orchestrator.core.throttle import FIRST_WAIT_SECONDS
from orchestrator.shared.limits.parks import LEAST_VARIABLE, Parks

FAR = 3600


class AgentRuns(ManyRuns):
    """Runs whose jobs name the agent `fake`, and perhaps `other`, which has another account."""

    def __init__(self, folder: Path, home: Path, state: Path) -> None:
        super().__init__(folder, home)
        self.agents = Witness(state)
        self.profile = add_profile(folder)
        self.profile.with_name("other.toml").write_text('extends = "fake"\nprovider = "other"\n')

    def job(self, name: str, items: int | list[str], script: str, keys: str = "", agent: str = "fake") -> None:
        """NAME.toml: one job. `script`: what the fake agent does for each item."""
        values = items if isinstance(items, list) else list(range(items))
        self.write(
            f"[run]\nslots = 8\n[jobs.{name}]\nfor_each = {values}\nagent = '{agent}'\nmax_concurrency = 8\n{keys}\n"
            f"prompt = '''do {{{{ item }}}}\nfake: key={name}-{{{{ item }}}} {script}'''\n",
            f"{name}.toml",
        )

    def classes(self) -> list[str]:
        return self.agents.classes()

    def forget(self) -> None:
        assert self.launch("agents", "--forget-limits").exit_code() == 0

    def attempts(self, run_id: str) -> list[int]:
        return [result["attempts"] for result in self.results_of(run_id).values()]


@pytest.fixture
def runs(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AgentRuns]:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    monkeypatch.setenv(LEAST_VARIABLE, "0.2")
    made = AgentRuns(tmp_path, home, tmp_path / "state")
    yield made
    made.close()


def test_rate_limits_use_no_attempt_and_are_waited_for_together(runs: AgentRuns) -> None:
    runs.job("a", 12, "{% if item < 3 %}rate_limit | {% endif %}ok")
    command = runs.begin("a.toml", "r", "--events")
    runs.assert_exit(command, 0)
    assert sorted(runs.classes()) == ["ok"] * 12 + ["rate_limit"] * 3
    assert set(runs.statuses("r").values()) == {"succeeded"}
    events = [json.loads(line) for line in command.stdout.splitlines()]
    first = next(place for place, event in enumerate(events) if event["event"] == "item_waiting")
    later = [event["at"] - events[first]["at"] for event in events[first:] if event["event"] == "item_started"]
    assert min(later) > FIRST_WAIT_SECONDS / 2, "nothing starts before the wait is over"
    spared = [event["words"] for event in events if event["event"] == "account"]
    assert re.fullmatch(r"rate limit of fake-[0-9a-f]{8}: [1-4] of 8 at once", spared[0])


def test_two_runs_share_a_park_and_one_attempt_tries_before_all_others(runs: AgentRuns) -> None:
    runs.job("one", 1, "limit_all=2 | ok sleep=0.2")
    runs.job("two", 6, "ok sleep=0.2")
    first = runs.begin("one.toml", "one")
    runs.wait_for_reason("one", "one:0", "the usage limit of fake-")
    runs.assert_all_end([first, runs.begin("two.toml", "two")])
    assert runs.classes() == ["usage_limit"] + ["ok"] * 7
    _, proof, *_ = (event["at"] for event in runs.agents.events("answer"))
    prompts = [event["at"] for event in runs.agents.prompts()]
    assert sum(at < proof for at in prompts) == 2, "of both runs one attempt finds out"
    assert Parks(runs.home).all_parks() == []


def test_who_comes_later_meets_the_park_without_a_prompt_and_says_until_when_and_who_told(runs: AgentRuns) -> None:
    runs.job("a", 1, f"usage_limit={FAR}")
    runs.job("b", 2, "ok")
    first = runs.begin("a.toml", "first")
    runs.wait_for_reason("first", "a:0", "the usage limit of fake-")
    second = runs.begin("b.toml", "second")
    told = runs.wait_for_reason("second", "b:1", "usage limit of fake-")
    assert "told by first/a:0" in told
    assert len(runs.agents.prompts()) == 1
    for asked in (("status", "second"), ("doctor",), ("agents",)):
        assert "(told by first/a:0)" in launched(runs, *asked)
    assert not list((runs.home / "runs" / "second" / "workers").glob("*/stdout")), "who waits holds no slot"
    first.send(signal.SIGTERM)
    runs.assert_exit(first, 128 + signal.SIGTERM, limit=20)
    runs.forget()
    runs.assert_exit(second, 0)


def launched(runs: AgentRuns, *arguments: str) -> str:
    command = runs.launch(*arguments)
    assert command.exit_code() in (0, 1), command.stderr
    return command.stdout


def test_another_agent_takes_over_at_once_and_does_the_same_work(runs: AgentRuns) -> None:
    with runs.profile.open("a") as profile:
        profile.write(f"\n[env]\nFAKE_AGENT_SCRIPT = 'usage_limit={FAR}'\n")
    with runs.profile.with_name("other.toml").open("a") as profile:
        profile.write("\n[env]\nFAKE_AGENT_SCRIPT = 'ok'\n")
    runs.write(
        "[jobs.a]\nfor_each = [0, 1, 2]\nagent = 'fake'\nfallback = ['other']\nmodel = 'm'\nargs = ['--sums']\n"
        "max_concurrency = 1\nprompt = 'do {{ item }}'\n"
    )
    runs.assert_exit(runs.begin("jobs.toml", "r"), 0)
    assert runs.classes() == ["usage_limit", "ok", "ok", "ok"]
    results = runs.results_of("r")
    assert {result["status"] for result in results.values()} == {"succeeded"}
    assert [event["resumed"] for event in runs.agents.prompts()] == [False] * 4, "no session of another agent is gone on with"
    models = [event["model"] for event in runs.agents.prompts()]
    assert models == ["m", None, None, None], "the model of one provider is nothing for another"
    again = runs.begin("jobs.toml", "again")
    runs.assert_exit(again, 0)
    assert len(runs.agents.prompts()) == 7, "the parked one is not even asked"


def test_with_all_of_them_parked_the_earliest_reset_is_waited_for(runs: AgentRuns) -> None:
    with runs.profile.open("a") as profile:
        profile.write(f"\n[env]\nFAKE_AGENT_SCRIPT = 'usage_limit={FAR}'\n")
    with runs.profile.with_name("other.toml").open("a") as profile:
        profile.write("\n[env]\nFAKE_AGENT_SCRIPT = 'key=k usage_limit=1 | ok'\n")
    runs.write("[jobs.a]\nagent = 'fake'\nfallback = ['other']\nprompt = 'do it'\n")
    runs.assert_exit(runs.begin("jobs.toml", "r"), 0)
    assert runs.classes() == ["usage_limit", "usage_limit", "ok"]
    assert [park.account.split("-")[0] for park in Parks(runs.home).all_parks()] == ["fake"]


def test_with_two_accounts_parked_why_names_both_and_a_fallback_that_is_not_installed_is_no_third(runs: AgentRuns) -> None:
    for profile, until in ((runs.profile, FAR), (runs.profile.with_name("other.toml"), FAR + 3600)):
        with profile.open("a") as keys:
            keys.write(f"\n[env]\nFAKE_AGENT_SCRIPT = 'usage_limit={until}'\n")
    (runs.profile.with_name("gone.toml")).write_text('extends = "claude"\ncommand = ["no-such-program"]\n')
    runs.write("[jobs.a]\nagent = 'fake'\nfallback = ['gone', 'other']\nprompt = 'do it'\n")
    command = runs.begin("jobs.toml", "r")
    wait_until(lambda: len(Parks(runs.home).all_parks()) == 2, "both are parked")
    words = re.compile(r"the usage limit of fake-\w+ or \w+-\w+ to be over; .*: it holds until .*, that of \w+-\w+ until")

    def names_both() -> bool:
        why = runs.launch("why", "r", "a:0")
        runs.assert_exit(why, 0)
        return words.search(why.stdout) is not None

    wait_until(names_both, "the second attempt's end is known, too")
    command.send(signal.SIGINT)
    runs.assert_exit(command, 130)
    assert command.stderr.count("the fallback gone is passed over: command not found: no-such-program") == 1


def test_a_job_that_is_to_pause_pauses_the_run_until_the_limit_is_over(runs: AgentRuns) -> None:
    runs.job("a", 3, f"{{% if item == 0 %}}usage_limit={FAR} | {{% endif %}}ok", "on_usage_limit = 'pause'\n")
    command = runs.begin("a.toml", "r")
    runs.assert_exit(command, 3)
    assert "pausing: the usage limit of fake-" in command.stderr
    prompts = len(runs.agents.prompts())
    again = runs.launch("resume", "r")
    runs.assert_exit(again, 3)
    assert "pausing: the usage limit of fake-" in again.stderr
    assert len(runs.agents.prompts()) == prompts, "nothing was tried in vain"
    why = runs.launch("why", "r", "a:0")
    runs.assert_exit(why, 0)
    for told in (command.stderr, again.stderr, why.stdout):
        assert re.search(r"usage limit of fake-\w+ until 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\b", told), told
    runs.forget()
    runs.assert_exit(runs.launch("resume", "r"), 0)
    assert runs.classes().count("ok") == 3
    assert runs.agents.prompts()[-1]["resumed"], "its session goes on"


def test_a_job_that_is_to_fail_fails_its_items_without_asking_again(runs: AgentRuns) -> None:
    keys = "on_usage_limit = 'fail'\ncontinue_on_error = true\n"
    runs.job("a", 4, f"usage_limit={FAR}", f"{keys}\n".replace("max_concurrency = 8", "max_concurrency = 1"))
    runs.assert_exit(runs.begin("a.toml", "r"), 1)
    results = runs.results_of("r")
    assert {result["status"] for result in results.values()} == {"failed"}
    assert all("usage limit of fake-" in result["error"] for result in results.values())
    prompts = len(runs.agents.prompts())
    runs.assert_exit(runs.begin("a.toml", "again"), 1)
    assert len(runs.agents.prompts()) == prompts


def test_a_killed_run_knows_the_park_when_it_goes_on_and_is_cancelled_at_once(runs: AgentRuns) -> None:
    runs.job("a", 2, f"usage_limit={FAR}")
    command = runs.begin("a.toml", "r")
    runs.wait_for_reason("r", "a:0", "the usage limit of fake-")
    runs.wait_for_reason("r", "a:1", "the usage limit of fake-")
    command.kill()
    prompts = len(runs.agents.prompts())
    resumed = runs.launch("resume", "r")
    runs.wait_for_reason("r", "a:1", "the usage limit of fake-")
    assert len(runs.agents.prompts()) == prompts
    assert runs.launch("cancel", "r").exit_code() == 0
    runs.assert_exit(resumed, 4, limit=20)
    assert set(runs.statuses("r").values()) == {"cancelled"}


@pytest.mark.slow
def test_an_agent_that_is_a_template_is_held_back_item_by_item(runs: AgentRuns) -> None:
    script = f"{{% if item == 'fake' %}}usage_limit={FAR}{{% else %}}ok{{% endif %}}"
    runs.job("a", ["fake", "other", "fake", "other"], script, "max_failures = 4", agent="{{ item }}")
    command = runs.begin("a.toml", "r")
    wait_until(lambda: runs.classes().count("ok") == 2, "the other agent's items succeed")
    runs.wait_for_reason("r", "a:0", "the usage limit of fake-")
    assert runs.ask("status", "r")["counts"]["succeeded"] == 2
    command.send(signal.SIGTERM)
    runs.assert_exit(command, 128 + signal.SIGTERM, limit=20)


@pytest.mark.parametrize(
    "killed_at",
    [
        "limits.told",
        pytest.param("supervisor.parked", marks=pytest.mark.slow),
        pytest.param("supervisor.recorded:4", marks=pytest.mark.slow),
    ],
)
def test_a_kill_while_a_park_is_written_down_pays_no_prompt_twice(runs: AgentRuns, killed_at: str) -> None:
    runs.job("a", 1, "usage_limit=1 | ok")
    runs.assert_exit(runs.launch("run", "a.toml", "--run-id", "r", fault=killed_at), KILLED)
    runs.assert_exit(runs.launch("resume", "r"), 0)
    assert runs.classes() == ["usage_limit", "ok"]
    assert runs.agents.prompts()[1]["resumed"]


def test_who_tries_and_is_killed_lets_another_run_try(runs: AgentRuns) -> None:
    runs.job("one", 1, "limit_all=1 | hang | ok")
    runs.job("two", 2, "ok")
    first = runs.begin("one.toml", "one")
    wait_until(lambda: len(runs.agents.prompts()) == 2, "the reset is past, and one tries")
    second = runs.begin("two.toml", "two")
    told = runs.wait_for_reason("two", "two:1", "for another attempt to find out whether the usage limit of fake-")
    assert "(held by one/one:0)" in told
    worker, agent = runs.process_of("one", "one:0")
    os.kill(agent, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    runs.assert_all_end([first, second])
    assert runs.classes().count("ok") == 3
