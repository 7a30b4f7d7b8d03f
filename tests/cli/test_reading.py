"""The commands that read a run that has ended: status, results, logs, why, list, wait, exec."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from drivers.command_line import RunCli

from orchestrator.store.kept_summary import kept_summary
from orchestrator.store.run_dir import RunDir
from orchestrator.views.json_lines import with_times

JOBS = r"""
name = "story"

[jobs.list]
command = ["printf", 'a\nb\n"c, d"\n']
output = "lines"

[jobs.go]
for_each = "{{ jobs.list.output }}"
shell = "echo out {{ item }}; echo err {{ item }} >&2; echo more; test {{ item }} != b"
attempts = 2
retry = { delay = 0 }
continue_on_error = true
env = { WORD = "{{ label }}" }
"""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run `r1` of which go:1 failed, twice; made once, as the commands of this file only read it."""
    folder = tmp_path_factory.mktemp("story")
    (folder / "story.toml").write_text(JOBS)
    argv = [sys.executable, "-m", "orchestrator", "--home", str(folder / "home"), "run", "--run-id", "r1", "story.toml"]
    told = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 1, told.stderr
    return folder


@pytest.fixture
def failed_run(story: Path, home: Path) -> str:
    """The id of that run, in a home that is the test's own."""
    shutil.copytree(story / "home", home)
    return "r1"


def read_json(run_cli: RunCli, *arguments: str) -> Any:
    told = run_cli(*arguments)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def test_status_ends_with_what_failed_why_and_the_log_command_and_that_command_works(run_cli: RunCli, failed_run: str) -> None:
    told = run_cli("status", failed_run).stdout.splitlines()
    assert told[0] == "run r1  story  failed"
    assert told[-4:-2] == ["FAILED go:1 b: exit code 1 after 2 attempts", "       | err b"]
    log_command = told[-2].removeprefix("see more: ").split()
    assert log_command[0] == "orchestrate"
    told = run_cli(*log_command[1:])
    assert (told.stdout, told.stderr) == ("out b\nmore\nerr b\n", "")


def test_status_and_list_give_the_same_object(run_cli: RunCli, failed_run: str, home: Path) -> None:
    summary = read_json(run_cli, "status", "--json")
    kept = kept_summary(RunDir.of(home, failed_run))
    assert kept is not None
    assert with_times(kept.summary) == summary, "list reads no more than that"
    assert read_json(run_cli, "list", "--json") == [summary]
    keys = "run_id name status jobs_file started_at finished_at counts"
    keys += " cost_usd unknown_costs ledger error reason selection parent jobs started_at_s finished_at_s"
    assert list(summary) == keys.split()
    assert summary["run_id"] == failed_run
    assert summary["counts"] == {"succeeded": 3, "failed": 1}
    assert summary["error"] == {"item": "go:1", "message": "exit code 1"}


def test_results_are_in_item_order_in_every_format(run_cli: RunCli, failed_run: str, tmp_path: Path) -> None:
    whole = read_json(run_cli, "results", failed_run, "--json")
    assert [each["item"] for each in whole] == ["list", "go:0", "go:1", "go:2"]
    assert whole[3]["value"] == '"c, d"'
    lines = run_cli("results", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == whole
    rows = list(csv.DictReader(io.StringIO(run_cli("results", "--format", "csv").stdout)))
    assert [row["value"] for row in rows] == ["", "a", "b", '"c, d"']
    assert [row["exit_code"] for row in rows] == ["0", "0", "1", "0"]
    table = run_cli("results", "--status", "failed").stdout.splitlines()
    assert len(table) == 2
    assert table[1].split()[:4] == ["go:1", "b", "failed", "2"]
    assert run_cli("results", "--fields", "label,item", "--format", "jsonl", "-o", "out.jsonl").stdout == ""
    assert run_cli("results", "--fields", "job", "--format", "jsonl", "-o", "-").stdout.startswith('{"job":"list"}')
    assert not (tmp_path / "-").exists()
    assert (tmp_path / "out.jsonl").read_text().splitlines()[1] == '{"label":"a","item":"go:0"}'
    assert [path.name for path in tmp_path.glob("out*")] == ["out.jsonl"]


def test_a_field_that_results_lack_is_refused(run_cli: RunCli, failed_run: str) -> None:
    told = run_cli("results", failed_run, "--fields", "item,colour")
    assert told.returncode == 2
    assert "results have no 'colour'" in told.stderr


def test_no_matching_results_are_an_empty_list(run_cli: RunCli, failed_run: str) -> None:
    assert read_json(run_cli, "results", failed_run, "--status", "cancelled", "--json") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["go:0"], "out a\nmore\nerr a\n"),
        (["go:a"], "out a\nmore\nerr a\n"),
        (["go:1", "--attempt", "1", "--stderr"], "err b\n"),
        (["go:1", "-n", "1"], "more\nerr b\n"),
        (["go:1", "-n", "0"], ""),
        (["go:1", "-f"], "out b\nmore\nerr b\n"),
        (["go:[02]", "--stderr"], '==> go:0 a <==\nerr a\n\n==> go:2 "c, d" <==\nerr "c, d"\n'),
        (["list", "--stderr"], ""),
    ],
)
def test_logs_print_what_was_written(arguments: list[str], said: str, run_cli: RunCli, failed_run: str) -> None:
    told = run_cli("logs", failed_run, *arguments)
    assert (told.stdout, told.stderr) == (said, "")


def test_logs_of_both_streams_say_that_their_order_is_not_known(run_cli: RunCli, failed_run: str) -> None:
    told = run_cli("logs", failed_run, "go:0", "--both")
    assert told.stdout == "out a\nmore\nerr a\n"
    assert told.stderr.startswith("note: which line came first, of stdout or of stderr, is not known")


def test_logs_of_a_whole_run_have_a_header_an_item(run_cli: RunCli, failed_run: str) -> None:
    told = run_cli("logs", failed_run).stdout
    assert [line for line in told.splitlines() if line.startswith("==>")] == [
        "==> list <==",
        "==> go:0 a <==",
        "==> go:1 b <==",
        '==> go:2 "c, d" <==',
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["go:7"], "has no item 'go:7'"),
        (["go:0", "--attempt", "2"], "go:0 has had no attempt 2"),
        (["go:0", "--both", "--stderr"], "--both and --stderr cannot both be given"),
    ],
)
def test_logs_of_what_is_not_there_say_so(arguments: list[str], said: str, run_cli: RunCli, failed_run: str) -> None:
    told = run_cli("logs", failed_run, *arguments)
    assert told.returncode == 2
    assert said in told.stderr


def test_bytes_that_are_no_text_come_back_as_they_were(run_cli: RunCli, tmp_path: Path, home: Path) -> None:
    (tmp_path / "bytes.toml").write_text("[jobs.one]\nshell = 'cat bytes'\n")
    content = bytes(range(256)) * 2000 + b"\xff\x00 no newline"
    (tmp_path / "bytes").write_bytes(content)
    assert run_cli("run", "bytes.toml").returncode == 0
    argv = [sys.executable, "-m", "orchestrator", "--home", str(home), "logs"]
    assert subprocess.run(argv, capture_output=True, timeout=60, check=True).stdout == content
    last = subprocess.run([*argv, "-n", "1"], capture_output=True, timeout=60, check=True).stdout
    assert last == content[content.rfind(b"\n") + 1 :]


def test_why_tells_the_state_the_attempts_and_the_log(run_cli: RunCli, failed_run: str) -> None:
    told = run_cli("why", failed_run, "go:b").stdout
    assert "go:1 b of run r1 is failed" in told
    assert "attempts: 2 so far, 2 allowed" in told
    assert "exit code 1" in told
    assert "needs list: succeeded" in told
    assert "orchestrate logs r1 go:1 --attempt 1" in told
    assert read_json(run_cli, "why", failed_run, "go:1", "--json")[0]["class"] == "command_failed"


def test_list_has_the_newest_first_and_filters(run_cli: RunCli, failed_run: str, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('[jobs.one]\ncommand = ["true"]\n')
    assert run_cli("run", "other.toml", "--run-id", "r2").returncode == 0
    assert [each["run_id"] for each in read_json(run_cli, "list", "--json")] == ["r2", failed_run]
    assert [each["run_id"] for each in read_json(run_cli, "list", "--status", "failed", "--json")] == [failed_run]
    assert [each["run_id"] for each in read_json(run_cli, "list", "--file", "other.toml", "--json")] == ["r2"]
    assert read_json(run_cli, "list", "--since", "0s", "--json") == []
    table = run_cli("list").stdout.splitlines()
    assert table[1].split()[:2] == ["r2", "completed"]
    assert table[2].split()[-4:] == ["3", "succeeded,", "1", "failed"]


def test_a_run_that_cannot_be_read_is_listed_and_hides_no_other(run_cli: RunCli, failed_run: str, home: Path) -> None:
    broken = home / "runs" / "broken"
    broken.mkdir()
    (broken / "checkpoint.json").write_text("{")
    listed = {each["run_id"]: each["status"] for each in read_json(run_cli, "list", "--json")}
    assert listed == {"broken": "unreadable", failed_run: "failed"}


def test_wait_exits_as_the_run_did(run_cli: RunCli, failed_run: str) -> None:
    told = run_cli("wait", failed_run, "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["status"] == "failed"


def test_exec_runs_the_same_command_in_the_same_place_and_records_nothing(
    run_cli: RunCli, failed_run: str, story: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    before = read_json(run_cli, "results", failed_run, "--json")
    told = run_cli("exec", failed_run, "go:1", cwd=elsewhere)
    assert (told.returncode, told.stdout, told.stderr) == (1, "out b\nmore\n", "err b\n")
    script = tmp_path / "shell"
    script.write_text('#!/bin/sh\necho "$WORD $ORCHESTRATE_ITEM ${ORCHESTRATE_MARK:-unmarked}"; pwd\n')
    script.chmod(0o755)
    told = run_cli("exec", failed_run, "go:1", "--shell", cwd=elsewhere, env={"SHELL": str(script)})
    assert told.stdout == f"b go:1 unmarked\n{story}\n"
    assert read_json(run_cli, "results", failed_run, "--json") == before


def test_exec_gives_the_items_stdin_and_its_long_script(run_cli: RunCli, tmp_path: Path) -> None:
    long_script = f"# {'x' * 140_000}\ncat; exit 7"
    (tmp_path / "input.toml").write_text(f"[jobs.one]\nstdin = 'from the file'\nshell = '''{long_script}'''\n")
    assert run_cli("run", "input.toml").returncode == 1
    told = run_cli("exec", "input.toml", "one")
    assert (told.returncode, told.stdout) == (7, "from the file")


def test_exec_names_a_command_that_is_not_there(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "missing.toml").write_text('[jobs.one]\ncommand = ["no-such-command"]\n')
    assert run_cli("run", "missing.toml").returncode == 1
    told = run_cli("exec", "missing.toml", "one")
    assert told.returncode == 2
    assert told.stderr.startswith("orchestrate: no-such-command: cannot be started")


def test_why_of_a_job_that_could_not_be_listed_tells_why(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "unlisted.toml").write_text('[jobs.go]\nfor_each = { lines = "missing.txt" }\nshell = "true"\n')
    assert run_cli("run", "unlisted.toml", "--run-id", "u1").returncode == 1
    assert run_cli("why", "u1", "go").stdout == (
        "go of run u1 has no items (failed)\n  for_each: missing.txt: No such file or directory\n"
    )


def test_lines_that_were_cut_are_no_items_of_another_job(run_cli: RunCli, tmp_path: Path) -> None:
    cut = '[jobs.cut]\noutput = "lines"\nmax_output = 10\nshell = "seq 1 100"\ncontinue_on_error = true\n'
    (tmp_path / "cut.toml").write_text(cut + '[jobs.go]\nfor_each = "{{ jobs.cut.output }}"\nshell = "echo >> started"\n')
    assert run_cli("run", "cut.toml", "--run-id", "c1").returncode == 1
    assert not (tmp_path / "started").exists()
    told = run_cli("status", "c1").stdout
    assert 'FAILED cut: the output was cut at max_output: output = "lines" needs all of it' in told
    assert "gave null, not a list" in run_cli("why", "c1", "go").stdout


def test_a_command_that_reads_makes_no_home(tmp_path: Path, run_cli: RunCli) -> None:
    missing = tmp_path / "not-there"
    listed = run_cli("--home", str(missing), "list")
    assert (listed.returncode, missing.exists()) == (0, False)
    assert run_cli("--home", str(missing), "status").returncode == 2
    assert not missing.exists()


def test_a_file_that_results_cannot_write_is_the_users_mistake(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text('[jobs.a]\ncommand = ["true"]\n')
    assert run_cli("run", "one.toml", "--quiet").returncode == 0
    refused = run_cli("results", "-o", str(tmp_path / "no" / "such" / "folder"))
    assert refused.returncode == 2
    assert "cannot be written" in refused.stderr
