"""What is said of a job whose list grew and was not read to its end."""

from __future__ import annotations

from orchestrator.jobsfile.model import FileSource
from orchestrator.reading.run_records import Records
from orchestrator.system.wording import how_many


def unread_items(records: Records, job_id: str) -> str:
    """What is wrong, and the way out, on one line."""
    run_id, source = records.run_dir.run_id, records.job(job_id).for_each
    known = how_many(records.count(job_id), "item")
    # How lines were taken apart, or combined, is written nowhere.
    if isinstance(source, FileSource) and source.kind == "lines":
        way = f"give all of them: orchestrate resume {run_id} --update < LINES"
    else:
        way = "each has several values, so run it anew: orchestrate each"
    return f"its lines were not read to their end, {known} known; {way}"
