"""From a decision `StartAttempt` to the message that a worker gets."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.attempts.agent.fallback import Choose, Chooser
from orchestrator.attempts.agent.sessions import LastEnd
from orchestrator.attempts.agent.work import NOTHING_BEFORE, AgentWork, Before, finder
from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.labels import item_label
from orchestrator.attempts.items.selection import Selector
from orchestrator.attempts.loops import Loops
from orchestrator.attempts.rendering import Prepared, Question, is_wanted, prepare, question_of
from orchestrator.attempts.replay.asked import compared
from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.attempts.workspaces.assignment import Workspaces
from orchestrator.core.events import Declined
from orchestrator.jobsfile.keys import ROUND_NAMES
from orchestrator.jobsfile.model import Job, JobsFile, templates_of
from orchestrator.reading.run_reader import RunReader
from orchestrator.shared.nesting.ancestors import Nesting
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.home import agent_folder
from orchestrator.store.records import AttemptEnded, Started, Status
from orchestrator.system.redaction import of_this_process
from orchestrator.workers.protocol import AgentTask, Check, ConfigTask, Holding, Limits, Outcome, Start, WorkspaceTask

if TYPE_CHECKING:
    from orchestrator.attempts.replay.replay import Replay

MOST_EVENTS = 100_000
"""Events that an agent's attempt may write: some loop for ever on a reply that was cut, thousands of events a second."""

_CHANGING_NAMES = ROUND_NAMES | {"attempt"}
"""Names that stand for something else in a later attempt of the same item."""


class NotStarted(msgspec.Struct, frozen=True):
    """The item will not run now: skipped, found done, or refused; in words. `token` and `payload`: if it asked for a token."""

    why: Declined
    message: str
    label: str | None
    token: str | None = None
    payload: str = ""


class Ready(msgspec.Struct, frozen=True):
    """What will be done."""

    prepared: Prepared
    label: str | None
    round: int = 0
    """Of a loop; 0: the job is none."""


class Starter:
    """Renders attempts of one run."""

    def __init__(
        self,
        reader: RunReader,
        contexts: ItemContexts,
        loops: Loops,
        jobs_file: JobsFile,
        nesting: Nesting | None,
        selector: Selector,
        chooser: Chooser | None = None,
    ) -> None:
        header = reader.history.header
        self._reader = reader
        self._contexts = contexts
        self._loops = loops
        self._selector = selector
        self._jobs_file = jobs_file
        self._run_environment = {
            "ORCHESTRATE_HOME": str(reader.run_dir.home),
            "ORCHESTRATE_RUN": header.run_id,
        }
        self._nesting = nesting
        self._chooser = chooser or Chooser(os.environ, lambda _account: 0.0)
        self._find_agent = finder(jobs_file)
        self._workspaces = Workspaces(reader, jobs_file)
        self._places = {
            str(reader.run_dir.path): "run",
            str(reader.run_dir.home): "home",
            jobs_file.folder: "folder",
            header.run_id: "run id",
        }
        self._replay: Replay | None = None
        if header.options.replay:
            from orchestrator.attempts.replay.replay import Replay

            self._replay = Replay(reader, self._asked)
            # Where a prompt has the name of the recorded run as a word of its own, that was named, too.
            self._places[self._replay.recorded_run_id] = "run id"
        self._mark = f"{nesting.marks[-1]}/{header.mark}" if nesting is not None else header.mark

    def render(
        self,
        job: Job,
        index: int,
        attempt: int,
        round_number: int | None = None,
        account: str | None = None,
        left_usd: float | None = None,
    ) -> Ready | NotStarted:
        """Evaluate the item's templates (of a loop: for the round that comes next). Never raises for a mistake of the item's.

        `account`: the one that its agent is to use, if that is known; `left_usd`: what its budgets leave to its agent.
        """
        label = None
        number = self._loops.next_round(job, index) if round_number is None else round_number
        try:
            context = self._contexts.for_item(job, index, attempt)
            label = context["label"] = item_label(job, context)
            if not self._selector.admits(job.id, index, self._reader.count(job.id), label):
                return NotStarted(Declined.UNSELECTED, self._selector.reason, label)
            if job.when is not None and not is_wanted(job, context):
                return NotStarted(Declined.SKIPPED, "`when` is false", label)
            context.update(self._loops.names(job, index, number))
            if number == 1 and not self._loops.begins(job, context):
                return NotStarted(Declined.SATISFIED, "`while` is false before the first round", label)
            prepared = prepare(
                job,
                self._jobs_file.run.env,
                context,
                folder=self._jobs_file.folder,
                temporary_suffix=self._reader.history.header.mark,
                find_agent=self._find_agent,
                before=self.before(job, index, attempt),
                place=self._workspaces.place(job, index, attempt, context),
                choose=self._choose(job, index, account),
                left_usd=left_usd,
            )
            if attempt > 1 and any(template.names & _CHANGING_NAMES for template in templates_of(job)):
                # What an item does is told by its first attempt: a later one may render to something else.
                first = self.render(job, index, 1, min(number, 1))
                if isinstance(first, Ready):
                    prepared = msgspec.structs.replace(prepared, payload=first.prepared.payload)
        except (ItemRefused, CaptureMismatch) as refused:  # perhaps somebody removed an output that a template reads
            return NotStarted(Declined.REFUSED, str(refused), label)
        if self._keeps_outcome(job, index, prepared.payload):
            return NotStarted(Declined.SATISFIED, "", label)
        if prepared.creates is not None and os.path.exists(prepared.creates.final):
            return NotStarted(Declined.SATISFIED, f"{prepared.creates.final} exists", label)
        is_asked = index in self._reader.history.jobs[job.id].retries
        return Ready(msgspec.structs.replace(prepared, is_asked=True) if is_asked else prepared, label, number)

    def render_start(self, job: Job, index: int, attempt: int, account: str | None, left_usd: float | None) -> Ready | NotStarted:
        """The same for an attempt that begins now: in a replay with what is played for it."""
        rendered = self.render(job, index, attempt, account=account, left_usd=left_usd)
        if self._replay is None or isinstance(rendered, NotStarted) or rendered.prepared.agent is None:
            return rendered
        try:
            prepared = self._replay.instead(rendered.prepared, job, index)
        except ItemRefused as refused:
            return NotStarted(Declined.REFUSED, str(refused), rendered.label)
        return msgspec.structs.replace(rendered, prepared=prepared)

    def took(self, start: Started, outcome: Outcome) -> Outcome:
        """What an attempt came to: in a replay, as far as that can be played."""
        return outcome if self._replay is None or start.played is None else self._replay.took(start.played, start.job, outcome)

    def _choose(self, job: Job, index: int, account: str | None) -> Choose:
        if self._replay is None:
            return partial(self._chooser.choose, wanted=account)
        return self._replay.choice(job, index)

    def before(self, job: Job, index: int, attempt: int) -> Before:
        """How the attempt before ended, if it was at the same work, and what somebody wants to be other this time."""
        if not job.is_agent:
            return NOTHING_BEFORE
        past = self._reader.history.jobs[job.id]
        retry = past.retries.get(index)
        ended = None if attempt == 1 or past.is_set_back(index) else past.last_end(index)
        last = None if ended is None else LastEnd(ended.outcome, ended.folder)
        return Before(last, retry, retry is not None and ended is not None and ended.attempt <= retry.attempts)

    def is_same(self, job: Job, index: int, ended: AttemptEnded | None) -> bool:
        """Whether the item would do now what its attempt that ended did, if there was one, or has nothing to do at all."""
        rendered = self._render_first(job, index)
        if isinstance(rendered, NotStarted):
            return rendered.why is Declined.SATISFIED
        return ended is not None and ended.payload == rendered.prepared.payload

    def payload_of(self, job: Job, index: int) -> str | None:
        """The payload that the item would have now; None if it would not start."""
        rendered = self._render_first(job, index)
        return rendered.prepared.payload if isinstance(rendered, Ready) else None

    def question(self, job: Job, index: int) -> Question | None:
        """What a gate would ask now; None if it would not."""
        try:
            context = self._contexts.for_item(job, index, 1)
            context["label"] = item_label(job, context)
            return question_of(job, context, self._jobs_file.folder) if is_wanted(job, context) else None
        except (ItemRefused, CaptureMismatch):
            return None

    def _render_first(self, job: Job, index: int) -> Ready | NotStarted:
        return self.render(job, index, 1, 1 if job.repeat is not None else 0)

    def _keeps_outcome(self, job: Job, index: int, payload: str) -> bool:
        """Whether an item that an update set back has succeeded with this very payload: it was not known then."""
        past = self._reader.history.jobs[job.id]
        ended = past.last_end(index) if past.is_set_back(index) else None
        return ended is not None and ended.status is Status.SUCCEEDED and ended.payload == payload

    def message(
        self,
        job: Job,
        index: int,
        attempt: int,
        sequence: int,
        prepared: Prepared,
        *,
        recorded_through: int,
        kept_locks: int,
        pools: list[str],
        more_arguments: Sequence[str] = (),
    ) -> Start:
        """What the worker gets. `pools`: those of which the attempt holds a slot; `kept_locks` as in `Start`."""
        item = self._reader.item_name(job.id, index)
        stdout_path, stderr_path = self._reader.run_dir.output_paths(job.id, index, attempt)
        start = Start(
            sequence=sequence,
            item=item,
            attempt=attempt,
            mark=self.mark(item, attempt),
            argv=[*prepared.argv, *more_arguments],
            cwd=prepared.cwd,
            stdout_path=stdout_path,
            stderr_path=stderr_path,
            env=self.environment(item, attempt, prepared),
            stdin=prepared.stdin,
            script=prepared.script,
            limits=Limits(
                timeout_seconds=job.timeout,
                stall_timeout_seconds=job.stall_timeout,
                grace_seconds=job.grace,
                max_output_bytes=job.max_output,
                memory_bytes=job.memory,
            ),
            creates=prepared.creates,
            kept_locks=kept_locks,
            holding=self._holding(job, item, pools),
            check=Check(script=prepared.check, path=f"{stdout_path.removesuffix('stdout')}check") if prepared.check else None,
            workspace=self._workspace(prepared, item, stdout_path),
            config=self._config(prepared),
            **_agent_part(prepared.agent, f"{stdout_path.removesuffix('stdout')}answer", self._asked),
            recorded_through=recorded_through,
        )
        return start if self._replay is None or prepared.played is None else self._replay.start(start, prepared.played)

    def _workspace(self, prepared: Prepared, item: str, stdout_path: str) -> WorkspaceTask | None:
        if prepared.place is None:
            return None
        task = self._workspaces.task(prepared, item, stdout_path)
        return task if prepared.agent is None else msgspec.structs.replace(task, litter=prepared.agent.litter)

    def _config(self, prepared: Prepared) -> ConfigTask | None:
        """Where an agent's CLI keeps its state, if anything is to be done about that: not where the user names the place."""
        work = prepared.agent
        config = work.config if work is not None else None
        if work is None or config is None or config.variable in prepared.env or not (config.per_slot or config.warm):
            return None
        return ConfigTask(
            variable=config.variable,
            folder=str(agent_folder(self._reader.run_dir.home, work.agent)),
            real=os.path.abspath(os.path.expanduser(os.environ.get(config.variable) or config.default)),
            is_own=config.per_slot,
            shared=config.shared,
            warm=config.warm,
        )

    def _holding(self, job: Job, item: str, pools: list[str]) -> Holding:
        run = str(self._reader.run_dir.path)
        nesting, own_depth = self._nesting, self._jobs_file.run.max_depth
        if nesting is None:
            return Holding(run=run, root=run, item=item, lane=job.lane, pools=pools, max_depth=own_depth)
        return Holding(
            run=run,
            root=str(nesting.root),
            item=item,
            lane=job.lane,
            pools=pools,
            parent=nesting.parent,
            depth=nesting.depth,
            max_depth=min(nesting.max_depth, nesting.depth + own_depth),
        )

    def _asked(self, work: AgentWork) -> dict[str, str]:
        """What an agent is asked, as it is compared with what was asked in another run."""
        return compared(work.asked, self._places, of_this_process())

    def environment(self, item: str, attempt: int, prepared: Prepared) -> dict[str, str | None]:
        """What is added to the environment of whoever starts the attempt; None removes a variable."""
        return {**prepared.env, **self._run_environment, "ORCHESTRATE_ITEM": item, "ORCHESTRATE_ATTEMPT": str(attempt)}

    @property
    def run_mark(self) -> str:
        """What the mark of every attempt of this run begins with."""
        return self._mark

    def mark(self, item: str, attempt: int) -> str:
        """The mark in the environment of everything that this attempt starts."""
        return f"{self._mark}/{item}/{attempt}"


def _agent_part(work: AgentWork | None, text_path: str, asked: Callable[[AgentWork], dict[str, str]]) -> dict[str, Any]:
    """What the worker gets besides for an agent. `text_path`: where its answer goes."""
    if work is None:
        return {}
    session = work.session
    task = AgentTask(
        agent=work.agent,
        model=work.model,
        reading=work.reading,
        text_path=text_path,
        session_id=session.session_id if session is not None else None,
        usage_before=session.usage_before if session is not None else None,
        cost_before=session.cost_before if session is not None else None,
        max_events=MOST_EVENTS,
        asked=asked(work),
    )
    return {"agent": task, "env_allowed": work.env_allowed}
