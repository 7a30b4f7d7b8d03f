"""What is hidden of a run wherever people are shown what its attempts wrote."""

from __future__ import annotations

import os

from orchestrator.jobsfile.model import JobsFile
from orchestrator.reading.run_records import Records
from orchestrator.store.known_secrets import known_secrets
from orchestrator.store.run_dir import RunDir
from orchestrator.system.redaction import Redactor


def redactor_of(records: Records) -> Redactor:
    """Knows the secrets of this process, those that the run's supervisors had, and those that its jobs file declares."""
    return redactor_for(records.run_dir, records.jobs_file)


def redactor_for(run_dir: RunDir, jobs_file: JobsFile) -> Redactor:
    """As `redactor_of`, of a run with this jobs file."""
    declared = [jobs_file.run.env, *(job.env for job in jobs_file.jobs)]
    remembered = known_secrets(run_dir)
    return Redactor(
        os.environ,
        *({name: each.source for name, each in env.items() if each.is_static} for env in declared),
        remembered=[] if remembered is None else [remembered],
    )
