"""Several runs under test, beside each other and inside each other's items, with one witness for all of them.

Jobs of different files have different names, so that the witness tells them apart; the leaves are the items that really work.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter
from typing import Any

from drivers.processes import LIMIT_SECONDS, wait_until
from drivers.run_driver import Command, RunDriver, why
from orchestrator.reading.item_result import item_results
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.load import read_history
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.log import LOG_NAME, read_log
from orchestrator.workers.processes.identity import is_same_process
from orchestrator.workers.protocol import Spawned

ORCHESTRATE = f"{shlex.quote(sys.executable)} -m orchestrator"


class ManyRuns(RunDriver):
    """`run_id` of the base class is of no use here: each call names its run."""

    def begin(self, file: str, run_id: str, *arguments: str) -> Command:
        """Start a run of its own, from outside of every item."""
        return self.launch("run", file, "--run-id", run_id, *arguments)

    def folder_of(self, run_id: str) -> RunDir:
        return RunDir(self.home / "runs" / run_id)

    def results_of(self, run_id: str) -> dict[str, dict[str, Any]]:
        """Item -> its result."""
        return {result["item"]: result for result in item_results(RunReader.read(self.folder_of(run_id)))}

    def statuses(self, run_id: str) -> dict[str, str]:
        return {item: result["status"] for item, result in self.results_of(run_id).items()}

    def said_by(self, run_id: str, item: str) -> str:
        """What an item that has ended wrote to its stderr."""
        job, _, index = item.partition(":")
        _, stderr = self.folder_of(run_id).output_paths(job, int(index or 0), 1)
        with open(stderr, encoding="utf-8") as file:
            return file.read()

    def why(self, run_id: str, item: str) -> str:
        return why(self.folder_of(run_id).path, item)

    def wait_for_reason(self, run_id: str, item: str, words: str) -> str:
        """Until the item waits for a reason in which `words` occur; the whole reason."""

        def reason() -> str:
            told = self.why(run_id, item)
            return told if words in told else ""

        return str(wait_until(reason, f"{run_id}/{item} waits for {words!r}"))

    def wait_for_count(self, act: str, job: str, count: int) -> None:
        """Until so many `begin`s or `end`s of the job's items are witnessed, in whatever runs."""
        wait_until(lambda: self.count(act, job) >= count, f"{count} times {act} of {job}")

    def count(self, act: str, job: str) -> int:
        return sum(times for item, times in self.acts(act).items() if item.partition(":")[0] == job)

    def most_at_once(self, *jobs: str) -> int:
        """The most items of these jobs (all, if none is named) that were witnessed between their begin and their end at once."""
        working: Counter[str] = Counter()
        most = 0
        for line in self.witness.read_text().splitlines():
            act, item, _ = line.split()
            if act in ("begin", "end") and (not jobs or item.partition(":")[0] in jobs):
                working[item] += 1 if act == "begin" else -1
                most = max(most, working.total())
        return most

    def process_of(self, run_id: str, item: str) -> tuple[int, int]:
        """Pids of the worker and of the agent of an attempt that runs."""
        job, _, index = item.partition(":")

        def find() -> tuple[int, int] | None:
            run_dir = self.folder_of(run_id)
            if not run_dir.checkpoint.exists():
                return None
            history = read_history(run_dir)
            start = history.open_starts.get((job, int(index or 0)))
            if start is None:
                return None
            for line in read_log(f"{run_dir.worker_folder(start.worker)}/{LOG_NAME}"):
                if isinstance(line, Spawned) and line.sequence == start.sequence:
                    return history.workers[start.worker].pid, line.pid
            return None

        found: tuple[int, int] = wait_until(find, f"{run_id}/{item} runs")
        return found

    def supervisor_of(self, run_id: str) -> int:
        """Pid of the supervisor of a nested run, which no command of the test's is."""

        def find() -> int | None:
            run_dir = self.folder_of(run_id)
            session = read_history(run_dir).supervisor if run_dir.checkpoint.exists() else None
            lives = session is not None and is_same_process(session.pid, session.start_ticks, session.boot_id)
            return session.pid if session is not None and lives else None

        return int(wait_until(find, f"{run_id} is supervised"))

    def assert_exit(self, command: Command, code: int, limit: float = LIMIT_SECONDS) -> None:
        """The command ends with `code`; if not, what all runs logged and their items said is told."""
        found = command.exit_code(limit)
        if found != code:
            files = sorted(self.home.glob("runs/*/supervisor.log")) + sorted(self.home.glob("runs/*/outputs/*/*/*.stderr"))
            told = "\n".join(f"{file.relative_to(self.home)}:\n{file.read_text()[-2000:]}" for file in files)
            raise AssertionError(f"exit code {found}, not {code}\n{command.stderr[-2000:]}\n{told}")

    def assert_all_end(self, commands: list[Command], limit: float = LIMIT_SECONDS) -> None:
        """All end with 0 before so many seconds have passed for all of them together."""
        deadline = time.monotonic() + limit
        for command in commands:
            self.assert_exit(command, 0, max(0.1, deadline - time.monotonic()))


def nested(file: str, run_id: str, *arguments: str) -> str:
    """Shell: a run inside the item. `run_id` may hold shell variables and templates."""
    return f"{ORCHESTRATE} run {file} --run-id {run_id} --quiet {shlex.join(arguments)}".rstrip()
