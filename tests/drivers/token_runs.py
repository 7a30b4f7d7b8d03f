"""Runs of one home that ask for the same work, as real processes, and a witness of every start of it.

Each agent notes its pid before it does anything else and tells if one that noted its own before still lives: two at once are
seen whatever the state says. Which run an act is of stands in the witness: `begin RUN/ITEM ATTEMPT`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from drivers.many_runs import ManyRuns
from drivers.processes import wait_until
from drivers.run_driver import Command
from orchestrator.control.client import ask
from orchestrator.control.messages import CancelRequest
from orchestrator.shared.tokens.record import TokenFiles, TokenRecord

TOKEN = "the work"


class TokenRuns(ManyRuns):
    """Several runs, each with an id. Jobs that ask for `TOKEN` are called `go` unless a test says otherwise."""

    # Jobs.

    def witnessed(self, body: str = ":", key: str = "work") -> str:
        """Shell: `body` between the two lines that the witness gets. `key` (shell): what must not run twice at once."""
        witness = shlex.quote(str(self.witness))
        who = "$ORCHESTRATE_RUN/$ORCHESTRATE_ITEM"
        # The own pid first: of two that start together at least one meets the other.
        return (
            f"echo $$ >> pids-{key}; echo begin {who} $ORCHESTRATE_ATTEMPT $$ >> {witness}; "
            f"for pid in $(cat pids-{key}); do test $pid = $$ || "
            f'{{ grep -qs "^State:.[^ZX]" /proc/$pid/status && echo {who} beside $pid >> overlaps; }}; done; '
            f"{{ {body.strip()}\n}} && echo end {who} $ORCHESTRATE_ATTEMPT >> {witness}"
        )

    def job(
        self, body: str = "", keys: str = "", *, run: str = "", first: str = "", more: str = "", name: str = "jobs.toml"
    ) -> None:
        """A jobs file whose job `go` does the work of `TOKEN`; without a body it stands at the gate and says `done`."""
        script = self.witnessed(body or f"{self.gated()}; echo done")
        self.write(f"[run]\n{run}\n{first}[jobs.go]\ntoken = {TOKEN!r}\n{keys}\nshell = '''{script}'''\n{more}", name)

    # Commands.

    def start(self, run_id: str, *arguments: str, file: str = "jobs.toml", fault: str = "", worker_fault: str = "") -> Command:
        """A new run."""
        return self.launch("run", file, "--run-id", run_id, *arguments, fault=fault, worker_fault=worker_fault)

    def holder(
        self, run_id: str = "first", *arguments: str, file: str = "jobs.toml", item: str = "go", fault: str = ""
    ) -> Command:
        """A new run whose item has begun to do the work."""
        command = self.start(run_id, *arguments, file=file, fault=fault)
        self.wait_for("begin", f"{run_id}/{item}")
        return command

    def waiter(self, run_id: str, *arguments: str, file: str = "jobs.toml", item: str = "go") -> Command:
        """A new run whose item waits."""
        command = self.start(run_id, *arguments, file=file)
        self.wait_for_waiting(run_id, item, command=command)
        return command

    def wait_for_waiting(self, run_id: str, *items: str, command: Command | None = None) -> None:
        def waits() -> bool:
            assert command is None or command.is_running, command.stderr
            if not self.folder_of(run_id).checkpoint.exists():
                return False
            statuses = self.statuses(run_id)
            return all(statuses.get(item) == "waiting" for item in items)

        wait_until(waits, f"{', '.join(items)} of {run_id} waits")

    def cancel(self, run_id: str, item: str = "go") -> None:
        job, _, index = item.partition(":")
        assert ask(self.folder_of(run_id).path, CancelRequest([(job, int(index or 0))])).ok

    # What is known.

    def result_of(self, run_id: str, item: str = "go") -> dict[str, Any]:
        return self.results_of(run_id)[item]

    def status_of(self, run_id: str, item: str = "go") -> str | None:
        """None while the run or the item does not exist."""
        return self.statuses(run_id).get(item) if self.folder_of(run_id).checkpoint.exists() else None

    def record(self, token: str = TOKEN) -> TokenRecord:
        record = TokenFiles(self.home).find_record(token)
        assert record is not None
        return record

    # What must be true.

    def starts(self) -> list[str]:
        """`RUN/ITEM` of each start, in order."""
        if not self.witness.exists():
            return []
        return [line.split()[1] for line in self.witness.read_text().splitlines() if line.startswith("begin ")]

    def begin_of(self, number: int) -> str:
        """`RUN/ITEM` of start number `number`, from 1, once it has come to that."""
        wait_until(lambda: len(self.starts()) >= number, f"start {number}")
        return self.starts()[number - 1]

    def assert_started(self, *expected: str) -> None:
        """Exactly these starts, in this order, and never two at once."""
        assert self.starts() == list(expected)
        self.assert_never_two_at_once()

    def assert_never_two_at_once(self) -> None:
        overlaps = self.folder / "overlaps"
        assert not overlaps.exists(), overlaps.read_text()

    def assert_shared(self, run_id: str, holder: str, output: str = "done", items: Sequence[str] = ("go",)) -> None:
        """Each of the items succeeded with what `holder` (`RUN/ITEM`) did, and started nothing."""
        results = self.results_of(run_id)
        for result in (results[item] for item in items):
            found = (result["status"], result["output"], result["deduped_from"], result["attempts"])
            assert found == ("succeeded", output, holder, 0), result
