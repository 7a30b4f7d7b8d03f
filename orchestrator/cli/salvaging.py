"""`doctor --salvage RUN`: what is whole of a run whose journal is damaged is shown, and kept if the user agrees."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import write_json, write_lines
from orchestrator.errors import ExitCode, StateRefusedError
from orchestrator.system.wording import counted, shown
from orchestrator.views.outlet import Outlet

if TYPE_CHECKING:
    from orchestrator.store.run_dir import RunDir
    from orchestrator.store.run_history import RunHistory
    from orchestrator.store.salvage import Salvage


def salvage_run(invocation: Invocation, reference: str, *, is_agreed: bool, as_json: bool) -> int:
    """Show what is whole of the run, and keep it if that is agreed; 1 if the run stays as it is and cannot be read."""
    from orchestrator.control.permits import refuse_in_attempts
    from orchestrator.runs.salvage import find_whole, keep_whole, lost_lists
    from orchestrator.store.load import read_run

    run_dir = invocation.find(reference)
    try:
        history = read_run(run_dir).history
    except StateRefusedError as error:
        damage = error.message
    else:
        if lost := lost_lists(run_dir, history):
            return _tell_lost_lists(invocation, run_dir, history, lost, as_json=as_json)
        words = f"run {run_dir.run_id} can be read: nothing is to be salvaged"
        _tell({"run_id": run_dir.run_id, "damaged": False}, [words], as_json=as_json)
        return 0
    # Shown before anything is asked, and by a reading that changes nothing.
    salvage = find_whole(run_dir)
    if not is_agreed and (as_json or not _asks(damage, salvage)):
        again = f"{invocation.program()} doctor --salvage {run_dir.run_id} --yes"
        lines = [*_lines(damage, salvage), f"nothing was changed; this keeps what is whole: {again}"]
        _tell(_as_json(run_dir, salvage, []), lines, as_json=as_json)
        return int(ExitCode.FAILED)
    refuse_in_attempts("doctor --salvage")
    salvage, kept = keep_whole(run_dir)
    lines = [*_lines(damage, salvage), f"kept as they were: {', '.join(kept)}"]
    lines.append(f"go on with it: {invocation.program()} resume {run_dir.run_id}")
    _tell(_as_json(run_dir, salvage, kept), lines, as_json=as_json)
    return 0


def _tell_lost_lists(invocation: Invocation, run_dir: RunDir, history: RunHistory, lost: list[str], *, as_json: bool) -> int:
    """The records are whole, and lists of items are not: nothing is put aside for that, for an update makes them anew."""
    from orchestrator.store.salvage import Salvage

    lines = [f"the records of run {run_dir.run_id} are whole; not so what they rest on", *(f"  lost: {each}" for each in lost)]
    update = f"{invocation.program()} resume {run_dir.run_id} --update"
    if history.header.each:
        lines.append(f"this takes its lines once more and keeps what succeeded: {update} < LINES")
    else:
        lines.append(f"this lists the items anew and keeps what succeeded: {update}")
    _tell(_as_json(run_dir, Salvage(history, 0, [], [], lost), []), lines, as_json=as_json)
    return int(ExitCode.FAILED)


def _tell(told: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    if as_json:
        write_json(told)
    else:
        write_lines(map(shown, lines))


def _asks(damage: str, salvage: Salvage) -> bool:
    """Whether a person at the terminal agrees; False where there is none."""
    outlet = Outlet(sys.stderr)
    if sys.stdin is None or not sys.stdin.isatty() or not outlet.isatty():
        return False
    for line in _lines(damage, salvage):
        outlet.line(shown(line))
    outlet.write("keep what is whole, and put the damaged files aside (y/N)? ")
    outlet.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _lines(damage: str, salvage: Salvage) -> Iterator[str]:
    yield damage
    for start, end in salvage.gaps:
        yield f"  lost: bytes {start} to {end} of the journal"
    if salvage.missing:
        count = len(salvage.missing)
        yield f"  lost: {count} of {count + salvage.groups} groups (number {_numbers(salvage.missing)})"
    for note in salvage.notes:
        yield f"  lost: {note}"
    for job_id, counts in _counts(salvage).items():
        yield f"  whole: {job_id}: {counted(counts) if counts else 'nothing of it had begun'}"
    if open_starts := len(salvage.history.starts_without_end):
        yield f"  {open_starts} started, and no end is recorded: a resume asks the logs of their workers, or runs them again"


def _counts(salvage: Salvage) -> dict[str, dict[str, int]]:
    jobs = {job_id: salvage.history.jobs[job_id] for job_id in salvage.history.header.jobs}
    return {job_id: {status.value: n for status, n in past.counts().items() if n} for job_id, past in jobs.items()}


def _numbers(numbers: list[int]) -> str:
    more = ", …" if len(numbers) > 5 else ""
    return ", ".join(map(str, numbers[:5])) + more


def _as_json(run_dir: RunDir, salvage: Salvage, kept: list[str]) -> dict[str, Any]:
    return {
        "run_id": run_dir.run_id,
        "damaged": True,
        "gaps": salvage.gaps,
        "lost_groups": salvage.missing,
        "lost": salvage.notes,
        "counts": _counts(salvage),
        "kept": kept,
    }
