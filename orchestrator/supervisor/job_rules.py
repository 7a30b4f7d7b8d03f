"""From the jobs of a file to the rules of the core."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from orchestrator.core.job_rules import JobRules
from orchestrator.jobsfile.language.template import Template
from orchestrator.jobsfile.model import Job, WorkflowAction, barriers_of, chain_of
from orchestrator.reading.money.budgets import Budgets, bounds_of
from orchestrator.reading.money.costs import nano_usd


def rules_of(
    jobs: Sequence[Job],
    *,
    keep_going: bool,
    left_out: Collection[str] = (),
    budgets: Budgets = {},  # noqa: B006 (a mapping that nobody can change)
    accounts: Mapping[str, tuple[str, ...]],
) -> list[JobRules]:
    """The rules of each job, in file order. `keep_going`: after a failure the others go on. `left_out`: ids of unselected jobs.

    `accounts`: by job id, those that its items may use, as far as that is known before they are rendered.
    """
    orders = {job.id: order for order, job in enumerate(jobs)}
    rules = [_rules(job, order, orders, keep_going, job.id in left_out, budgets) for order, job in enumerate(jobs)]
    return [msgspec.structs.replace(rule, accounts=accounts.get(rule.id, ())) for rule in rules]


def _rules(job: Job, order: int, orders: dict[str, int], keep_going: bool, is_left_out: bool, budgets: Budgets) -> JobRules:
    # The core knows jobs by their order alone, so that every name in the file becomes a number here.
    limit = job.max_failures
    return JobRules(
        id=job.id,
        order=order,
        needs=tuple(orders[need] for need in barriers_of(job)),
        chain=tuple(orders[parent] for parent in chain_of(job)),
        when_word=None if isinstance(job.when, Template) else job.when,
        has_own_when=isinstance(job.when, Template),
        judged=tuple(sorted(orders[each] for each in job.when.jobs)) if isinstance(job.when, Template) else (),
        is_single=job.for_each is None,
        max_concurrency=job.max_concurrency,
        lane=job.lane,
        pool=job.pool,
        priority=job.priority,
        devices=job.devices,
        has_sources=bool(job.sources),
        continue_on_error=job.continue_on_error,
        keeps_going=keep_going,
        max_failures=limit.count if limit else None,
        max_failures_percent=limit.percent if limit else None,
        halt=job.halt,
        attempts=job.attempts,
        retry_delay=job.retry.delay,
        retry_backoff=job.retry.backoff,
        retry_max_delay=job.retry.max_delay,
        retry_jitter=job.retry.jitter,
        is_left_out=is_left_out,
        repeat_delay=job.repeat.delay if job.repeat else 0.0,
        is_gate=job.is_gate,
        on_reject=job.on_reject.how,
        is_paid=job.is_agent or isinstance(job.action, WorkflowAction),
        budget=bounds_of(job, job.id, budgets),
        estimate_nano_usd=nano_usd(job.estimate_usd),
        retry_from=orders[job.on_reject.job] if job.on_reject.job is not None else None,
        on_usage_limit=job.on_usage_limit if job.on_usage_limit in ("pause", "fail") else "wait",
    )
