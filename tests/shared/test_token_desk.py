"""Tokens between real processes: who asks at once, who is killed at which moment, what orphans are left, who is only stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.processes import LIMIT_SECONDS, is_living, wait_until
from drivers.sweeps import sweep
from drivers.token_driver import ITEM, TOKEN, Run

from orchestrator.shared.tokens.answers import Granted, Shared, SharedWith, TryAgain
from orchestrator.workers.protocol import MARK_VARIABLE

HOLDER = """
import json, os, subprocess, sys, time
from pathlib import Path
from drivers.token_driver import Run, outcome
from orchestrator.store.records import Status
from orchestrator.shared.tokens.answers import Granted
from orchestrator.workers.faultpoints import arm
from orchestrator.workers.processes.identity import start_ticks

home, run_id, moment, fault, agent_mark = sys.argv[1:]
run = Run(Path(home), run_id, is_itself=True)
arm(fault)

def reach(name, **told):
    if name == moment:
        print(json.dumps(told), flush=True)
        sys.stdin.readline()

granted = run.ask(0)
assert isinstance(granted, Granted), granted
reach("granted")
run.begins(0)
reach("recorded")
worker = run.worker()
worker.begins(run.mark(0))
environment = {**os.environ, "ORCHESTRATE_MARK": run.mark(0)} if agent_mark else dict(os.environ)
agent = subprocess.Popen(["sleep", "600"], env=environment, pass_fds=[granted.lock_fd], start_new_session=True)
reach("spawned", agent=agent.pid)
worker.spawned(agent.pid, start_ticks(agent.pid))
reach("running", agent=agent.pid)
agent.kill()
agent.wait()
worker.ends(outcome(said="paid for"))
reach("ended")
run.desk.settle_item((0, 0), Status.SUCCEEDED, outcome(said="paid for"), None)
run.desk.finish_publishing()
reach("published")
run.close()
"""
"""A run that does the work of its item, and says when it has come to a moment: then it waits for a line, or for SIGKILL."""

Holder = subprocess.Popen[str]


@pytest.fixture
def agents() -> Iterator[list[int]]:
    """Pids to be killed at the end of the test, whatever came of it."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if is_living(pid):
            os.kill(pid, signal.SIGKILL)


class Stage:
    """The processes of one test."""

    def __init__(self, home: Path, agents: list[int]) -> None:
        self.home = home
        self._agents = agents
        self._started: list[subprocess.Popen[str]] = []

    def start(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(self.home), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._started.append(process)
        return process

    def holder_at(self, moment: str, fault: str = "", *, mark: bool = True) -> tuple[Holder, int | None]:
        """A holder that has come to `moment`, and the pid of its agent if that runs."""
        holder = self.start(HOLDER, "a", moment, fault, "mark" if mark else "")
        assert holder.stdout is not None
        line = holder.stdout.readline()
        assert line, f"the holder ended with {holder.wait(LIMIT_SECONDS)} before it was {moment}"
        agent = json.loads(line).get("agent")
        if agent is not None:
            self._agents.append(agent)
        return holder, agent

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate(timeout=LIMIT_SECONDS)


@pytest.fixture
def stage(tmp_path: Path, agents: list[int]) -> Iterator[Stage]:
    made = Stage(tmp_path, agents)
    yield made
    made.close()


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Run]:
    """A run in the test's own process."""
    run = Run(tmp_path, "b", is_itself=True)
    yield run
    run.close()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(LIMIT_SECONDS)


PARTY = """
import os, sys, time
from pathlib import Path
from drivers.token_driver import Run, outcome
from orchestrator.store.records import Status
from orchestrator.shared.tokens.answers import Granted, Joins, Shared, SharedWith, TryAgain

home, run_id, count, witness = sys.argv[1:]
run = Run(Path(home), run_id, is_itself=True)
log = os.open(witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
print("ready", flush=True)
sys.stdin.readline()
asking = list(range(int(count)))
got = {}
deadline = time.monotonic() + 60
while len(got) < int(count):
    assert time.monotonic() < deadline, (asking, got)
    while asking:
        number = asking.pop()
        answer = run.ask(number, token=f"t{number}", token_ttl=3600.0)
        match answer:
            case Granted():
                run.begins(number, sequence=number)
                os.write(log, f"begin {number} {run_id}\\n".encode())
                said = f"{run_id} did {number}"
                run.desk.settle_item((0, number), Status.SUCCEEDED, outcome(said=said), None)
                got[number] = said
            case Shared(shared, _, _):
                got[number] = shared.stdout.inline.decode()
            case Joins():
                os.write(log, f"join {number} {run_id}\\n".encode())
            case _:
                raise AssertionError(answer)
    for fileno in run.desk.filenos():
        run.desk.take_in(fileno)
    for told in run.desk.poll(time.monotonic()):
        match told:
            case SharedWith(items, shared, _, _):
                got.update({number: shared.stdout.inline.decode() for _, number in items})
            case TryAgain(items):
                asking += [number for _, number in items]
            case _:
                raise AssertionError(told)
    time.sleep(0.005)
run.desk.finish_publishing()
run.close()
print("|".join(got[number] for number in range(int(count))), flush=True)
"""
"""Does the work of `count` tokens, each once it has it, and shares what others did; says at the end what it got for each."""


def test_of_processes_that_ask_at_once_one_does_the_work_and_all_get_what_it_came_to(stage: Stage, tmp_path: Path) -> None:
    witness, count = tmp_path / "witness", 30
    parties = [stage.start(PARTY, f"r{number}", str(count), str(witness)) for number in range(4)]
    for party in parties:
        assert party.stdout is not None
        assert party.stdout.readline() == "ready\n"
    said = []
    for party in parties:
        assert party.stdin is not None
        party.stdin.write("go\n")
        party.stdin.flush()
    for party in parties:
        said.append(party.communicate(timeout=LIMIT_SECONDS)[0])
        assert party.returncode == 0
    acts = [line.split() for line in witness.read_text().splitlines()]
    begun = Counter(number for act, number, _ in acts if act == "begin")
    assert begun == Counter({str(number): 1 for number in range(count)})
    assert len(set(said)) == 1
    assert len(said[0].split("|")) == count


@pytest.mark.parametrize("moment", ["granted", "recorded"])
def test_a_holder_killed_before_anything_of_it_ran_leaves_the_work_to_who_asks(stage: Stage, asker: Run, moment: str) -> None:
    holder, _ = stage.holder_at(moment)
    asker.joins(0)
    kill(holder)
    asker.hears_in_time()
    answer = asker.ask(0)
    assert isinstance(answer, Granted)
    assert answer.promotions == (1 if moment == "recorded" else 0)


@pytest.mark.parametrize(("moment", "mark"), sweep([("running", False), ("running", True), ("spawned", True)], quick=1))
def test_the_orphan_of_a_killed_holder_is_ended_before_the_token_is_taken(
    stage: Stage, asker: Run, moment: str, mark: bool
) -> None:
    """It has the lock still. It is found by its mark, or by the record of its pid."""
    holder, agent = stage.holder_at(moment, mark=mark)
    assert agent is not None
    kill(holder)
    assert is_living(agent)
    assert "left behind is being ended" in asker.joins(0).words
    asker.hears_in_time()
    assert not is_living(agent)
    assert isinstance(asker.ask(0), Granted)


def test_an_orphan_that_no_evidence_leads_to_keeps_the_lock_and_nobody_starts_beside_it(stage: Stage, asker: Run) -> None:
    """No mark, no record of its pid, no parent: it is outside of what can be found, but the lock it has is not."""
    holder, agent = stage.holder_at("spawned", mark=False)
    assert agent is not None
    kill(holder)
    asker.joins(0)
    asker.hears_in_time()
    asker.joins(0)
    assert is_living(agent)
    os.kill(agent, signal.SIGKILL)

    def is_granted() -> bool:
        asker.hears_in_time()
        return isinstance(asker.ask(0), Granted)

    wait_until(is_granted, "the token is free")


def test_what_a_holder_left_when_it_was_killed_after_its_agents_end_is_shared(stage: Stage, asker: Run) -> None:
    holder, _ = stage.holder_at("ended")
    asker.joins(0)
    kill(holder)
    asker.hears_in_time()
    answer = asker.ask(0)
    assert isinstance(answer, Shared)
    assert (answer.outcome.stdout.inline, answer.deduped_from) == (b"paid for", "a/port:0")


@pytest.mark.parametrize("point", ["token.publishing", "token.synced", "token.renamed", "token.published"])
def test_a_kill_at_any_point_of_the_publication_loses_nothing_and_pays_nothing_twice(
    stage: Stage, asker: Run, point: str
) -> None:
    holder = stage.start(HOLDER, "a", "never", point, "mark")
    assert holder.wait(LIMIT_SECONDS) == -signal.SIGKILL
    answer = asker.ask(0, token_ttl=3600.0)
    assert isinstance(answer, Shared)
    assert answer.outcome.stdout.inline == b"paid for"
    known = asker.record()
    assert known is not None
    assert known.state == "done"


def test_a_stopped_holder_is_waited_for_and_named(stage: Stage, asker: Run) -> None:
    holder, agent = stage.holder_at("running")
    asker.joins(0)
    holder.send_signal(signal.SIGSTOP)
    assert asker.hears() == asker.hears() == []
    assert asker.desk.holder_pids(ITEM) == [holder.pid, agent]
    ((names, token, named),) = asker.desk.waits()
    assert (names, token, named.words) == ({ITEM: "port:0"}, TOKEN, "a/port:0")
    holder.send_signal(signal.SIGCONT)
    assert holder.stdin is not None
    holder.stdin.write("go on\n")
    holder.stdin.flush()

    def shared() -> SharedWith | Shared | None:
        for told in asker.hears():
            if isinstance(told, SharedWith):
                return told
            # The lock was free an instant before the verdict was seen: an item that asks again then gets it at once.
            if isinstance(told, TryAgain) and isinstance(answer := asker.ask(0), Shared):
                return answer
        return None

    told = wait_until(shared, "the outcome is shared")
    assert told.outcome.stdout.inline == b"paid for"


def test_a_killed_joiner_harms_neither_the_holder_nor_the_others(stage: Stage, asker: Run, tmp_path: Path) -> None:
    holder, agent = stage.holder_at("running")
    asker.joins(0)
    witness = tmp_path / "witness"
    joiner = stage.start(PARTY.replace('token=f"t{number}"', f'token="{TOKEN}"'), "c", "1", str(witness))
    assert joiner.stdin is not None
    joiner.stdin.write("go\n")
    joiner.stdin.flush()
    wait_until(lambda: witness.exists() and witness.read_text(), "the joiner has joined")
    kill(joiner)
    assert agent is not None
    assert is_living(agent)
    assert holder.stdin is not None
    holder.stdin.write("go on\n")
    holder.stdin.flush()
    assert holder.wait(LIMIT_SECONDS) == 0
    (told,) = asker.hears()
    assert isinstance(told, SharedWith)
    assert witness.read_text() == "join 0 c\n"


def test_no_living_process_is_ended_on_the_word_of_a_record(stage: Stage, asker: Run, agents: list[int]) -> None:
    """The numbers in a record are used again: a stranger that has the pid of the agent is none of it."""
    holder, agent = stage.holder_at("granted")
    assert agent is None
    stranger = subprocess.Popen(["sleep", "600"], env={**os.environ, MARK_VARIABLE: "a.n/port:00/1"}, start_new_session=True)
    agents.append(stranger.pid)
    kill(holder)
    run = Run(asker.home, "a")
    run.takes(0)
    worker = run.worker()
    worker.begins(run.mark(0))
    worker.spawned(stranger.pid, 1)
    run.close()
    asker.joins(0)
    asker.hears_in_time()
    assert isinstance(asker.ask(0), Granted)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait(LIMIT_SECONDS)
