"""The one door for records that a command writes while it holds a run's lock and nobody supervises the run.

In a session the supervisor's `Recorder` writes. Between two sessions there is no loop, and no action that would have to wait for
a record. So a command says all that it has to say in one group: a kill leaves the run as it was, or with the whole group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from orchestrator.control.messages import Request
from orchestrator.control.permits import check_own_permit
from orchestrator.runs.locking import holding, lock_run
from orchestrator.store.records import Record
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.store.run_store import RunStore


class OfflineRecorder:
    """Writes the records of one run between two sessions. `history` has what was written."""

    def __init__(self, store: RunStore) -> None:
        self._store = store

    @classmethod
    @contextmanager
    def lock_and_open(cls, run_dir: RunDir, asked: Request) -> Iterator[OfflineRecorder]:
        """Hold the run while its records are open. `asked`: what is done with it, as it would be asked of its supervisor.

        Raises NotPermitted, RunHeldError if somebody supervises it, StateUnwritableError.
        """
        check_own_permit(asked, run_dir.path)
        with holding(lock_run(run_dir)), cls.open(run_dir) as recorder:
            yield recorder

    @classmethod
    @contextmanager
    def open(cls, run_dir: RunDir) -> Iterator[OfflineRecorder]:
        """Open the records of a run that this process holds. Raises StateUnwritableError, StateRefusedError."""
        with closing(RunStore.open(run_dir)) as store:
            yield cls(store)

    @property
    def run_dir(self) -> RunDir:
        """The run's directory."""
        return self._store.run_dir

    @property
    def history(self) -> RunHistory:
        """What is recorded of the run."""
        return self._store.history

    def record_group(self, records: Sequence[Record]) -> None:
        """Write one group. Survives SIGKILL. Raises StateUnwritableError; the run is then as it was."""
        self._store.append(records)

    def make_durable(self) -> None:
        """Have all that is recorded survive power loss. Raises StateUnwritableError."""
        self._store.make_durable()
