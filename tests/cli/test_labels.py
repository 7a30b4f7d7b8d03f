"""Labels: what people call an item, in every job that works on it."""

from __future__ import annotations

import json
from pathlib import Path

from drivers.command_line import RunCli

JOBS = """
[jobs.build]
for_each = [{ os = "linux", n = 1 }, { os = "mac", n = 2 }]
label = "{{ item.os }}-{{ item.n }}"
shell = "echo {{ item.os }}"
[jobs.test]
for_each = { job = "build" }
shell = "echo {{ label }}"
[jobs.report]
for_each = { job = ["test", "build"] }
shell = "echo {{ label }}"
[jobs.own]
for_each = { job = "test" }
label = "own {{ item.n }}"
shell = "true"
"""


def test_an_item_that_never_had_its_turn_is_called_so_too(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS.replace("echo {{ item.os }}", "exit 1"))
    told = run_cli("run", "jobs.toml", "-k", "--progress", "lines")
    assert told.returncode == 1
    assert "skipped test:1 mac-2: build:1 is failed" in told.stderr.splitlines()
    told = json.loads(run_cli("results", "--json", "--fields", "label,status").stdout)
    assert [(each["label"], each["status"]) for each in told[2:]] == [
        *[("linux-1", "skipped"), ("mac-2", "skipped")] * 2,
        ("own 1", "skipped"),
        ("own 2", "skipped"),
    ]


def test_an_item_of_a_chain_is_called_as_the_item_that_it_follows(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS)
    planned = json.loads(run_cli("plan", "jobs.toml", "--json").stdout)
    assert [item["label"] for job in planned for item in job["items"]] == [*("linux-1", "mac-2") * 3, "own 1", "own 2"]
    assert run_cli("run", "jobs.toml", "--only", "report:linux*").returncode == 0
    told = json.loads(run_cli("results", "--json", "--fields", "item,label,status,output").stdout)
    assert [each["item"] for each in told if each["status"] == "succeeded"] == ["build:0", "test:0", "report:0"]
    assert [each["output"] for each in told if each["item"] in ("test:0", "report:0")] == ["linux-1", "linux-1"]
    assert run_cli("resume", "--all").returncode == 0
    told = json.loads(run_cli("results", "--json", "--fields", "label").stdout)
    assert [each["label"] for each in told] == [*("linux-1", "mac-2") * 3, "own 1", "own 2"]
    assert run_cli("logs", "jobs.toml", "report:mac-2").stdout == "mac-2\n"


def test_a_label_that_is_shown_escaped_is_named_by_its_own_bytes_too(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"caf\xe9\na\tb\nc\n")
    (tmp_path / "jobs.toml").write_text('[jobs.a]\nfor_each = { lines = "list" }\nshell = "printf %s {{ item }} | wc -c"\n')
    told = run_cli("run", "jobs.toml", "--only", "a:caf\udce9", "--only", "a:a\tb", "--json")
    assert json.loads(told.stdout)["counts"] == {"succeeded": 2, "skipped": 1}
    assert run_cli("logs", "jobs.toml", "a:caf\udce9").stdout == run_cli("logs", "jobs.toml", "a:caf\\udce9").stdout == "4\n"
