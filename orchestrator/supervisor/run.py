"""What every part of the loop is given: one supervised run.

A part asks it for names and records, tells it what has happened, and says through it what people should know. So a part needs no
callback into the loop, and a new part changes no signature. Of the rules' state it has a view that only answers questions: the
loop alone has the state, for `core.decide`.
"""

from __future__ import annotations

from collections import deque

from orchestrator.core.events import Event
from orchestrator.core.states import ItemRef
from orchestrator.core.view import CoreView
from orchestrator.jobsfile.model import Job, JobsFile
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.job_history import JobHistory
from orchestrator.store.run_store import RunStore
from orchestrator.supervisor.narrator import Narrator
from orchestrator.supervisor.recorder import Recorder


class Run:
    """One run while it is supervised.

    `store` writes its records, by way of `recorder` alone; `reader` reads them; `core` answers what the rules know; `tell` speaks
    to people. `events` is what has happened and the core has not heard yet, in order. `is_inline`: attempts run in this process
    (`slots = 0`).
    """

    def __init__(
        self,
        store: RunStore,
        reader: RunReader,
        jobs_file: JobsFile,
        core: CoreView,
        tell: Narrator,
        *,
        is_inline: bool = False,
    ) -> None:
        self.store = store
        self.dir = store.run_dir
        self.id = store.run_dir.run_id
        self.history = store.history
        self.reader = reader
        self.jobs_file = jobs_file
        self.jobs = jobs_file.jobs
        self.core = core
        self.tell = tell
        self.is_inline = is_inline
        self.recorder = Recorder(store)
        self.events: deque[Event] = deque()
        self._orders = {job.id: order for order, job in enumerate(jobs_file.jobs)}

    def happened(self, *events: Event) -> None:
        """The core shall hear of this, after all that happened before."""
        self.events.extend(events)

    def order(self, job_id: str) -> int:
        """The number of a job in the file. Raises KeyError for one that the file does not have."""
        return self._orders[job_id]

    def ref(self, job_id: str, index: int) -> ItemRef:
        """An item as the core names it. Raises as above."""
        return self._orders[job_id], index

    def job(self, item: ItemRef) -> Job:
        """The job of an item."""
        return self.jobs[item[0]]

    def past(self, item: ItemRef) -> JobHistory:
        """What is recorded of the item's job."""
        return self.history.jobs[self.jobs[item[0]].id]

    def name(self, item: ItemRef) -> str:
        """What people call an item: `JOB:INDEX`, or `JOB` where it is the only one."""
        return self.reader.item_name(self.jobs[item[0]].id, item[1])
