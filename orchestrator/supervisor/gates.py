"""Carrying out what the core decides of gates: ask, take the answer, go back.

Promise: a question is recorded before it is put to anybody; an answer survives power loss before anything acts on it, and is
acted on once, whoever is killed when. It refuses to handle: what a choice brings about (core), how a terminal is asked (`Asker`).
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from typing import Protocol

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.labels import item_label
from orchestrator.attempts.items.selection import Selector
from orchestrator.attempts.preparer import NotStarted
from orchestrator.attempts.rendering import Question, is_wanted, question_of
from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.control.messages import Reply
from orchestrator.control.requester import Requester, this_process
from orchestrator.core.events import Declined, GateEnd, GateTold, ItemsReopened, LeftAlone
from orchestrator.core.states import ItemRef
from orchestrator.errors import UserError
from orchestrator.jobsfile.keys import REJECTING
from orchestrator.jobsfile.model import Job
from orchestrator.reading.seen_statuses import job_counts
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.gate_records import GateAnswered, GateAsked
from orchestrator.store.records import ItemSettled, Reopened, Status
from orchestrator.supervisor.run import Run
from orchestrator.supervisor.settlements import Settlements
from orchestrator.system.fence import passes_fence
from orchestrator.views.prompt import Said
from orchestrator.workers.faultpoints import fault_point


class Asker(Protocol):
    """Somebody who can be asked at once, one question at a time."""

    def open(self, name: str, question: str, options: Sequence[str], show_file: str | None) -> None:
        """Put the question of the gate `name`. `show_file`: path of a file to be shown with it."""

    def close(self, words: str) -> None:
        """Take the question back, and say why."""

    def filenos(self) -> list[int]:
        """What becomes readable when there is something to `read`."""

    def read(self) -> Said | EOFError | None:
        """What was chosen; EOFError: nobody is there any more; None: nothing yet. Does not block."""


class Gates:
    """The gates of one run. `asker`: the person at the terminal, if there is one."""

    def __init__(
        self, run: Run, contexts: ItemContexts, selector: Selector, settlements: Settlements, asker: Asker | None
    ) -> None:
        self._run = run
        self._contexts = contexts
        self._selector = selector
        self._settlements = settlements
        self._asker = asker
        self._acted: set[ItemRef] = set()
        """Gates whose recorded answer has had its effect: asked once more, they want a new one."""
        self._queue: list[ItemRef] = []
        self._open: ItemRef | None = None
        """The gate whose question is on the terminal."""

    def ask(self, item: ItemRef) -> None:
        """Carry out `AskGate`: put the question, unless it is answered already or needs no answer."""
        job, index = self._run.job(item), item[1]
        # The question may tell of what ended in this very turn.
        self._run.recorder.catch_up()
        label = None
        try:
            context = self._contexts.for_item(job, index, 1)
            label = context["label"] = item_label(job, context)
            if not self._selector.admits(job.id, index, self._run.reader.count(job.id), label):
                self._tell(item, GateEnd.UNSELECTED, NotStarted(Declined.UNSELECTED, self._selector.reason, label))
                return
            if not is_wanted(job, context):
                self._tell(item, GateEnd.SKIPPED, NotStarted(Declined.SKIPPED, "`when` is false", label))
                return
            question = question_of(job, context, self._run.jobs_file.folder)
        except (ItemRefused, CaptureMismatch) as refused:
            self._tell(item, GateEnd.REFUSED, NotStarted(Declined.REFUSED, str(refused), label))
            return
        except Exception as error:
            if passes_fence(error):
                raise
            words = self._run.tell.fenced(f"{self._run.name(item)}: its question could not be put", error)
            self._tell(item, GateEnd.REFUSED, NotStarted(Declined.REFUSED, f"its question could not be put: {words}", label))
            return
        # `approve` may have recorded an answer while nobody supervised the run.
        answer = self._recorded_answer(item)
        if answer is not None:
            self._act(item, answer, label)
        else:
            self._put(item, job, question, label)

    def reopen(self, items: Sequence[ItemRef], jobs: Sequence[int] = ()) -> None:
        """Carry out `ReopenItems`, for items that are selected. `jobs`: also these, closed before they were listed."""
        items = [item for item in items if self._is_selected(item)]
        indices: dict[int, list[int]] = {}
        for order, index in items:
            indices.setdefault(order, []).append(index)
        indices.update({order: [] for order in jobs})
        job_ids = [self._run.jobs[order].id for order in indices]
        for job_id, each in zip(job_ids, indices.values(), strict=True):
            self._run.recorder.add(Reopened(job=job_id, indices=each))
        # Now, and not at the end of the turn: the attempts so far, which the core is told, are read from the history.
        self._run.recorder.commit()
        fault_point("supervisor.reopened")
        # What templates have read of these jobs is no longer so.
        self._contexts.forget_jobs(job_ids)
        for job_id in job_ids:
            self._run.tell.counted(job_id, self._run.reader.count(job_id), job_counts(self._run.reader, job_id))
        self._run.happened(
            ItemsReopened(
                {item: self._run.past(item).attempts(item[1]) for item in items},
                tuple(jobs),
            )
        )

    def answer(self, items: Sequence[ItemRef], choice: str | None, message: str, requester: Requester) -> Reply:
        """Take this answer to all of these gates, or to none."""
        from orchestrator.supervisor.gate_answers import GivenAnswer, answer_of

        given = GivenAnswer(choice, message, requester)
        # All answers are looked at before one is recorded, so a wrong one leaves every gate as it was.
        answers: dict[ItemRef, GateAnswered] = {}
        try:
            for item in items:
                past = self._run.past(item)
                answer = answer_of(past, item[1], self._run.name(item), given)
                if answer is not None:
                    answers[item] = answer
        except UserError as error:
            return Reply(False, f"{error.message}; {error.hint}" if error.hint else error.message)
        for answer in answers.values():
            self._run.recorder.add(answer)
        # A person hears "answered" only once a power cut cannot take the answer away.
        self._run.recorder.make_durable()
        fault_point("supervisor.answered")
        is_late = False
        for item, answer in answers.items():
            if self._run.core.is_asking(item):
                self._act(item, answer, self._label(item))
            else:
                is_late = True
        return Reply(True, answered_in_words([self._run.name(item) for item in items], bool(answers), is_late=is_late))

    # The terminal.

    def show_next_question(self) -> None:
        """Take a question off the terminal that is answered or over. Put the next one, in the order of the items."""
        if self._asker is None:
            return
        if self._open is not None and not self._is_open(self._open):
            self._asker.close(self._why_closed(self._open))
            self._open = None
        while self._open is None and self._queue:
            item = heapq.heappop(self._queue)
            asked = self._asked(item)
            if asked is not None and self._is_open(item):
                self._asker.open(self._run.name(item), asked.question, asked.options, asked.show_file)
                self._open = item

    def filenos(self) -> list[int]:
        """What becomes readable when somebody at the terminal says something."""
        return self._asker.filenos() if self._asker is not None and self._open is not None else []

    def read_terminal(self) -> Said | EOFError | None:
        """What was said at the terminal."""
        assert self._asker is not None
        return self._asker.read()

    def take_in(self, said: Said | EOFError | None) -> None:
        """Act on what was said at the terminal."""
        match said:
            case Said(choice=choice, message=message) if self._open is not None:
                self.answer([self._open], choice, message, this_process())
            case EOFError():
                self.leave()
                self._run.happened(LeftAlone())
            case _:
                pass  # nothing yet; or the question was closed in this very turn

    def leave(self) -> None:
        """Ask nobody any more at the terminal."""
        if self._asker is not None and self._open is not None:
            self._asker.close("not answered")
        self._asker = self._open = None

    # What happens to one gate.

    def _put(self, item: ItemRef, job: Job, question: Question, label: str | None) -> None:
        asked = GateAsked(
            job=job.id,
            index=item[1],
            question=question.text,
            options=list(job.options),
            at=time.time(),
            label=label,
            show_file=question.show_file,
        )
        self._run.recorder.add(asked)
        self._acted.discard(item)
        self._run.tell.asks(self._run.name(item), asked, is_here=self._asker is not None)
        self._run.happened(GateTold(item, GateEnd.OPEN))
        heapq.heappush(self._queue, item)

    def _act(self, item: ItemRef, answer: GateAnswered, label: str | None) -> None:
        job = self._run.job(item)
        self._acted.add(item)
        self._run.tell.answered(self._run.name(item), job.id, label, answer)
        if answer.choice not in REJECTING:
            words = f"{answer.choice}: {answer.message}" if answer.message else answer.choice
            self._tell(item, GateEnd.APPROVED, NotStarted(Declined.SATISFIED, words, label))
        elif job.on_reject.how == "retry":
            self._run.happened(GateTold(item, GateEnd.REJECTED))
        else:
            words = f"rejected: {answer.message}" if answer.message else "rejected"
            self._tell(item, GateEnd.REJECTED, NotStarted(Declined.REFUSED, words, label))

    def _tell(self, item: ItemRef, how: GateEnd, why: NotStarted) -> None:
        self._settlements.declined(item, why)
        self._run.happened(GateTold(item, how))

    def _recorded_answer(self, item: ItemRef) -> GateAnswered | None:
        """An answer that nobody could act on when it was given. A gate that failed for its answer is asked anew."""
        past = self._run.past(item)
        gate = past.gates.get(item[1])
        if gate is None or gate.question is None or item in self._acted or past.status(item[1]) is Status.FAILED:
            return None
        return gate.answer

    def _is_selected(self, item: ItemRef) -> bool:
        past, index = self._run.past(item), item[1]
        if past.status(index) is not Status.SKIPPED or not self._selector.words:
            return True
        record = past.record(index)
        is_late = isinstance(record, ItemSettled) and record.message == self._selector.reason
        return past.is_selected(index) and not is_late

    def _asked(self, item: ItemRef) -> GateAsked | None:
        gate = self._run.past(item).gates.get(item[1])
        return gate.question if gate is not None else None

    def _label(self, item: ItemRef) -> str | None:
        asked = self._asked(item)
        return asked.label if asked is not None else None

    def _is_open(self, item: ItemRef) -> bool:
        return self._run.core.is_asking(item) and self._run.past(item).is_asking(item[1])

    def _why_closed(self, item: ItemRef) -> str:
        return self._run.reader.choice(self._run.job(item).id, item[1]) or "not answered"


def answered_in_words(names: list[str], is_new: bool, *, is_late: bool) -> str:
    """The reply to an answer. `is_late`: only a resume acts on it."""
    what = names[0] if len(names) == 1 else f"{len(names)} gates"
    if not is_new:
        return f"{what}: answered so already"
    return f"{what}: answered" + ("; the run is ending, and a resume of it goes on from there" if is_late else "")
