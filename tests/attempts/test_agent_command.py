"""From a profile and what a job asks for to a command line, for every profile that is shipped."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest

from orchestrator.attempts.agent.command import Asked, call_of, takes_schema
from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.jobsfile.profiles.profile import Flags, Level, Profile
from orchestrator.system.passed_variables import is_passed
from orchestrator.workers.protocol.reading import Reading

PROFILE = Profile(
    name="x",
    origin="shipped",
    path="x.toml",
    command=["x", "run"],
    reading=Reading(),
    permissions={"read": Level(args=["--ask"]), "edit": Level(args=["--edit"], env={"MODE": "edit"}), "full": Level()},
    prompt_args=["-"],
    env={"QUIET": "1", "MODE": "none"},
    pass_env=["X_*"],
    account_env=["X_KEY"],
    flags=Flags(
        model=["--model", "{model}"],
        max_turns=["--turns={max_turns}"],
        budget=["--usd", "{budget}"],
        session=["resume", "{session}"],
        schema_file=["--schema", "{schema_file}"],
    ),
)


def asked(**more: Any) -> Asked:
    return Asked(**{"prompt": "do {it}", "permissions": "edit", **more})


def test_the_words_stand_in_the_order_that_a_profile_counts_on() -> None:
    call = call_of(
        PROFILE,
        asked(
            model="m",
            args=["--own"],
            max_turns=3,
            budget_usd=0.5,
            session_id="s-1",
            schema_path="/s.json",
            schema_text="{}",
        ),
    )
    assert call.argv == [
        *("x", "run", "--edit", "--model", "m", "--turns=3", "--usd", "0.5", "--schema", "/s.json"),
        *("--own", "resume", "s-1", "-"),
    ]
    assert (call.stdin, call.script) == ("do {it}", None)
    assert call.env == {"QUIET": "1", "MODE": "edit"}


def test_what_a_profile_has_no_flag_for_is_left_out() -> None:
    bare = msgspec.structs.replace(PROFILE, flags=Flags())
    call = call_of(bare, asked(model="m", max_turns=3, budget_usd=1.0, session_id="s", schema_path="/s", schema_text="{}"))
    assert call.argv == ["x", "run", "--edit", "-"]
    assert not takes_schema(bare, "{}")


def test_a_prompt_goes_by_a_file_or_by_argv_only_where_the_profile_says_so() -> None:
    by_file = msgspec.structs.replace(PROFILE, prompt="file", prompt_args=["--message-file", "{prompt_file}"])
    call = call_of(by_file, asked())
    assert (call.argv[-1], call.script, call.stdin) == ("--message-file", "do {it}", None)
    by_argv = msgspec.structs.replace(PROFILE, prompt="argument", prompt_args=["-p", "{prompt}"])
    assert call_of(by_argv, asked()).argv[-2:] == ["-p", "do {it}"]
    assert call_of(by_argv, asked(prompt="--version")).argv[-2:] == ["-p", " --version"], "it must not pass for an option"


def test_an_agent_gets_what_its_profile_and_the_job_name_of_the_environment_and_no_other_secret() -> None:
    allowed = call_of(PROFILE, asked(pass_env=("MY_TOKEN",))).env_allowed
    for name in ("PATH", "HOME", "LC_ALL", "X_THING", "X_KEY", "MY_TOKEN"):
        assert is_passed(name, allowed), name
    for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "OPENAI_API_KEY", "PYTHONPATH", "XX", "ORCHESTRATE_HOME"):
        assert not is_passed(name, allowed), name


def test_an_agent_signs_its_commits_as_the_user_and_gets_nothing_that_acts_as_the_user() -> None:
    """An ssh-agent opens every machine of the user; git's variables run commands and hold headers with tokens."""
    allowed = call_of(PROFILE, asked()).env_allowed
    assert is_passed("GIT_AUTHOR_NAME", allowed)
    assert is_passed("GIT_COMMITTER_EMAIL", allowed)
    for name in ("SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_CONFIG_COUNT", "GIT_CONFIG_VALUE_0", "GIT_TOKEN"):
        assert not is_passed(name, allowed), name
    assert is_passed("SSH_AUTH_SOCK", call_of(PROFILE, asked(pass_env=("SSH_AUTH_SOCK",))).env_allowed)


def test_a_schema_that_is_too_long_for_argv_is_left_to_the_prompt() -> None:
    inline = msgspec.structs.replace(PROFILE, flags=Flags(schema_inline=["--json", "{schema}"]))
    assert call_of(inline, asked(schema_path="/s", schema_text='{"a": 1}')).argv[-3:] == ["--json", '{"a": 1}', "-"]
    assert not takes_schema(inline, " " * 100_001)
    assert takes_schema(PROFILE, " " * 100_001)


@pytest.mark.parametrize("name", Profiles().names())
@pytest.mark.parametrize("level", ["read", "edit", "full"])
def test_every_shipped_profile_gives_a_whole_command_line_with_the_prompt_in_one_place(name: str, level: Any) -> None:
    profile = Profiles().get(name)
    call = call_of(profile, asked(permissions=level, prompt="THE PROMPT", model="m", session_id="s", max_turns=2))
    assert [*call.argv, call.stdin, call.script].count("THE PROMPT") == 1
    assert ("THE PROMPT" in call.argv) == (profile.prompt == "argument")
    assert not any("{" in word for word in call.argv), call.argv
    assert call.argv[0] == (sys.executable if name == "demo" else profile.command[0])
