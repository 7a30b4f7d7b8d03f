"""What a run came to, as data: one object an item (`results --json`), one for the run (`run --json`, `status --json`).

Everything is read from the records; outputs only when they are asked for. Works on a run that goes on, too.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from orchestrator.errors import UserError
from orchestrator.jobsfile.model import Job, JobsFile
from orchestrator.reading.money.ledger import ledger_of, ledger_of_item, usage_json
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.item_list import ItemList
from orchestrator.store.load import read_history
from orchestrator.store.outcomes import DoneHere, in_words, output_of
from orchestrator.store.records import AttemptEnded, ItemSettled, Selection, Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.system.locks.holders import is_locked
from orchestrator.views.happenings import OpenQuestion
from orchestrator.workers.protocol import AgentReport, AttemptClass, Outcome, WorkspaceReport

RESULT_FIELDS = (
    *("item", "job", "index", "label", "value", "status", "class", "exit_code", "signal", "attempts"),
    *("round", "started_at", "finished_at", "duration_s", "stdout", "stderr", "output"),
    *("token", "deduped_from", "promoted", "payload_hash", "replaced_by"),
    *("child", "cost_usd", "usage", "unknown_costs", "session_id", "agent", "model", "denials"),
    *("workspace", "branch", "commit", "patch", "artifacts", "error"),
)
"""Keys of one result, in order. What does not apply is null."""


def item_id(job_id: str, index: int, *, is_fan_out: bool) -> str:
    """What an item is called: `JOB:INDEX`, or `JOB` without `for_each`."""
    return f"{job_id}:{index}" if is_fan_out else job_id


@dataclass
class RunReader:
    """A run to be read: its folder, its records, its own copy of the jobs file. Holds no lock.

    `history` may be one that a supervisor keeps up to date.
    """

    run_dir: RunDir
    history: RunHistory
    alive: bool | None = None
    """Whether a supervisor holds the run, if the reader knows (it is that supervisor); None: asked each time."""

    @classmethod
    def read(cls, run_dir: RunDir) -> RunReader:
        """What is recorded of the run now. Raises UserError (no such run), StateRefusedError."""
        return cls(run_dir, read_history(run_dir))

    @cached_property
    def jobs_file(self) -> JobsFile:
        """The run's own copy of the jobs file, loaded when first needed."""
        from orchestrator.jobsfile.load import load_text

        header = self.history.header
        config = self.run_dir.config_toml
        return load_text(
            self.run_dir.jobs_toml(header.revision).read_text("utf-8"),
            path=header.jobs_file,
            folder=header.folder,
            user_config=str(config) if config.exists() else None,
        )

    @property
    def is_alive(self) -> bool:
        """Whether a supervisor holds the run."""
        return is_locked(self.run_dir.supervisor_lock) if self.alive is None else self.alive

    def status_word(self) -> str:
        """The run's state in the words of the contract; `interrupted` is found out, not stored."""
        if self.is_alive:
            return "running"
        return self.history.ended.status if self.history.ended is not None else "interrupted"

    def job(self, job_id: str) -> Job:
        """The definition of one job."""
        return self._jobs[job_id]

    def item_name(self, job_id: str, index: int) -> str:
        """`JOB:INDEX` or `JOB`."""
        header = self.history.header
        return item_id(job_id, index, is_fan_out=header.jobs[job_id] if job_id in header.jobs else header.removed[job_id])

    def value(self, job_id: str, index: int) -> Any:
        """The item's value; None for a job without `for_each`."""
        if not self.history.header.jobs[job_id]:
            return None
        return self.values(job_id)[index]

    def values(self, job_id: str) -> ItemList | list[Any]:
        """The item list of a job with `for_each`."""
        revision = self.history.jobs[job_id].list_revision
        lists = self._item_lists
        if (job_id, revision) not in lists:
            lists[job_id, revision] = ItemList(self.run_dir.items(job_id, revision))
        return lists[job_id, revision]

    def suppose_list(self, job_id: str, values: list[Any]) -> None:
        """Read `values` where the job's list of this revision of the run would stand: for who asks what an update would do."""
        self._item_lists[job_id, self.history.header.revision] = values

    def output(self, job_id: str, index: int) -> Any:
        """The output of an item that succeeded, in its job's shape; None of any other: nothing is to be built on half of one.

        Raises CaptureMismatch if it is not what was recorded.
        """
        past = self.history.jobs[job_id]
        if past.gates:
            return self.choice(job_id, index)
        ended = None if past.is_void(index) else past.last_end(index)
        return None if ended is None else self._output(job_id, ended)

    def choice(self, job_id: str, index: int) -> str | None:
        """What was chosen at a gate; None before."""
        gate = self.history.jobs[job_id].gates.get(index)
        return gate.answer.choice if gate is not None and gate.answer is not None else None

    def gate_message(self, job_id: str, index: int) -> str:
        """What somebody said with the choice at a gate; else empty."""
        gate = self.history.jobs[job_id].gates.get(index)
        return gate.answer.message if gate is not None and gate.answer is not None else ""

    def workspace(self, job_id: str, index: int) -> str | None:
        """The workspace of the item, as long as it is there."""
        past = self.history.jobs[job_id]
        last = self.history.open_starts.get((job_id, index)) or past.unended.get(index) or past.last_end(index)
        if last is None or not last.workspace:
            return None
        path = self.run_dir.workspace(last.workspace)
        return str(path) if path.is_dir() else None

    def child(self, run_id: str) -> RunReader:
        """The child run with that id. Raises UserError, StateRefusedError."""
        return RunReader.read(RunDir(self.run_dir.path.parent / run_id))

    def open_questions(self) -> Iterator[OpenQuestion]:
        """What waits for a choice, in item order: of an item whose child run waits, what that asks."""
        for job_id in self.history.header.jobs:
            past = self.history.jobs[job_id]
            for index in past.indices(Status.WAITING):
                ended = past.last_end(index)
                if ended is not None and ended.child and ended.outcome.attempt_class is AttemptClass.PAUSED:
                    name, label = self.item_name(job_id, index), ended.label
                    asked_there = self.child(ended.child).open_questions()
                    yield from (msgspec.structs.replace(each, item=name, label=label) for each in asked_there)
            for index in sorted(past.gates):
                asked = past.gates[index].question
                if asked is not None and past.is_asking(index):
                    name = self.item_name(job_id, index)
                    yield OpenQuestion(
                        item=name,
                        label=asked.label,
                        question=asked.question,
                        options=asked.options,
                        show_file=asked.show_file,
                        run_id=self.run_dir.run_id,
                        gate=name,
                    )

    def done_with(self, token: str) -> DoneHere | None:
        """What an item of this run that has succeeded with `token` came to."""
        found = self.history.done_tokens.get(token)
        if found is None:
            return None
        ended = self.history.jobs[found[0]].last_end(found[1])
        return None if ended is None else DoneHere(self.item_name(*found), ended.payload, ended.outcome)

    def result(self, job_id: str, index: int, *, forgives: bool = False) -> dict[str, Any]:
        """One object of `results --json`. An output that is not what was recorded raises CaptureMismatch.

        `forgives`: a person asks, and shall see the rest. Then the output is null and `error` tells what is wrong with it.
        """
        past = self.history.jobs[job_id]
        result = self._result(job_id, index, past.last_end(index), forgives=forgives)
        record = past.record(index)
        if past.gates and result["status"] == Status.SUCCEEDED:
            return result  # its message is the choice
        if isinstance(record, ItemSettled) and record.message and past.status(index) is not Status.PENDING:
            result["error"] = record.message
        if past.is_void(index) and not past.gates:
            result["output"] = None
        return result

    def rounds(self, job_id: str, index: int, *, forgives: bool = False) -> Iterator[dict[str, Any]]:
        """Of an item of a loop: a `result` for each round that it has done, called `JOB:INDEX#ROUND`."""
        past = self.history.jobs[job_id]
        for number in range(1, past.rounds_done(index) + 1):
            ended = past.round_end(index, number)
            assert ended is not None
            result = self._result(job_id, index, ended, forgives=forgives, of_round=True)
            result.update(
                item=f"{result['item']}#{number}",
                status="succeeded" if ended.outcome.attempt_class is AttemptClass.OK else "failed",
                attempts=ended.attempt,
                round=number,
                child=ended.child or None,
            )
            yield result

    def _result(
        self, job_id: str, index: int, ended: AttemptEnded | None, *, forgives: bool, of_round: bool = False
    ) -> dict[str, Any]:
        """What item `index` is, with the end `ended` of one of its attempts. `of_round`: costs are those of that round alone."""
        past = self.history.jobs[job_id]
        record = past.record(index)
        result: dict[str, Any] = dict.fromkeys(RESULT_FIELDS)
        result.update(
            item=self.item_name(job_id, index),
            job=job_id,
            index=index,
            label=self.label(job_id, index, record),
            value=self.value(job_id, index),
            status=self._seen_status(past.status(index), is_asking=past.is_asking(index)),
            output=self.choice(job_id, index),
            attempts=past.attempts(index),
            round=past.rounds_done(index) or None,
            **self._identity(job_id, index, record, ended),
        )
        if ended is not None:
            outcome = ended.outcome
            result.update(
                {"class": outcome.attempt_class.value},
                exit_code=outcome.exit_code,
                signal=outcome.signal,
                started_at=outcome.started_at,
                finished_at=outcome.finished_at,
                duration_s=round(outcome.duration_seconds, 6),
                stdout=outcome.stdout.path,
                stderr=outcome.stderr.path,
                error=_error_of(outcome),
                **_agent_part(outcome.agent),
                **_spent_part(ended, past.round_end(index, ended.round - 1) if of_round else None),
                **_workspace_part(outcome.workspace),
                workspace=self.workspace(job_id, index),
            )
            try:
                result["output"] = self._output(job_id, ended)
            except CaptureMismatch as mismatch:
                if not forgives:
                    raise
                result["error"] = str(mismatch)
        return result

    def results(
        self, job_id: str | None = None, status: Status | None = None, *, forgives: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Each `result` in item order, of one job or of all in file order, of one status or of all."""
        for each in [job_id] if job_id is not None else self.history.header.jobs:
            for index in self._indices(each, status):
                yield self.result(each, index, forgives=forgives)

    def _indices(self, job_id: str, status: Status | None) -> Iterable[int]:
        """The items that are seen with this status, in order."""
        recorded = [each for each in Status if status is None or self._seen_status(each) == status.value]
        past, count = self.history.jobs[job_id], self.count(job_id)
        if len(recorded) == 1 and past.count is not None:
            return past.indices(recorded[0])
        return (index for index in range(count) if past.status(index) in recorded)

    def count(self, job_id: str) -> int:
        """How many items the job has (0 for a fan-out that is not listed yet)."""
        count = self.history.jobs[job_id].count
        if count is not None:
            return count
        return 0 if self.history.header.jobs[job_id] else 1

    def label(self, job_id: str, index: int, record: AttemptEnded | ItemSettled | None = None) -> str | None:
        """What people call the item, as it was recorded; else its value if that is short."""
        if record is not None and record.label is not None:
            return record.label
        start = self.history.open_starts.get((job_id, index))
        if start is not None and start.label is not None:
            return start.label
        gate = self.history.jobs[job_id].gates.get(index)
        if gate is not None and gate.question is not None and gate.question.label is not None:
            return gate.question.label
        value = self.value(job_id, index)
        return str(value) if isinstance(value, str | int | float) and len(str(value)) <= 80 else None

    def find_round(self, reference: str) -> tuple[list[tuple[str, int]], int | None]:
        """The items that `reference` names, and the round if it ends in `#ROUND`. Raises UserError."""
        base, mark, number = reference.rpartition("#")
        if not mark or not (number.isascii() and number.isdigit()):
            return self.find_items(reference), None
        try:
            return self.find_items(reference), None  # a label may end so, too
        except UserError:
            return self.find_items(base), int(number)

    def find_items(self, reference: str) -> list[tuple[str, int]]:
        """The items that `reference` names: `JOB`, `JOB:INDEX`, `JOB:LABEL`, or a glob over these. Raises UserError."""
        job_id, colon, rest = reference.partition(":")
        if job_id in self.history.header.jobs:
            count = self.count(job_id)
            if not colon:
                return [(job_id, index) for index in range(count)]
            if rest.isascii() and rest.isdigit() and int(rest) < count:
                return [(job_id, int(rest))]
            found = [(job_id, index) for index in range(count) if self._shown_label(job_id, index) == rest]
            if found:
                return found
        found = [
            (each, index)
            for each in self.history.header.jobs
            for index in range(self.count(each))
            if fnmatch.fnmatchcase(self.item_name(each, index), reference)
            or fnmatch.fnmatchcase(f"{each}:{self._shown_label(each, index)}", reference)
        ]
        if not found:
            raise UserError(
                f"run {self.run_dir.run_id} has no item {reference!r}",
                f"its jobs are: {', '.join(self.history.header.jobs)}; an item is JOB:INDEX or JOB:LABEL",
            )
        return found

    def summary(self, waiting: Mapping[str, int] | None = None) -> dict[str, Any]:
        """The object of `run --json` and `status --json`. `waiting`: of each job, what its supervisor knows to wait."""
        header, ended, ledger = self.history.header, self.history.ended, ledger_of(self.history)
        counts = {each: self.job_counts(each, (waiting or {}).get(each, 0)) for each in header.jobs}
        total: dict[str, int] = {}
        for of_job in counts.values():
            for word, number in of_job.items():
                total[word] = total.get(word, 0) + number
        error = None
        if ended is not None and ended.error_message is not None:
            error = {"item": ended.error_item, "message": ended.error_message}
        return {
            "run_id": header.run_id,
            "name": header.name,
            "status": self.status_word(),
            "jobs_file": header.jobs_file,
            "started_at": header.created_at,
            "finished_at": ended.at if ended is not None else None,
            "counts": total,
            "cost_usd": ledger.cost_usd,
            "unknown_costs": ledger.unknown,
            "ledger": None if ledger.is_empty else ledger.as_json(),
            "error": error,
            "reason": (ended.reason or None) if ended is not None else None,
            "selection": self._selection(),
            "parent": header.parent,
            "jobs": [{"id": each, "status": self.job_status(each), "counts": counts[each]} for each in header.jobs],
        }

    def _selection(self) -> dict[str, Any] | None:
        """`items`: of all listed jobs; `selected`: so many of them; `jobs_left_out`: those of which none is."""
        selection = self.history.selection
        if selection == Selection():
            return None
        jobs = self.history.jobs.values()
        items = sum(self.count(job.id) for job in jobs)
        return {
            "only": list(selection.only),
            "limit": selection.limit,
            "items": items,
            "selected": items - sum(self.count(job.id) if job.has_none_chosen else job.unselected for job in jobs),
            "jobs_left_out": sum(job.has_none_chosen for job in jobs),
        }

    def job_counts(self, job_id: str, waiting: int = 0) -> dict[str, int]:
        """How many items stand in which state (only states that occur).

        `waiting`: so many wait at least. That an item waits for a pool or a rate is not recorded: it stands there as pending.
        """
        past = self.history.jobs[job_id]
        if past.count is None:
            return {} if self.history.header.jobs[job_id] else {past.status(0).value: 1}
        counts: dict[str, int] = {}
        asking = sum(past.status(index) is Status.WAITING for index in past.gates if past.is_asking(index))
        for status, number in past.counts().items():
            seen = asking if status is Status.WAITING else 0
            for word, part in ((status.value, seen), (self._seen_status(status), number - seen)):
                if part:
                    counts[word] = counts.get(word, 0) + part
        unrecorded = min(counts.get("pending", 0), waiting - counts.get("waiting", 0))
        if unrecorded > 0:
            counts["waiting"] = counts.get("waiting", 0) + unrecorded
            counts["pending"] -= unrecorded
        return {word: number for word, number in counts.items() if number}

    def job_status(self, job_id: str) -> str:
        """The job's state: pending, running, waiting, succeeded, failed, skipped, cancelled, interrupted."""
        past = self.history.jobs[job_id]
        if past.closed is not None:
            return past.closed
        if past.listing_failed is not None:
            return "failed"
        if past.count is None:
            return "pending"
        if self.is_alive:
            return "running"
        if past.counts()[Status.FAILED]:
            return "failed"
        return "waiting" if "waiting" in self.job_counts(job_id) else "interrupted"

    def _seen_status(self, status: Status, *, is_asking: bool = False) -> str:
        """A start or a backoff without a living supervisor is an interruption. Who waits for a choice needs no supervisor."""
        if status not in (Status.RUNNING, Status.WAITING) or self.is_alive:
            return status.value
        is_paused = self.history.ended is not None and self.history.ended.status == "paused"
        waits = status is Status.WAITING and (is_asking or is_paused)  # all other waits end with the session
        return (Status.WAITING if waits else Status.INTERRUPTED).value

    def recorded_label(self, job_id: str, index: int) -> str | None:
        """What the item was called when it was started, or settled without a start; None if it was not yet."""
        record, start = self.history.jobs[job_id].record(index), self.history.open_starts.get((job_id, index))
        return next((each.label for each in (record, start) if each is not None and each.label is not None), None)

    def _shown_label(self, job_id: str, index: int) -> str | None:
        return self.label(job_id, index, self.history.jobs[job_id].record(index))

    def _identity(
        self, job_id: str, index: int, record: AttemptEnded | ItemSettled | None, ended: AttemptEnded | None
    ) -> dict[str, Any]:
        """Which work the item is, and who did it: of the attempt that runs, else as it was recorded last."""
        past = self.history.jobs[job_id]
        start = self.history.open_starts.get((job_id, index)) or past.unended.get(index)
        latest = start or ended
        settled = record if isinstance(record, ItemSettled) else None
        token = next((each.token for each in (start, settled, ended) if each is not None and each.token is not None), None)
        payloads = (start,) if start is not None else (settled, ended)
        return {
            "token": token,
            "deduped_from": latest.deduped_from if isinstance(latest, AttemptEnded) else None,
            "promoted": None if token is None else latest is not None and latest.promotions > 0,
            "payload_hash": next((each.payload for each in payloads if each is not None and each.payload), None),
            "replaced_by": settled.replaced_by if settled is not None else None,
            "child": (latest.child or None) if latest is not None else None,
        }

    def _output(self, job_id: str, ended: AttemptEnded) -> Any:
        if ended.outcome.attempt_class is not AttemptClass.OK:
            return None
        return output_of(ended.outcome, self.job(job_id).output, self.run_dir)

    @cached_property
    def _jobs(self) -> dict[str, Job]:
        return {job.id: job for job in self.jobs_file.jobs}

    @cached_property
    def _item_lists(self) -> dict[tuple[str, int], ItemList | list[Any]]:
        return {}


def _error_of(outcome: Outcome) -> str | None:
    is_agents_success = outcome.agent is not None and outcome.attempt_class is AttemptClass.OK
    return None if is_agents_success else in_words(outcome) or None


def _workspace_part(report: WorkspaceReport | None) -> dict[str, Any]:
    """What was kept of the workspace of its last attempt."""
    if report is None:
        return {}
    return {
        "branch": report.branch,
        "commit": report.commit,
        "patch": report.patch.path,
        "artifacts": report.artifacts,
    }


def _spent_part(ended: AttemptEnded, round_before: AttemptEnded | None) -> dict[str, Any]:
    """What all attempts of the item have cost so far, or those since the round before."""
    if ended.spent is None:
        return {}
    ledger = ledger_of_item(ended.spent, round_before.spent if round_before is not None else None)
    return {"cost_usd": ledger.cost_usd, "usage": usage_json(ledger.usage), "unknown_costs": ledger.unknown}


def _agent_part(report: AgentReport | None) -> dict[str, Any]:
    """What an agent told of its last attempt."""
    if report is None:
        return {}
    return {
        "agent": report.agent,
        "model": report.model,
        "session_id": report.session_id,
        "denials": report.denials,
    }
