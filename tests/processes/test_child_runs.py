"""Files that run files, with real processes: what a child comes to, what goes on with it, and what reaches down to it."""

from __future__ import annotations

import json

import pytest
from drivers.many_runs import ManyRuns
from drivers.processes import wait_until
from drivers.run_driver import KILLED
from drivers.sweeps import sweep

from orchestrator.reading.item_result import shown_rounds
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.seen_statuses import run_status


def write_leaf(runs: ManyRuns, body: str, *, items: int = 3, run: str = "slots = 8") -> None:
    """A file with so many items, each of which is witnessed."""
    keys = f"for_each = {list(range(items))}\nshell = '''{runs.witnessed(body)}'''"
    runs.write(f"[inputs]\nsize = 0\n[run]\n{run}\n[jobs.leaf]\n{keys}\n", "leaf.toml")


def write_parent(runs: ManyRuns, keys: str = "", *, child: str = "leaf.toml", run: str = "slots = 1", more: str = "") -> None:
    runs.write(f'[run]\n{run}\n[jobs.go]\nworkflow = "{child}"\n{keys}\n{more}', "top.toml")


def status_of(runs: ManyRuns, run_id: str) -> str:
    return run_status(RunReader.read(runs.folder_of(run_id)))


def wait_for_status(runs: ManyRuns, run_id: str, status: str) -> None:
    wait_until(lambda: status_of(runs, run_id) == status, f"{run_id} is {status}")


def test_three_files_deep_with_one_slot_one_leaf_works_at_once_and_the_results_come_up(runs: ManyRuns) -> None:
    write_leaf(runs, "echo {{ item }} of {{ inputs.size }}", items=2)
    runs.write(
        '[inputs]\nsize = 0\n[jobs.low]\nfor_each = ["a", "b"]\n'
        'workflow = "leaf.toml"\ninputs.size = "{{ inputs.size + index }}"\n',
        "middle.toml",
    )
    write_parent(
        runs,
        "inputs.size = 5",
        child="middle.toml",
        more='[jobs.told]\ncommand = ["echo", "{{ jobs.go.output.jobs.low.output[1].jobs.leaf.output | tojson }}"]\n',
    )
    runs.assert_exit(runs.begin("top.toml", "top"), 0, limit=60)
    assert runs.acts("end") == {"leaf:0": 2, "leaf:1": 2}
    assert runs.most_at_once() == 1
    results = runs.results_of("top")
    assert json.loads(results["told"]["output"]) == ["0 of 6", "1 of 6"]
    output = results["go"]["output"]
    assert (output["run_id"], output["status"], list(output)) == ("top.go", "completed", ["run_id", "status", "jobs", "results"])
    assert [result["item"] for result in output["results"]] == ["low:0", "low:1"]
    assert [result["child"] for result in output["results"]] == ["top.go.low.0", "top.go.low.1"]


@pytest.mark.slow
def test_a_second_attempt_goes_on_with_the_child_and_runs_only_what_has_not_succeeded(runs: ManyRuns) -> None:
    write_leaf(runs, "test {{ item }} != 1 || test -e tried || { touch tried; exit 7; }")
    write_parent(runs, "attempts = 2\nretry = 0")
    command = runs.begin("top.toml", "top", "--progress", "lines")
    runs.assert_exit(command, 0)
    assert "child run top.go failed: leaf:1: exit code 7" in command.stderr
    assert runs.acts("begin") == {"leaf:0": 1, "leaf:1": 2, "leaf:2": 1}
    assert (runs.results_of("top")["go"]["attempts"], runs.results_of("top")["go"]["child"]) == (2, "top.go")


@pytest.mark.slow
def test_an_update_reaches_down_and_keeps_what_has_succeeded_there(runs: ManyRuns) -> None:
    jobs = f"[jobs.first]\nshell = '''{runs.witnessed(':')}'''\n[jobs.second]\nneeds = ['first']\nshell = '%s'\n"
    runs.write(jobs % "exit 7", "leaf.toml")
    write_parent(runs)
    runs.assert_exit(runs.begin("top.toml", "top"), 1)
    runs.write(jobs % "echo mended", "leaf.toml")
    runs.assert_exit(runs.launch("resume", "top"), 1)
    runs.assert_exit(runs.launch("resume", "top", "--update"), 0)
    assert runs.results_of("top")["go"]["child"] == "top.go"
    assert runs.results_of("top.go")["second"]["output"] == "mended"
    assert runs.acts("begin") == {"first": 1}


@pytest.mark.slow
def test_each_round_of_a_loop_is_a_run_of_its_own_and_sees_what_came_of_the_one_before(runs: ManyRuns) -> None:
    write_leaf(runs, "echo {{ inputs.size }}", items=1)
    size = "{{ 1 if output is none else (output.jobs.leaf.output[0] | int) * 2 }}"
    write_parent(runs, f'inputs.size = "{size}"\nrepeat = {{ until = "{{{{ output.jobs.leaf.output[0] == \'4\' }}}}" }}')
    runs.assert_exit(runs.begin("top.toml", "top"), 0)
    rounds = list(shown_rounds(RunReader.read(runs.folder_of("top")), "go", 0))
    assert [(each["child"], each["output"]["jobs"]["leaf"]["output"]) for each in rounds] == [
        ("top.go", ["1"]),
        ("top.go-2", ["2"]),
        ("top.go-3", ["4"]),
    ]


def test_what_is_given_to_a_child_keeps_its_type_and_may_be_large(runs: ManyRuns) -> None:
    runs.write(
        '[inputs]\nwords = []\nflag = false\nnote = "none"\n[jobs.leaf]\n'
        'command = ["echo", "{{ [inputs.words | length, inputs.flag, inputs.note] | tojson }}"]\n',
        "leaf.toml",
    )
    given = 'inputs = { words = "{{ jobs.list.output }}", flag = "{{ 1 < 2 }}", note = "{{ none }}" }'
    write_parent(runs, given, more="[jobs.list]\nshell = \"seq -f 'a rather long word %06g' 10000\"\noutput = 'lines'\n")
    runs.assert_exit(runs.begin("top.toml", "top"), 0)
    assert runs.results_of("top")["go"]["output"]["jobs"]["leaf"]["output"] == '[10000, true, "none"]'


@pytest.mark.slow
def test_a_file_that_is_not_there_when_its_item_starts_refuses_that_item_in_words(runs: ManyRuns) -> None:
    write_leaf(runs, ":", items=1)
    more = 'for_each = ["leaf", "gone"]\ncontinue_on_error = true'
    runs.write(f'[jobs.go]\nworkflow = "{{{{ item }}}}.toml"\n{more}\n', "top.toml")
    runs.assert_exit(runs.begin("top.toml", "top"), 1)
    results = runs.results_of("top")
    assert results["go:0"]["status"] == "succeeded"
    assert results["go:1"]["error"] == f"workflow: {runs.folder}/gone.toml: no such file"


def test_a_child_that_pauses_has_its_parent_pause_once_nothing_else_can_run_and_a_resume_goes_on(runs: ManyRuns) -> None:
    write_leaf(runs, f"test {{{{ item }}}} = 0 || {runs.gated('leaf')}")
    write_parent(runs, run="slots = 2", more=f"[jobs.other]\nshell = '''{runs.witnessed(runs.gated('other'))}'''\n")
    command = runs.begin("top.toml", "top")
    runs.wait_for("begin", "leaf:1", "other")
    refused = runs.launch("resume", "top.go")
    assert (refused.exit_code(), "is the child run of go of run top, which goes on" in refused.stderr) == (75, True)
    assert runs.launch("pause", "top.go").exit_code() == 0
    runs.open_gate("leaf")
    wait_for_status(runs, "top.go", "paused")
    assert command.is_running, "the other item still runs"
    runs.open_gate("other")
    runs.assert_exit(command, 3)
    assert "go waits: child run top.go is paused" in command.stderr
    assert status_of(runs, "top") == "paused"
    runs.open_gate("leaf")
    runs.assert_exit(runs.launch("resume", "top"), 0)
    assert runs.acts("begin") == runs.acts("end") == {"leaf:0": 1, "leaf:1": 1, "leaf:2": 1, "other": 1}


@pytest.mark.parametrize(
    ("asked", "code", "status", "leaf"),
    sweep(
        [("stop", 143, "interrupted", "succeeded"), ("cancel", 4, "cancelled", "cancelled"), ("pause", 3, "paused", "succeeded")],
        quick=2,
    ),
)
def test_what_a_parent_is_asked_its_child_does(runs: ManyRuns, asked: str, code: int, status: str, leaf: str) -> None:
    """One leaf runs, the next would follow: it does not, and only a cancel ends the first."""
    write_leaf(runs, runs.gated(), items=2)
    write_parent(runs)
    command = runs.begin("top.toml", "top")
    runs.wait_for("begin", "leaf:0")
    assert runs.launch(asked, "top").exit_code() == 0
    if asked != "cancel":
        wait_until(lambda: "nothing more starts" in runs.folder_of("top.go").log.read_text(), "the child is told")
        runs.open_gate()
    runs.assert_exit(command, code)
    assert (status_of(runs, "top"), status_of(runs, "top.go")) == (status, status)
    assert runs.statuses("top.go")["leaf:0"] == leaf
    assert not runs.acts("begin")["leaf:1"]
    if asked != "cancel":
        runs.open_gate()
        runs.assert_exit(runs.launch("resume", "top"), 0)
        assert runs.acts("begin") == runs.acts("end") == {"leaf:0": 1, "leaf:1": 1}


@pytest.mark.slow
def test_a_hard_stop_of_a_parent_leaves_its_child_interrupted_and_not_failed(runs: ManyRuns) -> None:
    write_leaf(runs, runs.gated(), items=1)
    write_parent(runs)
    command = runs.begin("top.toml", "top")
    runs.wait_for("begin", "leaf:0")
    assert runs.launch("stop", "--now", "top").exit_code() == 0
    runs.assert_exit(command, 143)
    assert (runs.statuses("top"), runs.statuses("top.go")) == ({"go": "interrupted"}, {"leaf:0": "interrupted"})
    runs.open_gate()
    runs.assert_exit(runs.launch("resume", "top"), 0)
    assert runs.acts("end") == {"leaf:0": 1}


@pytest.mark.slow
def test_cancelling_a_parent_that_waits_cancels_the_child_that_it_waits_for(runs: ManyRuns) -> None:
    write_leaf(runs, runs.gated(), items=2)
    write_parent(runs)
    command = runs.begin("top.toml", "top")
    runs.wait_for("begin", "leaf:0")
    assert runs.launch("pause", "top").exit_code() == 0
    wait_until(lambda: "nothing more starts" in runs.folder_of("top.go").log.read_text(), "the child is told")
    runs.open_gate()
    runs.assert_exit(command, 3)
    assert runs.launch("cancel", "top").exit_code() == 0
    assert (status_of(runs, "top"), status_of(runs, "top.go")) == ("cancelled", "cancelled")


@pytest.mark.slow
def test_a_gate_in_a_child_is_answered_there_and_the_outermost_run_goes_on(runs: ManyRuns) -> None:
    """Killed in the resume right after the answer: nobody is asked twice, and nothing runs twice."""
    work = f"shell = '''{runs.witnessed(':')}'''"
    runs.write(
        f"[jobs.draft]\n{work}\n[jobs.ok]\ngate = 'Ship {{{{ jobs.draft.status }}}}?'\n[jobs.ship]\nneeds = ['ok']\n{work}\n",
        "leaf.toml",
    )
    write_parent(runs, more=f"[jobs.after]\nneeds = ['go']\n{work}\n")
    paused = runs.begin("top.toml", "top")
    runs.assert_exit(paused, 3)
    assert "asks go: Ship succeeded? [approve, reject]" in paused.stderr
    assert "approve top.go ok" in paused.stderr
    assert runs.statuses("top") == {"go": "waiting", "after": "pending"}
    answered = runs.launch("approve", "top.go", "ok")
    assert (answered.exit_code(), answered.stdout) == (0, "ok: answered; go on with: orchestrate resume top\n")
    runs.assert_exit(runs.launch("resume", "top", fault="supervisor.acted"), KILLED)
    runs.assert_exit(runs.launch("resume", "top"), 0)
    assert runs.acts("begin") == runs.acts("end") == {"draft": 1, "ship": 1, "after": 1}


@pytest.mark.slow
def test_a_gate_in_a_child_is_answered_and_its_item_goes_on_while_another_still_runs(runs: ManyRuns) -> None:
    runs.write("[jobs.ok]\ngate = 'Go on?'\n", "leaf.toml")
    runs.write("[jobs.go]\nworkflow = 'leaf.toml'\n", "middle.toml")
    other = f"[jobs.other]\nshell = '''{runs.witnessed(runs.gated())}'''\n"
    write_parent(runs, child="middle.toml", run="slots = 2", more=other)
    command = runs.begin("top.toml", "top")
    runs.wait_for("begin", "other")
    wait_until(lambda: runs.statuses("top")["go"] == "waiting", "the child has paused")
    answered = runs.launch("approve", "top.go.go", "ok", "--resume")
    assert (answered.exit_code(), answered.stdout) == (0, "ok: answered; run top goes on with it\n")
    wait_until(lambda: runs.statuses("top")["go"] == "succeeded", "the item has gone on")
    assert command.is_running, "the other item still runs"
    runs.open_gate()
    runs.assert_exit(command, 0)
    assert "approve top.go.go" not in command.stderr, "at the end nothing is asked any more"


@pytest.mark.slow
def test_a_rejected_child_fails_its_item_and_no_other_attempt_asks_again(runs: ManyRuns) -> None:
    runs.write("[jobs.ok]\ngate = 'Go on?'\n", "leaf.toml")
    write_parent(runs, "attempts = 3")
    runs.assert_exit(runs.begin("top.toml", "top"), 3)
    runs.assert_exit(runs.launch("approve", "top.go", "ok", "--choice", "reject", "--resume"), 1)
    result = runs.results_of("top")["go"]
    assert (result["status"], result["class"], result["attempts"]) == ("failed", "rejected", 2)
    assert result["error"].startswith("child run top.go was rejected: ok")
