"""`orchestrate why [RUN] [ITEM]`: what an item waits for, or why it failed, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import json_option, run_argument
from orchestrator.cli.output import write_json, write_lines
from orchestrator.errors import UserError
from orchestrator.store.records import Status
from orchestrator.system.wording import how_many, lasting, shell_word, shown, title
from orchestrator.views.failures import tail_lines

if TYPE_CHECKING:
    from orchestrator.cli.why_waiting import WaitExplanations
    from orchestrator.reading.run_reader import RunReader

_MOST_ITEMS = 20
_GRAVEST_FIRST = ((Status.FAILED,), (Status.INTERRUPTED, Status.WAITING), (Status.PENDING,), (Status.SKIPPED, Status.CANCELLED))
_TOLD = ("item", "label", "status", "attempts", "class", "exit_code", "signal", "duration_s", "error")
_IDENTITY = (
    "token",
    "deduped_from",
    "promoted",
    "replaced_by",
    "child",
    "agent",
    "model",
    "session_id",
    "denials",
    "notes",
    "because",
)


@click.command("why")
@run_argument
@click.argument("item", required=False, metavar="[ITEM]")
@json_option
@pass_invocation
def command(invocation: Invocation, *, run: str | None, item: str | None, as_json: bool) -> int:
    """Tell in words why an item waits, failed or was skipped: its state, attempts and needs, when it runs, where its log is.

    Without ITEM: of all that failed; if nothing did, of what was interrupted, waits or was skipped.
    """
    from orchestrator.cli.meant_run import run_and_item_or_all
    from orchestrator.cli.shown_run import shown_reader
    from orchestrator.cli.why_waiting import WaitExplanations
    from orchestrator.reading.seen_statuses import run_status

    # For people the first items only: the supervisor is asked about each of them, and a screen has an end.
    meant = run_and_item_or_all(invocation, (run, item))
    reader = shown_reader(meant.run_dir)
    if meant.words:
        items = meant.items(reader)
        jobs = () if items else meant.words
    else:
        jobs, items = _in_question(reader)
    told = items if as_json else items[:_MOST_ITEMS]
    waits = WaitExplanations(reader, told)
    answers = (_fenced_answer(reader, waits, invocation.program(), *each) for each in told)
    if as_json:
        write_json(list(answers))
        return 0
    # A job that has no items yet is answered for itself.
    for job_id in jobs:
        write_lines(_of_no_items(reader, job_id))
    if not jobs and not items:
        write_lines([f"nothing of run {reader.run_dir.run_id} has failed, waits or was skipped ({run_status(reader)})"])
    for number, answer in enumerate(answers):
        write_lines([""] if number else [])
        write_lines(_in_words(answer))
    if len(items) > _MOST_ITEMS:
        see = f"{invocation.program()} status {reader.run_dir.run_id}"
        write_lines(["", f"and {len(items) - _MOST_ITEMS} more; name fewer, or see: {see}"])
    return 0


def _in_question(reader: RunReader) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
    """What people ask about who name no item: the jobs whose list failed and the items of the gravest status, else what has no
    list yet."""
    from orchestrator.reading.item_names import find_items

    past = reader.history.jobs
    jobs = tuple(job_id for job_id in past if past[job_id].listing_failed is not None)
    for statuses in _GRAVEST_FIRST:
        found = [(job_id, index) for job_id in past for status in statuses for index in past[job_id].indices(status)]
        if found or jobs:
            return jobs, found
    # A job of one item has no list before its turn.
    unlisted = {job_id: find_items(reader, job_id) for job_id in past if past[job_id].count is None}
    return tuple(job_id for job_id, items in unlisted.items() if not items), [
        item for items in unlisted.values() for item in items
    ]


def _of_no_items(reader: RunReader, job_id: str) -> Iterator[str]:
    from orchestrator.reading.seen_statuses import job_status

    yield f"{job_id} of run {reader.run_dir.run_id} has no items ({job_status(reader, job_id)})"
    past = reader.history.jobs[job_id]
    if failure := past.listing_failed or past.skipped_because:
        yield f"  {shown(failure, 1000)}"


def _fenced_answer(reader: RunReader, waits: WaitExplanations, program: str, job_id: str, index: int) -> dict[str, Any]:
    """The answer; of an item that meets a bug of ours as much as `shown_result` tells of it."""
    from orchestrator.reading.item_result import shown_result
    from orchestrator.system.fence import fenced_words, log_fenced

    try:
        return _answer(reader, waits, program, job_id, index)
    except UserError:
        raise
    except Exception as error:
        result = shown_result(reader, job_id, index, with_output=False)
        log_fenced(reader.run_dir.log, f"{result['item']}: why it is {result['status']} could not be told", error)
        told = {key: result[key] for key in (*_TOLD, *_IDENTITY)}
        unknown = dict.fromkeys(("attempts_allowed", "earlier", "rounds", "rounds_allowed", "advice", "logs", "answered", "tail"))
        return {**told, **unknown, "run_id": reader.run_dir.run_id, "needs": {}, "reason": fenced_words(error)}


def _answer(reader: RunReader, waits: WaitExplanations, program: str, job_id: str, index: int) -> dict[str, Any]:
    from orchestrator.cli.class_advice import advice_on
    from orchestrator.reading.item_result import shown_result
    from orchestrator.reading.seen_statuses import job_status

    # What is recorded, then what only the living supervisor knows, then the advice that follows from both.
    result = shown_result(reader, job_id, index, with_output=False)
    job = reader.job(job_id)
    command = f"{program} logs {reader.run_dir.run_id} {shell_word(result['item'])}"
    return {
        **{key: result[key] for key in (*_TOLD, *_IDENTITY)},
        "status": "waiting" if waits.is_waiting(job_id, index) else result["status"],
        "run_id": reader.run_dir.run_id,
        "attempts_allowed": job.attempts,
        "earlier": _earlier(reader, job_id, index),
        "rounds": result["round"],
        "rounds_allowed": job.repeat.max if job.repeat else None,
        "needs": {need: job_status(reader, need) for need in job.needs},
        "reason": _reason(reader, waits, program, job_id, index, result),
        "advice": advice_on(result["class"], result["agent"]) or None if result["agent"] else None,
        "logs": command if result["attempts"] else None,
        "tail": _tail(reader, job_id, index) if result["status"] == "failed" else None,
        "answered": _answered(reader, job_id, index),
    }


def _answered(reader: RunReader, job_id: str, index: int) -> dict[str, Any] | None:
    """The choice that was made at a gate, and by whom, as far as that was recorded; None: none was made, or it is no gate."""
    import msgspec

    gate = reader.history.jobs[job_id].gates.get(index)
    given = (gate.answer or gate.sent_back) if gate is not None else None
    if given is None:
        return None
    by = msgspec.structs.asdict(given.by) if given.by is not None else None
    return {"choice": given.choice, "message": given.message, "at": given.at, "by": by}


def _tail(reader: RunReader, job_id: str, index: int) -> list[str] | None:
    """The last lines of what its last attempt wrote, without secrets."""
    from orchestrator.reading.failure_tails import FailureTails

    ended = reader.history.jobs[job_id].last_end(index)
    return None if ended is None else FailureTails(reader.run_dir, reader.jobs_file).of(ended) or None


def _earlier(reader: RunReader, job_id: str, index: int) -> list[dict[str, Any]]:
    """The attempts before the last that ended, as far as the end of that tells of them."""
    ended = reader.history.jobs[job_id].last_end(index)
    keys = ("attempt", "exit_code", "signal", "message")
    return [
        {"class": each.attempt_class.value, **{key: getattr(each, key) for key in keys}}
        for each in (ended.earlier if ended is not None else ())
    ]


def _in_words(answer: dict[str, Any]) -> Iterator[str]:
    # The answer first; below it, a line each, the facts that it rests on.
    yield f"{title(answer['item'], answer['label'])} of run {answer['run_id']} is {answer['status']}"
    if answer["reason"]:
        yield f"  {shown(answer['reason'])}"
    if answer["because"]:
        yield f"  ran because: {shown(answer['because'], 1000)}"
    if answer["answered"]:
        yield f"  {_answered_words(answer['answered'])}"
    if answer["token"]:
        yield f"  token: {shown(answer['token'], 200)}"
    if answer["child"]:
        yield f"  child run: {answer['child']}"
    if answer["rounds_allowed"] is not None:
        yield f"  rounds: {answer['rounds'] or 0} done, at most {answer['rounds_allowed']}"
    yield from _attempt_lines(answer)
    yield from _agent_lines(answer)
    for need, status in answer["needs"].items():
        yield f"  needs {need}: {status}"
    if answer["logs"]:
        yield f"  log: {answer['logs']}"
        if answer["attempts"] > 1:
            yield f"       (an earlier attempt: {answer['logs']} --attempt 1)"


def _attempt_lines(answer: dict[str, Any]) -> Iterator[str]:
    """How often it was tried, how it ended the last time, and how the times before."""
    if answer["attempts"]:
        each = " a round" if answer["rounds_allowed"] is not None else ""
        yield f"  attempts: {answer['attempts']} so far, {answer['attempts_allowed']} allowed{each}"
    if answer["class"] is not None:
        ended = f"{answer['class']} after {lasting(answer['duration_s'])}"
        yield f"  last recorded end: {ended}" + (f", exit code {answer['exit_code']}" if answer["exit_code"] is not None else "")
    if answer["error"]:
        yield f"  message: {shown(answer['error'], 1000)}"
    yield from tail_lines(answer["tail"] or ())
    for each in answer["earlier"] or ():
        ended = each["class"] if each["exit_code"] is None else f"{each['class']}, exit code {each['exit_code']}"
        yield f"  before, attempt {each['attempt']}: {ended}" + (f": {shown(each['message'])}" if each["message"] else "")


def _answered_words(answered: dict[str, Any]) -> str:
    import time

    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(answered["at"]))
    words = f"answered: {shown(answered['choice'])}, {at}"
    if (by := answered["by"]) is None:
        return words
    where = "".join(f", {shown(each)}" for each in (by["terminal"], by["item"] and f"item {by['item']}") if each)
    return f"{words}, by {shown(by['user'])} ({shown(by['program'])}, process {by['pid']}{where})"


def _agent_lines(answer: dict[str, Any]) -> Iterator[str]:
    if answer["advice"]:
        yield f"  that means: {answer['advice']}"
    if answer["notes"]:
        yield f"  note: {shown('; '.join(answer['notes']), 1000)}"
    if answer["denials"]:
        yield f"  denied: {shown(', '.join(answer['denials']), 1000)}"
    if answer["agent"]:
        yield f"  agent: {' '.join(filter(None, (answer['agent'], answer['model'])))}" + (
            f", session {shown(answer['session_id'], 200)}" if answer["session_id"] else ""
        )


def _reason(reader: RunReader, waits: WaitExplanations, program: str, job_id: str, index: int, result: dict[str, Any]) -> str:
    """What the state means for this item, and when it would run."""
    # The commands that would change the state, as the user would type them.
    go_on = f"{program} resume {reader.run_dir.run_id}"
    again = f"{program} retry {reader.run_dir.run_id} {shell_word(result['item'])}"
    if result["deduped_from"] and result["status"] in ("succeeded", "failed"):
        return f"{result['deduped_from']} did the same work: this item shares its outcome, and nothing was started for it"
    # The special reasons of a status stand before its general one.
    match result["status"]:
        case "running":
            return _why_running(reader, job_id, index, is_promoted=bool(result["promoted"]))
        case "waiting" | "interrupted" if (asked := _why_asking(reader, program, result)) is not None:
            return asked
        case "waiting":
            return waits.words(job_id, index) or _why_waiting(reader, job_id, go_on, result)
        case "pending":
            return _why_pending(reader, waits, go_on, job_id, index)
        case "cancelled" if result["replaced_by"]:
            return f'{result["replaced_by"]} took its token (if_running = "replace"); a resume leaves it as it is'
        case "failed" if reader.choice(job_id, index) is not None:
            return f"it was rejected; {go_on} asks again"
        case "failed":
            feedback = f", {again} --feedback TEXT tells its agent what to do else" if result["session_id"] else ""
            return f"no attempt is left; {go_on} tries it again{feedback}"
        case "interrupted":
            return _why_interrupted(reader, job_id, index, go_on)
        case "cancelled":
            return f"somebody asked for its end; a resume leaves it as it is, {again} runs it once more"
        case "skipped":
            return _why_skipped(reader, go_on, result)
        case _:
            return ""


def _why_asking(reader: RunReader, program: str, result: dict[str, Any]) -> str | None:
    """Why an item waits for a person's choice, its own or one in its child run, or for its paused child run; else None."""
    from orchestrator.reading.open_questions import open_questions

    asked = next((each for each in open_questions(reader) if each.item == result["item"]), None)
    if asked is None and result["class"] != "paused":
        return None
    if asked is None:
        return f"its child run {result['child']} waits; {program} resume {reader.run_dir.run_id} goes on with it"
    command = f"{program} approve {asked.run_id} {shell_word(asked.gate)}"
    return f"it waits for somebody's choice ({', '.join(asked.options)}): {asked.question}; {command} makes it"


def _why_paused(reader: RunReader, job_id: str) -> str:
    """Why the run is paused, as far as that concerns this job; empty if it is supervised, or no reason is recorded."""
    from orchestrator.core.budget import words_about_job

    ended = reader.history.ended
    return "" if reader.is_alive or ended is None or not ended.reason else words_about_job(ended.reason, job_id)


def _why_interrupted(reader: RunReader, job_id: str, index: int, go_on: str) -> str:
    if (job_id, index) in reader.history.cancelling:
        return f"it was cancelled while it ran, and nobody supervises the run; {go_on} records its end, and runs it no more"
    if paused := _why_paused(reader, job_id):
        return f"an attempt was made, and the run is paused ({paused}); {go_on} goes on with it"
    return f"an attempt was made and nobody supervises the run; {go_on} runs it again, or takes over what still runs"


def _why_waiting(reader: RunReader, job_id: str, go_on: str, result: dict[str, Any]) -> str:
    if paused := _why_paused(reader, job_id):
        return f"the run is paused ({paused}); {go_on} goes on with its next attempt"
    if result["round"] and result["class"] == "ok":
        return "it waits before its next round, holding nothing"
    return "it waits before its next attempt (backoff after a failure, or a lost worker), holding nothing"


def _why_running(reader: RunReader, job_id: str, index: int, *, is_promoted: bool) -> str:
    from orchestrator.engines.onlookers import stopped_processes

    start = reader.history.open_starts.get((job_id, index))
    if start is None:
        return ""
    took_over = "; it took over work that another had begun and lost" if is_promoted else ""
    # Nothing but a look at the processes tells why it does nothing.
    stopped = (
        f"; process {each.pid} ({each.words}) is stopped (SIGSTOP): kill -CONT {each.pid} lets it go on"
        for each in stopped_processes(reader.history.workers.get(start.worker))
    )
    return f"attempt {start.attempt} runs in slot {start.slot}{took_over}{''.join(stopped)}"


def _why_skipped(reader: RunReader, go_on: str, result: dict[str, Any]) -> str:
    from orchestrator.attempts.items.selection import not_selected

    if result["error"] == not_selected(reader.history.selection):
        return f"it was not asked for; {go_on} --all runs it, with all the rest"
    return "its `when` was false, or what it needs did not succeed"


def _why_pending(reader: RunReader, waits: WaitExplanations, go_on: str, job_id: str, index: int) -> str:
    from orchestrator.reading.seen_statuses import job_status

    # Nobody supervises the run: then the end of the run is the reason, whatever the item would wait for.
    if not reader.is_alive:
        ended = reader.history.ended
        halted = ended.error_item if ended is not None else None
        because = f"the run ended before its turn came, because {halted} failed" if halted else "nobody supervises the run"
        if paused := _why_paused(reader, job_id):
            because = f"the run is paused ({paused})"
        return f"it was never started: {because}; {go_on} runs it"
    # A need that has not ended comes before a slot.
    closed = ("succeeded", "failed", "skipped", "cancelled")
    open_needs = [need for need in reader.job(job_id).needs if job_status(reader, need) not in closed]
    if open_needs:
        return f"it waits for {', '.join(open_needs)}"
    from orchestrator.store.records import Status

    # Otherwise the item stands in line: what the supervisor says of it, else that it wants a slot, and how many are before it.
    before = sum(1 for other in reader.history.jobs[job_id].indices(Status.PENDING) if other < index)
    bound = reader.job(job_id).max_concurrency
    otherwise = "it waits for a slot" if bound is None else f"it waits for a slot (at most {bound} of {job_id} run at once)"
    words = waits.words(job_id, index) or otherwise
    return (
        f"{words}; {how_many(before, 'item')} of {job_id} before it in line" if before else f"it is the next of {job_id}; {words}"
    )
