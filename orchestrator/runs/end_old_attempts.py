"""Ending attempts of a dead supervisor that an update leaves no use for, before the update is made.

Promise: when `end_attempts` returns none of them lives, and each has its end in the records. One that had succeeded meanwhile has
succeeded; any other is interrupted, so that also without the update a resume would run it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.attempts.agent.lost import LostAgents
from orchestrator.attempts.agent.work import finder
from orchestrator.attempts.flight import Flight
from orchestrator.attempts.loops import as_round
from orchestrator.engines.adopted import POLL_SECONDS
from orchestrator.engines.local import LocalEngine
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.outcomes import checked
from orchestrator.store.records import AttemptEnded, Started, Status
from orchestrator.store.run_store import RunStore
from orchestrator.supervisor.charges import spent_with
from orchestrator.supervisor.flights import Flights
from orchestrator.system.descriptor_readers import Readers
from orchestrator.workers.protocol import AttemptClass, Outcome

_WAIT_SECONDS = 1.0


def end_attempts(store: RunStore, starts: Sequence[Started], note: Callable[[str], None]) -> None:
    """End those attempts, each with the grace that it was started with. Raises StateUnwritableError."""
    reader = RunReader(store.run_dir, store.history, alive=True)

    def ended(flight: Flight, outcome: Outcome) -> None:
        store.append([_record(reader, flight, outcome)])

    def read_adopted(fileno: int) -> None:
        flights.read_adopted(fileno)
        readers.set(read_adopted, flights.adopted_filenos())

    readers = Readers()
    left_by = LostAgents(reader, finder(reader.jobs_file)).left_by
    flights = Flights(LocalEngine(store.run_dir.worker_folder), store.run_dir, ended, note, left_by)
    try:
        for slot, start in enumerate(starts):
            name = reader.item_name(start.job, start.index)
            flight = Flight(
                item=(slot, 0),
                name=name,
                job=reader.job(start.job),
                start=start,
                slot=slot,
                mark=f"{store.history.header.mark}/{name}/{start.attempt}",
            )
            flights.resume(flight, store.history.workers.get(start.worker))
            flights.end(flight.item, "drain", None)
        readers.set(flights.read_tree_endings, [flights.tree_endings_fileno()])
        readers.set(read_adopted, flights.adopted_filenos())
        while flights:
            readers.wait(POLL_SECONDS if flights.needs_polling else _WAIT_SECONDS)
            if flights.needs_polling:
                read_adopted(-1)
    finally:
        flights.close()
        readers.close()


def _record(reader: RunReader, flight: Flight, outcome: Outcome) -> AttemptEnded:
    job, start = flight.job, flight.start
    outcome = checked(as_round(outcome, job.repeat), job.output, reader.run_dir)
    is_done = outcome.attempt_class is AttemptClass.OK
    return AttemptEnded(
        job=start.job,
        index=start.index,
        attempt=start.attempt,
        status=Status.SUCCEEDED if is_done and job.repeat is None else Status.INTERRUPTED,
        outcome=outcome,
        label=start.label,
        payload=start.payload,
        token=start.token,
        promotions=start.promotions,
        child=start.child,
        round=start.round if is_done else 0,
        is_adopted=True,
        spent=spent_with(reader, flight, outcome),
    )
