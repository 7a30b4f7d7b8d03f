"""A real run under test: its jobs witness what they do outside of the state, its supervisor may be killed at any point.

Every wait has a hard limit. The witness is a file to which each item appends one line when it begins and one when it ends
(`echo >>` is one write with O_APPEND): what a witness says is beyond what any state can hide.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from drivers.processes import LIMIT_SECONDS, SETTLE_SECONDS, describe, processes_of, wait_until
from drivers.warm_program import WarmProcess, warm_program
from orchestrator.control.client import NoSupervisor, ask
from orchestrator.control.messages import Explain
from orchestrator.errors import ExitCode
from orchestrator.reading.item_result import item_results
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.load import read_history
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.processes.identity import is_same_process

KILLED = -signal.SIGKILL


def why(run_folder: Path, item: str) -> str:
    """What the living supervisor says an item waits for; empty if it waits for nothing, or nobody supervises the run."""
    job, _, index = item.partition(":")
    try:
        (wait,) = ask(run_folder, Explain([(job, int(index or 0))])).waits
    except NoSupervisor:
        return ""
    return wait.words


class Command:
    """One command line that goes on beside the test; what it says goes to files."""

    def __init__(
        self, words: list[str], folder: Path, env: Mapping[str, str], number: int, *, own_session: bool, before: Sequence[str]
    ) -> None:
        """`before`: a command that starts it. A fork of the warm process otherwise, which is killed as any other."""
        self._stdout, self._stderr = folder / f"said-{number}.out", folder / f"said-{number}.err"
        environment = {**os.environ, **env}
        self._process: WarmProcess | subprocess.Popen[bytes]
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr, open(os.devnull, "rb") as nothing:
            if before or warm_program().needs_own_interpreter(environment):
                self._process = subprocess.Popen(
                    [*before, sys.executable, "-m", "orchestrator", *words],
                    stdin=nothing,
                    stdout=stdout,
                    stderr=stderr,
                    cwd=folder,
                    env=environment,
                    start_new_session=own_session,
                )
            else:
                streams = (nothing.fileno(), stdout.fileno(), stderr.fileno())
                self._process = warm_program().start(words, cwd=folder, env=environment, streams=streams, own_session=own_session)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def stdout(self) -> str:
        return self._stdout.read_text("utf-8", "surrogateescape")

    @property
    def stderr(self) -> str:
        return self._stderr.read_text("utf-8", "surrogateescape")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self, limit: float = LIMIT_SECONDS) -> int:
        """Wait for its end."""
        try:
            return self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {limit:g} s: {self._process.args}\n{self.stderr[-2000:]}") from None

    def kill(self) -> None:
        """SIGKILL, to this process alone; gone when it returns."""
        self._process.kill()
        self._process.wait(LIMIT_SECONDS)


class RunDriver:
    """Write a jobs file, run it, kill it, ask for its results."""

    def __init__(self, folder: Path, home: Path, run_id: str = "crash") -> None:
        self.folder = folder
        self.home = home
        self.run_id = run_id
        self.witness = folder / "witness"
        self._commands: list[Command] = []
        self._gates: list[int] = []

    # Jobs.

    def write(self, jobs: str, name: str = "jobs.toml") -> Path:
        path = self.folder / name
        path.write_text(jobs)
        return path

    def witnessed(self, body: str = ":") -> str:
        """Shell: `body` between the two lines that the witness gets. One that fails tells no end."""
        witness = shlex.quote(str(self.witness))
        return (
            f"echo begin $ORCHESTRATE_ITEM $ORCHESTRATE_ATTEMPT >> {witness}; {{ {body.strip()}\n}} && "
            f"echo end $ORCHESTRATE_ITEM $ORCHESTRATE_ATTEMPT >> {witness}"
        )

    def gated(self, name: str = "gate") -> str:
        """Shell: waits until the test opens the gate `name`. Costs no process while it waits."""
        path = self.folder / f"{name}.fifo"
        if not path.exists():
            os.mkfifo(path)
        return f"read word < {shlex.quote(str(path))}"

    def open_gate(self, name: str = "gate", count: int = 1) -> None:
        """Let the next `count` come through, whether they stand there or not."""
        # Both ways: never waits, and the words stay as long as somebody has the FIFO open; a thousand of them fit.
        fd = os.open(self.folder / f"{name}.fifo", os.O_RDWR | os.O_CLOEXEC)
        self._gates.append(fd)
        os.write(fd, b"go\n" * count)

    # Commands.

    def launch(
        self,
        *arguments: str,
        fault: str = "",
        worker_fault: str = "",
        own_session: bool = False,
        before: Sequence[str] = (),
        **env: str,
    ) -> Command:
        """Start `orchestrate ARGUMENTS` with armed faults; by the command `before`, if there is one."""
        faults = {"ORCHESTRATE_FAULT": fault, "ORCHESTRATE_WORKER_FAULT": worker_fault}
        number = len(self._commands)
        command = Command([*arguments], self.folder, faults | env, number, own_session=own_session, before=before)
        self._commands.append(command)
        return command

    def run(self, *arguments: str, fault: str = "", worker_fault: str = "", **env: str) -> Command:
        """Start this run, or go on with it: also where a kill came before it existed."""
        return self.launch(
            "run", "jobs.toml", "--run-id", self.run_id, "--resume", *arguments, fault=fault, worker_fault=worker_fault, **env
        )

    def ask(self, *arguments: str) -> Any:
        """What a command says as JSON; it must succeed."""
        command = self.launch(*arguments, "--json")
        assert command.exit_code() == 0, command.stderr
        return json.loads(command.stdout)

    def assert_exit(self, command: Command, code: int, limit: float = LIMIT_SECONDS) -> None:
        """The command ends with `code`; if not, what it said and what it logged is told."""
        found = command.exit_code(limit)
        log = self.run_folder / "supervisor.log"
        logged = log.read_text()[-4000:] if log.exists() else ""
        assert found == code, f"exit code {found}, not {code}\n{command.stderr[-2000:]}\n{logged}"

    def results(self) -> list[dict[str, Any]]:
        """What `results --json` prints, without the cost of a process."""
        return list(item_results(RunReader.read(RunDir(self.run_folder))))

    def result(self, item: str) -> dict[str, Any]:
        return next(result for result in self.results() if result["item"] == item)

    def worker_of(self, item: str) -> int:
        """Pid of the worker that runs the item, as the journal tells."""
        job, _, index = item.partition(":")

        def find() -> int | None:
            history = read_history(RunDir(self.run_folder))
            start = history.starts_without_end.get((job, int(index or 0)))
            return None if start is None else history.workers[start.worker].pid

        return int(wait_until(find, f"the start of {item} is recorded"))

    def living_workers(self) -> list[int]:
        """Pids of the workers that are recorded and live."""
        if not (self.run_folder / "checkpoint.json").exists():
            return []
        workers = read_history(RunDir(self.run_folder)).workers.values()
        return [worker.pid for worker in workers if is_same_process(worker.pid, worker.start_ticks, worker.boot_id)]

    def bytes_written(self) -> int:
        """Of the journal and of the witness: grows with everything that the run does."""
        count = 0
        for path in [*self.run_folder.glob("journal-*.jsonl"), self.witness]:
            # Not there yet, or just replaced by the next generation.
            with contextlib.suppress(FileNotFoundError):
                count += path.stat().st_size
        return count

    @property
    def run_folder(self) -> Path:
        return self.home / "runs" / self.run_id

    # What happened.

    def acts(self, act: str) -> Counter[str]:
        """How often each item was witnessed to `begin` or `end`."""
        if not self.witness.exists():
            return Counter()
        lines = [line.split() for line in self.witness.read_text().splitlines()]
        return Counter(words[1] for words in lines if words[0] == act)

    def wait_for(self, act: str, *items: str, times: int = 1) -> None:
        """Until the witness has that of each of the items."""

        def has_come() -> bool:
            for last in self._commands[-1:]:
                assert last.is_running or last.exit_code() not in (ExitCode.BUG, ExitCode.USAGE), last.stderr
            return all(self.acts(act)[item] >= times for item in items)

        wait_until(has_come, f"{act} of {', '.join(items)}")

    def assert_each_ran_once(self, items: Iterable[str]) -> None:
        once = dict.fromkeys(items, 1)
        assert dict(self.acts("begin")) == once
        assert dict(self.acts("end")) == once

    def assert_tidy(self) -> None:
        """Nothing lives, and the run's folder holds one generation and nothing half-made."""
        _, left = psutil.wait_procs(processes_of(self.home), timeout=SETTLE_SECONDS)
        assert not left, [describe(process) for process in left]
        names = [path.name for path in self.run_folder.iterdir()]
        assert len([name for name in names if name.startswith("journal-") and name.endswith(".jsonl")]) == 1, names
        assert not [name for name in names if name.endswith(".new")], names

    def close(self) -> None:
        """End the commands that still run. What they leave behind is for the fixture `home` to find: it may not be there."""
        for command in self._commands:
            if command.is_running:
                command.kill()
        for fd in self._gates:
            os.close(fd)
