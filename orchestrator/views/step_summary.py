"""The summary of a step of GitHub Actions, as Markdown: how the jobs stand, and what failed why.

Names and words of others are text there, whatever they look like: each character that could mean something is written by its
number.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from orchestrator.system.redaction import of_this_process
from orchestrator.system.wording import counted, shown, title
from orchestrator.views.failures import MOST_FAILURES, FailureGroup, group_words
from orchestrator.views.happenings import RunFinished
from orchestrator.workers.files.opening import open_file

MOST_BYTES = 1 << 20
"""Of all that the processes of a step write there: of more the runner takes nothing."""

_MOST_JOBS = 50


def add_step_summary(path: str, finished: RunFinished, groups: Sequence[FailureGroup]) -> str | None:
    """Append the summary to the file at `path`; why that could not be done, None if it was."""
    try:
        with open(open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), "ab") as file:
            data = "\n".join(step_summary(finished, groups)).encode("utf-8", "replace") + b"\n"
            if os.fstat(file.fileno()).st_size + len(data) > MOST_BYTES:
                return f"it would have more than {MOST_BYTES:,} bytes"
            file.write(data)
    except OSError as error:
        return error.strerror or str(error)
    return None


def step_summary(finished: RunFinished, groups: Sequence[FailureGroup]) -> Iterator[str]:
    """The lines."""
    summary = finished.summary
    yield f"### {_text(summary.get('name', 'run'))}: {finished.status}"
    # How the jobs stand.
    yield from ("", "| job | status | items |", "| --- | --- | --- |")
    jobs = summary.get("jobs", [])
    yield from (f"| {_text(job['id'])} | {job['status']} | {counted(job['counts'])} |" for job in jobs[:_MOST_JOBS])
    if len(jobs) > _MOST_JOBS:
        yield f"| and {len(jobs) - _MOST_JOBS} more | | |"
    # What failed, a row a reason, and below the table what was written.
    if groups:
        yield from ("", "| failed | items | why |", "| --- | --- | --- |")
    for group in groups[:MOST_FAILURES]:
        first = group.first
        yield f"| {_text(title(first.item, first.label))} | {group.count} | {_text(' '.join(group_words(group)))} |"
    for group in groups[:MOST_FAILURES]:
        if group.first.tail:
            name, said = title(group.first.item, group.first.label), "\n".join(map(_text, group.first.tail))
            yield f"\n<details><summary>{_text(name)}</summary>\n\n<pre>{said}</pre>\n\n</details>"


def _text(text: str) -> str:
    clean = shown(of_this_process().redact_text(text))
    return "".join(each if each.isalnum() or each == " " else f"&#{ord(each)};" for each in clean)
