"""init, check and plan: what one does before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drivers.command_line import RunCli

PLAN = """
inputs.word = "x y"

[jobs.list]
command = ["printf", 'a\\nb\\n']
output = "lines"

[jobs.known]
for_each = ["1", "2"]
shell = "echo {{ item }} {{ inputs.word }} > touched"
when = "{{ item != '2' }}"

[jobs.made]
for_each = { glob = "*.src" }
command = ["cp", "{{ item }}", "{{ creates }}"]
creates = "{{ item }}.out"

[jobs.later]
for_each = "{{ jobs.list.output }}"
command = ["echo", "{{ item }}"]

[jobs.chained]
for_each = { job = "known" }
command = ["echo", "{{ item }}", "{{ parent.output }}"]

[jobs.sum]
command = ["cat", "{{ jobs.known.results_file }}"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    (made / "plan.toml").write_text(PLAN)
    (made / "a.src").touch()
    (made / "b.src").touch()
    (made / "b.src.out").touch()
    return made


@pytest.mark.parametrize("is_home", [True, False], ids=["no folder can be there", "no lock can be there"])
def test_a_home_that_cannot_be_used_is_told_with_what_to_do(run_cli: RunCli, folder: Path, home: Path, is_home: bool) -> None:
    bad = home
    if is_home:
        bad = folder / "a.src" / "home"
    else:
        home.mkdir(mode=0o700)
        (home / "launch.lock").mkdir()
    told = run_cli("--home", str(bad), "run", "plan.toml", "-i", "word=x", cwd=folder)
    assert told.returncode == 74, told.stderr
    what, to_do = told.stderr.splitlines()
    assert str(bad) in what
    assert to_do.endswith("then run it again")


def test_plan_shows_items_and_commands_and_touches_nothing(run_cli: RunCli, folder: Path, home: Path) -> None:
    before = sorted(folder.iterdir())
    told = run_cli("plan", "plan.toml", "-i", "word=it's", cwd=folder)
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == [
        "list",
        "  list",
        "    printf 'a\\nb\\n'",
        "known  for each of 2 values  when {{ item != '2' }}",
        "  known:0 1",
        """    shell: echo '1' 'it'"'"'s' > touched""",
        "  known:1 2  (skipped: its `when` is false)",
        """    shell: echo '2' 'it'"'"'s' > touched""",
        "made  for each file of *.src",
        "  made:0 a.src  (runs: a.src.out is missing)",
        told.stdout.splitlines()[10],
        f"  made:1 b.src  (done already: {folder}/b.src.out exists)",
        told.stdout.splitlines()[12],
        "later  needs list  for each of {{ jobs.list.output }}",
        "  items known after list",
        "chained  follows known item by item",
        "  chained:0 1",
        "    command known after known",
        "  chained:1 2",
        "    command known after known",
        "sum  needs known",
        "  sum",
        "    command known after known",
    ]
    assert told.stdout.splitlines()[10].startswith("    cp a.src ")
    assert sorted(folder.iterdir()) == before
    assert not home.exists()


def test_plan_as_data(run_cli: RunCli, folder: Path) -> None:
    plan = {job["job"]: job for job in json.loads(run_cli("plan", "plan.toml", "--json", cwd=folder).stdout)}
    assert plan["later"] == {
        "job": "later",
        "needs": ["list"],
        "follows": [],
        "for_each": "for each of {{ jobs.list.output }}",
        "when": None,
        "repeat": None,
        "gate": None,
        "workflow": None,
        "lane": "main",
        "pool": None,
        "devices": [],
        "workspace": "shared",
        "after": "list",
        "error": None,
        "is_left_out": False,
        "unselected": 0,
        "items": [],
    }
    assert (plan["chained"]["needs"], plan["chained"]["follows"]) == ([], ["known"])
    assert plan["list"]["items"][0]["argv"] == ["printf", "a\\nb\\n"]
    assert plan["list"]["items"][0]["cwd"] == str(folder)


def test_plan_shows_tokens_lanes_and_pools(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "work.toml").write_text(
        "[pools.site]\nslots = 2\n[jobs.fetch]\nfor_each = ['a', 'b', '']\npool = 'site'\nlane = 'fast'\n"
        'token = "{{ item }}"\ncommand = ["true"]\n'
    )
    told = run_cli("plan", "work.toml")
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[0] == "fetch  for each of 3 values  in the fast lane  in pool site"
    assert lines[1:7] == ["  fetch:0 a", "    true", "    token: a", "  fetch:1 b", "    true", "    token: b"]
    assert lines[7].startswith("  fetch:2  (refused: token: the token is empty")
    (job,) = json.loads(run_cli("plan", "work.toml", "--json").stdout)
    assert (job["lane"], job["pool"]) == ("fast", "site")
    assert [item["token"] for item in job["items"]] == ["a", "b", None]


def test_check_tells_a_pool_of_the_users_config_that_is_missing(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "work.toml").write_text("[jobs.fetch]\npool = 'site'\ncommand = ['true']\n")
    told = run_cli("check", "work.toml")
    assert told.returncode == 2
    assert 'jobs.fetch.pool: no pool is called "site"' in told.stderr
    config = tmp_path / "config" / "orchestrate" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[pools.site]\nslots = 2\n")
    assert run_cli("check", "work.toml").stdout == "ok: 1 job\n  fetch\n"


def test_plan_tells_a_list_that_cannot_be_read_and_an_item_that_is_refused(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(
        '[jobs.read]\nfor_each = { lines = "nowhere" }\ncommand = ["echo"]\n'
        '[jobs.refused]\nfor_each = [{ a = 1 }]\ncommand = ["echo", "{{ item.b }}"]\n'
    )
    told = run_cli("plan", "bad.toml").stdout
    assert "nowhere" in told.splitlines()[1]
    assert "refused:0  (refused: " in told


def test_plan_wants_the_inputs_that_are_required(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "wants.toml").write_text('[inputs.who]\ntype = "string"\nrequired = true\n[jobs.a]\ncommand = ["echo"]\n')
    told = run_cli("plan", "wants.toml")
    assert told.returncode == 2
    assert "who" in told.stderr


def test_check_tells_every_mistake_also_as_data(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('[jobs.a]\ncommand = ["echo"]\nmax_concurency = 2\n[jobs.b]\nneeds = ["c"]\nshell = "x"\n')
    told = run_cli("check", "bad.toml")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.splitlines()[0] == "orchestrate: bad.toml: 2 mistakes"
    told = run_cli("check", "bad.toml", "--json")
    assert told.returncode == 2
    assert len(json.loads(told.stdout)["problems"]) == 2


def test_a_value_that_would_be_read_as_commands_is_noted_by_check_and_by_the_run(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "twice.toml").write_text('[jobs.a]\nfor_each = ["true"]\nshell = "eval {{ item }}"\n')
    words = "twice.toml:3: jobs.a.shell: eval reads the value once more, as commands"
    told = run_cli("check", "twice.toml")
    assert (told.returncode, told.stdout.splitlines()[0]) == (0, "ok: 1 job")
    assert told.stderr.startswith(f"note: {words}")
    assert [each.startswith(words) for each in json.loads(run_cli("check", "twice.toml", "--json").stdout)["warnings"]] == [True]
    told = run_cli("run", "twice.toml")
    assert told.returncode == 0
    assert told.stderr.count(f"note: {words}") == 1


GRAPH = [
    "list",
    "└── later  for each of {{ jobs.list.output }}",
    "known  for each of 2 values  when {{ item != '2' }}",
    "╞══ chained",
    "└── sum",
    "made  for each file of *.src",
]


def test_check_and_plan_show_how_the_jobs_hang_together(run_cli: RunCli, folder: Path) -> None:
    told = run_cli("check", "plan.toml", cwd=folder).stdout.splitlines()
    assert told == ["ok: 6 jobs", *(f"  {line}" for line in GRAPH)]
    data = json.loads(run_cli("check", "plan.toml", "--json", cwd=folder).stdout)
    assert (data["ok"], data["jobs"], data["problems"]) == (True, ["list", "known", "made", "later", "chained", "sum"], [])
    assert json.loads(run_cli("plan", "plan.toml", "--json", "--graph", cwd=folder).stdout) == data["graph"]

    both = run_cli("plan", "--graph", "plan.toml", cwd=folder).stdout.splitlines()
    assert both[: len(GRAPH) + 2] == [*GRAPH, "", "flowchart TD"]
    assert "    job_known ==>|item by item| job_chained" in both
    assert run_cli("plan", "--graph", "mermaid", "plan.toml", cwd=folder).stdout.splitlines() == both[len(GRAPH) + 1 :]


def test_check_shows_the_beginning_of_a_large_graph(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "many jobs.toml").write_text("".join(f'[jobs.j{number}]\nshell = "true"\n' for number in range(60)))
    told = run_cli("check", "many jobs.toml").stdout.splitlines()
    assert told[:2] == ["ok: 60 jobs", "  j0"]
    assert told[-2:] == ["  j49", "  … 10 more lines: orchestrate plan --graph tree 'many jobs.toml'"]


def test_editors_find_the_schema_beside_the_file_and_a_new_one_can_be_had(run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("init", "chain").returncode == 0
    schema = tmp_path / "jobs.schema.json"
    assert "#:schema ./jobs.schema.json" in (tmp_path / "chain.toml").read_text().splitlines()
    printed = run_cli("schema").stdout
    assert json.loads(printed) == json.loads(schema.read_text())
    schema.write_text("of an older version")
    assert run_cli("init", "matrix").returncode == 0
    assert schema.read_text() == "of an older version"
    assert run_cli("schema", "-o", schema).stdout == ""
    assert schema.read_text() == printed


def test_init_lists_copies_and_never_overwrites(run_cli: RunCli, tmp_path: Path) -> None:
    assert "quickstart  " in run_cli("init").stdout
    assert {each["name"] for each in json.loads(run_cli("init", "--json").stdout)} >= {"quickstart", "chain"}
    assert list(tmp_path.glob("*.toml")) == []
    assert "orchestrate run quickstart.toml" in run_cli("init", "quickstart").stdout
    made = tmp_path / "quickstart.toml"
    assert run_cli("check", made).returncode == 0
    made.write_text("mine")
    told = run_cli("init", "quickstart")
    assert told.returncode == 2
    assert "quickstart.toml is here already" in told.stderr
    assert made.read_text() == "mine"
