"""Profile files: found in their order, laid over one another, and every mistake told with its place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.language.toml_text import parse_toml
from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.workers.protocol import AttemptClass
from orchestrator.workers.protocol.reading import Reading

SHIPPED = ["aider", "claude", "codex", "copilot", "cursor-agent", "demo", "gemini", "opencode", "pi", "qwen"]
LEAST = """
command = ["mine", "--json"]

[permissions]
edit = []

[[events]]
where = { type = "done" }
means = "success"
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder of profiles."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return put(tmp_path / "config" / "orchestrate" / "agents" / "unused.toml", LEAST).parent


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def mistakes(folder: Path, text: str, name: str = "mine") -> list[str]:
    path = put(folder / f"{name}.toml", text)
    with pytest.raises(JobsFileError) as caught:
        Profiles().get(name)
    return [problem.removeprefix(f"{path}") for problem in caught.value.problems]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_profile_is_right_and_complete(name: str) -> None:
    profile = Profiles().get(name)
    assert profile.origin == "shipped"
    assert set(profile.permissions) == {"read", "edit", "full"}
    assert profile.description
    assert profile.version
    assert profile.account_env
    assert profile.flags.model is not None


def test_these_are_shipped() -> None:
    assert [name for name in Profiles().names() if name != "unused"] == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_reading_survives_its_way_to_the_worker_and_is_small(name: str) -> None:
    reading = Profiles().get(name).reading
    packed = msgspec.msgpack.encode(reading)
    assert msgspec.msgpack.decode(packed, type=Reading) == reading
    assert len(packed) < 8192


def test_no_two_levels_of_a_profile_are_the_same() -> None:
    for name in SHIPPED:
        levels = list(Profiles().get(name).permissions.values())
        assert len({msgspec.json.encode(level) for level in levels}) == 3, name


def test_every_class_of_a_profile_is_one_of_an_attempt() -> None:
    for name in SHIPPED:
        reading = Profiles().get(name).reading
        named = [rule.class_name for rule in (*reading.events, *reading.lines, *reading.classes) if rule.class_name]
        for each in (*named, *reading.statuses.values(), *reading.exit_codes.values(), *reading.patience):
            AttemptClass(each)


def test_only_aider_needs_a_check() -> None:
    assert [name for name in SHIPPED if Profiles().get(name).needs_check] == ["aider"]


def test_a_profile_can_be_told_in_ten_lines(config: Path) -> None:
    put(config / "mine.toml", LEAST)
    profile = Profiles().get("mine")
    assert (profile.name, profile.origin, profile.provider) == ("mine", "user", "mine")
    assert profile.command == ["mine", "--json"]
    assert profile.reading.statuses["401"] == "auth", "what providers say needs no telling again"


def test_the_one_beside_the_jobs_file_counts_before_the_users_and_the_shipped(tmp_path: Path, config: Path) -> None:
    beside = tmp_path / "project"
    assert origin_of(Profiles(str(beside)), "claude") == "shipped"
    put(config / "claude.toml", LEAST)
    assert origin_of(Profiles(str(beside)), "claude") == "user"
    put(beside / "agents" / "claude.toml", LEAST)
    assert origin_of(Profiles(str(beside)), "claude") == "jobs file"
    assert origin_of(Profiles(), "claude") == "user"


def origin_of(profiles: Profiles, name: str) -> str:
    return profiles.get(name).origin


def test_a_profile_may_change_a_few_keys_of_the_one_behind_it(config: Path) -> None:
    shipped = Profiles().get("claude")
    put(config / "claude.toml", 'extends = "claude"\ncommand = ["my-claude"]\n[env]\nEXTRA = "1"\n')
    mine = Profiles().get("claude")
    assert mine.command == ["my-claude"]
    assert mine.env == {**shipped.env, "EXTRA": "1"}
    assert mine.reading == shipped.reading


def test_a_text_that_was_read_before_is_not_gone_through_again(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run reads its profiles three times: to check its file, to check its copy of that, and to start agents."""
    put(config / "mine.toml", 'extends = "claude"\nprovider = "first"\n')
    texts: list[str] = []
    monkeypatch.setattr(
        "orchestrator.jobsfile.profiles.load.parse_toml", lambda text, path: texts.append(text) or parse_toml(text, path)
    )
    assert Profiles().get("mine").provider == "first"
    texts.clear()
    again = Profiles().get("mine")
    assert (again.provider, again.reading, texts) == ("first", Profiles().get("claude").reading, [])
    put(config / "mine.toml", 'extends = "claude"\nprovider = "second"\n')
    assert Profiles().get("mine").provider == "second", "what is in the file now counts"


def test_a_new_name_may_extend_another(tmp_path: Path, config: Path) -> None:
    put(config / "fast.toml", 'extends = "claude"\nprovider = "other"\n')
    put(tmp_path / "agents" / "faster.toml", 'extends = "fast"\n[env]\nA = "b"\n')
    profile = Profiles(str(tmp_path)).get("faster")
    assert (profile.provider, profile.env["A"], profile.prompt) == ("other", "b", "stdin")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("b", "a", "extends: there is no other agent"),
        ("a", "a", "extends: there is no other agent"),
        ("cloude", "a", "did you mean claude?"),
    ],
)
def test_profiles_that_extend_each_other_are_refused(config: Path, first: str, second: str, words: str) -> None:
    put(config / "a.toml", f'extends = "{first}"\n')
    put(config / "b.toml", f'extends = "{second}"\n')
    with pytest.raises(JobsFileError, match="1 mistake") as caught:
        Profiles().get("a")
    assert words in caught.value.problems[0]


def test_an_agent_that_nobody_knows_is_told_with_the_nearest_name() -> None:
    with pytest.raises(UserError) as caught:
        Profiles().get("cloude")
    assert caught.value.message == 'there is no agent "cloude"; did you mean claude?'
    assert "orchestrate agents" in caught.value.hint


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkdir, "mine.toml: cannot be read: Is a directory"),
        (os.mkfifo, "mine.toml: cannot be read: it is a pipe, and nobody writes to it"),
        (lambda path: os.symlink("nowhere", path), "mine.toml: no such file"),
    ],
)
def test_a_profile_that_is_no_file_is_told_as_what_it_is(config: Path, make: Callable[[Path], None], words: str) -> None:
    make(config / "mine.toml")
    with pytest.raises(UserError) as caught:
        Profiles().get("mine")
    assert caught.value.message == f"{config}/{words}"


@pytest.mark.parametrize("name", ["../claude", "Claude", "", "a/b", "claude.toml\n"])
def test_a_name_never_leads_out_of_its_folder(name: str) -> None:
    with pytest.raises(UserError, match="there is no agent"):
        Profiles().get(name)


def test_all_mistakes_are_told_at_once_with_line_and_place(config: Path) -> None:
    assert mistakes(
        config,
        """
comand = ["x"]
prompt = "stdni"
pass_env = ["A B"]

[permissions]
raed = []

[flags]
model = ["--model"]
session = ["--resume", "{sesion}"]

[patience]
ratelimit = 3

[statuses]
401 = "athu"

[[events]]
where = { type = "x" }
means = "sucess"
""",
    ) == [
        ":2: comand: unknown key; did you mean command?",
        ':3: prompt: expected one of "stdin", "file" and "argument", got a string ("stdni"); did you mean stdin?',
        ':4: pass_env: expected the name of a variable, or "PREFIX*", got a string ("A B")',
        ":7: permissions.raed: unknown key; did you mean read?",
        ":10: flags.model: expected {model} in it",
        ":11: flags.session: {sesion} is no placeholder here (known: {session})",
        ":11: flags.session: expected {session} in it",
        ':14: patience.ratelimit: expected a class such as "auth" or "rate_limit", '
        'got a string ("ratelimit"); did you mean rate_limit?',
        ':17: statuses.401: expected a class such as "auth" or "rate_limit", got a string ("athu"); did you mean auth?',
        ':19: events[0].means: expected one of "success", "failure", "error", "retry", "progress", "begin", "task_opened", '
        '"task_closed", "tasks_open", "trouble" and "mended", '
        'got a string ("sucess"); did you mean success?',
        ": command: missing: the program and its arguments, as a list of strings",
    ]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("[[events]]\nmeans = 'retry'", "events[1]: expected where, present or match"),
        (
            "[[events]]\nwhere = { a = 1 }\ntake = { sesion = 'x' }",
            "events[1].take.sesion: nothing of this name is taken; did you mean",
        ),
        ("[[events]]\nwhere = { a = 1 }\ntake = { session = 3 }", 'expected a path such as "error.message"'),
        ("[[events]]\nwhere = { a = 1 }\ntake = { structured = [] }", 'expected a path such as "error.message"'),
        ("[[events]]\nwhere = { a = [] }", "events[1].where.a: expected a value or a list of values, got an empty list"),
        ("[[events]]\nwhere = { a = [[1]] }", "events[1].where.a: expected a value or a list of values, got a list"),
        ("[[events]]\nmatch = { a = '(' }", "events[1].match.a: expected a regular expression: missing )"),
        ("[[events]]\nwhere = { a = 1 }\nclass = 'ok'", "events[1].class: expected one of"),
        ("[[events]]\nwhere = { a = 1 }\nclasses = { b = 'auth' }", "expected a table from values to classes"),
        ("[[lines]]\nmeans = 'retry'", "lines[0]: expected a pattern"),
        ("[[lines]]\npattern = '(?P<cots>.)'", "the group cots means nothing here"),
        ("[[classes]]\npattern = 'x'", "classes[0]: expected a pattern and a class"),
        ("[[show]]\ndetail = 'x'", "show[0]: expected where"),
        ("[config_dir]\nvariable = 'X'", "config_dir: default is missing"),
    ],
)
def test_a_rule_that_is_wrong_says_what_it_lacks(config: Path, rule: str, words: str) -> None:
    (told,) = mistakes(config, f"{LEAST}\n{rule}\n")
    assert words in told


@pytest.mark.parametrize(
    ("top", "words"),
    [
        ('prompt = "file"\n', 'prompt_args: expected {prompt_file} as its last word, as prompt = "file"'),
        ('prompt = "argument"\nprompt_args = ["-p"]\n', 'prompt_args: expected {prompt} in it, as prompt = "argument"'),
        ('prompt_args = ["{prompt}"]\n', "{prompt} is no placeholder here (known: none)"),
        ("resets = ['x']\n", "resets[0]: expected named groups"),
        ("resets = ['(?P<our>x)']\n", "the group our means nothing here; did you mean hour?"),
        ('format = "jsn"\n', 'format: expected one of "json" and "text"'),
        ('format = "text"\n', 'lines: expected a line that means "progress"'),
    ],
)
def test_a_key_at_the_top_that_is_wrong_says_what_it_lacks(config: Path, top: str, words: str) -> None:
    (told,) = mistakes(config, f"{top}{LEAST}")
    assert words in told


def test_a_profile_by_which_nothing_could_succeed_is_refused(config: Path) -> None:
    (told,) = mistakes(config, LEAST.replace('"success"', '"failure"'))
    assert told.endswith('events: expected an event that means "success": without one no attempt would ever succeed')


def test_text_that_is_no_toml_is_told_with_its_place(config: Path) -> None:
    put(config / "mine.toml", "command = [")
    with pytest.raises(JobsFileError) as caught:
        Profiles().get("mine")
    assert "mine.toml:1" in caught.value.problems[0]
