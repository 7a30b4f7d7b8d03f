"""What an item's attempt does, prepared for a person who does it by hand (`exec`, `why`), outside of the run."""

from __future__ import annotations

import os
from functools import partial

import msgspec

from orchestrator.attempts.agent.work import AgentSurroundings, finder
from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.labels import item_label
from orchestrator.attempts.items.selection import Selector
from orchestrator.attempts.loops import Loops
from orchestrator.attempts.message import StartMessages
from orchestrator.attempts.preparer import Preparer
from orchestrator.attempts.rendering import Prepared, Surroundings, render_attempt
from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.attempts.workspaces.assignment import Workspaces
from orchestrator.errors import UserError
from orchestrator.jobsfile.secret_inputs import require_secrets, secret_names
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.schema_copies import copy_of_schema
from orchestrator.store.settings_records import Selection
from orchestrator.system.passed_variables import passed_of
from orchestrator.workers.secrets import revealed
from orchestrator.workers.workspaces.git import LOCAL_VARIABLES


def prepared_by_hand(reader: RunReader, job_id: str, index: int, *, in_workspace: bool = True) -> tuple[Prepared, dict[str, str]]:
    """What the item's last attempt did, or its first would do, and the whole environment for it.

    `in_workspace`: in the item's own workspace, if that is still there; else in the folder of the run. Raises UserError for a
    gate, and for an item whose templates cannot be rendered now.
    """
    # The same parts as a supervisor's, but with all items selected: whoever asks for an item by hand means that item.
    attempt = max(reader.history.jobs[job_id].attempts(index), 1)
    header, job = reader.history.header, reader.job(job_id)
    if job.is_gate:
        raise UserError(
            f"{job_id} is a gate: it runs nothing", f"orchestrate why {reader.run_dir.run_id} {job_id} tells what it asks"
        )
    contexts = ItemContexts(reader, header.inputs)
    loops = Loops(reader, contexts)
    preparer = Preparer(reader, contexts, loops, reader.jobs_file, Selector(Selection(), reader.jobs_file.jobs))
    try:
        context = contexts.for_item(job, index, attempt)
        context["label"] = item_label(job, context)
        # In a loop the last round, once more: the next one may never come.
        context.update(loops.names(job, index, max(reader.history.jobs[job_id].rounds_done(index), 1)))
        # A workspace that is gone is not made again for this.
        is_there = in_workspace and reader.workspace(job_id, index) is not None
        surroundings = Surroundings(
            folder=header.folder,
            temporary_suffix=f"{header.mark}.by-hand",
            run_env=reader.jobs_file.run.env,
            place=Workspaces(reader, reader.jobs_file).place(job, index, attempt, context) if is_there else None,
            agents=AgentSurroundings(
                find=finder(reader.jobs_file),
                before=preparer.find_before(job, index, 1),
                copy_schema=partial(copy_of_schema, reader.run_dir),
            ),
            files=reader.jobs_file.files,
        )
        prepared = render_attempt(job, context, surroundings)
    except (ItemRefused, CaptureMismatch) as refused:
        raise UserError(f"{reader.item_name(job_id, index)}: {refused}") from refused
    # Without the attempt's mark: a resume would take this process for something that the item left behind, and end it.
    changes = StartMessages(reader, reader.jobs_file).environment(reader.item_name(job_id, index), attempt, prepared)
    # An agent sees of the environment only what its profile lets through, by hand as in the run.
    passed = dict(os.environ)
    if not in_workspace:
        # A landing may be started by a git hook, and its check must not take the hook's index for the checkout's.
        passed = {name: value for name, value in passed.items() if name not in LOCAL_VARIABLES}
    if prepared.agent is not None:
        passed = passed_of(passed, prepared.agent.env_allowed)
    environment = {name: value for name, value in {**passed, **changes}.items() if value is not None}
    if names := secret_names(reader.jobs_file.inputs):
        # By hand as in the run: the values are in the environment of whoever asks.
        require_secrets(reader.jobs_file.inputs, f"run {reader.run_dir.run_id}")
        environment = {name: revealed(value, names) for name, value in environment.items()}
        prepared = msgspec.structs.replace(prepared, stdin=None if prepared.stdin is None else revealed(prepared.stdin, names))
    return prepared, environment
