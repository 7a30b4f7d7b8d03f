"""What of a run waits for a choice."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from orchestrator.reading.run_reader import RunReader
from orchestrator.store.records import Status
from orchestrator.views.happenings import OpenQuestion
from orchestrator.workers.protocol import AttemptClass


def open_questions(reader: RunReader) -> Iterator[OpenQuestion]:
    """What waits for a choice, in item order: of an item whose child run waits, what that asks."""
    for job_id in reader.history.header.jobs:
        past = reader.history.jobs[job_id]
        for index in past.indices(Status.WAITING):
            ended = past.last_end(index)
            if ended is not None and ended.child and ended.outcome.attempt_class is AttemptClass.PAUSED:
                name, label = reader.item_name(job_id, index), ended.label
                asked_there = open_questions(reader.child(ended.child))
                yield from (msgspec.structs.replace(each, item=name, label=label) for each in asked_there)
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
