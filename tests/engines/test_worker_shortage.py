"""A machine without room: for a descriptor, a process, memory. Nothing is started, nothing is lost, nobody is to blame."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from drivers.engine_driver import EngineDriver
from drivers.processes import sees_open_files
from drivers.sweeps import sweep
from drivers.worker_driver import WorkerDriver

from orchestrator.core.events import Verdict
from orchestrator.engines.engine import AttemptLost, Noted, OutcomeArrived, ReadyWorker
from orchestrator.errors import StateUnwritableError
from orchestrator.store.outcomes import verdict_of
from orchestrator.workers import channel, launch
from orchestrator.workers.log import LOG_NAME, read_log
from orchestrator.workers.protocol import AttemptClass, Creates, Spawned

MakeWorker = Callable[[str], WorkerDriver]


@pytest.fixture
def make_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeWorker]:
    made: list[WorkerDriver] = []

    def make(fault: str) -> WorkerDriver:
        monkeypatch.setenv("ORCHESTRATE_WORKER_FAULT", fault)
        made.append(WorkerDriver(tmp_path))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


@contextmanager
def room_for_descriptors(count: int, pid: int = 0) -> Iterator[None]:
    """Let the process (0: this one) open at most `count` more, numbered as the kernel does: the lowest free number first."""
    used = {int(name) for name in os.listdir(f"/proc/{pid or 'self'}/fd")}
    if not pid:
        used = {fd for fd in used if is_open(fd)}  # without the one that the listing itself had
    limit, free = 0, -1
    while free < count:
        free += limit not in used
        limit += 1
    old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit - 1, old[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, old)


@contextmanager
def no_room_on_disk() -> Iterator[None]:
    """Let this process make no file longer."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


class TestInTheWorker:
    @pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM", "EMFILE", "ENFILE"])
    def test_an_agent_that_the_machine_has_no_room_for_is_not_started(self, make_worker: MakeWorker, error: str) -> None:
        worker = make_worker(f"worker.spawn:1:{error}")
        lock = worker.lock(worker.root / "slot")
        outcome = worker.run("sh", "-c", "echo ran >> witness", locks=[lock])
        os.close(lock)
        assert outcome.attempt_class is AttemptClass.SHORTAGE
        assert outcome.message.startswith("no room on this machine just now: ")
        assert verdict_of(outcome, None) is Verdict.SHORTAGE
        assert not (worker.root / "witness").exists()
        assert not [line for line in worker.log() if isinstance(line, Spawned)]

    @sees_open_files
    @pytest.mark.parametrize("room", range(3))
    def test_a_worker_short_of_descriptors_works_again_once_it_has_some(self, make_worker: MakeWorker, room: int) -> None:
        """Standard input, script and captures need one each: whichever is the first to find none."""
        worker = make_worker("")
        worker.shell("echo out; echo err >&2")  # and now it has no file for either stream
        creates = Creates(temporary=f"{worker.root}/.new", final=f"{worker.root}/file")
        with room_for_descriptors(room, worker.pid):
            short = worker.run("sh", stdin="text", script="cat > .new; echo ran >> witness", creates=[creates])
        assert short.attempt_class is AttemptClass.SHORTAGE, short
        assert not (worker.root / "witness").exists()
        well = worker.run("sh", stdin="text", script="cat > .new; echo ran >> witness", creates=[creates])
        assert well.attempt_class is AttemptClass.OK
        assert (worker.root / "witness").read_text() == "ran\n"
        assert Path(creates.final).read_text() == "text"

    @sees_open_files
    def test_a_lock_whose_number_would_be_too_high_is_a_shortage_too(self, make_worker: MakeWorker) -> None:
        worker = make_worker("")
        worker.run("true")
        lock = worker.lock(worker.root / "slot")
        with room_for_descriptors(10, worker.pid):
            outcome = worker.run("true", locks=[lock])
        assert outcome.attempt_class is AttemptClass.SHORTAGE
        assert worker.run("true", locks=[lock]).attempt_class is AttemptClass.OK
        os.close(lock)

    def test_an_agent_that_no_record_would_lead_to_is_not_started(self, make_worker: MakeWorker) -> None:
        worker = make_worker("worker.log.write:1:ENFILE")
        outcome = worker.shell("echo ran >> witness")
        assert outcome.attempt_class is AttemptClass.SHORTAGE
        assert not (worker.root / "witness").exists()

    def test_an_agent_that_runs_is_never_called_not_started(self, make_worker: MakeWorker) -> None:
        """The log refuses the line that names it: it runs on, once."""
        worker = make_worker("worker.log.write:2:EMFILE")
        outcome = worker.shell("echo ran >> witness; exit 3")
        assert (outcome.attempt_class, outcome.exit_code) == (AttemptClass.COMMAND_FAILED, 3)
        assert (worker.root / "witness").read_text() == "ran\n"

    def test_a_command_that_is_wrong_is_no_shortage(self, make_worker: MakeWorker) -> None:
        assert make_worker("").run("/missing").attempt_class is AttemptClass.CANNOT_START


def test_descriptors_that_find_no_room_are_a_shortage_and_none_is_left(tmp_path: Path) -> None:
    left, right = channel.socket_pair()
    with left, right:
        channel.send(left, b"m", [0, 1, 2], folder=str(tmp_path))
        open_before = len(os.listdir("/proc/self/fd"))
        with room_for_descriptors(2), pytest.raises(OSError, match="Too many open files"):
            channel.receive(right)
        assert len(os.listdir("/proc/self/fd")) == open_before


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineDriver]:
    driver = EngineDriver(tmp_path)
    yield driver
    driver.engine.close()


def limited_python(path: Path, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers start under `limit` from now on."""
    path.write_text(f'#!/bin/sh\n{limit}\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    monkeypatch.setattr(launch, "fork_worker", lambda *_: None)
    monkeypatch.setattr(sys, "executable", str(path))


LAST_WORDS = {
    "echo 'python: error while loading shared libraries: libm.so.6: failed to map segment from shared object' >&2; exit 127": (
        "exited with 127",
        "failed to map segment from shared object",
    ),
    'echo "Fatal Python error: _PySys_InitCore: can\'t initialize sys module" >&2; echo MemoryError >&2; exit 1': (
        "exited with 1",
        "can't initialize sys module; MemoryError",
    ),
    "echo \"ModuleNotFoundError: No module named 'msgspec'\" >&2; exit 70": ("exited with 70", "No module named 'msgspec'"),
    "exit 1": ("exited with 1", ""),
    "exit 0": ("exited with 0", ""),
    "kill -ABRT $$": ("was ended by signal 6", ""),
    "kill -SEGV $$": ("was ended by signal 11", ""),
    "kill -KILL $$": ("was ended by signal 9", ""),
}
"""How workers die before they have begun, and what is told of it. With a word, with none, by a signal: at which limit of memory
they die in which way depends on the interpreter and on the size of its environment."""


def assert_not_begun_and_then_work(engine: EngineDriver, folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> str:
    """The worker dies, or comes up and can start nothing: its attempt is tried again, and the next worker does it. The words."""
    with monkeypatch.context() as patch:
        limited_python(folder / "python", limit, patch)
        (arrived,) = engine.run("cat", stdin="text")
    assert isinstance(arrived, OutcomeArrived), arrived
    assert arrived.sequence == 0
    if arrived.outcome.attempt_class is AttemptClass.OK:
        return "there was room enough"
    if arrived.outcome.attempt_class is AttemptClass.SHORTAGE:
        assert "no room" in arrived.outcome.message
        engine.next_supervisor()
    else:
        assert verdict_of(arrived.outcome, None) is Verdict.NOT_BEGUN, arrived.outcome
    (well,) = engine.run("cat", stdin="text")
    assert isinstance(well, OutcomeArrived)
    assert well.outcome.attempt_class is AttemptClass.OK
    return arrived.outcome.message


class TestInTheEngine:
    @pytest.mark.parametrize(
        "limit",
        [
            *sweep((f"ulimit -n {count}" for count in range(5, 11)), quick=3),
            *sweep((f"ulimit -v {kilobytes}" for kilobytes in (4000, 10_000, *range(5000, 18_000, 500))), quick=2),
        ],
    )
    def test_a_worker_that_has_no_room_itself_has_begun_nothing_and_the_next_one_works(
        self, engine: EngineDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
    ) -> None:
        """Whoever tells it, and whether anybody does: the loader, a Python without files or memory, the worker's own imports."""
        assert_not_begun_and_then_work(engine, tmp_path, monkeypatch, limit)

    @pytest.mark.parametrize("death", LAST_WORDS)
    def test_a_worker_that_dies_before_it_has_begun_is_no_loss_whatever_it_says(
        self, engine: EngineDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, death: str
    ) -> None:
        how, last_words = LAST_WORDS[death]
        message = assert_not_begun_and_then_work(engine, tmp_path, monkeypatch, death)
        assert message.startswith(f"it was not begun: worker 0 {how}")
        assert message.endswith(f"{last_words})" if last_words else how if "signal" in how else "crash.log")

    def test_a_start_that_cannot_be_sent_is_a_shortage_and_the_next_one_works(self, engine: EngineDriver) -> None:
        engine.run("true")
        large = "x" * 100_000
        arrived, died = engine.run("sh", "-c", "echo ran >> witness", stdin=large, while_sent=room_for_descriptors(0))
        assert isinstance(arrived, OutcomeArrived)
        assert isinstance(died, Noted)
        assert (arrived.sequence, arrived.outcome.attempt_class) == (1, AttemptClass.SHORTAGE)
        assert arrived.outcome.message == "no room on this machine just now for a worker: Too many open files"
        assert not (engine.root / "witness").exists()
        (well,) = engine.run("wc", "-c", stdin=large)
        assert isinstance(well, OutcomeArrived)
        assert well.outcome.stdout.inline == b"100000\n"

    def test_a_start_for_whose_message_the_disk_has_no_room_is_state_that_cannot_be_written(self, engine: EngineDriver) -> None:
        with pytest.raises(StateUnwritableError, match=r"workers/0: cannot write state"):
            engine.run("cat", stdin="x" * 100_000, while_sent=no_room_on_disk())

    def test_an_attempt_that_was_begun_is_never_a_shortage(self, engine: EngineDriver, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its worker breaks for want of memory with an agent beside it: that is a loss, and its tree must be ended."""
        monkeypatch.setenv("ORCHESTRATE_WORKER_FAULT", "worker.spawned:1:ENOMEM")
        *died, lost = engine.run("true")
        assert all(isinstance(event, Noted) for event in died)
        assert isinstance(lost, AttemptLost)
        log = engine.run_dir.worker_folder(0) / LOG_NAME
        assert [type(line).__name__ for line in read_log(str(log))] == ["Begun"]

    def test_a_slot_whose_worker_cannot_be_made_has_the_idle_one_of_another(self, engine: EngineDriver) -> None:
        engine.run("true")
        local = engine.engine
        with room_for_descriptors(0):
            assert local.prepare(3) == ReadyWorker(0, None)
            with pytest.raises(OSError, match="Too many open files"):
                local.prepare(0)
        assert local.prepare(3) == ReadyWorker(0, None), "one that is meant for a start is nobody else's"

    def test_a_worker_that_cannot_be_made_leaves_nothing_behind(self, engine: EngineDriver) -> None:
        engine.run("true")
        engine.next_supervisor()
        open_before = len(os.listdir("/proc/self/fd"))
        for room in range(4):
            with room_for_descriptors(room), pytest.raises(OSError, match="Too many open files"):
                engine.engine.prepare(0)
            assert len(os.listdir("/proc/self/fd")) == open_before
        ready = engine.engine.prepare(0)
        assert ready.record is not None
        assert ready.number == ready.record.worker == 1, "numbers of workers that could not be made are free"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("slots", sweep([16, 0], quick=1))
def test_a_run_gets_through_with_few_descriptors_for_its_slots(tmp_path: Path, slots: int) -> None:
    job = f"for_each = {list(range(60))}\nshell = 'echo {{{{ item }}}} >> witness'\nstdin = 'text'\n"
    (tmp_path / "jobs.toml").write_text(f"[run]\nslots = {slots}\n[jobs.item]\n{job}")
    program = [sys.executable, "-m", "orchestrator", "run", "jobs.toml", "--run-id", "r"]
    limited = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *program]
    done = subprocess.run(limited, cwd=tmp_path, timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(map(int, (tmp_path / "witness").read_text().split())) == list(range(60))
