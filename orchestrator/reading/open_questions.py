"""The questions of a run that wait for a choice: those of its gates, and of its child runs."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from orchestrator.errors import UserError
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.records import Status
from orchestrator.views.happenings import OpenQuestion
from orchestrator.workers.protocol import AttemptClass


def open_questions(reader: RunReader) -> Iterator[OpenQuestion]:
    """What waits for a choice, in item order. An item whose child run is paused asks what that run asks."""
    for job_id in reader.history.header.jobs:
        past = reader.history.jobs[job_id]
        # The questions of a child run are shown under the name of the item here; `gate` and `run_id` say where they are answered.
        for index in past.indices(Status.WAITING):
            ended = past.last_end(index)
            if ended is not None and ended.child and ended.outcome.attempt_class is AttemptClass.PAUSED:
                name, label = reader.item_name(job_id, index), ended.label
                try:
                    asked_there = list(open_questions(reader.child(ended.child)))
                except UserError:
                    continue  # its records are damaged, as `child_runs` of the commands tells: nobody can answer there
                yield from (msgspec.structs.replace(each, item=name, label=label) for each in asked_there)
        # The job's own, if it is a gate.
        for index in sorted(past.gates):
            asked = past.gates[index].question
            if asked is not None and past.is_asking(index):
                name = reader.item_name(job_id, index)
                yield OpenQuestion(
                    item=name,
                    label=asked.label,
                    question=asked.question,
                    options=asked.options,
                    show_file=asked.show_file,
                    run_id=reader.run_dir.run_id,
                    gate=name,
                )
