"""`orchestrate plan --forecast N FILE`: run a few items, and say what the rest will probably cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from orchestrator.cli.output import write_json, write_line, write_lines
from orchestrator.cli.supervising import Shown, supervise
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.cli.invocation import Invocation
    from orchestrator.jobsfile.model import Job, JobsFile
    from orchestrator.reading.money.forecast import Forecast, Likely
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.runs.commands import RunReport, RunRequest
    from orchestrator.store.job_history import JobHistory
    from orchestrator.views.listeners import Listeners
    from orchestrator.views.prompt import Prompt


def forecast_run(invocation: Invocation, request: RunRequest, jobs_file: JobsFile, count: int, *, as_json: bool) -> int:
    """Run the first `count` items of each fan-out as a normal run, and print the forecast; the exit code of the run.

    A job that needs a whole fan-out is left out: it would take the first items for all of them. Raises UserError if no agent is
    left then.
    """
    import msgspec

    from orchestrator.runs.commands import run_file
    from orchestrator.store.settings_records import Selection

    # Only agents over items are forecast: the cost of one item says something of the others.
    chosen = jobs_to_run(jobs_file.jobs)
    if not any(job.is_agent and job.for_each is not None for job in chosen):
        raise UserError(
            f"{jobs_file.path}: there is nothing to forecast: no agent works over items before a whole fan-out is done",
            "orchestrate run --limit N runs a few items of each job all the same",
        )
    # A normal run with a selection: what it does is recorded, and `resume --all` does the rest.
    only = () if len(chosen) == len(jobs_file.jobs) else tuple(job.id for job in chosen)
    options = msgspec.structs.replace(request.options, selection=Selection(only=only, limit=count))
    reports: list[RunReport] = []

    def start(home: Path, listeners: Listeners, prompt: Prompt | None) -> RunReport:
        part = msgspec.structs.replace(request, loaded=jobs_file, options=options)
        reports.append(run_file(home, part, listeners, asker=prompt))
        return reports[-1]

    code = supervise(invocation, Shown(quiet=False, progress="auto", events=False, as_json=False, detach=False), start)
    _print(invocation, reports[-1].run_id, chosen, as_json=as_json)
    return code


def jobs_to_run(jobs: Sequence[Job]) -> list[Job]:
    """The jobs that need no whole fan-out, neither themselves nor through another job. (An item of a chain needs one item.)"""
    from orchestrator.jobsfile.model import barriers_of

    by_id = {job.id: job for job in jobs}
    left_out: set[str] = set()
    is_changed = True
    while is_changed:
        found = {
            job.id
            for job in jobs
            if left_out.intersection(job.needs) or any(by_id[need].for_each is not None for need in barriers_of(job))
        }
        is_changed = found != left_out
        left_out = found
    return [job for job in jobs if job.id not in left_out]


def _print(invocation: Invocation, run_id: str, chosen: Sequence[Job], *, as_json: bool) -> None:
    from orchestrator.reading.money.forecast import add_forecasts
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.supervisor.options import slots_as_seen

    # Read back from the records: an interrupted run has its forecast, too, of what it did.
    reader = RunReader.read(invocation.find(run_id))
    slots = max(slots_as_seen(reader), 1)
    found = list(_forecasts(reader, chosen, slots))
    usd, seconds = add_forecasts(found, slots)
    # Jobs that were left out are named, so that nobody takes the sum for all that is to come.
    kept = {job.id for job in chosen}
    unknown = [job.id for job in reader.jobs_file.jobs if job.is_agent and job.id not in kept]
    if as_json:
        rest = {"cost_usd": asdict(usd), "seconds": asdict(seconds)}
        write_json({"run_id": run_id, "jobs": [_as_json(each) for each in found], "rest": rest, "not_known": unknown})
        return
    write_lines(_lines(found, usd, seconds))
    if unknown:
        write_line(f"not known before the others are done: {', '.join(unknown)}")
    write_line(f"run the rest with: {invocation.program()} resume {run_id} --all")


def _forecasts(reader: RunReader, chosen: Sequence[Job], slots: int) -> Iterator[Forecast]:
    from orchestrator.reading.money.forecast import Sample, forecast_job
    from orchestrator.reading.money.ledger import ledger_of_item
    from orchestrator.store.records import Status

    # Samples are the items that ended here: those that succeeded, and those that failed, which cost as much.
    pools = reader.jobs_file.pools
    for job in chosen:
        past = reader.history.jobs[job.id]
        if not job.is_agent or job.for_each is None or past.count is None:
            continue
        samples = []
        for status in (Status.SUCCEEDED, Status.FAILED):
            for index in past.indices(status):
                ended = past.last_end(index)
                if ended is not None and ended.spent is not None and ended.spent.agents:
                    ledger = ledger_of_item(ended.spent)
                    # Only the time of the last attempt is kept: the ones before it are taken to have lasted as long.
                    samples.append(Sample(ledger.nano_usd, ended.outcome.duration_seconds * ledger.attempts))
        # The tightest bound says how many of the rest run at once, and so how long it takes.
        bounds = (slots, job.max_concurrency, pools[job.pool].slots if job.pool in pools else None, len(job.devices) or None)
        at_once = min(bound for bound in bounds if bound is not None)
        yield forecast_job(job.id, samples, sum(_is_to_run(past, index) for index in range(past.count)), at_once)


def _is_to_run(past: JobHistory, index: int) -> bool:
    """Whether a resume with --all would run the item: it was left out, or has not had its turn."""
    from orchestrator.store.records import Status

    if past.status(index) is Status.SKIPPED:
        return not past.is_selected(index) and index not in past.gone
    return past.status(index) not in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)


def _as_json(found: Forecast) -> dict[str, Any]:
    return {
        "job": found.job,
        "sampled": found.sampled,
        "unknown_costs": found.unknown,
        "item": {"cost_usd": asdict(found.item_usd), "seconds": asdict(found.item_seconds)},
        "remaining": found.remaining,
        "at_once": found.at_once,
        "rest": {"cost_usd": asdict(found.rest_usd), "seconds": asdict(found.rest_seconds)},
    }


def _lines(found: Sequence[Forecast], usd: Likely, seconds: Likely) -> Iterator[str]:
    from orchestrator.views.tables import aligned

    # A row a job, then one line with the sum, and what the sum leaves out.
    header = ["JOB", "RAN", "COST P50", "P90", "TIME P50", "P90", "TO GO", "AT ONCE", "THEIR COST P50", "P90", "TIME P50", "P90"]
    rows = [
        [
            each.job,
            str(each.sampled),
            *_money(each.item_usd),
            *_time(each.item_seconds),
            str(each.remaining),
            str(each.at_once),
            *_money(each.rest_usd),
            *_time(each.rest_seconds),
        ]
        for each in found
    ]
    yield from aligned(header, rows)
    (likely, most), (soon, late) = _money(usd), _time(seconds)
    yield f"the rest: about {likely} and {soon}; nine times in ten at most {most} and {late}"
    if any(each.unknown for each in found):
        yield f"{sum(each.unknown for each in found)} of the items that ran told no cost, and are not counted"


def _money(likely: Likely) -> list[str]:
    from orchestrator.system.wording import dollars

    return ["unknown" if each is None else dollars(each) for each in (likely.p50, likely.p90)]


def _time(likely: Likely) -> list[str]:
    from orchestrator.system.wording import lasting

    return ["unknown" if each is None else lasting(each) for each in (likely.p50, likely.p90)]
