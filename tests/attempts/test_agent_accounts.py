"""Whose limits bind an agent, and which agent does the work when an account is parked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.attempts.agent.fallback import Chooser, accounts_of_job
from orchestrator.core.job_rules import JobRules
from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.load import load_text
from orchestrator.jobsfile.profiles.accounts import account_of
from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.jobsfile.profiles.profile import Profile
from orchestrator.supervisor.job_rules import rules_of

SECRET = "sk-ant-very-secret"


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, str]:
    """An environment in which claude and codex are installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("claude", "codex"):
        (folder / name).touch(0o755)
    return {"PATH": f"/nowhere:{folder}"}


@pytest.fixture
def find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "second.toml").write_text('extends = "claude"\n[env]\nCLAUDE_CONFIG_DIR = "/second"\n')
    return Profiles(str(tmp_path)).get


def test_a_key_tells_the_provider_and_whether_two_are_the_same_and_no_secret(find: Any) -> None:
    claude = find("claude")
    key = account_of(claude, {}, {"ANTHROPIC_API_KEY": SECRET, "HOME": "/a"})
    assert re.fullmatch(r"anthropic-[0-9a-f]{8}", key)
    assert SECRET not in key
    assert key == account_of(claude, {}, {"ANTHROPIC_API_KEY": SECRET, "HOME": "/b"}), "what is no account changes nothing"
    assert key == account_of(claude, {"ANTHROPIC_API_KEY": SECRET}, {"ANTHROPIC_API_KEY": "another"}), "the job's own counts"
    others = [
        account_of(claude, {}, {"ANTHROPIC_API_KEY": SECRET + "2"}),
        account_of(claude, {}, {"ANTHROPIC_AUTH_TOKEN": SECRET}),
        account_of(claude, {"ANTHROPIC_API_KEY": None}, {"ANTHROPIC_API_KEY": SECRET}),
        account_of(find("second"), {}, {"ANTHROPIC_API_KEY": SECRET}),
        account_of(find("codex"), {}, {}),
    ]
    assert len({key, *others}) == 6
    assert account_of(claude, {"ANTHROPIC_API_KEY": ""}, {}) == account_of(claude, {}, {}), "set to nothing is not set"


@pytest.mark.parametrize(
    ("provider", "key"),
    [("Open AI/Azure", "open-ai-azure-"), ("../../etc", "etc-"), ("", "claude-"), ("!?", "agent-"), ("x" * 99, "x" * 40 + "-")],
)
def test_a_provider_of_any_name_gives_a_key_that_names_a_file(find: Any, provider: str, key: str) -> None:
    profile = msgspec.structs.replace(find("claude"), provider=provider)
    assert account_of(profile, {}, {})[:-8] == key


def test_the_first_that_is_not_parked_is_chosen_or_the_one_that_is_so_first(find: Any, programs: dict[str, str]) -> None:
    agents: list[Profile] = [find("claude"), find("codex"), find("second")]
    keys = [account_of(agent, {}, {}) for agent in agents]
    left: dict[str, float] = {}
    chooser = Chooser(programs, lambda account: left.get(account, 0.0))

    def chosen(wanted: str | None = None) -> str:
        choice = chooser.choose(agents, {}, wanted)
        assert choice.account == keys[agents.index(choice.profile)]
        return choice.profile.name

    assert chosen() == "claude"
    left[keys[0]] = 60.0
    assert chosen() == "codex"
    left[keys[1]] = 30.0
    assert chosen() == "second"
    left[keys[2]] = 90.0
    assert chosen() == "codex"
    assert chosen(keys[2]) == "second", "what the core has in mind comes before that"
    assert chosen("unknown-1") == "codex"


def test_a_fallback_that_is_not_installed_is_passed_over_and_told_of_once(find: Any, programs: dict[str, str]) -> None:
    agents: list[Profile] = [find("claude"), find("gemini"), find("codex")]
    keys = [account_of(agent, {}, {}) for agent in agents]
    left = {keys[0]: 60.0}
    notes: list[str] = []
    chooser = Chooser(programs, lambda account: left.get(account, 0.0), notes.append)
    assert [chooser.choose(agents, {}, wanted).profile.name for wanted in (None, keys[1])] == ["codex", "codex"]
    assert notes == ["the fallback gemini is passed over: command not found: gemini"]
    assert chooser.choose(agents[:2], {}).profile.name == "claude", "it waits"
    assert chooser.choose(agents, {"PATH": "/nowhere"}).profile.name == "claude", "the PATH of the agent counts"
    ours = msgspec.structs.replace(agents[1], command=["{python}", "-m", "x"])
    assert chooser.choose([agents[0], ours], {}).profile is ours


def test_an_agent_of_ones_own_that_is_not_installed_is_asked_so_that_the_item_says_so(find: Any) -> None:
    own = find("claude")
    assert Chooser({"PATH": "/nowhere"}, lambda _: 0.0).choose([own, find("codex")], {}).profile is own


def rules(find: Any, keys: str, environ: dict[str, str] | None = None) -> JobRules:
    text = f"[jobs.a]\nprompt = 'p'\nfor_each = ['claude']\n{keys}\n"
    jobs_file = load_text(text, path="/jobs.toml", folder="/")
    accounts = {job.id: accounts_of_job(job, jobs_file.run.env, find, environ or {}) for job in jobs_file.jobs}
    return rules_of(jobs_file.jobs, keep_going=False, accounts=accounts)[0]


@pytest.mark.parametrize(
    ("keys", "providers"),
    [
        ("agent = 'claude'", ["anthropic"]),
        ("agent = 'claude'\nfallback = ['codex', 'claude']", ["anthropic", "openai"]),
        ("agent = 'claude'\nfallback = ['gemini', 'codex']", ["anthropic", "openai"]),
        ("agent = 'claude'\nfallback = ['codex']\nenv = { PATH = '/nowhere' }", ["anthropic"]),
        ("agent = 'claude'\nfallback = ['codex']\nenv = { PATH = '{{ item }}' }", []),
        ("agent = '{{ item }}'", []),
        ("agent = 'claude'\nenv = { ANTHROPIC_API_KEY = 'x', OTHER = '{{ item }}' }", ["anthropic"]),
        ("agent = 'claude'\nenv = { ANTHROPIC_API_KEY = '{{ item }}' }", []),
    ],
)
def test_a_job_tells_its_accounts_where_no_item_has_a_say_in_them(
    find: Any, programs: dict[str, str], keys: str, providers: list[str]
) -> None:
    assert [account.rpartition("-")[0] for account in rules(find, keys, programs).accounts] == providers


@pytest.mark.parametrize(
    ("keys", "policy"),
    [
        ("", "wait"),
        ("on_usage_limit = 'wait'", "wait"),
        ("on_usage_limit = 'pause'", "pause"),
        ("on_usage_limit = 'fail'", "fail"),
        ("on_usage_limit = 'fallback'\nfallback = ['codex']", "wait"),
        ("on_usage_limit = 'pause'\nfallback = ['codex']", "pause"),
    ],
)
def test_what_a_usage_limit_does_is_the_jobs_to_say(find: Any, keys: str, policy: str) -> None:
    assert rules(find, f"agent = 'claude'\n{keys}").on_usage_limit == policy


def test_a_job_that_is_to_fall_back_says_on_whom(find: Any) -> None:
    with pytest.raises(JobsFileError, match="on_usage_limit"):
        rules(find, "agent = 'claude'\non_usage_limit = 'fallback'")
