"""Devices: an item has one of its job's to itself, in all of the run, and waits for none while it holds another."""

from __future__ import annotations

from drivers.core_driver import CoreDriver, job

from orchestrator.core.explanations import why_it_waits
from orchestrator.core.states import PENDING, AdoptedAttempt, RestoredJob

GPUS = ("0", "1")


def test_as_many_items_run_as_there_are_devices_and_the_other_slots_are_for_other_jobs() -> None:
    run = CoreDriver([job("train", 0, devices=GPUS), job("other", 1)], {"train": 4, "other": 9}, slots=4).open()
    assert list(run.running) == ["train:0", "train:1", "other:0", "other:1"]
    assert run.state.devices == {"0": (0, 0), "1": (0, 1)}
    assert why_it_waits(run.state, (0, 2), run.now) == "it waits for a device: 0, 1 are in use"


def test_a_device_goes_to_the_next_item_when_its_own_has_ended() -> None:
    run = CoreDriver([job("train", 0, devices=GPUS)], {"train": 4}, slots=4).open()
    run.succeed("train:1")
    assert run.state.devices == {"0": (0, 0), "1": (0, 2)}
    run.succeed_all()
    assert not run.state.devices


def test_jobs_share_the_devices_that_both_name() -> None:
    rules = [job("train", 0, devices=("0", "1")), job("test", 1, devices=("1", "2")), job("third", 2, devices=("0",))]
    run = CoreDriver(rules, {"train": 2, "test": 2, "third": 1}, slots=9).open()
    assert run.state.devices == {"0": (0, 0), "1": (0, 1), "2": (1, 0)}
    run.succeed("train:1")
    assert run.state.devices == {"0": (0, 0), "1": (1, 1), "2": (1, 0)}
    run.succeed("train:0")
    assert run.state.devices["0"] == (2, 0)


def test_an_item_that_waits_for_something_else_holds_no_device() -> None:
    run = CoreDriver([job("train", 0, devices=("0",), pool="p"), job("test", 1, devices=("0",))], slots=2).open()
    run.hold("train:0", "pool p")
    assert run.state.devices == {"0": (1, 0)}
    run.free_resource("pool p")
    assert list(run.running) == ["test:0"]
    run.succeed("test:0")
    assert run.state.devices == {"0": (0, 0)}


def test_an_attempt_of_an_earlier_supervisor_keeps_its_device() -> None:
    adopted = (AdoptedAttempt(0, 1, 1, device="0"),)
    restored = {"train": RestoredJob([PENDING, PENDING, PENDING], {}, adopted)}
    run = CoreDriver([job("train", 0, devices=GPUS)], slots=3, restored=restored).open()
    assert run.state.devices == {"0": (0, 0), "1": (0, 1)}
    run.succeed("train:0")
    assert run.state.devices == {"0": (0, 2), "1": (0, 1)}
