"""Lanes: short items have slots of their own, never stand behind long ones, and never take a run beyond its slots."""

from __future__ import annotations

import pytest
from drivers.many_runs import ManyRuns, nested
from drivers.sweeps import sweep

FULL = "it waits for a slot of the {} lane: all are in use"


def write(runs: ManyRuns, run: str, *, quick: str = "", long_items: int = 8, quick_items: int = 8) -> None:
    """Long items, each at the gate `long`; items of the fast lane that do `quick`."""
    runs.write(
        f"[run]\n{run}\n"
        f"[jobs.long]\nfor_each = {list(range(long_items))}\nshell = '''{runs.witnessed(runs.gated('long'))}'''\n"
        f"[jobs.quick]\nlane = 'fast'\nfor_each = {list(range(quick_items))}\nshell = '''{runs.witnessed(quick or ':')}'''\n",
        "lanes.toml",
    )


def test_quick_items_run_while_the_main_lane_is_full(runs: ManyRuns) -> None:
    write(runs, "slots = 2", long_items=3, quick_items=5)
    command = runs.begin("lanes.toml", "lanes")
    runs.wait_for_count("end", "quick", 5)
    runs.wait_for_count("begin", "long", 1)
    assert runs.why("lanes", "long:2") == FULL.format("main")
    assert (runs.count("begin", "long"), runs.count("end", "long")) == (1, 0)
    runs.open_gate("long", 3)
    runs.assert_exit(command, 0)
    assert (runs.most_at_once("long"), runs.most_at_once("quick")) == (1, 1)


def test_long_items_do_not_wait_for_quick_ones_either(runs: ManyRuns) -> None:
    write(runs, "slots = 2", quick=runs.gated("quick"), long_items=3, quick_items=3)
    command = runs.begin("lanes.toml", "lanes")
    runs.wait_for_count("begin", "quick", 1)
    runs.open_gate("long", 3)
    runs.wait_for_count("end", "long", 3)
    assert runs.why("lanes", "quick:2") == FULL.format("fast")
    runs.open_gate("quick", 3)
    runs.assert_exit(command, 0)
    assert runs.most_at_once() == 2
    assert runs.most_at_once("quick") == 1, "a fast item in a slot of the main lane"


def test_with_one_slot_there_is_no_separate_lane(runs: ManyRuns) -> None:
    write(runs, "slots = 1", long_items=2, quick_items=2)
    command = runs.begin("lanes.toml", "lanes")
    runs.wait_for_count("begin", "long", 1)
    assert runs.wait_for_reason("lanes", "quick:0", "slot") == "it waits for a slot: all are in use"
    runs.open_gate("long", 2)
    runs.assert_exit(command, 0)
    runs.assert_each_ran_once(["long:0", "long:1", "quick:0", "quick:1"])
    assert runs.most_at_once() == 1


def test_where_no_job_is_in_the_fast_lane_all_slots_are_everybodys(runs: ManyRuns) -> None:
    runs.write(
        f"[run]\nslots = 4\nfast_slots = 2\n[jobs.long]\nfor_each = [0, 1, 2, 3]\nshell = '''{runs.gated()}'''\n", "all.toml"
    )
    command = runs.begin("all.toml", "all")
    for index in range(4):
        runs.process_of("all", f"long:{index}")
    runs.open_gate(count=4)
    runs.assert_exit(command, 0)


@pytest.mark.parametrize(("fast_slots", "fast"), sweep([("\nfast_slots = 3", 3), ("", 2), ("\nfast_slots = 1", 1)], quick=1))
def test_fast_slots_are_taken_from_those_of_the_run(runs: ManyRuns, fast_slots: str, fast: int) -> None:
    write(runs, f"slots = 4{fast_slots}", quick=runs.gated("quick"))
    command = runs.begin("lanes.toml", "lanes")
    runs.wait_for_count("begin", "quick", fast)
    runs.wait_for_count("begin", "long", 4 - fast)
    assert runs.why("lanes", "quick:7") == FULL.format("fast")
    assert runs.why("lanes", "long:7") == FULL.format("main")
    runs.open_gate("quick", 8)
    runs.wait_for_count("end", "quick", 8)
    runs.open_gate("long", 8)
    runs.assert_exit(command, 0)
    assert (runs.most_at_once("quick"), runs.most_at_once("long")) == (fast, 4 - fast)


def test_slots_that_are_set_are_split_between_the_lanes_anew(runs: ManyRuns) -> None:
    write(runs, "slots = 2", quick=runs.gated("quick"))
    command = runs.begin("lanes.toml", "lanes")
    runs.wait_for_count("begin", "quick", 1)
    runs.wait_for_count("begin", "long", 1)
    assert runs.launch("set", "lanes", "slots=4").exit_code() == 0
    runs.wait_for_count("begin", "quick", 2)
    runs.wait_for_count("begin", "long", 2)
    assert runs.why("lanes", "quick:7") == FULL.format("fast")
    assert runs.most_at_once() == 4
    assert runs.launch("set", "lanes", "slots=1").exit_code() == 0
    assert runs.why("lanes", "quick:7") == "it waits for a slot: all are in use"
    runs.open_gate("quick", 2)
    runs.wait_for_count("end", "quick", 2)
    assert runs.why("lanes", "quick:7") == "it waits for a slot: all are in use", "two long items still run, with one slot"
    runs.open_gate("long", 8)
    runs.open_gate("quick", 6)
    runs.assert_exit(command, 0)
    runs.assert_each_ran_once([f"{job}:{index}" for job in ("long", "quick") for index in range(8)])


def test_a_nested_run_takes_no_slot_of_the_fast_lane_around_it(runs: ManyRuns) -> None:
    """Four slots, two of them fast: the parent lends one, one more is free, and quick items have theirs all the while."""
    runs.write(
        f"[run]\nslots = 8\n[jobs.leaf]\nfor_each = [0, 1, 2, 3]\nshell = '''{runs.witnessed(runs.gated('leaf'))}'''\n",
        "leaf.toml",
    )
    runs.write(
        f"[run]\nslots = 4\n[jobs.parent]\nshell = '''{nested('leaf.toml', 'leaf')}'''\n"
        f"[jobs.quick]\nlane = 'fast'\nfor_each = [0, 1, 2, 3, 4]\nshell = '''{runs.witnessed(runs.gated('quick'))}'''\n",
        "lanes.toml",
    )
    command = runs.begin("lanes.toml", "lanes")
    runs.wait_for_count("begin", "quick", 2)
    runs.open_gate("quick", 2)
    runs.wait_for_count("begin", "leaf", 1)
    runs.open_gate("quick", 3)
    runs.wait_for_count("end", "quick", 5)
    runs.wait_for_count("begin", "leaf", 2)
    runs.wait_for_reason("leaf", "leaf:3", "a slot that an item around this run lends")
    runs.open_gate("leaf", 4)
    runs.assert_exit(command, 0)
    assert runs.most_at_once("leaf") == 2
    assert runs.most_at_once("quick") == 2


def test_quick_items_of_a_nested_run_need_room_as_all_others_do(runs: ManyRuns) -> None:
    write(runs, "slots = 4", long_items=3, quick_items=3)
    runs.write(f"[run]\nslots = 1\n[jobs.parent]\nshell = '''{nested('lanes.toml', 'lanes')}'''\n", "parent.toml")
    command = runs.begin("parent.toml", "parent")
    runs.wait_for_count("begin", "long", 1)
    runs.wait_for_reason("lanes", "quick:0", "a slot that an item around this run lends")
    runs.open_gate("long", 3)
    runs.assert_exit(command, 0)
    assert runs.most_at_once() == 1
    assert runs.count("end", "quick") == 3
