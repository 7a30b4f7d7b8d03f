"""A good jobs file: every key arrives as the model says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drivers.jobs_schema import refusals

from orchestrator.core.job_rules import Halt
from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.language.template import Template
from orchestrator.jobsfile.load import load, load_text
from orchestrator.jobsfile.model import (
    ChainSource,
    CommandAction,
    FileSource,
    InputSpec,
    Job,
    JobsFile,
    ListSource,
    MatrixSource,
    MaxFailures,
    Pool,
    Rate,
    Retry,
    RunSettings,
    ShellAction,
)
from orchestrator.workers.protocol import Limits

EXAMPLES = Path(__file__).resolve().parents[2] / "configs" / "examples"


def load_lines(text: str) -> JobsFile:
    """What loads is right for editors, too."""
    loaded = load_text(text, path="/project/jobs.toml", folder="/project")
    assert refusals(text) == []
    return loaded


def job_of(keys: str) -> Job:
    """The job `a` with `keys`, in a file that also has a job `other`, an input `who`, and chain parents."""
    text = f'inputs.who = "x"\n[jobs.other]\nshell = "true"\n[jobs.a]\n{keys}\n'
    return load_lines(text if "command" in keys or "shell" in keys else text + 'shell = "true"').jobs[1]


def test_a_job_that_says_nothing_has_the_defaults_of_the_model() -> None:
    job = job_of('shell = "echo hi"')
    assert isinstance(job.action, ShellAction)
    assert job == Job(id="a", action=job.action)


def test_a_file_that_says_nothing_is_named_after_its_stem() -> None:
    loaded = load_lines('[jobs.a]\nshell = "true"')
    assert (loaded.name, loaded.path, loaded.folder) == ("jobs", "/project/jobs.toml", "/project")
    assert loaded.run == RunSettings()
    assert loaded.inputs == {}


def test_run_settings_arrive_in_seconds() -> None:
    loaded = load_lines('[run]\nslots = 0\ndrain_timeout = "5m"\ntimeout = "8h"\nenv = { CI = 1 }\n[jobs.a]\nshell = "true"')
    assert (loaded.run.slots, loaded.run.drain_timeout, loaded.run.timeout) == (0, 300.0, 28800.0)
    assert {name: value.source for name, value in loaded.run.env.items()} == {"CI": "1"}


def test_lanes_depth_and_free_memory_are_settings_of_the_run() -> None:
    run = load_lines('[run]\nslots = 4\nfast_slots = 1\nmax_depth = 0\nmin_free_memory = "1GiB"\n[jobs.a]\nshell = "true"').run
    assert (run.slots, run.fast_slots, run.max_depth, run.min_free_memory) == (4, 1, 0, 1024**3)


@pytest.mark.parametrize("settings", ["fast_slots = 3", "slots = 0\nfast_slots = 3", "slots = 1\nfast_slots = 0"])
def test_fast_slots_are_no_mistake_where_no_lane_is_left_without_slots_by_the_file(settings: str) -> None:
    assert load_lines(f'[run]\n{settings}\n[jobs.a]\nlane = "fast"\nshell = "true"').run.fast_slots is not None


@pytest.mark.parametrize(
    ("keys", "attribute", "value"),
    [
        ("max_concurrency = 2", "max_concurrency", 2),
        ('max_concurrency = "2"', "max_concurrency", 2),
        ("priority = -3", "priority", -3),
        ("continue_on_error = true", "continue_on_error", True),
        ("max_failures = 0", "max_failures", MaxFailures(count=0)),
        ('max_failures = "20%"', "max_failures", MaxFailures(percent=20.0)),
        ('halt = "now"', "halt", Halt(is_now=True)),
        ('halt = "soon,fail=1"', "halt", Halt(is_now=False)),
        ('halt = "now,fail=10%"', "halt", Halt(is_now=True, percent=10.0)),
        ('halt = "now,success=1"', "halt", Halt(is_now=True, why="success", count=1)),
        ('halt = "soon,done=25"', "halt", Halt(is_now=False, why="done", count=25)),
        ("attempts = 3", "attempts", 3),
        ('retry = "10s"', "retry", Retry(delay=10.0)),
        ("retry = 10", "retry", Retry(delay=10.0)),
        (
            'retry = { delay = "1s", backoff = 3, max_delay = "1m", jitter = 0 }',
            "retry",
            Retry(delay=1.0, backoff=3.0, max_delay=60.0, jitter=0.0),
        ),
        ("retry.backoff = 1", "retry", Retry(backoff=1.0)),
        ('timeout = "1h30m"', "limits", Limits(timeout_seconds=5400.0)),
        ("timeout = 0", "limits", Limits()),
        ('stall_timeout = "5m"', "limits", Limits(stall_timeout_seconds=300.0)),
        ("grace = 0", "limits", Limits(grace_seconds=0.0)),
        ('output = "jsonl"', "output", "jsonl"),
        ('max_output = "10MiB"', "limits", Limits(max_output_bytes=10 * 1024**2)),
        ('lane = "fast"', "lane", "fast"),
        ('memory = "2GiB"', "limits", Limits(memory_bytes=2 * 1024**3)),
        ("memory = 0", "limits", Limits()),
        ("token = 'x'\ntoken_ttl = \"1h\"", "token_ttl", 3600.0),
        ("token = 'x'\nif_running = 'run_anyway'", "if_running", "run_anyway"),
        ("token = 'x'\nif_done = 'rerun'", "if_done", "rerun"),
        ("token = 'x'\nif_changed = 'reject'", "if_changed", "reject"),
        ('when = "always"', "when", "always"),
        ('when = "failed"', "when", "failed"),
        ('needs = ["other"]', "needs", ("other",)),
        ('for_each = { job = "other" }', "for_each", ChainSource(jobs=("other",))),
        ('for_each = { job = ["other"] }', "for_each", ChainSource(jobs=("other",))),
        ('for_each = ["x", 1, { y = 2 }, [3]]', "for_each", ListSource(values=("x", 1, {"y": 2}, [3]))),
        ("for_each = []", "for_each", ListSource(values=())),
        ("for_each = [1979-05-27, 07:32:00]", "for_each", ListSource(values=("1979-05-27", "07:32:00"))),
        ("for_each = [{ at = 1979-05-27T07:32:00Z }]", "for_each", ListSource(values=({"at": "1979-05-27T07:32:00+00:00"},))),
    ],
)
def test_a_key_becomes_its_value(keys: str, attribute: str, value: Any) -> None:
    assert getattr(job_of(keys), attribute) == value


@pytest.mark.parametrize(
    ("keys", "attribute", "source", "kind"),
    [
        ('label = "{{ index }}"', "label", "{{ index }}", "text"),
        ('cwd = "src"', "cwd", "src", "text"),
        ('stdin = "{{ inputs.who }}"', "stdin", "{{ inputs.who }}", "text"),
        ('when = "{{ inputs.who }}"', "when", "{{ inputs.who }}", "value"),
        ('token = "{{ inputs.who }} {{ label }} {{ run.id }}"', "token", "{{ inputs.who }} {{ label }} {{ run.id }}", "text"),
    ],
)
def test_a_key_becomes_a_template(keys: str, attribute: str, source: str, kind: str) -> None:
    template = getattr(job_of(keys), attribute)
    assert (template.source, template.kind) == (source, kind)


@pytest.mark.parametrize(("written", "value"), [("true", True), ("false", False)])
def test_when_may_be_a_boolean(written: str, value: bool) -> None:
    when = job_of(f"when = {written}").when
    assert isinstance(when, Template)
    assert when.render({}) is value


@pytest.mark.parametrize(
    "source",
    [
        "{{ index > 3 }}",
        " {{ index }}\\n",
        "{{ {'a': {}}.a }}",
        "{% if index %}x{% endif %}",
        "{# why #}{{ index }}",
        "{{ 'a}' }}",
    ],
)
def test_when_may_be_any_template_without_text_around_it(source: str) -> None:
    assert isinstance(job_of(f'when = "{source}"').when, Template)


def test_a_when_of_one_placeholder_keeps_its_type_also_on_a_line_of_its_own() -> None:
    when = job_of('when = """\n{{ index > 3 }}\n"""').when
    assert isinstance(when, Template)
    assert when.render({"index": 3}) is False


def test_the_arguments_of_a_command_keep_the_type_of_a_lone_placeholder() -> None:
    action = job_of('command = ["echo", "{{ range(2) | list }}", "n={{ index }}"]').action
    assert isinstance(action, CommandAction)
    assert [argument.render({"index": 0}) for argument in action.argv] == ["echo", [0, 1], "n=0"]


def test_a_shell_line_quotes_its_placeholders() -> None:
    action = job_of('shell = "echo {{ inputs.who }}"').action
    assert isinstance(action, ShellAction)
    assert action.script.render({"inputs": {"who": "a b"}}) == "echo 'a b'"


def test_an_environment_takes_numbers_and_booleans_as_written() -> None:
    env = job_of('env = { A = "{{ index }}", B = 3, C = true, D = 1.5, E = "" }').env
    assert {name: value.source for name, value in env.items()} == {"A": "{{ index }}", "B": "3", "C": "true", "D": "1.5", "E": ""}


@pytest.mark.parametrize("kind", ["glob", "lines", "jsonl", "csv"])
def test_a_source_reads_files_in_batches(kind: str) -> None:
    source = job_of(f'for_each = {{ {kind} = "{{{{ inputs.who }}}}/x", batch = 3 }}').for_each
    assert isinstance(source, FileSource)
    assert (source.kind, source.path.source, source.batch) == (kind, "{{ inputs.who }}/x", 3)


def test_the_axes_of_a_matrix_are_lists_sources_and_templates() -> None:
    source = job_of(
        'for_each = { matrix = { a = [1, "{{ inputs.who }}"], b = { glob = "*.py" }, c = "{{ jobs.other.output }}" }, batch = 2 }'
    ).for_each
    assert isinstance(source, MatrixSource)
    assert list(source.axes) == ["a", "b", "c"]
    assert source.batch == 2
    a, b, c = source.axes.values()
    assert isinstance(a, ListSource)
    assert isinstance(a.values, tuple)
    assert isinstance(a.values[1], Template)
    assert isinstance(b, FileSource)
    assert isinstance(c, ListSource)
    assert isinstance(c.values, Template)


@pytest.mark.parametrize(
    "keys",
    [
        'for_each = "{{ jobs.other.output }}"',
        'for_each = ["{{ jobs.other.output }}"]',
        'for_each = { glob = "{{ jobs.other.output }}" }',
        'for_each = { matrix = { x = "{{ jobs.other.output }}" } }',
        'for_each = { job = "other" }',
        'when = "{{ jobs.other.output }}"',
        'label = "{{ jobs.other.output }}"',
        'cwd = "{{ jobs.other.output }}"',
        'stdin = "{{ jobs.other.output }}"',
        'creates = "{{ jobs.other.output }}"',
        'token = "{{ jobs.other.output }}"',
        'env.A = "{{ jobs.other.output }}"',
        'command = ["echo", "{{ jobs.other.output }}"]',
        'shell = "echo {{ jobs.other.output }}"',
    ],
)
def test_a_job_needs_the_jobs_that_it_names(keys: str) -> None:
    assert job_of(keys).needs == ("other",)


def test_needs_are_in_file_order_and_each_once() -> None:
    loaded = load_lines(
        '[jobs.z]\nshell = "true"\n[jobs.a]\nneeds = ["m", "z", "m"]\nshell = "echo {{ jobs.z.output }}"\n'
        '[jobs.m]\nshell = "true"'
    )
    assert [job.needs for job in loaded.jobs] == [(), ("z", "m"), ()]


def test_a_jobs_own_key_wins_over_the_defaults_and_those_over_the_users(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[pools.x]\nslots = 1\n[defaults]\ntimeout = "1s"\ngrace = "1s"\nattempts = 2\nenv = { A = "u", U = "u" }\n'
    )
    file = tmp_path / "jobs.toml"
    file.write_text(
        '[defaults]\ntimeout = "2s"\ngrace = "2s"\nenv = { A = "f", F = "f" }\n'
        '[jobs.a]\nshell = "true"\ntimeout = "3s"\nenv = { A = "j", J = "j" }\n[jobs.b]\nshell = "true"\ntimeout = 0\n'
    )
    a, b = load(file, user_config=str(config)).jobs
    assert (a.limits.timeout_seconds, a.limits.grace_seconds, a.attempts) == (3.0, 2.0, 2)
    assert (b.limits.timeout_seconds, b.limits.grace_seconds, b.attempts) == (None, 2.0, 2)
    assert {name: value.source for name, value in a.env.items()} == {"A": "j", "U": "u", "F": "f", "J": "j"}


def test_a_files_pool_wins_over_the_users_key_by_key(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[pools.both]\nslots = 4\nrate = "5/s"\n[pools.theirs]\nslots = 1\n[defaults]\npool = "theirs"\n')
    file = tmp_path / "jobs.toml"
    file.write_text(
        '[pools.both]\nslots = 2\n[pools.own]\nrate = "3/10s"\n'
        '[jobs.a]\nshell = "true"\n[jobs.b]\nshell = "true"\npool = "both"\n'
    )
    loaded = load(file, user_config=str(config))
    assert loaded.pools == {
        "both": Pool(name="both", slots=2, rate=Rate(5, 1.0)),
        "theirs": Pool(name="theirs", slots=1),
        "own": Pool(name="own", rate=Rate(3, 10.0)),
    }
    assert [job.pool for job in loaded.jobs] == ["theirs", "both"]


def test_a_file_may_complete_a_pool_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[pools.x]\n")
    file = tmp_path / "jobs.toml"
    file.write_text('[pools]\nx.slots = 3\n[jobs.a]\nshell = "true"\npool = "x"')
    assert load(file, user_config=str(tmp_path / "config.toml")).pools == {"x": Pool(name="x", slots=3)}


def test_how_tokens_are_met_may_be_a_default_of_jobs_with_and_without_one() -> None:
    loaded = load_lines(
        '[defaults]\nif_running = "reject"\ntoken_ttl = "1h"\n[jobs.a]\nshell = "true"\ntoken = "x"\n[jobs.b]\nshell = "true"'
    )
    assert [(job.if_running, job.token is None) for job in loaded.jobs] == [("reject", False), ("reject", True)]


def test_a_users_config_that_does_not_exist_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "jobs.toml"
    file.write_text('[jobs.a]\nshell = "true"')
    assert load(file, user_config=str(tmp_path / "absent.toml")).jobs[0].attempts == 1


def test_a_job_with_an_action_of_its_own_leaves_the_default_action() -> None:
    loaded = load_lines('[defaults]\nshell = "true"\n[jobs.a]\n[jobs.b]\ncommand = ["x"]')
    assert [type(job.action) for job in loaded.jobs] == [ShellAction, CommandAction]


def test_inputs_have_a_short_and_a_long_form() -> None:
    loaded = load_lines(
        'inputs.pattern = "*.py"\ninputs.n = 3\ninputs.ratio = 0.5\ninputs.dry = false\ninputs.names = ["a"]\n'
        'inputs.day = 1979-05-27\n[inputs.module]\ntype = "string"\nrequired = true\ndescription = "which one"\n'
        '[inputs.level]\ndefault = "low"\nenum = ["low", "high"]\n[inputs.x]\ntype = "number"\ndefault = 1\n[inputs.note]\n'
        '[jobs.a]\nshell = "true"'
    )
    assert loaded.inputs == {
        "pattern": InputSpec(type="string", default="*.py"),
        "n": InputSpec(type="integer", default=3),
        "ratio": InputSpec(type="number", default=0.5),
        "dry": InputSpec(type="boolean", default=False),
        "names": InputSpec(type="list", default=["a"]),
        "day": InputSpec(type="string", default="1979-05-27"),
        "module": InputSpec(type="string", required=True, description="which one"),
        "level": InputSpec(type="string", default="low", enum=("low", "high")),
        "x": InputSpec(type="number", default=1),
        "note": InputSpec(type="string"),
    }


def test_paths_start_at_the_real_folder_of_the_file_unless_another_is_given(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "jobs.toml").write_text('[jobs.a]\nshell = "true"')
    link = tmp_path / "link.toml"
    link.symlink_to(real / "jobs.toml")
    loaded = load(link)
    assert (loaded.path, loaded.folder) == (str(real / "jobs.toml"), str(real))
    assert load(link, folder=str(tmp_path)).folder == str(tmp_path)


def test_the_text_loads_again_as_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "jobs.toml"
    file.write_bytes('\ufeffname = "ö"\r\n[jobs.a]\r\ncommand = ["echo", "\'\'"]\r\n'.encode())
    loaded = load(file)
    assert load_text(loaded.text, path=loaded.path, folder=loaded.folder) == loaded


@pytest.mark.parametrize(("name", "words"), [("absent.toml", "no such file"), (".", "cannot be read"), ("a\0b", "NUL")])
def test_a_file_that_cannot_be_read_is_told_in_one_line(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words) as told:
        load(tmp_path / name)
    assert "\n" not in told.value.message


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    file = tmp_path / "jobs.toml"
    file.write_text('[jobs.a]\nshell = "true"')
    with pytest.raises(UserError, match="no such folder"):
        load(file, folder=str(tmp_path / "absent"))


def test_bytes_that_are_not_utf8_are_told_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "jobs.toml"
    file.write_bytes(b'name = "x"\n# caf\xe9\n')
    with pytest.raises(JobsFileError) as told:
        load(file)
    assert told.value.problems == [f"{file}:2: not UTF-8, which TOML is always in"]


def test_every_shipped_example_loads() -> None:
    examples = sorted(EXAMPLES.glob("*.toml"))
    assert examples, f"no examples in {EXAMPLES}"
    for example in examples:
        assert load(example).jobs, example
