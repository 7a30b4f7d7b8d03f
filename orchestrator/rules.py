"""From the jobs of a file to the rules of the core."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.core.states import JobRules
from orchestrator.jobsfile.model import (
    ChainSource,
    CommandAction,
    FileSource,
    Job,
    ListSource,
    MatrixSource,
    ShellAction,
)
from orchestrator.jobsfile.templates import Template


def rules_of(jobs: Sequence[Job], *, keep_going: bool) -> list[JobRules]:
    """The rules of each job, in file order. `keep_going`: every job continues on errors."""
    orders = {job.id: order for order, job in enumerate(jobs)}
    return [_rules(job, order, orders, keep_going) for order, job in enumerate(jobs)]


def named_jobs(job: Job) -> set[str]:
    """Ids of the jobs that the job's templates name."""
    return {name for template in templates_of(job) for name in template.jobs}


def _rules(job: Job, order: int, orders: dict[str, int], keep_going: bool) -> JobRules:
    parents = job.for_each.jobs if isinstance(job.for_each, ChainSource) else ()
    barriers = named_jobs(job)
    limit = job.max_failures
    return JobRules(
        id=job.id,
        order=order,
        needs=tuple(orders[need] for need in job.needs if need not in parents or need in barriers),
        chain=tuple(orders[parent] for parent in parents),
        when_word=job.when if job.when == "always" or job.when == "failed" else None,
        has_own_when=isinstance(job.when, Template),
        is_single=job.for_each is None,
        max_concurrency=job.max_concurrency,
        priority=job.priority,
        continue_on_error=job.continue_on_error or keep_going,
        max_failures=limit.count if limit else None,
        max_failures_percent=limit.percent if limit else None,
        attempts=job.attempts,
        retry_delay=job.retry.delay,
        retry_backoff=job.retry.backoff,
        retry_max_delay=job.retry.max_delay,
        retry_jitter=job.retry.jitter,
    )


def templates_of(job: Job) -> Iterable[Template]:
    """Every template of a job."""
    match job.action:
        case CommandAction(argv=argv):
            yield from argv
        case ShellAction(script=script):
            yield script
    yield from job.env.values()
    for template in (job.when, job.label, job.cwd, job.stdin, job.creates):
        if isinstance(template, Template):
            yield template
    if isinstance(job.for_each, MatrixSource):
        for axis in job.for_each.axes.values():
            yield from _source_templates(axis)
    elif isinstance(job.for_each, ListSource | FileSource):
        yield from _source_templates(job.for_each)


def _source_templates(source: ListSource | FileSource) -> Iterable[Template]:
    if isinstance(source, FileSource):
        yield source.path
    elif isinstance(source.values, Template):
        yield source.values
    else:
        yield from (value for value in source.values if isinstance(value, Template))
