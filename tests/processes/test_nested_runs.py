"""Runs inside items of other runs: they share what the items around them hold, and together never do more than was allowed."""

from __future__ import annotations

import os
import shlex
import signal

import psutil
import pytest
from drivers.many_runs import ORCHESTRATE, ManyRuns, nested
from drivers.processes import SETTLE_SECONDS, is_living, processes_of, wait_until
from drivers.sweeps import sweep

ROOM = "a slot that an item around this run lends"


def write_fan_out(runs: ManyRuns, job: str, items: int, body: str, *, run: str = "slots = 8", keys: str = "") -> None:
    """JOB.toml: one job of so many items."""
    values = list(range(items))
    runs.write(f"[run]\n{run}\n[jobs.{job}]\nfor_each = {values}\n{keys}\nshell = '''{runs.witnessed(body)}'''\n", f"{job}.toml")


# Slots.


@pytest.mark.parametrize("slots", [1, pytest.param(0, marks=pytest.mark.slow)], ids=["one slot", "inline"])
def test_three_deep_with_one_slot_completes(runs: ManyRuns, slots: int) -> None:
    write_fan_out(runs, "leaf", 2, ":", run="slots = 1")
    write_fan_out(runs, "low", 1, nested("leaf.toml", "leaf-in-$ORCHESTRATE_RUN"), run="slots = 1")
    write_fan_out(runs, "middle", 2, nested("low.toml", "low-{{ item }}"), run="slots = 1")
    write_fan_out(runs, "top", 1, nested("middle.toml", "middle"), run=f"slots = {slots}")
    runs.assert_exit(runs.begin("top.toml", "top"), 0)
    assert runs.acts("end") == {"top:0": 1, "middle:0": 1, "middle:1": 1, "low:0": 2, "leaf:0": 2, "leaf:1": 2}
    assert runs.most_at_once("leaf") == 1
    assert runs.most_at_once("low") == 1, "two items of one level worked at once, with one slot"
    for run_id in ("top", "middle", "low-0", "leaf-in-low-1"):
        assert set(runs.statuses(run_id).values()) == {"succeeded"}


def test_two_parents_each_fan_out_and_two_leaves_work_at_once(runs: ManyRuns) -> None:
    write_fan_out(runs, "leaf", 5, runs.gated())
    write_fan_out(runs, "parent", 2, nested("leaf.toml", "leaf-{{ item }}"), run="slots = 2")
    command = runs.begin("parent.toml", "parent")
    runs.wait_for_count("begin", "leaf", 2)
    for parent in (0, 1):
        runs.wait_for_reason(f"leaf-{parent}", "leaf:4", ROOM)
    for ended in range(1, 10):
        runs.open_gate()
        runs.wait_for_count("end", "leaf", ended)
    runs.open_gate()
    runs.assert_exit(command, 0)
    assert runs.count("end", "leaf") == 10
    assert runs.most_at_once("leaf") == 2


def test_a_nested_run_takes_the_slots_that_are_free_and_lets_them_go_for_its_parents_run(runs: ManyRuns) -> None:
    """Three slots: when nobody else needs them three leaves work, although only one slot is the parent's to lend."""
    write_fan_out(runs, "leaf", 6, runs.gated("leaf"))
    late = f"needs = [\"first\"]\nshell = '''{runs.witnessed(':')}'''\n"
    runs.write(
        f"[run]\nslots = 3\n[jobs.parent]\nshell = '''{nested('leaf.toml', 'leaf')}'''\n"
        f"[jobs.first]\nshell = '''{runs.gated('first')}'''\n[jobs.late]\nfor_each = [0, 1, 2]\n{late}",
        "top.toml",
    )
    command = runs.begin("top.toml", "top")
    runs.wait_for_count("begin", "leaf", 2)
    runs.wait_for_reason("leaf", "leaf:5", ROOM)
    assert runs.count("begin", "leaf") == 2, "more leaves than one borrowed slot and one free one"
    runs.open_gate("first")
    runs.wait_for_count("begin", "leaf", 3)
    runs.wait_for_reason("leaf", "leaf:5", ROOM)
    runs.open_gate("leaf", 6)
    runs.assert_exit(command, 0)
    assert (runs.count("end", "leaf"), runs.count("end", "late")) == (6, 3)
    assert runs.most_at_once("leaf", "late") <= 3


@pytest.mark.parametrize(("slots", "at_once"), [(1, 1), pytest.param(3, 3, marks=pytest.mark.slow)])
def test_two_runs_in_one_item_share_what_it_lends_and_take_more_only_when_it_is_free(
    runs: ManyRuns, slots: int, at_once: int
) -> None:
    write_fan_out(runs, "left", 3, runs.gated())
    write_fan_out(runs, "right", 3, runs.gated())
    both = f"{nested('left.toml', 'left')} & {nested('right.toml', 'right')} && wait $!"
    write_fan_out(runs, "parent", 1, both, run=f"slots = {slots}")
    command = runs.begin("parent.toml", "parent")
    wait_until(lambda: sum(runs.acts("begin").values()) == 1 + at_once, "all the slots are used")
    for run_id, item in (("left", "left:2"), ("right", "right:2")):
        wait_until(lambda: ROOM in runs.why(run_id, item) or runs.acts("begin")[item], f"{item} begins or waits")  # noqa: B023
    runs.open_gate(count=6)
    runs.assert_exit(command, 0)
    assert runs.most_at_once("left", "right") == at_once
    assert (runs.count("end", "left"), runs.count("end", "right")) == (3, 3)


def test_its_own_number_of_slots_bounds_a_nested_run_and_adds_none(runs: ManyRuns) -> None:
    write_fan_out(runs, "leaf", 4, runs.gated(), run="slots = 2")
    write_fan_out(runs, "parent", 1, nested("leaf.toml", "leaf"), run="slots = 4")
    command = runs.begin("parent.toml", "parent")
    runs.wait_for_count("begin", "leaf", 2)
    assert "a slot: all are in use" in runs.wait_for_reason("leaf", "leaf:3", "waits")
    runs.open_gate(count=4)
    runs.assert_exit(command, 0)
    assert runs.most_at_once("leaf") == 2


def test_slots_that_are_set_while_a_nested_run_goes_on_are_its_too(runs: ManyRuns) -> None:
    for index in range(6):
        runs.gated(f"gate{index}")
    write_fan_out(runs, "leaf", 6, "read word < gate{{ item }}.fifo")
    write_fan_out(runs, "parent", 1, nested("leaf.toml", "leaf"), run="slots = 1")
    command = runs.begin("parent.toml", "parent")
    runs.wait_for_count("begin", "leaf", 1)
    runs.wait_for_reason("leaf", "leaf:5", ROOM)
    assert runs.most_at_once("leaf") == 1
    assert runs.launch("set", "parent", "slots=3").exit_code() == 0
    runs.wait_for_count("begin", "leaf", 3)
    runs.wait_for_reason("leaf", "leaf:5", ROOM)
    assert runs.most_at_once("leaf") == 3
    assert runs.launch("set", "parent", "slots=1").exit_code() == 0
    for index in range(3):
        runs.open_gate(f"gate{index}")
        runs.wait_for("end", f"leaf:{index}")
    runs.wait_for_count("begin", "leaf", 4)
    runs.wait_for_reason("leaf", "leaf:5", ROOM)
    for index in range(3, 6):
        runs.open_gate(f"gate{index}")
    runs.assert_exit(command, 0)
    acts = [
        line.split()[0] for line in runs.witness.read_text().splitlines() if line.split()[1] in ("leaf:3", "leaf:4", "leaf:5")
    ]
    assert acts == ["begin", "end"] * 3, "the last three leaves had one slot between them"


# Pools.


@pytest.mark.parametrize("parents", sweep([2, 4], quick=1))
def test_items_that_hold_a_whole_pool_each_start_a_run_in_that_pool_and_finish(runs: ManyRuns, parents: int) -> None:
    pool = f"slots = 8\n[pools.api]\nslots = {parents}"
    write_fan_out(runs, "leaf", 3, "sleep 0.05", run=pool, keys='pool = "api"')
    write_fan_out(runs, "parent", parents, nested("leaf.toml", "leaf-{{ item }}"), run=pool, keys='pool = "api"')
    # Each goes on only when all of them hold their slot of the pool: none is there to be had for a leaf.
    all_met = " && ".join(f"[ -e met.{index} ]" for index in range(parents))
    meet = f"touch met.{{{{ item }}}}; until {all_met}; do sleep 0.01; done"
    text = (runs.folder / "parent.toml").read_text()
    runs.write(text.replace("shell = '''", f"shell = '''{meet}; "), "parent.toml")
    runs.assert_exit(runs.begin("parent.toml", "parent"), 0)
    assert runs.count("end", "leaf") == 3 * parents
    assert runs.most_at_once("leaf") <= parents


def test_a_pool_that_no_parent_holds_bounds_the_nested_runs_of_several_parents(runs: ManyRuns) -> None:
    pool = "slots = 8\n[pools.api]\nslots = 1"
    write_fan_out(runs, "leaf", 3, "sleep 0.02", run=pool, keys='pool = "api"')
    write_fan_out(runs, "parent", 2, nested("leaf.toml", "leaf-{{ item }}"), run="slots = 2")
    runs.assert_exit(runs.begin("parent.toml", "parent"), 0)
    assert runs.count("end", "leaf") == 6
    assert runs.most_at_once("leaf") == 1


def test_what_two_levels_hold_of_a_pool_is_lent_to_the_third(runs: ManyRuns) -> None:
    pool = "slots = 2\n[pools.api]\nslots = 1"
    for job, body in (("leaf", ":"), ("middle", nested("leaf.toml", "leaf")), ("top", nested("middle.toml", "middle"))):
        write_fan_out(runs, job, 1, body, run=pool, keys='pool = "api"')
    runs.assert_exit(runs.begin("top.toml", "top"), 0)
    assert runs.acts("end") == {"top:0": 1, "middle:0": 1, "leaf:0": 1}


# Being found, and being refused.


WAYS = {
    "without environment": "{env} {run}",
    "in a session of its own": "setsid -w {env} {run}",
    "by a double fork": "( ( set +e; {env} {run}; echo $? > left ) & ); until [ -s left ]; do sleep 0.02; done; exit $(cat left)",
    "by a double fork into a session of its own": (
        "( ( set +e; setsid -w {env} {run}; echo $? > left ) & ); until [ -s left ]; do sleep 0.02; done; exit $(cat left)"
    ),
}

QUICK_WAYS = {"without environment", "by a double fork into a session of its own"}
SOME_WAYS = [pytest.param(way, marks=[] if way in QUICK_WAYS else pytest.mark.slow) for way in WAYS]


def hidden(runs: ManyRuns, way: str, command: str) -> str:
    env = f'env -i ORCHESTRATE_HOME={shlex.quote(str(runs.home))} PATH=/usr/bin:/bin PYTHONPATH="$PYTHONPATH"'
    return WAYS[way].format(env=env, run=command)


@pytest.mark.skipif(not os.path.exists("/usr/bin/setsid"), reason="setsid(1)")
@pytest.mark.parametrize("way", SOME_WAYS)
def test_a_run_is_nested_however_its_item_hides_it(runs: ManyRuns, way: str) -> None:
    """Not found, it would be a run of its own, with two leaves at once."""
    write_fan_out(runs, "leaf", 2, 'echo "$ORCHESTRATE_MARK" > mark; ' + runs.gated(), run="slots = 2")
    write_fan_out(runs, "parent", 1, hidden(runs, way, nested("leaf.toml", "leaf")), run="slots = 1")
    command = runs.begin("parent.toml", "parent")
    runs.wait_for_count("begin", "leaf", 1)
    runs.wait_for_reason("leaf", "leaf:1", ROOM)
    runs.open_gate(count=2)
    runs.assert_exit(command, 0)
    assert runs.most_at_once("leaf") == 1
    run, item, attempt, own_run, *_ = (runs.folder / "mark").read_text().split("/")
    assert (run.split(".")[0], item, attempt, own_run.split(".")[0]) == ("parent", "parent:0", "1", "leaf")


@pytest.mark.parametrize(("way", "option"), sweep([(None, ""), ("by a double fork", ""), (None, "--detach")], quick=2))
def test_the_fast_lane_refuses_a_nested_run_at_once(runs: ManyRuns, way: str | None, option: str) -> None:
    write_fan_out(runs, "leaf", 1, ":")
    command = nested("leaf.toml", "leaf", *option.split())
    body = command if way is None else hidden(runs, way, command)
    write_fan_out(runs, "quick", 1, body, run="slots = 2", keys='lane = "fast"')
    runs.assert_exit(runs.begin("quick.toml", "quick"), 1)
    result = runs.results_of("quick")["quick:0"]
    assert (result["exit_code"], result["attempts"]) == (2, 1)
    said = runs.said_by("quick", "quick:0")
    assert "--detach inside an item is refused" in said if option else "quick:0 is in the fast lane" in said
    assert not (runs.home / "runs" / "leaf").exists()
    assert not runs.count("begin", "leaf")


@pytest.mark.parametrize("words", ["run leaf.toml --run-id leaf --detach", "each --detach -- true {} < leaf.toml"])
def test_a_run_in_the_background_of_an_item_is_refused_at_once(runs: ManyRuns, words: str) -> None:
    write_fan_out(runs, "leaf", 1, ":")
    write_fan_out(runs, "parent", 1, f"{ORCHESTRATE} {words}", run="slots = 2")
    runs.assert_exit(runs.begin("parent.toml", "parent"), 1)
    assert runs.results_of("parent")["parent:0"]["exit_code"] == 2
    assert "--detach inside an item is refused" in runs.said_by("parent", "parent:0")
    assert [path.name for path in (runs.home / "runs").iterdir()] == ["parent"]


def test_no_run_is_nested_deeper_than_max_depth(runs: ManyRuns) -> None:
    write_fan_out(runs, "leaf", 1, ":")
    write_fan_out(runs, "middle", 1, nested("leaf.toml", "leaf"))
    write_fan_out(runs, "top", 1, nested("middle.toml", "middle"), run="slots = 1\nmax_depth = 1")
    runs.assert_exit(runs.begin("top.toml", "top"), 1)
    assert runs.acts("begin") == {"top:0": 1, "middle:0": 1}
    assert runs.results_of("middle")["middle:0"]["exit_code"] == 2
    assert "is in a run at depth 1, and max_depth is 1" in runs.said_by("middle", "middle:0")


def test_a_file_bounds_how_deep_it_nests_wherever_it_is_run(runs: ManyRuns) -> None:
    """A run at depth 1 that allows no more below it, inside one that would allow three."""
    write_fan_out(runs, "leaf", 1, ":")
    write_fan_out(runs, "middle", 1, nested("leaf.toml", "leaf"), run="max_depth = 0")
    write_fan_out(runs, "top", 1, nested("middle.toml", "middle"), run="slots = 1\nmax_depth = 3")
    runs.assert_exit(runs.begin("top.toml", "top"), 1)
    assert "max_depth is 1: no run may be nested in it" in runs.said_by("middle", "middle:0")


def test_a_run_that_remembers_an_attempt_that_has_ended_is_refused_in_words(runs: ManyRuns) -> None:
    write_fan_out(runs, "leaf", 1, ":")
    write_fan_out(runs, "parent", 1, "env | grep ^ORCHESTRATE_ > environment")
    runs.assert_exit(runs.begin("parent.toml", "parent"), 0)
    remembered = dict(line.split("=", 1) for line in (runs.folder / "environment").read_text().splitlines())
    command = runs.launch("run", "leaf.toml", "--run-id", "leaf", **remembered)
    assert command.exit_code() == 2
    assert "it has ended" in command.stderr
    assert "env -u ORCHESTRATE_MARK" in command.stderr
    assert not runs.count("begin", "leaf")


# Kills.


@pytest.mark.parametrize("victims", ["supervisor", pytest.param("all", marks=pytest.mark.slow)])
def test_the_slot_of_a_nested_run_that_was_killed_is_free_again(runs: ManyRuns, victims: str) -> None:
    """One slot. Of the supervisor alone: its leaf works on, and the next nested run waits for it."""
    write_fan_out(runs, "killed", 1, runs.gated("killed"))
    write_fan_out(runs, "second", 1, ":")
    body = f"{nested('killed.toml', 'killed')}; {nested('second.toml', 'second')}"
    write_fan_out(runs, "parent", 1, body, run="slots = 1")
    command = runs.begin("parent.toml", "parent")
    runs.wait_for_count("begin", "killed", 1)
    worker, agent = runs.process_of("killed", "killed:0")
    os.kill(runs.supervisor_of("killed"), signal.SIGKILL)
    if victims == "all":
        os.kill(worker, signal.SIGKILL)
        os.kill(agent, signal.SIGKILL)
    else:
        assert "killed/killed:0" in runs.wait_for_reason("second", "second:0", ROOM)
        assert is_living(agent)
        runs.open_gate("killed")
    runs.wait_for_count("end", "second", 1)
    runs.assert_exit(command, 0)
    if victims == "supervisor":
        assert runs.most_at_once("second", "killed") == 1


def test_what_a_killed_nested_run_leaves_ends_with_its_item_and_the_next_item_has_the_slot(runs: ManyRuns) -> None:
    body = f"test $ORCHESTRATE_RUN = leaf-1 || {runs.gated()}"
    write_fan_out(runs, "leaf", 1, body)
    parent = nested("leaf.toml", "leaf-{{ item }}")
    write_fan_out(runs, "parent", 2, f"{parent} || exit 9", run="slots = 1", keys="continue_on_error = true")
    command = runs.begin("parent.toml", "parent")
    worker, agent = runs.process_of("leaf-0", "leaf:0")
    os.kill(runs.supervisor_of("leaf-0"), signal.SIGKILL)
    runs.assert_exit(command, 1)
    assert runs.statuses("parent") == {"parent:0": "failed", "parent:1": "succeeded"}
    assert not is_living(worker)
    assert not is_living(agent)
    assert runs.acts("end") == {"parent:1": 1, "leaf:0": 1}


def test_a_nested_run_goes_on_while_nobody_supervises_its_parent_and_the_resume_takes_that_over(runs: ManyRuns) -> None:
    write_fan_out(runs, "leaf", 4, runs.gated())
    write_fan_out(runs, "parent", 2, nested("leaf.toml", "leaf-{{ item }}"), run="slots = 1")
    command = runs.begin("parent.toml", "parent")
    runs.wait_for_count("begin", "leaf", 1)
    runs.process_of("parent", "parent:0")
    command.kill()
    runs.open_gate()
    runs.wait_for_count("begin", "leaf", 2)  # by the nested run, which nobody has told of the kill
    command = runs.launch("resume", "parent")
    wait_until(lambda: "adopted parent:0" in command.stderr, "the item is adopted")
    runs.wait_for_reason("leaf-0", "leaf:3", ROOM)
    runs.open_gate(count=7)
    runs.assert_exit(command, 0)
    assert runs.acts("end") == {"parent:0": 1, "parent:1": 1, **{f"leaf:{index}": 2 for index in range(4)}}
    assert runs.most_at_once("leaf") == 1
    assert runs.most_at_once("parent") == 1


def test_a_parent_that_is_stopped_ends_its_nested_run_and_a_resume_goes_on_with_it(runs: ManyRuns) -> None:
    write_fan_out(runs, "leaf", 3, f"test {{{{ item }}}} = 0 || {runs.gated()}")
    write_fan_out(runs, "parent", 1, nested("leaf.toml", "leaf", "--resume"), run="slots = 1\ndrain_timeout = 0.2")
    command = runs.begin("parent.toml", "parent")
    runs.wait_for_count("begin", "leaf", 2)
    command.send(signal.SIGINT)
    command.send(signal.SIGINT)
    assert command.exit_code() == 130, command.stderr
    _, left = psutil.wait_procs(processes_of(runs.home), timeout=SETTLE_SECONDS)
    assert not left
    runs.open_gate(count=2)
    runs.assert_exit(runs.launch("resume", "parent"), 0)
    assert runs.acts("end") == {"parent:0": 1, "leaf:0": 1, "leaf:1": 1, "leaf:2": 1}
