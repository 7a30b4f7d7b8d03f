"""The work of `orchestrate status`: how a run stands just now, read without a lock. No output of an item is opened for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.cli.output import write_json, write_lines

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation
    from orchestrator.reading.told_items import Told
    from orchestrator.shared.limits.park import Park
    from orchestrator.store.run_dir import RunDir


def tell_status(invocation: Invocation, *, run: str | None = None, watch: bool = False, as_json: bool = False) -> int:
    """What `status` does, by the names of its argument and options."""
    from orchestrator.reading.shown_summary import told_again
    from orchestrator.system.locks.holders import is_locked

    run_dir = invocation.find(run)
    # A run that does not go on is told as it stands.
    if watch and is_locked(run_dir.supervisor_lock):
        return _watch(invocation, run_dir, as_json=as_json)
    kept = told_again(run_dir)
    if kept is not None and not (kept[1].has_agents and _is_limited(run_dir)):
        _tell_kept(invocation, *kept, as_json=as_json)
    else:
        _tell_read(invocation, run_dir, as_json=as_json)
    return 0


def _watch(invocation: Invocation, run_dir: RunDir, *, as_json: bool) -> int:
    """Show the run until it ends."""
    from orchestrator.errors import ExitCode, UserError

    if as_json:
        raise UserError("--watch and --json cannot both be given", "run --events tells a program what happens")
    from orchestrator.cli.attaching import attach_to

    code = attach_to(invocation, run_dir)
    return code if code == ExitCode.INTERRUPTED else 0


def _tell_kept(invocation: Invocation, summary: dict[str, Any], told: Told, *, as_json: bool) -> None:
    """Of a run that has ended, however many items it has."""
    if as_json:
        from orchestrator.views.json_lines import with_times

        write_json(with_times(summary))
        return
    from orchestrator.views.end_report import status_lines

    lines = status_lines(
        invocation.program(),
        summary,
        [],
        told.failures,
        time.time(),
        questions=told.questions,
        is_alive=False,
        is_each=told.is_each,
        noted=told.noted,
    )
    write_lines(lines)


def _tell_read(invocation: Invocation, run_dir: RunDir, *, as_json: bool) -> None:
    """Of a run that goes on, or whose records say more than was kept of it."""
    from orchestrator.cli.shown_run import child_runs, running_items, shown_reader
    from orchestrator.cli.why_waiting import limits_in_the_way, told_counts
    from orchestrator.reading.open_questions import open_questions
    from orchestrator.reading.run_summary import run_summary
    from orchestrator.reading.told_items import failures_of, noted_items
    from orchestrator.views.end_report import status_lines

    reader = shown_reader(run_dir)
    # What waits for a pool or a rate is not recorded: only a living supervisor knows it.
    is_alive = reader.is_alive
    told = told_counts(reader)
    if as_json:
        from orchestrator.views.json_lines import with_times

        write_json(with_times(run_summary(reader, told.waiting)))
        return
    # People are told more than the counts: what runs, what failed and why, what asks, what successes lack, which limits hold.
    now = time.time()
    running = running_items(reader, now) if is_alive else []
    write_lines(
        status_lines(
            invocation.program(),
            run_summary(reader, told.waiting),
            running,
            failures_of(reader, reader.jobs_file),
            now,
            questions=list(open_questions(reader)),
            is_alive=is_alive,
            is_each=reader.history.header.each,
            children=child_runs(reader),
            noted=noted_items(reader),
            limits=_limit_lines(limits_in_the_way(reader), told.spared),
        )
    )


def _is_limited(run_dir: RunDir) -> bool:
    """Whether some account is limited just now. What is kept of a run does not tell which accounts it uses."""
    from orchestrator.shared.limits.parks import Parks

    return bool(Parks(run_dir.home).parks_in_force())


def _limit_lines(parks: Sequence[Park], spared: Sequence[str]) -> list[str]:
    """A line for each account that is limited. If an account is parked its file tells until when, and the supervisor does not."""
    from orchestrator.shared.limits.parks import park_words

    others = [line for line in spared if not any(park.account in line for park in parks)]
    return [*map(park_words, parks), *others]
