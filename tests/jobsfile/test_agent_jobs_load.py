"""What a jobs file may get wrong about agents, told when it is loaded; and what an agent job has where nothing is said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from drivers.jobs_schema import refusals

from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.load import load, load_text
from orchestrator.jobsfile.model import Job

AGENT = 'agent = "demo"\nprompt = "go on"\n'


@pytest.fixture(autouse=True)
def no_profiles_of_mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def loaded(folder: Path, text: str) -> dict[str, Job]:
    (folder / "jobs.toml").write_text(text)
    return {job.id: job for job in load(folder / "jobs.toml").jobs}


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(JobsFileError) as told:
        loaded(folder, text)
    return [problem.partition("jobs.toml:")[2] for problem in told.value.problems]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('agent = "clade"\nprompt = "x"', '2: jobs.a.agent: there is no agent "clade"; did you mean claude?'),
        ('agent = "demo"', "1: jobs.a: no prompt: a job with agent has a prompt or a prompt_file"),
        (AGENT + 'prompt_file = "p.md"', "4: jobs.a.prompt_file: a job has a prompt or a prompt_file, this has both"),
        (AGENT + 'stdin = "x"', "4: jobs.a.stdin: does not go with agent: what an agent reads is its prompt"),
        (AGENT + 'pass_env = ["CI_*", "A*B"]', '4: jobs.a.pass_env: "A*B" names no environment variable'),
        (AGENT + 'pass_env = ["TOKEN=x"]', '4: jobs.a.pass_env: "TOKEN=x" names no environment variable'),
        (AGENT + 'model = " -x"', '4: jobs.a.model: " -x" begins with a dash: its CLI would take it for an option'),
        (AGENT + 'fallback = ["codx"]', '4: jobs.a.fallback: there is no agent "codx"; did you mean codex?'),
        ('agent = "aider"\nprompt = "x"', "2: jobs.a.agent: nobody can tell whether aider succeeded: it needs a check"),
        (AGENT + 'fallback = ["aider"]', "4: jobs.a.fallback: nobody can tell whether aider succeeded: it needs a check"),
        ('shell = "true"\nmodel = "opus"', "3: jobs.a.model: says how an agent works, and this job has none"),
        (AGENT + "budget_usd = 1e300", "4: jobs.a.budget_usd: expected an amount in US dollars, from 0 to 1000000"),
        ('command = ["true"]\nbudget_usd = 3', "3: jobs.a.budget_usd: says how an agent works, and this job has none"),
        ('gate = "?"\nprompt = "x"', "3: jobs.a.prompt: does not go with gate: a gate asks, and runs nothing"),
        (AGENT + 'schema = "no.json"', "no.json: No such file or directory"),
        (AGENT + 'schema = "bad.json"', "bad.json: not JSON: "),
        (AGENT + 'schema = "odd.json"', "odd.json: not a JSON Schema: "),
        (AGENT + 'schema = "good.json"\noutput = "text"', "5: jobs.a.output: does not go with schema"),
        (
            AGENT + 'expect = "answr"',
            '4: jobs.a.expect: expected one of "answer" and "change", got a string ("answr"); did you mean answer?',
        ),
        (
            AGENT + 'expect = "change"',
            '4: jobs.a.expect: "change" needs a workspace of its own, else nobody can tell who changed what',
        ),
        (AGENT + 'workspace = "shared"\nexpect = "change"', '5: jobs.a.expect: "change" needs a workspace of its own'),
        ('shell = "true"\nexpect = "answer"', "3: jobs.a.expect: says how an agent works, and this job has none"),
        ('agent = "demo"\nprompt_file = "no.md"', "no.md: No such file or directory"),
        ('agent = "demo"\nprompt_file = "broken.md"', "broken.md: "),
        ('agent = "demo"\nprompt_file = "empty.md"', "empty.md: expected what to tell the agent, and the file is empty"),
        ('agent = "demo"\nprompt_file = "wants.md"', "3: jobs.a.prompt_file: inputs.whoo is not declared"),
        ('agent = "demo"\nprompt_file = "wants.md"', "; a file that is no template is { path"),
        ('agent = "demo"\nprompt_file = "broken.md"', "; a file that is no template is { path"),
        ('agent = "demo"\nprompt_file = { path = "wants.md" }', "3: jobs.a.prompt_file: inputs.whoo is not declared"),
        ('agent = "demo"\nprompt_file = { template = false }', "jobs.a.prompt_file.path: expected the path of a file"),
        ('agent = "demo"\nprompt_file = { path = "wants.md", plain = true }', "3: jobs.a.prompt_file.plain: unknown key"),
        ('agent = "demo"\nprompt_file = 3', '3: jobs.a.prompt_file: expected the path of a file or a table such as { path = "p'),
        ('agent = "demo"\nprompt = "{{ itme }}"', "jobs.a.prompt: itme is not a name that templates know"),
        ('agent = "demo"\nmodel = "{{ creates }}"\nprompt = "x"\ncreates = "f"', "creates is not known yet when model"),
        (AGENT + 'workspace = "worktree"\ncwd = "/tmp"', "5: jobs.a.cwd: leads out of the workspace (worktree)"),
        (AGENT + 'workspace = "copy"\ncwd = "../x"', "5: jobs.a.cwd: leads out of the workspace (copy)"),
        ('land = "b"', '2: jobs.a.land: b has no worktrees to bring home: it needs workspace = "worktree"'),
        ('land = "c"', "2: jobs.a.land: no job is called c"),
        ('workflow = "x.toml"\ncheck = "true"', "3: jobs.a.check: does not go with workflow"),
    ],
)
def test_a_mistake_about_an_agent_is_told_in_words(tmp_path: Path, keys: str, problem: str) -> None:
    (tmp_path / "x.toml").write_text('[jobs.x]\nshell = "true"')
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "odd.json").write_text('{"type": "strig"}')
    (tmp_path / "good.json").write_text('{"type": "object"}')
    (tmp_path / "broken.md").write_text("{{ item")
    (tmp_path / "empty.md").write_text(" \n")
    (tmp_path / "wants.md").write_text("Hello {{ inputs.whoo }}")
    found = mistakes(tmp_path, f'[jobs.a]\n{keys}\n[jobs.b]\nshell = "true"\n')
    assert any(problem in line for line in found), found
    assert len(found) == 1, found


def test_a_prompt_file_that_is_no_template_is_told_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "theirs.md").write_text("Hello {{ name }}, {% whatever %}")
    jobs = loaded(tmp_path, '[jobs.a]\nagent = "demo"\nprompt_file = { path = "theirs.md", template = false }')
    prompt = jobs["a"].prompt
    assert prompt is not None
    assert prompt.render({}) == "Hello {{ name }}, {% whatever %}"


def test_keys_of_defaults_are_meant_for_those_whom_they_concern(tmp_path: Path) -> None:
    jobs = loaded(
        tmp_path,
        '[defaults]\nprompt = "go on"\nmodel = "m"\nstdin = "x"\nbudget_usd = 1\n'
        '[jobs.a]\nagent = "demo"\n[jobs.b]\nshell = "true"\n[jobs.c]\nagent = "demo"\nprompt_file = "p-{{ index }}.md"\n',
    )
    assert (jobs["a"].model is not None, jobs["a"].stdin, jobs["b"].model, jobs["b"].budget_usd) == (True, None, None, None)
    assert jobs["b"].stdin is not None
    assert jobs["c"].prompt is None, "its own prompt_file takes the place of the prompt of the defaults"


def test_an_agent_job_runs_four_items_at_once_and_reads_where_it_is_not_alone(tmp_path: Path) -> None:
    jobs = loaded(
        tmp_path,
        f"[jobs.a]\n{AGENT}\n[jobs.b]\n{AGENT}max_concurrency = 9\nworkspace = 'worktree'\n[jobs.c]\n{AGENT}permissions = 'full'",
    )
    assert [job.max_concurrency for job in jobs.values()] == [4, 9, 4]
    assert [job.allowed for job in jobs.values()] == ["read", "edit", "full"]


def test_a_prompt_file_is_a_template_of_the_job_and_names_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "ask.md").write_text("Sum up {{ jobs.b.output }}")
    text = '[jobs.a]\nagent = "demo"\nprompt_file = "ask.md"\n[jobs.b]\nshell = "true"\n'
    assert loaded(tmp_path, text)["a"].needs == ("b",)


def test_what_is_expected_of_an_agent_may_be_a_default(tmp_path: Path) -> None:
    defaults = '[defaults]\nexpect = "change"\nworkspace = "copy"\n'
    jobs = loaded(tmp_path, f'{defaults}[jobs.a]\n{AGENT}[jobs.b]\nshell = "true"')
    assert [job.expect for job in jobs.values()] == ["change", None]
    (found,) = mistakes(tmp_path, f'{defaults}[jobs.a]\n{AGENT}workspace = "shared"')
    assert 'expect of [defaults]: "change" needs a workspace of its own' in found


def test_a_schema_makes_the_output_json(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("{}")
    assert loaded(tmp_path, f'[defaults]\noutput = "lines"\n[jobs.a]\n{AGENT}schema = "s.json"')["a"].output == "json"


def test_a_profile_beside_the_jobs_file_is_known(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "mine.toml").write_text('extends = "demo"\n')
    assert loaded(tmp_path, '[jobs.a]\nagent = "mine"\nprompt = "x"')
    (tmp_path / "agents" / "mine.toml").write_text('extends = "demo"\nprmpt = "x"\n')
    (found,) = mistakes(tmp_path, '[jobs.a]\nagent = "mine"\nprompt = "x"')
    assert "mine.toml" in found
    assert "did you mean prompt?" in found
    (tmp_path / "agents" / "mine.toml").write_text('extends = "demo"\nprmpt = "x"\nneeds = 1\ncommand = 3\n')
    found_too = mistakes(tmp_path, '[jobs.a]\nagent = "mine"\nprompt = "x"')
    assert [line.partition("mine.toml:")[2][:1] for line in found_too] == ["2", "3", "4"], "all of them, a line each"


def test_without_the_package_a_schema_is_refused_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    (found,) = mistakes(tmp_path, f'[jobs.a]\n{AGENT}schema = "s.json"')
    assert found == (
        "4: jobs.a.schema: answers are checked by the package jsonschema, which is not installed: "
        "pip install 'orchestrate-runs[schema]'"
    )


def test_a_runs_copy_can_be_read_when_its_agents_and_files_are_gone() -> None:
    text = '[jobs.a]\nagent = "gone"\nprompt_file = "gone.md"\nschema = "gone.json"'
    (job,) = load_text(text, path="/nowhere/jobs.toml", folder="/nowhere").jobs
    assert (job.prompt, job.output) == (None, "json")


def test_editors_want_a_prompt_for_an_agent() -> None:
    assert refusals('[jobs.a]\nagent = "demo"')
    assert refusals(f"[jobs.a]\n{AGENT}prompt_file = 'x'")
    assert not refusals(f"[jobs.a]\n{AGENT}")
    assert not refusals('[defaults]\nprompt = "x"\n[jobs.a]\nagent = "demo"')
