"""Fan-out in depth through the command line: chains, joins, matrices, streams, and what is made of many items."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from drivers.command_line import RunCli
from drivers.processes import WAIT


def results(run_cli: RunCli, run: str = "jobs.toml") -> list[dict[str, Any]]:
    told = run_cli("results", run, "--json")
    assert told.returncode == 0, told.stderr
    return list(json.loads(told.stdout))


def outputs(told: list[dict[str, Any]], job: str) -> list[Any]:
    return [each["output"] for each in told if each["job"] == job]


def test_a_chain_has_no_barrier_and_three_links_keep_their_items_apart(run_cli: RunCli, tmp_path: Path) -> None:
    """The first item of the first job ends only once the second has gone through the whole chain."""
    (tmp_path / "jobs.toml").write_text(
        """
[jobs.a]
for_each = ["x", "y", "z"]
shell = "if test {{ index }} = 0; then WAIT; fi; echo a-{{ item }}"
[jobs.b]
for_each = { job = "a" }
shell = "echo {{ parent.output }} b-{{ item }}"
[jobs.c]
for_each = { job = "b" }
shell = "echo {{ parent.output }} c-{{ item }}; touch c-{{ item }}"
[jobs.sum]
stdin = "{{ jobs.c.outputs | tojson }}"
shell = "cat"
output = "json"
""".replace("WAIT", WAIT.replace("NAME", "c-y"))
    )
    ran = run_cli("run", "jobs.toml", "-j2")
    assert ran.returncode == 0, ran.stderr
    told = results(run_cli)
    expected = [f"a-{item} b-{item} c-{item}" for item in "xyz"]
    assert outputs(told, "c") == expected
    assert outputs(told, "sum") == [expected]


def test_a_join_sees_each_parent_and_is_skipped_where_one_of_them_did_not_succeed(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        """
[jobs.left]
for_each = ["x", "y", "z"]
shell = "test {{ item }} != y && echo L{{ item }}"
continue_on_error = true
[jobs.right]
for_each = { job = "left" }
when = "always"
shell = "test {{ item }} != z && echo R{{ item }} {{ parent.status }}"
continue_on_error = true
[jobs.both]
for_each = { job = ["left", "right"] }
shell = "echo {{ parent.left.output }}+{{ parent.right.output }}"
[jobs.mourns]
for_each = { job = ["left", "right"] }
when = "failed"
shell = "echo {{ item }} {{ parent.left.status }} {{ parent.right.status }}"
[jobs.other]
for_each = ["p"]
shell = "true"
[jobs.misfit]
for_each = { job = ["left", "other"] }
shell = "true"
continue_on_error = true
"""
    )
    assert run_cli("run", "jobs.toml").returncode == 1
    told = {each["item"]: (each["status"], each["output"] or each["error"]) for each in results(run_cli)}
    assert [told[f"both:{index}"] for index in range(3)] == [
        ("succeeded", "Lx+Rx succeeded"),
        ("skipped", "left:1 is failed"),
        ("skipped", "right:2 is failed"),
    ]
    assert [told[f"mourns:{index}"][0] for index in range(3)] == ["skipped", "succeeded", "succeeded"]
    assert told["mourns:1"][1] == "y failed succeeded"
    assert told["mourns:2"][1] == "z succeeded failed"
    status = run_cli("status").stdout
    assert "misfit: for_each: the jobs of a chain must have as many items as each other: left has 3 items, other has 1" in status


def test_sources_are_streams_matrices_batches_and_outputs_and_no_ids_collide(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('name,note\n"a, b","it\'s; $(rm -rf /)"\n"two\nlines",""\n')
    (tmp_path / "values.jsonl").write_text('{"n": 1}\n[2, "x"]\nnull\n"same"\n"same"\n')
    (tmp_path / "jobs.toml").write_text(
        """
[defaults]
output = "json"
command = ["printf", "%s", "{{ item | tojson }}"]
[jobs.rows]
for_each = { csv = "rows.csv" }
[jobs.values]
for_each = { jsonl = "values.jsonl" }
[jobs.batched]
for_each = { jsonl = "values.jsonl", batch = 2 }
[jobs.product]
for_each = { matrix = { model = ["m1", "m2"], row = { csv = "rows.csv" }, fast = [true] } }
[jobs.pairs]
for_each = { matrix = { a = [1, 2], b = { lines = "lines.txt" } }, batch = 3 }
[jobs.split]
for_each = ["a b", "c"]
shell = "echo {{ item }} | tr ' ' '\\n'"
output = "lines"
[jobs.words]
for_each = "{{ jobs.split.outputs | sum(start=[]) }}"
[jobs.lists]
for_each = "{{ jobs.split.outputs }}"
"""
    )
    (tmp_path / "lines.txt").write_text("p\n\nq\n")
    ran = run_cli("run", "jobs.toml")
    assert ran.returncode == 0, ran.stderr
    told = results(run_cli)
    rows = [{"name": "a, b", "note": "it's; $(rm -rf /)"}, {"name": "two\nlines", "note": ""}]
    assert outputs(told, "rows") == rows
    assert outputs(told, "values") == [{"n": 1}, [2, "x"], None, "same", "same"]
    assert outputs(told, "batched") == [[{"n": 1}, [2, "x"]], [None, "same"], ["same"]]
    assert outputs(told, "product") == [{"model": m, "row": row, "fast": True} for m in ("m1", "m2") for row in rows]
    assert outputs(told, "pairs") == [
        [{"a": 1, "b": "p"}, {"a": 1, "b": "q"}, {"a": 2, "b": "p"}],
        [{"a": 2, "b": "q"}],
    ]
    assert outputs(told, "words") == ["a", "b", "c"]
    assert outputs(told, "lists") == [["a", "b"], ["c"]]
    items = [each["item"] for each in told]
    assert len(set(items)) == len(items) == 2 + 5 + 3 + 4 + 2 + 2 + 3 + 2


def test_so_many_failures_are_tolerated_and_one_more_ends_the_job(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        """
[defaults]
shell = "test {{ item }} -gt 2"
[jobs.tolerant]
for_each = [1, 2, 3, 4, 5]
max_failures = "40%"
[jobs.after_tolerant]
needs = ["tolerant"]
shell = "echo {{ jobs.tolerant.failed | length }} of {{ jobs.tolerant.results | length }}"
[jobs.strict]
for_each = [5, 1, 2, 3, 4]
max_failures = 1
[jobs.after_strict]
needs = ["strict"]
shell = "echo never"
"""
    )
    assert run_cli("run", "jobs.toml", "-j1").returncode == 1
    jobs = {job["id"]: (job["status"], job["counts"]) for job in json.loads(run_cli("status", "--json").stdout)["jobs"]}
    assert jobs == {
        "tolerant": ("succeeded", {"succeeded": 3, "failed": 2}),
        "after_tolerant": ("succeeded", {"succeeded": 1}),
        "strict": ("failed", {"pending": 2, "succeeded": 1, "failed": 2}),
        "after_strict": ("skipped", {"skipped": 1}),
    }
    assert run_cli("logs", "jobs.toml", "after_tolerant").stdout == "2 of 5\n"


def test_a_fan_in_reads_items_in_their_order_whatever_order_they_ended_in(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        """
[jobs.go]
for_each = ["a", "b", "c", "d"]
shell = "WAIT; test {{ item }} != b && echo out-{{ item }}"
continue_on_error = true
[jobs.ended]
for_each = { job = "go" }
when = "always"
shell = "touch ended-{{ index }}"
[jobs.told]
stdin = '''{{ {"outputs": jobs.go.outputs, "results": jobs.go.results | map(attribute="item") | list,
"succeeded": jobs.go.succeeded | map(attribute="label") | list,
"failed": jobs.go.failed | map(attribute="index") | list} | tojson }}'''
command = ["cat"]
output = "json"
[jobs.file]
command = ["cat", "{{ jobs.go.results_file }}"]
output = "json"
""".replace("WAIT", WAIT.replace("NAME", "ended-{{ index + 1 }}"))
    )
    (tmp_path / "ended-4").touch()
    assert run_cli("run", "jobs.toml", "-j5").returncode == 1
    told = results(run_cli)
    ended = sorted((each for each in told if each["job"] == "go"), key=lambda each: each["finished_at_s"])
    assert [each["item"] for each in ended] == ["go:3", "go:2", "go:1", "go:0"]
    assert outputs(told, "told") == [
        {
            "outputs": ["out-a", None, "out-c", "out-d"],
            "results": ["go:0", "go:1", "go:2", "go:3"],
            "succeeded": ["a", "c", "d"],
            "failed": [1],
        }
    ]
    (file,) = outputs(told, "file")
    assert [(each["item"], each["status"]) for each in file] == [
        ("go:0", "succeeded"),
        ("go:1", "failed"),
        ("go:2", "succeeded"),
        ("go:3", "succeeded"),
    ]


def test_a_pattern_that_no_file_matches_is_told_also_with_quiet(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        """
[jobs.none]
for_each = { glob = "inbox/*.csv" }
command = ["echo", "{{ item }}"]
[jobs.empty]
for_each = []
command = ["echo", "{{ item }}"]
"""
    )
    told = run_cli("run", "jobs.toml", "--quiet")
    assert (told.returncode, told.stderr) == (0, "note: none has no items: no file matches inbox/*.csv\n")


def test_a_name_that_is_not_utf8_goes_through_outputs_lists_and_files_byte_for_byte(run_cli: RunCli, tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "in" / odd).touch()
    (tmp_path / "jobs.toml").write_text(
        """
[jobs.list]
command = ["ls", "in"]
output = "lines"
[jobs.touch]
for_each = "{{ jobs.list.output }}"
shell = "touch out/{{ item }}; printf %s \\"$NAME\\" | cmp - same-{{ item }} && cat"
stdin = "{{ item }}"
env = { NAME = "{{ item }}" }
[jobs.made]
for_each = { glob = "in/*" }
needs = ["touch"]
creates = "{{ item }}.made"
shell = "cat {{ jobs.touch.results_file }} > {{ creates }}; echo {{ jobs.touch.outputs | tojson }}"
[jobs.again]
for_each = { job = "made" }
cwd = "out"
command = ["sh", "-c", "test -e \\"${1#in/}\\" && printf %s \\"$2\\"", "sh", "{{ item }}", "{{ parent.output }}"]
output = "json"
"""
    )
    (tmp_path / f"same-{odd}").write_bytes(b"caf\xe9")
    ran = run_cli("run", "jobs.toml", "--slots", "1")
    assert ran.returncode == 0, ran.stderr
    assert os.listdir(tmp_path / "out") == [odd]
    assert json.loads((tmp_path / "in" / f"{odd}.made").read_bytes())[0]["output"] == odd
    told = results(run_cli)
    assert [outputs(told, job) for job in ("touch", "made", "again")] == [[odd], [r'["caf\udce9"]'], [[odd]]]
    # What is recorded is read again, and nothing of it looks changed.
    assert run_cli("resume", "jobs.toml").returncode == 0
    assert run_cli("results", "--format", "csv", "--fields", "value").stdout.splitlines()[2] == odd
