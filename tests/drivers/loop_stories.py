"""Runs of a jobs file by the real loop, store and parts, on the in-memory engine: no process is started.

A test gives a story (see `memory_engine`). After each run the invariants hold that every run has to keep: no descriptor is left,
no lock is held, each attempt was told over once and has one end in the records.
"""

from __future__ import annotations

import os
import select
import socket
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.fake_agents import add_profile
from drivers.fenced_bugs import fenced_in
from drivers.memory_engine import MemoryEngine, Step, Story, World
from orchestrator.control.address import reachable
from orchestrator.control.messages import Flush, Reply, Request, SetBudget
from orchestrator.core.states import RunState
from orchestrator.engines.engine import AgentTaskOf, Engine
from orchestrator.runs.commands import ResumeRequest, RunReport, RunRequest, cancel_dead_run, resume_run, run_file
from orchestrator.store.gate_records import GateAnswered
from orchestrator.store.load import read_history
from orchestrator.store.records import AttemptEnded, QueuedReturned, Record, Started
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_store import RunStore
from orchestrator.store.settings_records import BudgetSet, RunOptions
from orchestrator.supervisor import session
from orchestrator.supervisor.gates import Asker
from orchestrator.supervisor.loop import Loop
from orchestrator.supervisor.parts import Parts
from orchestrator.system.locks.holders import is_locked
from orchestrator.views.happenings import Happening, Noted
from orchestrator.views.listeners import Listeners
from orchestrator.views.prompt import Said


class AbandonedError(BaseException):
    """A story raises it where the supervisor is to be gone without another word."""


def open_files() -> Counter[str]:
    """What the descriptors of this process are open at, but for what a history reads: that goes when nobody has the history."""
    found: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            path = os.readlink(f"/proc/self/fd/{name}").partition(":")[0].removesuffix(" (deleted)")
            found[path] += not path.endswith((".json", ".jsonl"))
    return +found


def fan_out(count: int, keys: str = "", job: str = "a") -> str:
    """A job of so many items, in a jobs file."""
    return f"[jobs.{job}]\nfor_each = {list(range(count))}\ncommand = ['work']\n{keys}\n"


def one(job: str, keys: str = "") -> str:
    """A job of one item, in a jobs file."""
    return f"[jobs.{job}]\ncommand = ['work']\n{keys}\n"


class Heard:
    """A listener: all that was told."""

    shows_time = False
    follows_items = True

    def __init__(self) -> None:
        self.told: list[Happening] = []

    def hear(self, happening: Happening) -> None:
        self.told.append(happening)

    def refresh(self, now: float) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Nothing is open."""


class Terminal:
    """Somebody who is asked at a terminal, and answers when the story says so. A context manager."""

    def __init__(self) -> None:
        self.question: str | None = None
        self._said: list[Said | EOFError] = []
        self._read_fd, self._write_fd = os.pipe()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)

    def until_asked(self, question: str) -> Step:
        """Let the loop turn until this question is put."""
        while self.question != question:
            yield

    def say(self, choice: str | None, message: str = "") -> None:
        """Answer the question; None: leave."""
        self._said.append(EOFError() if choice is None else Said(choice, message))
        os.write(self._write_fd, b".")

    def open(self, name: str, question: str, options: Sequence[str], show_file: str | None) -> None:  # noqa: ARG002 - shown to nobody
        self.question = question

    def close(self, words: str) -> None:  # noqa: ARG002 - shown to nobody
        self.question = None

    def filenos(self) -> list[int]:
        return [self._read_fd]

    def read(self) -> Said | EOFError | None:
        os.read(self._read_fd, 1)
        return self._said.pop(0) if self._said else None


class LoopStories:
    """One run and its resumes, in a home of its own. `records`: all that was recorded since the run began, in order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.run_dir = RunDir(folder / "home" / "runs" / "r")
        self.world = World()
        self.heard = Heard()
        self.records: list[Record] = []
        self.engines: list[MemoryEngine] = []
        self.most_queued = 0
        """So many starts may be queued behind one, and items are short enough for that."""
        self.is_bug_played = False
        """Whether the test plays a bug of ours, which a fence keeps to one item."""
        self._story: Story | None = None
        self.loop: Loop
        """That of the living supervisor."""
        (folder / "home").mkdir(mode=0o700)
        monkeypatch.setattr(session, "choose_engine", self._choose_engine)
        monkeypatch.setattr(session, "Loop", self._make_loop)
        append = RunStore.append

        def append_and_note(store: RunStore, records: Sequence[Record]) -> int:
            group = append(store, records)
            self.records += records
            return group

        monkeypatch.setattr(RunStore, "append", append_and_note)

    # What a test does.

    def run(self, text: str, story: Story, *, slots: int = 2, asker: Asker | None = None, **options: Any) -> RunReport:
        """Run the jobs file `text` to the end of its story. `options`: of `RunOptions`."""
        path = self.folder / "jobs.toml"
        path.write_text(text)
        request = RunRequest(jobs_file=str(path), run_id="r", options=RunOptions(slots=slots, **options))
        with self._on_stage(story):
            return run_file(self.folder / "home", request, Listeners([self.heard]), asker=asker)

    def resume(self, story: Story, *, slots: int = 2, **options: Any) -> RunReport:
        """Go on with the run. `options`: of `ResumeRequest`."""
        request = ResumeRequest(options=RunOptions(slots=slots), **options)
        with self._on_stage(story):
            return resume_run(self.run_dir, request, Listeners([self.heard]))

    def cancel(self) -> RunReport | None:
        """Cancel the run that nobody supervises."""
        with self._on_stage(lambda _engine: iter(())):
            return cancel_dead_run(self.run_dir, None, Listeners([self.heard]))

    def abandon(self, text: str, story: Story, **options: Any) -> None:
        """Run it until the story leaves it (`raise AbandonedError`): its supervisor is gone without a word, as by SIGKILL."""
        with pytest.raises(AbandonedError):
            self.run(text, story, **options)

    # What a story does, and what a test looks at afterwards.

    @property
    def engine(self) -> MemoryEngine:
        """That of the last supervisor."""
        return self.engines[-1]

    def connect(self) -> socket.socket:
        """A client of the living supervisor, who has said nothing yet."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with reachable(self.run_dir.path) as address:
            connection.connect(address)
        return connection

    def ask(self, request: Request) -> Generator[None, None, Reply]:
        """Ask the living supervisor: `reply = yield from stories.ask(...)` in a story. It answers while the loop turns."""
        with self.connect() as connection:
            connection.sendall(msgspec.json.encode(request) + b"\n")
            answer = b""
            while True:
                while not select.select([connection], [], [], 0)[0]:
                    yield
                data = connection.recv(65536)
                if not data:
                    return msgspec.json.decode(answer, type=Reply)
                answer += data

    def flush(self) -> Step:
        """Have the loop know that all that has ended is durable."""
        assert (yield from self.ask(Flush())).ok
        # One turn to read that from the syncer, one to start what waited for it.
        yield
        yield

    def statuses(self, job: str) -> list[str]:
        """What is recorded of each item of the job, in item order."""
        past = read_history(self.run_dir).jobs[job]
        return [past.status(index).value for index in range(past.count or 0)]

    def last_end(self, job: str, index: int = 0) -> AttemptEnded:
        """The last recorded end of an item."""
        ended = read_history(self.run_dir).jobs[job].last_end(index)
        assert ended is not None
        return ended

    def generation(self) -> int:
        """Of the checkpoint: each flush begins the next."""
        return read_history(self.run_dir).generation

    def add_agent(self) -> None:
        """Let the jobs file name the agent `fake`. Nothing of it is ever started."""
        add_profile(self.folder)

    def answer(self, gate: str, choice: str) -> None:
        """Answer a gate of the run that nobody supervises."""
        self._append(GateAnswered(job=gate, index=0, choice=choice, at=1.0))

    def set_budget(self, asked: SetBudget, *, instead_of: float) -> None:
        """Set a budget of the run that nobody supervises. `instead_of`: what the jobs file says."""
        self._append(BudgetSet(kind=asked.kind, amount=asked.amount, job=asked.job, instead_of=instead_of))

    def ends(self) -> list[tuple[str, int, str]]:
        """Each end of an attempt in the records: job, index, status after it."""
        return [(each.job, each.index, each.status.value) for each in self.records if isinstance(each, AttemptEnded)]

    def notes(self) -> list[str]:
        """What people were told."""
        return [each.message for each in self.heard.told if isinstance(each, Noted)]

    # Behind the stage.

    def _append(self, record: Record) -> None:
        with closing(RunStore.open(self.run_dir)) as store:
            store.append([record])

    def _choose_engine(self, _slots: int, run_dir: RunDir, next_worker: int, _agent_task: AgentTaskOf) -> Engine:
        assert self._story is not None
        self.engines.append(MemoryEngine(self.world, run_dir, next_worker, self._story))
        if self.most_queued:
            self.engine.most_queued, self.engine.seconds = self.most_queued, 0.001
        return self.engines[-1]

    def _make_loop(self, state: RunState, parts: Parts) -> Loop:
        self.loop = Loop(state, parts)
        return self.loop

    @contextmanager
    def _on_stage(self, story: Story) -> Iterator[None]:
        """The invariants of every run hold behind the block, whatever was done in it."""
        self._story = story
        open_before = open_files()
        try:
            yield
        finally:
            self._story = None
            # It has the history, which has the run's files open. A session that could not begin has none.
            self.__dict__.pop("loop", None)
        assert self.engine.is_closed
        assert self.is_bug_played or fenced_in(self.folder / "home") == ""
        self._check_attempts()
        assert not is_locked(self.run_dir.supervisor_lock)
        if self.world.is_empty:
            left = [path.name for path in (self.run_dir.path / "slots").glob("*.lock") if is_locked(path)]
            assert left == [], "locks of slots are held, and nothing runs"
            left = open_files() - open_before
            assert left == Counter(), f"descriptors are left open: {left}"

    def _check_attempts(self) -> None:
        """Each attempt that was started has one end in the records, unless it still runs or nobody has heard of its end."""
        starts = [record for record in self.records if isinstance(record, Started)]
        assert len({start.sequence for start in starts}) == len(starts)
        ends = Counter((end.job, end.index, end.attempt) for end in self.records if isinstance(end, AttemptEnded))
        assert not [key for key, count in ends.items() if count > 1], "an attempt has two ends"
        shared = {end.status.value for end in self.records if isinstance(end, AttemptEnded) and end.deduped_from is not None}
        assert shared <= {"succeeded", "failed"}, "an item has the outcome of another, and another end"
        open_starts = {start.sequence for start in read_history(self.run_dir).starts_without_end.values()}
        ended = {(start.job, start.index, start.attempt) for start in starts if start.sequence not in open_starts}
        # A start that was queued and given back never was; the next one of its item has the same number.
        never_were = {(each.job, each.index, 1) for each in self.records if isinstance(each, QueuedReturned)}
        assert ended - never_were <= ends.keys(), "an attempt has no end"
        assert max(Counter(self.world.ends_told).values(), default=1) == 1, "an attempt was told over twice"
