"""The jobs of a run as its records alone tell them, for readers of a run whose copy of the jobs file is lost.

What no record tells is as if nobody had written it: a job needs nothing, has one attempt, and its output is text.
Nothing may run by it.
"""

from __future__ import annotations

from orchestrator.jobsfile.language.template import Template
from orchestrator.jobsfile.model import Action, AgentAction, CommandAction, GateAction, Job, JobsFile, ListSource, RunSettings
from orchestrator.store.job_history import JobHistory
from orchestrator.store.run_history import RunHistory

_UNKNOWN = Template(source="", kind="text")


def recorded_jobs(history: RunHistory) -> JobsFile:
    """What stands in for the jobs file."""
    header = history.header
    jobs = tuple(
        Job(
            id=job_id,
            action=_action_of(history.jobs[job_id]),
            for_each=ListSource(values=()) if is_fan_out else None,
        )
        for job_id, is_fan_out in header.jobs.items()
    )
    return JobsFile(
        name=header.name, path=header.jobs_file, folder=header.folder, text="", inputs={}, run=RunSettings(), jobs=jobs
    )


def _action_of(past: JobHistory) -> Action:
    if past.gates:
        return GateAction(question=_UNKNOWN)
    return AgentAction(agent=_UNKNOWN) if past.spending.by_agent else CommandAction(argv=())
