"""What is said of a run at its end and by `status`: its result, what failed and why, and the commands that show or do more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, assert_never

import msgspec

from orchestrator.system.wording import (
    STATUS_WORDS,
    at_time,
    counted,
    dollars,
    how_many,
    lasting,
    shell_word,
    shown,
    spent,
    title,
)
from orchestrator.views.failures import (
    MOST_FAILURES,
    WHOLE_RUN,
    Failure,
    FailureGroup,
    FailureGroups,
    failure_lines,
    more_command,
)
from orchestrator.views.happenings import (
    AccountSpared,
    Charged,
    GateAnswered,
    GateAsked,
    Happening,
    ItemEnded,
    ItemRetrying,
    ItemRoundEnded,
    ItemStarted,
    ItemWaiting,
    JobClosed,
    JobGrew,
    JobListed,
    Noted,
    OpenQuestion,
    PromptClosed,
    PromptOpened,
    RunBegan,
    RunFinished,
)

MOST_RUNNING = 20
MOST_QUESTIONS = 10


class RunningItem(msgspec.Struct, frozen=True):
    """An attempt that has run for `seconds` so far."""

    item: str
    label: str | None
    attempt: int
    seconds: float


class ChildRun(msgspec.Struct, frozen=True):
    """The child run that does the work of `item`."""

    item: str
    run_id: str
    status: str


class NotedItem(msgspec.Struct, frozen=True):
    """An item that succeeded, and of which a person should know more."""

    item: str
    label: str | None
    note: str


TellFailures = Callable[[Sequence[FailureGroup], int], Iterator[str]]
"""Lines for failures, as `failure_lines`."""


class EndReport:
    """Gathers from happenings what the end report says. A view may have failures told as they happen, too."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._job_order: dict[str, int] = {}
        self._failures = FailureGroups()
        self._last_failure: tuple[FailureGroup, Failure] | None = None
        self._noted: list[NotedItem] = []
        """In the order in which they ended; one more than are told."""
        self._began_at: float | None = None
        self._run_id = ""
        self._questions: dict[tuple[str, str], OpenQuestion] = {}
        """By item and gate: a child run may ask several things."""

    def hear(self, happening: Happening) -> None:
        """Remember what the report will say."""
        match happening:  # the most frequent first
            case ItemStarted(item=item):
                # The item's child run goes on, and tells again what it asks.
                if self._questions:
                    self._questions = {key: asked for key, asked in self._questions.items() if key[0] != item}
            case ItemEnded():
                self._take_end(happening)
            case RunBegan():
                self._job_order = {job: order for order, job in enumerate(happening.jobs)}
                self._began_at = happening.at
                self._run_id = happening.run_id
            case GateAsked():
                gate = happening.gate or happening.item
                self._questions[happening.item, gate] = OpenQuestion(
                    item=happening.item,
                    label=happening.label,
                    question=happening.question,
                    options=happening.options,
                    run_id=happening.run_id or self._run_id,
                    gate=gate,
                )
            case GateAnswered():
                self._questions.pop((happening.item, happening.item), None)
            case JobClosed(status="failed", message=message) if message:
                self._keep(happening.job, happening.job, None, message, 0)
            case JobClosed() | JobListed() | ItemRetrying() | ItemRoundEnded() | ItemWaiting() | Charged() | AccountSpared():
                pass
            case JobGrew() | PromptOpened() | PromptClosed() | Noted() | RunFinished():
                pass
            case unknown:
                assert_never(unknown)

    def groups(self, finished: RunFinished) -> list[FailureGroup]:
        """What failed. An error that no item of this session has (a time limit, an item that failed before) stands first."""
        groups, error = self._failures.in_order(), finished.summary.get("error")
        if error and not _is_told(finished.summary, groups):
            more = finished.error_label, error["message"] or "", finished.error_attempts, finished.error_class
            groups.insert(0, FailureGroup(Failure((-1, 0), error["item"] or WHOLE_RUN, *more)))
        return groups

    def lines(self, finished: RunFinished, tell: TellFailures = failure_lines) -> Iterator[str]:
        """The lines of the report: what failed (`tell`), what is asked, and last how the run ended and what can be done now."""
        yield from _noted_lines(self._program, finished.run_id, self._noted)
        summary, groups = finished.summary, self.groups(finished)
        failed = _failed_count(summary, groups)
        yield from tell(groups, failed)
        yield from question_lines(self._program, finished.run_id, list(self._questions.values()))
        # Last, for that is what stays in sight.
        took = "" if self._began_at is None else f" in {lasting(finished.at - self._began_at)}"
        yield f"{finished.status}: {counted(summary.get('counts', {}))}{took} · run {finished.run_id}"
        if (line := ledger_line(summary)) is not None:
            yield line
        yield from (f"  {line}" for line in _reason_lines(self._program, finished.run_id, summary))
        if (words := _selection_words(self._program, summary)) is not None:
            yield f"  {words}"
        yield from (f"  {line}" for line in _command_lines(self._program, summary, groups, failed))

    def failure_lines(self, ended: ItemEnded) -> Iterator[str]:
        """The lines that tell of this failure, which was heard last, as it happens. At the end it has one line then."""
        assert self._last_failure is not None
        group, failure = self._last_failure
        shared = f" (shared from {shown(ended.deduped_from, 200)})" if ended.deduped_from else ""
        return self._failures.lines_at_once(group, failure, shared)

    def _take_end(self, ended: ItemEnded) -> None:
        # An item that was interrupted is still to be answered: the next supervisor asks again.
        if self._questions and ended.status != "interrupted":
            self._questions.pop((ended.item, ended.item), None)
        # A success of which there is more to say; not one that was found done, which says so each time.
        if ended.status == "succeeded" and ended.attempts and ended.message and len(self._noted) <= MOST_FAILURES:
            self._noted.append(NotedItem(ended.item, ended.label, ended.message))
        if ended.status == "failed":
            more = ended.label, ended.message, ended.attempts, ended.attempt_class, ended.tail or []
            self._keep(ended.item, ended.job, *more)

    def _keep(self, item: str, job: str, *more: Any) -> None:
        """An item failed, or a job by itself. `more`: the other fields of `Failure`."""
        _, _, index = item.partition(":")
        place = (self._job_order.get(job, len(self._job_order)), int(index) if index.isdigit() else 0)
        failure = Failure(place, item, *more)
        self._last_failure = self._failures.add(failure), failure


def question_lines(program: str, run_id: str, questions: Sequence[OpenQuestion]) -> Iterator[str]:
    """The questions that wait for a choice, each with the command that makes it."""
    for each in questions[:MOST_QUESTIONS]:
        yield f"asks {title(each.item, each.label)}: {shown(each.question, 300)} [{', '.join(each.options)}]"
        if each.show_file is not None:
            yield f"       see {shown(each.show_file)}"
        yield f"       {program} approve {each.run_id} {shell_word(each.gate)}"
    if len(questions) > MOST_QUESTIONS:
        yield f"       and {len(questions) - MOST_QUESTIONS} more: {program} results {run_id} --status waiting"


def status_lines(
    program: str,
    summary: dict[str, Any],
    running: Sequence[RunningItem],
    failures: Sequence[FailureGroup],
    now: float,
    *,
    questions: Sequence[OpenQuestion] = (),
    is_alive: bool,
    is_each: bool = False,
    children: Sequence[ChildRun] = (),
    noted: Sequence[NotedItem] = (),
    limits: Sequence[str] = (),
) -> Iterator[str]:
    """The text of `status`. `summary`: the object of `status --json`; `now`: seconds since the epoch.

    `is_each`: the run has no jobs file of the user's. `limits`: how the accounts of its agents are limited, in words.
    """
    # What the run is, and since when.
    run_id, status = summary["run_id"], summary["status"]
    yield f"run {run_id}  {shown(summary['name'])}  {status}"
    ended = summary["finished_at"]
    started = summary["started_at"]
    if is_alive or ended is None:
        yield f"  started {at_time(started)}" + (f", {lasting(now - started)} ago" if is_alive else "")
    else:
        yield f"  started {at_time(started)}, ended {at_time(ended)}"
    file = summary["jobs_file"]
    yield f"  each, in {shown(os.path.dirname(file))}" if is_each else f"  file {shown(file)}"
    # How far each job is, and what holds it up.
    width = max((len(job["id"]) for job in summary["jobs"]), default=0)
    for job in summary["jobs"]:
        yield f"  {job['id']:<{width}}  {job['status']:<11}  {counted(job['counts'])}"
    yield from (f"  {shown(words)}" for words in limits)
    # What goes on just now, here and in child runs; the first of each.
    if running:
        yield "running now:"
        for each in running[:MOST_RUNNING]:
            attempt = f"  attempt {each.attempt}" if each.attempt > 1 else ""
            yield f"  {title(each.item, each.label)}  {lasting(each.seconds)}{attempt}"
        if len(running) > MOST_RUNNING:
            yield f"  and {len(running) - MOST_RUNNING} more"
    for child in children[:MOST_FAILURES]:
        yield f"child run of {child.item}: {child.run_id} is {child.status}"
    if len(children) > MOST_FAILURES:
        yield f"and more child runs: {program} list --all"
    # What went wrong. An error that is also a failed item's is told once, with the item.
    yield from _noted_lines(program, run_id, noted)
    yield from _error_lines(summary, failures)
    failed = _failed_count(summary, failures)
    yield from failure_lines(failures, failed)
    # What it cost, why it stands still, and what can be done about it.
    if (line := ledger_line(summary)) is not None:
        yield line
    yield from _reason_lines(program, run_id, summary)
    if (words := _selection_words(program, summary)) is not None:
        yield words
    yield from question_lines(program, run_id, questions)
    yield from _command_lines(program, summary, failures, failed)


def _error_lines(summary: dict[str, Any], groups: Sequence[FailureGroup]) -> Iterator[str]:
    error = summary["error"]
    if error and not _is_told(summary, groups):
        yield f"error: {error['item'] or WHOLE_RUN}: {shown(error['message'] or '', 300)}"


def _is_told(summary: dict[str, Any], groups: Sequence[FailureGroup]) -> bool:
    """Whether the groups tell of the item whose failure is the run's error."""
    item = summary["error"]["item"]
    if any(item == each.item for group in groups for each in (group.first, *group.others)):
        return True
    # A group has not all of its names; but where it and the others have all that failed, the item is among them.
    failed = summary.get("counts", {}).get("failed", 0)
    return item is not None and 0 < failed <= sum(group.count for group in groups)


def _failed_count(summary: dict[str, Any], groups: Sequence[FailureGroup]) -> int:
    """How many items failed: what did not fail under this supervisor, or was not looked at, is in no group."""
    return max(int(summary.get("counts", {}).get("failed", 0)), sum(group.count for group in groups))


def _noted_lines(program: str, run_id: str, noted: Sequence[NotedItem]) -> Iterator[str]:
    for item in noted[:MOST_FAILURES]:
        yield f"ok     {title(item.item, item.label)}: {shown(item.note, 300)}"
    if len(noted) > MOST_FAILURES:
        yield f"       and more: {program} results {run_id} --fields item,notes,denials"


def ledger_line(summary: dict[str, Any]) -> str | None:
    """`spent 4.12 USD in 208 attempts · saved 0.88 USD by replay and adoption · paid twice 0`; None if no agent tells anything.

    `paid twice unknown (of 2 that were lost)`: a worker was killed, and what its agent had been paid for is not known.
    """
    ledger = summary.get("ledger")
    if ledger is None:
        return None
    attempts, tokens = ledger["attempts"], ledger["tokens"]
    saved = ledger["saved_by_replay_usd"] + ledger["saved_by_adoption_usd"]
    # Of agents that tell neither what they cost nor what they use there is nothing to say.
    if ledger["cost_usd"] is None and not tokens and not saved and not ledger["unknown_paid_twice"]:
        return None
    words = f"{spent(ledger['cost_usd'], ledger['unknown_costs'])} in {how_many(attempts, 'attempt')}"
    used = f" · {tokens:,} tokens" if tokens is not None and ledger["unknown_costs"] else ""
    twice, lost = ledger["paid_twice"], ledger["unknown_paid_twice"]
    known = [] if twice is None else [str(twice)]
    unknown = [f"unknown (of {lost} that {'was' if lost == 1 else 'were'} lost)"] if lost else []
    return f"{words}{used} · saved {dollars(saved)} by replay and adoption · paid twice {', '.join([*known, *unknown])}"


def _reason_lines(program: str, run_id: str, summary: dict[str, Any]) -> Iterator[str]:
    """Why a paused run is paused, and the command that changes that."""
    if summary["status"] == "paused" and (reason := summary.get("reason")):
        yield shown(reason, 300)
        if reason.startswith("budget"):
            yield f"raise it with: {program} set {run_id} [JOB.]budget_usd=N (or budget_tokens=N)"


def _selection_words(program: str, summary: dict[str, Any]) -> str | None:
    """How much of the run is selected, and how to run the rest; None if all of it is selected."""
    selection = summary.get("selection")
    if selection is None or (selection["selected"] == selection["items"] and not selection["jobs_left_out"]):
        return None
    options = [f"--only {shell_word(pattern)}" for pattern in selection["only"]]
    options += [] if selection["limit"] is None else [f"--limit {selection['limit']}"]
    left_out = selection["jobs_left_out"]
    jobs = f", {how_many(left_out, 'job')} left out" if left_out else ""
    items = f"{selection['selected']} of {selection['items']} items selected"
    return shown(f"{items}{jobs} ({' '.join(options)}); {program} resume {summary['run_id']} --all runs the rest")


def _command_lines(program: str, summary: dict[str, Any], groups: Sequence[FailureGroup], failed: int) -> Iterator[str]:
    """The command that shows more of what failed, and the one that runs it again."""
    if (command := more_command(program, summary["run_id"], groups, failed)) is not None:
        yield f"see more: {command}"
    if _can_go_on(summary["status"], summary):
        run_id = summary["run_id"]
        lacks_cancelled = summary["status"] == "failed" and any(map(_lacks_cancelled, summary["jobs"]))
        how = f"retry {run_id} (resume leaves what was cancelled)" if lacks_cancelled else f"resume {run_id}"
        yield f"go on with: {program} {how}"


def _can_go_on(status: str, summary: dict[str, Any]) -> bool:
    """Whether a resume would run anything. (Cancelled items run again only by `retry`.)"""
    if status not in ("failed", "interrupted", "paused"):
        return False
    return any(job["status"] not in ("succeeded", "skipped", "cancelled") for job in summary["jobs"])


def _lacks_cancelled(job: dict[str, Any]) -> bool:
    """Whether the job is not complete without items that were cancelled. (It is, if enough had succeeded before.)"""
    return job["status"] != "succeeded" and bool(job["counts"].get("cancelled"))


def ended_line(ended: ItemEnded) -> str:
    """One line for the end of an item that did not fail: `ok  port:3 tests/test_a.py 2.1s`."""
    word = STATUS_WORDS.get(ended.status, ended.status)
    said = title(ended.item, ended.label)
    # An item that shares an outcome took no time itself: the duration is that of the other item.
    shared = f" (shared from {shown(ended.deduped_from, 200)})" if ended.deduped_from else ""
    if ended.status == "succeeded":
        took = f" {lasting(ended.duration_s)}" if ended.duration_s is not None and not shared else ""
        why = f" ({shown(ended.message, 300)})" if ended.message else ""
        return f"{word}  {said}{took}{why}{shared}"
    return f"{word} {said}" + (f": {shown(ended.message, 300)}" if ended.message else "")
