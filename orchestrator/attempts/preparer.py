"""From a decision `StartAttempt` to what the attempt will do, or to the reason why it does not start.

`Preparer` evaluates the item's templates with the names of its run. The selection, `when`, the loop, `creates` and a replay have
a say in it. The message for the worker is made of that in `message.py`. Nothing here starts anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.attempts.agent.fallback import Choose, Chooser
from orchestrator.attempts.agent.sessions import LastEnd
from orchestrator.attempts.agent.work import NOTHING_BEFORE, AgentSurroundings, Before, finder
from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.labels import item_label
from orchestrator.attempts.items.selection import Selector
from orchestrator.attempts.loops import Loops
from orchestrator.attempts.rendering import Prepared, Question, Surroundings, is_wanted, question_of, render_attempt
from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.attempts.workspaces.assignment import Workspaces
from orchestrator.core.decisions import StartAttempt
from orchestrator.core.events import Declined
from orchestrator.jobsfile.keys import PLACE_NAMES, ROUND_NAMES
from orchestrator.jobsfile.model import Job, JobsFile, templates_of
from orchestrator.reading.run_records import Records
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.records import AttemptEnded, Started, Status
from orchestrator.system.fence import fenced_words, log_fenced, passes_fence
from orchestrator.workers.protocol import AttemptClass, Creates, Outcome

if TYPE_CHECKING:
    from orchestrator.attempts.looks import Look, Looks
    from orchestrator.attempts.renewal import Renewals
    from orchestrator.attempts.replay.replay import Replay

_CHANGING_NAMES = ROUND_NAMES | {"attempt"}
"""Names that stand for something else in a later attempt of the same item."""


class NotStarted(msgspec.Struct, frozen=True):
    """The item does not start now: `why`, and in words. `token` and `payload`: of an item that asked for its token.

    `is_lost`: something that it reads cannot be read any more, so nobody knows what it would do. `look`: is being taken at its
    sources, and the item is to be prepared anew when that is over.
    """

    why: Declined
    message: str
    label: str | None
    token: str | None = None
    payload: str = ""
    is_lost: bool = False
    look: Look | None = None


class Ready(msgspec.Struct, frozen=True):
    """The item may start: what its attempt will do."""

    prepared: Prepared
    label: str | None
    round: int = 0
    """The round that the attempt makes; 0: the job is no loop."""


class Preparer:
    """Prepares the attempts of one run. `chooser`: which agent does an attempt; without one, none is thought to be at a limit.

    `replay`: what is played, if the run is a replay. Raises UserError if its capsule cannot be read.
    """

    def __init__(
        self,
        records: Records,
        contexts: ItemContexts,
        loops: Loops,
        jobs_file: JobsFile,
        selector: Selector,
        chooser: Chooser | None = None,
    ) -> None:
        self._records = records
        self._contexts = contexts
        self._loops = loops
        self._jobs_file = jobs_file
        self._selector = selector
        self._chooser = chooser or Chooser(os.environ, lambda _account: 0.0)
        self._find_agent = finder(jobs_file)
        self._workspaces = Workspaces(records, jobs_file)
        self._within = records.history.header.within
        self._plain = Surroundings(
            folder=jobs_file.folder,
            temporary_suffix="",
            run_env=jobs_file.run.env,
            files=jobs_file.files,
            within=self._within,
        )
        self._names: dict[str, frozenset[str]] = {}
        """By job the names that its templates use, as soon as that was asked."""
        self.replay: Replay | None = None
        if records.history.header.options.replay:
            from orchestrator.attempts.replay.replay import Replay

            self.replay = Replay(records, jobs_file.folder)

    # What an attempt does.

    def prepare_start(self, job: Job, start: StartAttempt, left_usd: float | None) -> Ready | NotStarted:
        """As `prepare_attempt`, for an attempt that begins now: in a replay with what is played for it.

        A bug of ours is no reason to end the run, and tells the item's mistake as well as it can.
        """
        index = start.item[1]
        try:
            found = self.prepare_attempt(job, index, start.attempt, start=start, left_usd=left_usd)
            return found if self.replay is None else self._as_played(found, job, index)
        except Exception as error:
            return self._unready(job, index, error)

    def _fenced(self, job: Job, index: int, prepare: Callable[[], Ready | NotStarted]) -> Ready | NotStarted:
        """Raises UserError and OSError, for what concerns the whole run."""
        try:
            return prepare()
        except Exception as error:
            return self._unready(job, index, error)

    def _unready(self, job: Job, index: int, error: Exception) -> NotStarted:
        """A bug of ours, as the end of this item alone. Raises the error if it concerns the whole run."""
        if passes_fence(error):
            raise error
        log_fenced(self._records.run_dir.log, f"{self._records.item_name(job.id, index)}: it could not be made ready", error)
        return NotStarted(Declined.REFUSED, f"it could not be made ready: {fenced_words(error)}", None)

    def _as_played(self, found: Ready | NotStarted, job: Job, index: int) -> Ready | NotStarted:
        """In a replay: with what is played in the place of an agent."""
        if self.replay is None or isinstance(found, NotStarted) or found.prepared.agent is None:
            return found
        try:
            prepared = self.replay.instead(found.prepared, job, index)
        except ItemRefused as refused:
            return NotStarted(Declined.REFUSED, str(refused), found.label)
        return msgspec.structs.replace(found, prepared=prepared)

    def prepare_attempt(
        self,
        job: Job,
        index: int,
        attempt: int,
        round_number: int | None = None,
        start: StartAttempt | None = None,
        left_usd: float | None = None,
    ) -> Ready | NotStarted:
        """What the attempt will do (of a loop: in the round that comes next). Never raises for a mistake of the item's.

        `start`: of one that begins now, in which slot, by which account; `left_usd`: what its budgets leave to its agent.
        """
        found = self._evaluate(job, index, attempt, round_number, start, left_usd)
        if isinstance(found, NotStarted):
            return found
        # Done already: nothing is to be paid for twice.
        prepared, label = found.prepared, found.label
        if self._keeps_outcome(job, index, prepared.payload):
            return NotStarted(Declined.SATISFIED, "", label)
        return self._unless_made(found, job, index, is_beginning=start is not None) if prepared.creates else found

    def _unless_made(self, ready: Ready, job: Job, index: int, *, is_beginning: bool) -> Ready | NotStarted:
        """The item with why it runs, if the files of `creates` are to be made (anew)."""
        prepared = ready.prepared
        is_proven = self._is_proven(job, index, prepared.creates)
        look = partial(self._renewals.look, prepared, is_proven=is_proven, state=self._ends_before(job))
        try:
            if is_beginning and prepared.sources:
                # Beside the loop, which has others to serve.
                begun = self._looks.look_of((job.id, index, prepared.is_asked), look)
                if not begun.is_over:
                    return NotStarted(Declined.HELD, "", ready.label, look=begun)
                renewal = begun.found()
            else:
                renewal = look()
        except ItemRefused as refused:
            return NotStarted(Declined.REFUSED, str(refused), ready.label)
        if renewal.because:
            prepared = msgspec.structs.replace(prepared, because=renewal.because, made_note=renewal.note)
            return msgspec.structs.replace(ready, prepared=prepared)
        from orchestrator.attempts.promises import existing_in_words

        return NotStarted(Declined.SATISFIED, existing_in_words(prepared.creates), ready.label)

    @cached_property
    def _renewals(self) -> Renewals:
        from orchestrator.attempts.renewal import Renewals

        return Renewals(self._records.run_dir.home)

    @cached_property
    def _looks(self) -> Looks:
        from orchestrator.attempts.looks import Looks

        return Looks()

    def _ends_before(self, job: Job) -> int:
        """How much has ended of what the job needs: what that has made, patterns of `sources` may match."""
        history = self._records.history
        if any(each.sent_back_by for each in self._jobs_file.jobs if each.id in job.needs):
            return history.next_sequence  # it may end again and again, and its number of ends be the same
        counts = [history.jobs[need].counts() for need in job.needs]
        return sum(each[Status.SUCCEEDED] + each[Status.FAILED] for each in counts)

    def _evaluate(
        self,
        job: Job,
        index: int,
        attempt: int,
        round_number: int | None,
        start: StartAttempt | None = None,
        left_usd: float | None = None,
    ) -> Ready | NotStarted:
        """As `prepare_attempt`, also of an item that is done already."""
        label = None
        is_loop = job.repeat is not None
        number = round_number if round_number is not None else self._loops.next_round(job, index) if is_loop else 0
        try:
            # The label first: it is what people know the item by, also one that does not start.
            slot, device, account = (start.slot, start.device, start.account) if start is not None else (0, "", None)
            context = self._contexts.for_item(job, index, attempt, slot, device)
            label = context["label"] = item_label(job, context)
            # Whether it runs at all, before anything else is rendered: a template may make sense only where it does.
            selector = self._selector
            if selector.words and not selector.admits(job.id, index, self._records.count(job.id), label):
                return NotStarted(Declined.UNSELECTED, selector.reason, label)
            if job.when is not None and not is_wanted(job, context):
                return NotStarted(Declined.SKIPPED, "`when` is false", label)
            if is_loop:
                context.update(self._loops.names(job, index, number))
                if number == 1 and not self._loops.begins(job, context):
                    return NotStarted(Declined.SATISFIED, "`while` is false before the first round", label)
            prepared = self._render(job, index, attempt, context, account, left_usd)
            # The payload is that of the first attempt in the first slot: a template with `attempt` or `slot` renders to other
            # words in another, and the token would stand for two works.
            changing = _CHANGING_NAMES if attempt > 1 else frozenset[str]()
            if slot or device:
                changing |= PLACE_NAMES
            if changing and self._names_of(job) & changing:
                first = self._evaluate(job, index, 1, min(number, 1))
                if isinstance(first, Ready):
                    prepared = msgspec.structs.replace(prepared, payload=first.prepared.payload)
        except ItemRefused as refused:
            # A mistake of the item's. The others go on.
            return NotStarted(Declined.REFUSED, str(refused), label)
        except CaptureMismatch as lost:
            # Somebody removed an output that a template reads, or the list that has the item's value.
            return NotStarted(Declined.REFUSED, str(lost), label, is_lost=True)
        is_asked = index in self._records.history.jobs[job.id].retries
        return Ready(msgspec.structs.replace(prepared, is_asked=True) if is_asked else prepared, label, number)

    def _render(
        self, job: Job, index: int, attempt: int, context: dict[str, Any], account: str | None, left_usd: float | None
    ) -> Prepared:
        has_place = job.workspace.kind != "shared" or bool(job.artifacts)
        # What is rendered for most items has nothing of its own around it.
        if not (job.is_agent or has_place or job.creates is not None):
            return render_attempt(job, context, self._plain)
        from orchestrator.store.schema_copies import copy_of_schema

        agents = AgentSurroundings(
            find=self._find_agent,
            before=self.find_before(job, index, attempt),
            choose=self._choose_of(job, index, account),
            left_usd=left_usd,
            copy_schema=partial(copy_of_schema, self._records.run_dir),
        )
        surroundings = Surroundings(
            folder=self._jobs_file.folder,
            temporary_suffix=f"{self._records.history.header.mark}/{job.id}:{index}",
            run_env=self._jobs_file.run.env,
            place=self._workspaces.place(job, index, attempt, context) if has_place else None,
            agents=agents,
            files=self._jobs_file.files,
            within=self._within,
        )
        return render_attempt(job, context, surroundings)

    def _names_of(self, job: Job) -> frozenset[str]:
        """The names that templates of the job use."""
        found = self._names.get(job.id)
        if found is None:
            found = self._names[job.id] = frozenset().union(*(template.names for template in templates_of(job)))
        return found

    def _choose_of(self, job: Job, index: int, account: str | None) -> Choose:
        """How the agent is chosen. A replay has no accounts: the capsule says which agent it was."""
        if self.replay is None:
            return partial(self._chooser.choose, wanted=account)
        return self.replay.choice(job, index)

    def find_before(self, job: Job, index: int, attempt: int) -> Before:
        """How the attempt before ended, if it was at the same work, and what a person wants to be other this time."""
        if not job.is_agent:
            return NOTHING_BEFORE
        past = self._records.history.jobs[job.id]
        retry = past.retries.get(index)
        ended = None if attempt == 1 or past.is_set_back(index) else past.last_end(index)
        last = None if ended is None else LastEnd(ended.outcome, ended.folder)
        return Before(last, retry, retry is not None and ended is not None and ended.attempt <= retry.attempts)

    # What an item would do now, to be compared with what it did.

    def is_same(self, job: Job, index: int, ended: AttemptEnded | None) -> bool:
        """Whether the item would do now what its attempt `ended` did; also if it has nothing to do at all."""
        found = self._prepare_first(job, index)
        if isinstance(found, NotStarted):
            return found.why is Declined.SATISFIED
        return ended is not None and ended.payload == found.prepared.payload

    def is_other(self, job: Job, index: int, ended: AttemptEnded) -> bool:
        """Whether the item would do something else now; False where that cannot be known."""
        found = self._prepare_first(job, index)
        if isinstance(found, NotStarted):
            return found.why is not Declined.SATISFIED and not found.is_lost
        return ended.payload != found.prepared.payload

    def work_of(self, job: Job, index: int) -> tuple[str | None, str | None]:
        """What tells the item's work from other work, also if it is done: its payload, if it can be known, and its label."""
        number = 1 if job.repeat is not None else 0
        found = self._fenced(job, index, lambda: self._evaluate(job, index, 1, number))
        return found.prepared.payload if isinstance(found, Ready) else None, found.label

    def payload_of(self, job: Job, index: int) -> str | None:
        """The payload that the item would have now; None if it would not start."""
        found = self._prepare_first(job, index)
        return found.prepared.payload if isinstance(found, Ready) else None

    def question_of(self, job: Job, index: int) -> Question | None:
        """What a gate would ask now; None if it would not."""
        try:
            context = self._contexts.for_item(job, index, 1)
            context["label"] = item_label(job, context)
            return question_of(job, context, self._jobs_file.folder) if is_wanted(job, context) else None
        except (ItemRefused, CaptureMismatch):
            return None

    def _prepare_first(self, job: Job, index: int) -> Ready | NotStarted:
        number = 1 if job.repeat is not None else 0
        return self._fenced(job, index, lambda: self.prepare_attempt(job, index, 1, number))

    def _keeps_outcome(self, job: Job, index: int, payload: str) -> bool:
        """Whether an item that an update set back succeeded with this very payload, which was not known at the update."""
        past = self._records.history.jobs[job.id]
        ended = past.last_end(index) if past.is_set_back(index) else None
        return ended is not None and ended.status is Status.SUCCEEDED and ended.payload == payload

    def _is_proven(self, job: Job, index: int, creates: Sequence[Creates]) -> bool:
        """Whether the files of `creates`, if they are there, show that the item was done once."""
        past = self._records.history.jobs[job.id]
        ended = past.last_end(index) if past.attempts(index) else None
        # The files were there before the item, or a success made them.
        if not past.attempts(index) or (ended is not None and ended.status is Status.SUCCEEDED):
            return True
        # A failed attempt may have left one of them.
        unproven = ended.outcome.unproven if ended is not None else ""
        if unproven:
            from orchestrator.workers.files.creates import fingerprint

            left = zip(creates, unproven.split(), strict=False)
            if any(fingerprint(each.final) == word for each, word in left):
                return False
        # Nobody saw what an attempt left whose worker was killed. One that writes to the temporary name ends with the rename, so
        # the file is whole; one that writes the final name itself may have been half way.
        is_seen = ended is not None and ended.outcome.attempt_class is not AttemptClass.LOST and index not in past.unended
        return is_seen or any("creates" in template.names for template in templates_of(job))

    # What an attempt came to.

    def outcome_as_played(self, start: Started, outcome: Outcome) -> Outcome:
        """The outcome of an attempt; in a replay, where the played streams do not tell how it ended, as it was recorded."""
        return outcome if self.replay is None or start.played is None else self.replay.took(start.played, start.job, outcome)
