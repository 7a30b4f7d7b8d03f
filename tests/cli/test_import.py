"""`orchestrate import`: a workflow moves over, and runs as it did."""

from __future__ import annotations

import json
from pathlib import Path

from drivers.command_line import RunCli

WORKFLOW = """
workflow: {id: story, name: A story, version: 1.0.0}
inputs:
  word: {type: string, default: "it's $HOME"}
  size: {type: number, default: 2}
steps:
  - {id: list, type: shell, run: "false; echo '[1, 2]'", output_format: json}
  - id: each
    type: fan-out
    items: "{{ steps.list.output.data }}"
    step: {type: shell, run: 'echo "<{{ inputs.word }}> {{ item }}"'}
  - id: all
    type: fan-in
    wait_for: [each]
    output: {text: "{{ fan_in.results[0].results | map('stdout') | join('; ') }}", n: "{{ steps.each.output.item_count }}"}
  - id: enough
    type: if
    condition: "{{ steps.all.output.n >= inputs.size }}"
    then:
      - {id: broken, type: shell, run: exit 3, continue_on_error: true}
    else:
      - {id: never, type: shell, run: echo never}
  - id: which
    type: switch
    expression: "{{ steps.broken.output.exit_code }}"
    cases:
      0: [{id: fine, type: shell, run: echo fine}]
      3: [{id: three, type: shell, run: "echo three {{ steps.never.output.stdout }}"}]
  - id: count
    type: do-while
    condition: "{{ steps.counted.output.stdout < 2 }}"
    max_iterations: 3
    steps:
      - {id: add, type: shell, run: echo x >> marks}
      - {id: counted, type: shell, run: wc -l < marks}
  - id: poll
    type: while
    condition: "{{ steps.try.output.exit_code != 0 }}"
    steps: [{id: try, type: shell, run: "echo x >> tries; test $(wc -l < tries) = 2"}]
  - id: last
    type: shell
    run: 'echo {{ steps.counted.output.stdout }} {{ steps.three.output.stdout }}: "{{ steps.all.output.text }}"'
"""


def test_an_imported_workflow_runs_as_it_did(tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / "workflow.yml").write_text(WORKFLOW)
    imported = run_cli("import", "workflow.yml", "-o", "jobs.toml", cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr
    assert imported.stdout == ""
    assert imported.stderr.splitlines()[-1].startswith("jobs.toml: 15 jobs; ")
    assert run_cli("check", "jobs.toml", cwd=tmp_path).returncode == 0
    ran = run_cli("run", "jobs.toml", "--quiet", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    results = {result["item"]: result for result in json.loads(run_cli("results", "jobs.toml", "--json", cwd=tmp_path).stdout)}
    skipped = {item for item, result in results.items() if result["status"] == "skipped"}
    assert skipped == {"never", "fine", "add_3", "counted_3"}
    assert results["broken"]["status"] == "failed"
    assert results["three"]["output"] == "three "
    assert (tmp_path / "tries").read_text() == "x\nx\n"
    assert results["last"]["output"] == "2 three : <it's $HOME> 1; <it's $HOME> 2"


def test_what_is_lost_is_told_and_nothing_is_overwritten(tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / "w.yml").write_text("steps:\n- {id: a, type: shell, run: 'echo {{ 1 + 1 }}', retries: 3}\n")
    told = run_cli("import", "w.yml", cwd=tmp_path)
    assert told.returncode == 1
    assert told.stderr.splitlines() == [
        "w.yml:2: a: not carried: the key retries, which a shell step does not have",
        "w.yml:2: a: not carried: {{ 1 + 1 }}: cannot be read from '+ 1' on",
    ]
    assert told.stdout.count("# NOT CARRIED: ") == 2
    (tmp_path / "jobs.toml").write_text("mine")
    refused = run_cli("import", "w.yml", "-o", "jobs.toml", cwd=tmp_path)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 2)
    assert (tmp_path / "jobs.toml").read_text() == "mine"
