"""A run finds out that it was started by an item, whatever the item does to its environment, session and parents."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers.processes import LIMIT_SECONDS, wait_until
from drivers.worker_driver import WorkerDriver

from orchestrator.errors import UserError
from orchestrator.shared.nesting import inside
from orchestrator.shared.nesting.ancestors import find_ancestors, worker_above
from orchestrator.system import enclosing
from orchestrator.system.process_chain import Process
from orchestrator.workers.launch import lock_liveness
from orchestrator.workers.log import LogWriter
from orchestrator.workers.processes.identity import boot_id
from orchestrator.workers.protocol import MARK_VARIABLE, WORKER_FOLDER_VARIABLE, AttemptClass, Begun, Ended, Holding, Outcome

PROBE = """
import json, os, sys
from orchestrator.errors import UserError
from orchestrator.shared.nesting.ancestors import find_ancestors
try:
    found = find_ancestors(os.environ)
    told = found and {"marks": found.marks, "worker": found.parent, "root": str(found.root), "depth": found.depth}
except UserError as error:
    told = {"refused": error.message, "hint": error.hint}
with open(sys.argv[1] + ".new", "w") as file:
    json.dump(told, file)
os.rename(sys.argv[1] + ".new", sys.argv[1])
"""

WAYS = {
    "plainly": "{probe}",
    "without environment": "env -i {probe}",
    "without the folder": "env -u ORCHESTRATE_WORKER {probe}",
    "without the mark": "env -u ORCHESTRATE_MARK {probe}",
    "in a session of its own": "setsid env -i {probe}",
    "by a double fork": "( ( env -i {probe} & ) & )",
    "by a double fork into a session of its own": "( ( setsid -f env -i {probe} & ) & )",
    "with other descriptors closed": "exec 3<&- 4<&- 5<&-; env -i {probe} <&- >&- 2>&-",
    "from another folder": "cd / && env -i {probe}",
}


class Program:
    """The command line that looks for what it is nested in; `told` waits for its answer."""

    def __init__(self, folder: Path) -> None:
        self.answer = folder / "answer"
        self.argv = [sys.executable, "-c", PROBE, str(self.answer)]
        self.line = shlex.join(self.argv)

    def told(self) -> Any:
        wait_until(self.answer.exists, "the answer")
        return json.loads(self.answer.read_text())


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerDriver]:
    driver = WorkerDriver(tmp_path / "home" / "runs" / "outer")
    yield driver
    driver.close()


def holding(worker: WorkerDriver, **changed: Any) -> Holding:
    told: dict[str, Any] = {"run": str(worker.root), "root": str(worker.root), "item": "job:0"}
    return Holding(**(told | changed))


@pytest.mark.skipif(sys.platform != "linux", reason="setsid(1), and a worker that is its own subreaper")
@pytest.mark.parametrize("way", WAYS)
def test_an_item_is_found_however_it_starts_the_run(worker: WorkerDriver, program: Program, way: str) -> None:
    script = WAYS[way].format(probe=program.line) + f"\nwhile ! test -e {shlex.quote(str(program.answer))}; do sleep 0.02; done"
    outcome = worker.shell(script, mark="outer.n/job:0/1", holding=holding(worker))
    assert outcome.attempt_class is AttemptClass.OK, outcome.message
    assert program.told() == {
        "marks": ["outer.n/job:0/1"],
        "worker": str(worker.folder),
        "root": str(worker.root),
        "depth": 1,
    }


def test_an_item_of_the_fast_lane_is_refused_with_the_reason(worker: WorkerDriver, program: Program) -> None:
    assert worker.run(*program.argv, holding=holding(worker, item="check:3", lane="fast")).attempt_class is AttemptClass.OK
    assert program.told()["refused"] == "item check:3 is in the fast lane: a fast item never starts a nested run"


@pytest.mark.parametrize(("depth", "is_allowed"), [(0, True), (2, True), (3, False)])
def test_no_run_is_nested_deeper_than_max_depth(worker: WorkerDriver, program: Program, depth: int, is_allowed: bool) -> None:
    worker.run("/usr/bin/env", "-i", *program.argv, holding=holding(worker, depth=depth, max_depth=3))
    if is_allowed:
        assert program.told()["depth"] == depth + 1
    else:
        assert program.told()["refused"] == "item job:0 is in a run at depth 3, and max_depth is 3: no run may be nested in it"


def test_an_attempt_that_has_ended_lends_nothing_to_what_remembers_it(
    worker: WorkerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.run("/bin/true", mark="outer.n/job:0/1", holding=holding(worker))
    monkeypatch.setenv(WORKER_FOLDER_VARIABLE, str(worker.folder))
    monkeypatch.setenv(MARK_VARIABLE, "outer.n/job:0/1")
    with pytest.raises(UserError, match=r"part of attempt outer\.n/job:0/1, but it has ended"):
        find_ancestors(os.environ)


def test_the_attempt_that_follows_in_the_same_worker_is_not_taken_for_it(worker: WorkerDriver) -> None:
    worker.start("/bin/sleep", str(LIMIT_SECONDS), mark="outer.n/job:1/1", holding=holding(worker))
    worker.agent()
    told = {WORKER_FOLDER_VARIABLE: str(worker.folder), MARK_VARIABLE: "outer.n/job:0/1"}
    with pytest.raises(UserError, match="it has ended"):
        find_ancestors(told)
    found = find_ancestors(told | {MARK_VARIABLE: "outer.n/job:1/1"})
    assert found is not None
    assert found.marks == ("outer.n/job:1/1",)


def test_an_attempt_whose_worker_was_killed_lends_nothing(worker: WorkerDriver) -> None:
    worker.start("/bin/sleep", str(LIMIT_SECONDS), mark="m", holding=holding(worker))
    agent = worker.agent().pid
    try:
        worker.kill()
        with pytest.raises(UserError, match="its worker was killed"):
            find_ancestors({WORKER_FOLDER_VARIABLE: str(worker.folder), MARK_VARIABLE: "m"})
    finally:
        os.kill(agent, signal.SIGKILL)


@pytest.mark.parametrize(
    "told",
    [
        {WORKER_FOLDER_VARIABLE: "/nowhere/workers/0", MARK_VARIABLE: "m"},
        {WORKER_FOLDER_VARIABLE: "/nowhere"},
        {MARK_VARIABLE: "m"},
    ],
)
def test_a_relation_of_which_nothing_is_left_is_refused_and_says_how_to_go_on(told: dict[str, str]) -> None:
    with pytest.raises(UserError, match="it has ended") as raised:
        find_ancestors(told)
    assert "env -u ORCHESTRATE_MARK -u ORCHESTRATE_WORKER" in raised.value.hint


def test_a_process_that_no_item_started_is_nested_in_nothing(tmp_path: Path) -> None:
    # A worker that lives beside this process, not above it.
    driver = WorkerDriver(tmp_path)
    try:
        assert find_ancestors({}) is None
        assert worker_above() is None
    finally:
        driver.close()


@pytest.fixture
def levels(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes worker folders whose worker is this process, each running one attempt."""
    fds = []

    def make(mark: str, **told: Any) -> Path:
        folder = tmp_path / "home/runs" / told["run"] / "workers" / "0"
        folder.mkdir(parents=True)
        fds.append(lock_liveness(str(folder)))
        told |= {"run": str(folder.parent.parent), "root": str(tmp_path / "home/runs/a")}
        log = LogWriter(str(folder / "log"))
        log.append(Begun(sequence=4, boot_id=boot_id(), mark=mark, holding=Holding(**told)))
        log.close()
        return folder

    yield make
    for fd in fds:
        os.close(fd)


def test_the_chain_leads_up_to_the_outermost_run(levels: Callable[..., Path], tmp_path: Path) -> None:
    top = levels("a.1/j:0/1", run="a", item="j:0", pools=["api"])
    middle = levels("a.1/j:0/1/b.2/k/2", run="b", item="k", depth=1, parent=str(top))
    low = levels("a.1/j:0/1/b.2/k/2/c.3/l/1", run="c", item="l", depth=2, pools=["db"], parent=str(middle))
    found = find_ancestors({WORKER_FOLDER_VARIABLE: str(low)})
    assert found is not None
    assert found.marks == ("a.1/j:0/1", "a.1/j:0/1/b.2/k/2", "a.1/j:0/1/b.2/k/2/c.3/l/1")
    assert [(lender.worker, set(lender.pools)) for lender in found.lenders] == [(low, {"db"}), (middle, set()), (top, {"api"})]
    assert {lender.home for lender in found.lenders} == {tmp_path / "home"}
    assert (found.root, found.depth, found.parent) == (tmp_path / "home/runs/a", 3, str(low))


def test_only_what_the_kernel_and_the_workers_tell_says_whether_an_agent_is_around(
    levels: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = levels("a.1/j:0/1", run="a", item="j:0")
    agents = levels("b.1/k/1", run="b", item="k", is_agents=True)
    trusted = levels("c.1/l/1", run="c", item="l", is_agents=True, control=True)
    idle = tmp_path / "idle"
    chain = tuple(Process(pid, "x", 1, "", pid) for pid in (4, 3, 2, 1))
    monkeypatch.setattr(inside, "chain_of", lambda _: chain)
    monkeypatch.setenv(WORKER_FOLDER_VARIABLE, str(plain))
    for above, around in (
        ({}, ""),
        ({1: plain, 2: trusted}, ""),
        ({1: plain, 2: agents, 3: trusted}, "b/k"),
        ({2: idle}, "/"),
    ):
        monkeypatch.setattr(enclosing, "worker_folder_of", lambda pid, above=above: str(above[pid]) if pid in above else None)
        assert inside.agents_item_around() == around
    # Of an attempt whose worker was killed its mark is known alone.
    monkeypatch.setattr(enclosing, "worker_folder_of", lambda _: None)
    monkeypatch.setattr(enclosing, "_mark_of", lambda pid: "d.1/m:3/1" if pid == 3 else "")
    assert inside.agents_item_around() == "d/m:3"


def test_a_chain_that_is_broken_above_is_refused(levels: Callable[..., Path]) -> None:
    top = levels("a.1/j:0/2", run="a", item="j:0")
    low = levels("a.1/j:0/1/b.2/k/1", run="b", item="k", depth=1, parent=str(top))
    with pytest.raises(UserError, match="an attempt above k, but it has ended"):
        find_ancestors({WORKER_FOLDER_VARIABLE: str(low)})


def test_an_inline_supervisor_is_found_by_the_lock_that_it_keeps(levels: Callable[..., Path], program: Program) -> None:
    folder = levels("a.1/j:0/1", run="a", item="j:0")  # this process holds the liveness lock, as an inline supervisor does
    subprocess.run(["/usr/bin/env", "-i", *program.argv], check=True, timeout=LIMIT_SECONDS)
    assert program.told()["worker"] == str(folder)


def test_an_attempt_that_ended_is_told_from_the_one_that_runs(levels: Callable[..., Path]) -> None:
    folder = levels("a.1/j:0/1", run="a", item="j:0")
    outcome = Outcome(attempt_class=AttemptClass.OK, started_at=0, finished_at=0, duration_seconds=0)
    log = LogWriter(str(folder / "log"))
    log.append(Ended(sequence=4, outcome=outcome))
    with pytest.raises(UserError, match="it has ended"):
        find_ancestors({WORKER_FOLDER_VARIABLE: str(folder)})
    log.append(
        Begun(sequence=9, boot_id=boot_id(), mark="a.1/j:7/1", holding=Holding(run="/h/runs/a", root="/h/runs/a", item="j:7"))
    )
    log.close()
    found = find_ancestors({WORKER_FOLDER_VARIABLE: str(folder)})
    assert found is not None
    assert found.marks == ("a.1/j:7/1",)
