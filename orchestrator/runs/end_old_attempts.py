"""Ending attempts of a dead supervisor for which an update leaves no use, before the update is made.

Promise: when `end_attempts` returns none of them lives, and the end of each is recorded. An attempt that succeeded meanwhile has
succeeded. Any other is interrupted, so that a resume would run its item again also without the update.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.attempts.agent.lost import LostAgents
from orchestrator.attempts.agent.work import finder
from orchestrator.attempts.flight import Flight
from orchestrator.attempts.loops import as_round
from orchestrator.engines.choice import choose_engine
from orchestrator.engines.engine import AttemptLost, Noted, OutcomeArrived
from orchestrator.reading.run_reader import RunReader
from orchestrator.runs.offline_recorder import OfflineRecorder
from orchestrator.store.outcomes import ends_before, with_output_checked
from orchestrator.store.records import AttemptEnded, Started, Status
from orchestrator.supervisor.charges import spent_with
from orchestrator.supervisor.flights import Flights
from orchestrator.supervisor.happened import Happened
from orchestrator.supervisor.inbox import Inbox
from orchestrator.supervisor.sources import Attempts
from orchestrator.workers.protocol import AttemptClass, Outcome


def end_attempts(recorder: OfflineRecorder, starts: Sequence[Started], note: Callable[[str], None]) -> None:
    """End those attempts, each with the grace that it was started with. Raises StateUnwritableError."""
    # A jobs file that is lost tells no grace, and the records tell what is to end: an update shall give the run another file.
    reader = RunReader(recorder.run_dir, recorder.history, alive=True, tell_lost=note)
    agent_task = LostAgents(reader, finder(reader.jobs_file)).task
    engine = choose_engine(len(starts), recorder.run_dir, recorder.history.next_worker, agent_task)
    flights = Flights(engine, recorder.run_dir)

    inbox = Inbox([Attempts(flights, engine)])

    def take_in(happened: Happened) -> None:
        if isinstance(happened, Noted):
            note(happened.words)
        elif isinstance(happened, OutcomeArrived | AttemptLost) and (ended := flights.take_in(happened)) is not None:
            recorder.record_group([_record(reader, *ended)])
            # No core hears of it, and no answer is judged: its end is recorded, so it is over here, too.
            flights.leave(ended[0])

    try:
        # Adopt each attempt, as a resume would, and ask for its end at once.
        for slot, start in enumerate(starts):
            flight = _flight(recorder, reader, start, slot)
            for known in flights.resume(flight, recorder.history.workers.get(start.worker)):
                take_in(known)
            flights.end(flight.item, "drain", None)
        # Until each has ended: the loop's own wait, with attempts as the only source.
        while flights:
            for happened in inbox.wait(None, is_in_hurry=False):
                take_in(happened)
    finally:
        inbox.close()
        flights.close()
        engine.close()


def _flight(recorder: OfflineRecorder, reader: RunReader, start: Started, slot: int) -> Flight:
    """The attempt, in a slot of its own. The slot stands for its item: there is no core here that numbers items."""
    name = reader.item_name(start.job, start.index)
    mark = f"{recorder.history.header.mark}/{name}/{start.attempt}"
    return Flight(item=(slot, 0), name=name, job=reader.job(start.job), start=start, slot=slot, mark=mark)


def _record(reader: RunReader, flight: Flight, outcome: Outcome) -> AttemptEnded:
    job, start = flight.job, flight.start
    outcome = with_output_checked(as_round(outcome, job.repeat), job.output, reader.run_dir)
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
        earlier=ends_before(reader.history.jobs[start.job].last_end(start.index), start),
    )
