"""What runs a script, which exit codes are a success, jobs files from stdin, files that are made anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from drivers.command_line import RunCli

from orchestrator.workers.shell import argv_of_file, interpreter_of, is_shell_program

JOBS = r"""
[defaults]
continue_on_error = true
[jobs.pipe]
for_each = ["it's $HOME"]
shell = "false | printf %s {{ item }}; [[ -n $BASH_VERSION ]]"
shell_program = ["bash", "-eu", "-c"]
[jobs.pipefail]
shell = "false | true; echo not reached"
shell_program = ["bash", "-euo", "pipefail", "-c"]
[jobs.other]
env = { VALUE = "it's" }
shell = '''#!/usr/bin/env python3
import os
print(os.environ["VALUE"])'''
[jobs.changed]
shell = "exit 2"
ok_exit_codes = [2]
[jobs.not_changed]
shell = "exit 3"
ok_exit_codes = [2]
"""


def test_a_script_is_run_by_what_the_job_or_its_first_line_names(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS)
    assert run_cli("run", "jobs.toml").returncode == 1
    told = json.loads(run_cli("results", "--json", "--fields", "job,status,output,exit_code").stdout)
    assert [tuple(each.values()) for each in told] == [
        ("pipe", "succeeded", "it's $HOME", 0),
        ("pipefail", "failed", None, 1),
        ("other", "succeeded", "it's", 0),
        ("changed", "succeeded", "", 2),
        ("not_changed", "failed", None, 3),
    ]


def test_a_jobs_file_comes_from_stdin_and_runs_where_we_are(run_cli: RunCli) -> None:
    ran = run_cli("run", "-", stdin='[jobs.a]\nshell = "pwd > here"')
    assert ran.returncode == 0, ran.stderr
    assert run_cli("run", "-", "--resume", stdin="").returncode == 2
    told = run_cli("check", "-", stdin="[jobs.a]\nshel = 'x'")
    assert "shel: unknown key" in told.stderr


def test_what_is_older_than_its_sources_is_made_anew_in_a_folder_that_is_made(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        '[jobs.a]\nfor_each = ["x", "y"]\ncreates = "out/deep/{{ item }}"\nsources = ["{{ item }}"]\n'
        'shell = "cp {{ item }} {{ creates }}; echo {{ item }} >> ran"\n'
    )
    for name in ("x", "y"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (5, 5))
    assert run_cli("run", "jobs.toml").returncode == 0
    (tmp_path / "y").write_text("later")
    os.utime(tmp_path / "y", (1 << 32, 1 << 32))
    notes = [item["note"] for item in json.loads(run_cli("plan", "jobs.toml", "--json").stdout)[0]["items"]]
    assert notes == [
        f"done already: {tmp_path}/out/deep/x exists",
        "runs: y is newer than out/deep/y",
    ]
    assert run_cli("run", "jobs.toml").returncode == 0
    assert sorted((tmp_path / "ran").read_text().split()) == ["x", "y", "y"]
    assert (tmp_path / "out/deep/y").read_text() == "later"


def test_what_holds_something_else_than_it_was_made_of_is_made_anew_in_another_run_and_told_why(
    run_cli: RunCli, tmp_path: Path
) -> None:
    (tmp_path / "jobs.toml").write_text(
        '[jobs.a]\nfor_each = ["x", "y"]\ncreates = "out/{{ item }}"\nsources = ["{{ item }}"]\n'
        'creates_when = "changed"\nshell = "cp {{ item }} {{ creates }}"\n'
    )
    for name in ("x", "y"):
        (tmp_path / name).write_text(name)
    assert run_cli("run", "jobs.toml").returncode == 0
    (tmp_path / "y").write_text("Y")
    planned = json.loads(run_cli("plan", "jobs.toml", "--json").stdout)[0]["items"]
    assert [item["note"] for item in planned] == [f"done already: {tmp_path}/out/x exists", "runs: y has changed"]
    assert run_cli("run", "jobs.toml").returncode == 0
    told = json.loads(run_cli("results", "--json", "--fields", "because").stdout)
    assert [each["because"] for each in told] == [None, "y has changed"]
    assert "ran because: y has changed" in run_cli("why", "a:1").stdout
    assert (tmp_path / "out/y").read_text() == "Y"


@pytest.mark.parametrize(
    ("words", "is_one", "of_file"),
    [
        (["bash", "-c"], True, ["bash"]),
        (["/bin/bash", "-euo", "pipefail", "-c"], True, ["/bin/bash", "-euo", "pipefail"]),
        (["dash", "-ec"], True, ["dash", "-e"]),
        (["docker", "run", "--rm", "image", "sh", "-ec"], True, None),
        (["bash"], False, ["bas"]),
        (["bash", "-e"], False, ["bash"]),
        (["python3", "-c"], False, None),
        (["fish", "-c"], False, None),
    ],
)
def test_which_words_are_a_shell_that_takes_a_script(words: list[str], is_one: bool, of_file: list[str] | None) -> None:
    assert is_shell_program(words) is is_one
    if is_one:
        assert argv_of_file(words) == of_file


def test_the_first_line_gives_a_program_and_one_argument() -> None:
    assert interpreter_of("#!/usr/bin/env -S python3 -u\nx") == ["/usr/bin/env", "-S python3 -u"]
    assert interpreter_of("#! /bin/sh\n") == ["/bin/sh"]
