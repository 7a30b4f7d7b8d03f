"""The jobs of a file: their own keys laid over the defaults, and everything that one job may get wrong about another.

A mistake in a default is told where the default stands if it is wrong by itself, and at each job if only the job makes it wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from orchestrator.jobsfile.agent_checks import Surroundings, agent_values, check_agent, check_land, check_place
from orchestrator.jobsfile.chained_places import check_forks, take_over_workspaces
from orchestrator.jobsfile.created_files import CreatedFiles, SameFile, certain_paths
from orchestrator.jobsfile.cycles import find_cycles
from orchestrator.jobsfile.job_fields import JobFields, compile_fields, interpreter_mistake, lay_over
from orchestrator.jobsfile.key_types import JOB_ID
from orchestrator.jobsfile.keys import (
    ACTIONS,
    AGENT_KEYS,
    GATE_KEYS,
    HIDDEN_NAMES,
    ITEM_SCOPE,
    KEYS_OF_A_GATE,
    LIMIT_KEYS,
    LIST_SCOPE,
    NOT_OF_A_CHILD,
    PLACE_NAMES,
    REJECTING,
    ROUND_NAMES,
    TEMPLATE_FUNCTIONS,
    TOKEN_KEYS,
)
from orchestrator.jobsfile.language.problems import Problems
from orchestrator.jobsfile.language.suggestions import describe, did_you_mean, shown
from orchestrator.jobsfile.language.template import Template, other_meaning
from orchestrator.jobsfile.model import (
    AgentAction,
    ChainSource,
    GateAction,
    InputSpec,
    Job,
    LandAction,
    ListSource,
    MatrixSource,
    OnReject,
    Promised,
    ShellAction,
    WorkflowAction,
    templates_in,
)
from orchestrator.jobsfile.prompt_files import NO_TEMPLATE
from orchestrator.jobsfile.sources import SourceError, list_items
from orchestrator.jobsfile.template_fields import WRONG
from orchestrator.workers.lazy_pattern import lazy_pattern
from orchestrator.workers.protocol import Limits

_JOB_ID = lazy_pattern(JOB_ID)


def build_jobs(
    tables: Mapping[str, Any],
    defaults: JobFields,
    inputs: Mapping[str, InputSpec] | None,
    pools: Collection[str] | None,
    problems: Problems,
    around: Surroundings,
) -> tuple[Job, ...]:
    """The jobs of [jobs.…] in file order. Only to be used if `problems` has none in the end.

    `inputs`, `pools` (the names of all): None where they are not known.
    """
    if not tables:
        problems.tell(("jobs",), "no jobs: a jobs file has at least one table [jobs.ID]")
    jobs = {id_: _JobChecks(id_, table, tables, defaults, problems) for id_, table in tables.items()}
    # First what a chain takes over from the job that it follows: every check below sees the workspace that the job will have.
    fields = {id_: job.fields for id_, job in jobs.items()}
    take_over_workspaces(fields)
    check_forks(fields, lambda id_, message: problems.tell(("jobs", id_), message))
    same_name: dict[str, str] = {}
    for id_, job in jobs.items():
        job.check_action()
        job.check_command(is_asked=around.is_asked)
        # Before the names: it reads the prompt file, which is a template of the job like any other.
        job.check_agent(around)
        job.check_names(inputs)
        job.check_pool(pools)
        job.check_token()
        job.check_sources()
        job.check_repeat()
        job.check_gate()
        job.check_workflow()
        if not _JOB_ID.fullmatch(id_):
            problems.tell(("jobs", id_), "a job's id is at most 64 letters, digits, _ and -, the first a letter or _")
        elif (other := same_name.setdefault(id_.casefold(), id_)) != id_:
            problems.tell(("jobs", id_), f"differs from {other} in case alone: both are names of files, which may be one then")
    # A job that a gate sends back may read what was said there: that is no need of it, or each such pair would be a circle.
    gates: dict[str, tuple[str, ...]] = {}
    for id_, job in jobs.items():
        if job.goes_back_to is not None:
            gates[job.goes_back_to] = (*gates.get(job.goes_back_to, ()), id_)
    needs = {id_: job.find_needs(gates.get(id_, ())) for id_, job in jobs.items()}
    for cycle in find_cycles(needs):
        problems.tell(("jobs", cycle[0]), f"waits for itself: {' -> '.join(cycle)}")
    makers: dict[str, str] = {}
    # These ask for the needs of other jobs, so all have to be known.
    for job in jobs.values():
        job.check_way_back(needs)
        job.check_land(fields)
        # A run's copy was right for an earlier version, and its run must be able to go on.
        if around.is_asked:
            job.check_when(needs)
            job.check_created_files(makers)
    return tuple(job.build_job(needs[id_], gates.get(id_, ())) for id_, job in jobs.items())


def _called(job: str) -> str:
    return job if job.isprintable() else shown(job)


class _JobChecks:
    """One job while it is checked: `fields` are its own over the defaults, `own` the keys that its table writes."""

    def __init__(self, id_: str, table: Any, known: Mapping[str, Any], defaults: JobFields, problems: Problems) -> None:
        self._id = id_
        self._known = known
        self._problems = problems
        # No table at all: it was told, and nothing else about this job is a mistake of its own.
        if not isinstance(table, dict):
            problems.tell(("jobs", id_), f"expected a table, got {describe(table)}")
            self._own = frozenset[str]()
            self._fields: JobFields = {"action": WRONG}
            self._is_gate = self._is_agent = False
            return
        own = compile_fields(table, ("jobs", id_), problems)
        self._own = frozenset(table)
        self._fields = lay_over(defaults, own)
        self._is_gate = isinstance(self._fields.get("action"), GateAction)
        # What the defaults say of commands is not meant for a gate, and the other way round.
        self._is_agent = isinstance(self._fields.get("action"), AgentAction)
        meant = KEYS_OF_A_GATE | {"action"} if self._is_gate else self._fields.keys() - GATE_KEYS
        meant -= {"stdin"} if self._is_agent else AGENT_KEYS
        self._fields = {key: value for key, value in self._fields.items() if key in meant | self._own}

    @property
    def goes_back_to(self) -> str | None:
        """The job that runs again when this gate is rejected."""
        on_reject = self._fields.get("on_reject")
        return on_reject.job if self._is_gate and isinstance(on_reject, OnReject) else None

    @property
    def fields(self) -> JobFields:
        """Its own over the defaults."""
        return self._fields

    def check_action(self) -> None:
        """Tell that it does nothing."""
        if "action" not in self._fields:
            self._tell(None, "no action: a job has one of command, shell, agent, gate, workflow and land")

    def check_command(self, *, is_asked: bool) -> None:
        """Tell keys of the job's own table that are about a command or a script, where it has none; and a `#!` that is wrong.

        `is_asked`: as of `Surroundings`. A run that is recorded may have been begun when a `#!` was a comment.
        """
        action = self._fields.get("action", WRONG)
        if is_asked and isinstance(action, ShellAction) and (mistake := interpreter_mistake(action.script)):
            self._tell("action", mistake)
        if action is not WRONG and "shell_program" in self._own and not isinstance(action, ShellAction):
            self._tell("shell_program", "says what runs a script, and this job has no shell")
        if "ok_exit_codes" in self._own and isinstance(action, AgentAction | WorkflowAction | LandAction):
            self._tell("ok_exit_codes", "is about the exit code of a command, and this job has none")

    def check_agent(self, around: Surroundings) -> None:
        """Tell what is wrong about its agent, or about an agent that it does not have; and where it works."""
        check_agent(self._fields, self._own, around, self._tell)
        check_place(self._fields, self._tell)

    def check_land(self, jobs: Mapping[str, JobFields]) -> None:
        """Tell a job to bring home that has no worktrees."""
        check_land(self._fields, jobs, self._tell)

    def check_names(self, inputs: Mapping[str, InputSpec] | None) -> None:
        """Tell the names that templates use and that this job does not have."""
        for key, template in self._templates():
            available = self._scope(key)
            for name in sorted(template.names - available - TEMPLATE_FUNCTIONS):
                self._tell(key, self._unknown_name(name, key, available, template))
            for name in sorted(template.inputs - inputs.keys() if inputs is not None else ()):
                meant = did_you_mean(name, inputs or ()) or other_meaning(template.source)
                self._tell(key, f"inputs.{name} is not declared{meant}{self._as_prompt_file(key)}")

    def check_pool(self, pools: Collection[str] | None) -> None:
        """Tell a pool that neither the file nor the user's config declares."""
        pool = self._fields.get("pool")
        if isinstance(pool, str) and pools is not None and pool not in pools:
            declare = "; a table [pools.NAME] with slots, a rate or both makes one"
            self._tell("pool", f"no pool is called {shown(pool)}{did_you_mean(pool, pools) or declare}")

    def check_token(self) -> None:
        """Tell keys of the job's own table that only mean something with a token."""
        if "token" not in self._fields:
            for key in TOKEN_KEYS:
                if key in self._own:
                    self._tell(key, "says how a token is met, and this job has no token")

    def check_sources(self) -> None:
        """Tell what a file is made of where none is made."""
        if self._fields.get("creates") is None:
            for key in sorted({"sources", "creates_when"} & self._own):
                says = "what the file of creates is made of" if key == "sources" else "when the file of creates is made"
                self._tell(key, f"says {says}, and this job has no creates")
        elif self._fields.get("creates_when") == "newer" and "sources" not in self._fields:
            self._tell("creates_when", '"newer" asks for sources: what is to be newer than the file?')

    def check_repeat(self) -> None:
        """Tell a file that would be there after the first round, and end the loop."""
        if self._fields.get("repeat") is not None and self._fields.get("creates") is not None:
            self._tell("creates", "does not go with repeat: the file is there after the first round, so no other would run")

    def check_created_files(self, makers: dict[str, str]) -> None:
        """Tell two items of a list that is written down here, of which both would make the same file.

        `makers`: by path, the jobs before this one that make it in any case; this one is added.
        """
        fields, source = self._fields, self._fields.get("for_each")
        creates = fields.get("creates")
        given = [fields.get(key) for key in ("cwd", "when", "token")]
        cwd, when, token = (each if isinstance(each, Template) else None for each in given)
        if not isinstance(creates, Promised) or WRONG in given:
            return
        if source is None:
            self._check_sole_maker(creates, cwd, makers)
        if not isinstance(source, ListSource | MatrixSource) or templates_in(source):
            return
        files = CreatedFiles(creates, cwd, when, token, {"item", "index"})
        try:
            for index, item in enumerate(list_items(source, {}, "")):
                files.add(index, {"item": item, "index": index})
        except SourceError:
            return  # what no item can be is told when the list is made
        except SameFile as same:
            self._tell("creates", same.in_words(self._id))

    def _check_sole_maker(self, creates: Promised, cwd: Template | None, makers: dict[str, str]) -> None:
        """Tell that another job makes the same file, where nothing may keep either of the two from doing so."""
        if self._fields.keys() & {"when", "token"}:
            return
        for path in certain_paths(creates, cwd):
            if makers.setdefault(path, self._id) != self._id:
                self._tell("creates", f"{makers[path]} and {self._id} would both make {path}")

    def check_gate(self) -> None:
        """Tell keys of the job's own table that mean nothing for a gate, or only for one."""
        action = self._fields.get("action", WRONG)
        if action is WRONG:
            return
        if not self._is_gate:
            for key in sorted(GATE_KEYS & self._own):
                self._tell(key, "says how a gate asks, and this job is none")
            return
        for key in sorted(self._own - KEYS_OF_A_GATE):
            if key in self._fields and key not in ACTIONS:
                self._tell(key, "does not go with gate: a gate asks, and runs nothing")
        options = self._fields.get("options", REJECTING)
        if "on_reject" in self._own and options is not WRONG and not set(options) & set(REJECTING):
            self._tell("on_reject", f"none of the options rejects: only {' and '.join(REJECTING)} do")

    def check_way_back(self, needs: Mapping[str, tuple[str, ...]]) -> None:
        """Tell a job to go back to that the gate does not need."""
        target = self.goes_back_to
        if target is None:
            return
        before: set[str] = set()
        todo = [self._id]
        while todo:
            found = set(needs[todo.pop()]) - before
            before |= found
            todo += found
        if target not in self._known:
            self._tell("on_reject", f"no job is called {_called(target)}{did_you_mean(target, before)}")
        elif target not in before:
            self._tell("on_reject", f"{target} is not a job that {self._id} needs, so it cannot go back to it")

    def check_when(self, needs: Mapping[str, tuple[str, ...]]) -> None:
        """Tell a job to run after a failure that could be nobody's: it would never run."""
        if self._fields.get("when") == "failed" and not needs[self._id]:
            self._tell("when", '"failed" is about what the job needs, and this job needs nothing: it would never run')

    def check_workflow(self) -> None:
        """Tell what a child run cannot have, and what only a child run can."""
        action = self._fields.get("action")
        if isinstance(action, WorkflowAction):
            for key in NOT_OF_A_CHILD:
                if key in self._own:
                    self._tell(key, "does not go with workflow: a child run has its file's folder, its inputs and its results")
            if self._fields.get("lane") == "fast":
                self._tell("lane", "does not go with workflow: an item in the fast lane never starts a run")
        elif action is not WRONG and "inputs" in self._own:
            self._tell("inputs", "says what a child run is given, and this job has no workflow")

    def find_needs(self, sent_back_by: tuple[str, ...]) -> tuple[str, ...]:
        """Written and implied needs that exist, in file order, without itself. Tells the others.

        `sent_back_by`: gates that come after this job; its templates read what they said when they sent it back.
        """
        found: set[str] = set()
        for key, named in self._named_jobs(sent_back_by):
            for other in named:
                if other == self._id:
                    self._tell(key, f"a job cannot wait for itself ({other} -> {other})")
                elif other not in self._known:
                    self._tell(key, f"no job is called {_called(other)}{self._meant_job(other)}")
                else:
                    found.add(other)
        return tuple(id_ for id_ in self._known if id_ in found)

    def _meant_job(self, other: str) -> str:
        # `jobs.lint-test` is `jobs.lint` minus `test`.
        longer = next((id_ for id_ in self._known if id_.startswith(f"{other}-")), None)
        if longer is not None:
            return f'; did you mean {longer}? In a template that is jobs["{longer}"]'
        return did_you_mean(other, self._known.keys() - {self._id})

    def build_job(self, needs: tuple[str, ...], sent_back_by: tuple[str, ...]) -> Job:
        """The job. Only to be used if no mistake was told."""
        values = {key: value for key, value in self._fields.items() if value is not WRONG and key not in ("needs", "action")}
        action: Any = self._fields.get("action")
        if isinstance(action, AgentAction):
            values = agent_values(values)
        if isinstance(action, WorkflowAction):
            values = {key: value for key, value in values.items() if key not in NOT_OF_A_CHILD} | {"output": "json"}
        if isinstance(action, LandAction):
            values = {key: value for key, value in values.items() if key != "workspace"} | {"output": "json"}
        # Of an agent, a child run and a landing the exit code says less than what they tell.
        if isinstance(action, AgentAction | WorkflowAction | LandAction):
            values.pop("ok_exit_codes", None)
        bounds = {LIMIT_KEYS[key]: values.pop(key) for key in LIMIT_KEYS if key in values}
        return Job(id=self._id, action=action, needs=needs, sent_back_by=sent_back_by, limits=Limits(**bounds), **values)

    def _scope(self, key: str) -> frozenset[str]:
        if key == "for_each":
            return LIST_SCOPE
        missing = set(HIDDEN_NAMES.get(key, ()))
        source = self._fields.get("for_each")
        if source is None:
            missing.add("item")
        if source is not WRONG and not isinstance(source, ChainSource):
            missing.add("parent")
        if self._fields.get("creates") is None:
            missing.add("creates")
        if self._fields.get("repeat") is None:
            missing |= ROUND_NAMES
        if self._fields.get("devices") is None:
            missing.add("device")
        if self._is_gate:
            missing |= PLACE_NAMES
        return ITEM_SCOPE - missing

    def _as_prompt_file(self, key: str) -> str:
        """What helps where the template stands in a file that may be meant for somebody else."""
        return f"; {NO_TEMPLATE}" if key == "prompt" and "prompt_file" in self._fields else ""

    def _unknown_name(self, name: str, key: str, available: frozenset[str], template: Template) -> str:
        if name not in ITEM_SCOPE:
            meant = did_you_mean(name, available) or other_meaning(template.source)
            return f"{name} is not a name that templates know{meant}{self._as_prompt_file(key)}"
        if key == "for_each" or name in HIDDEN_NAMES.get(key, ()):
            return f"{name} is not known to {key}" if name in PLACE_NAMES else f"{name} is not known yet when {key} is evaluated"
        if self._is_gate and name in PLACE_NAMES:
            return f"{name} is not known to a gate: it takes none"
        wanted = {"item": "for_each", "parent": "for_each = { job = … }", "creates": "the key creates", "device": "devices"}
        return f"{name} is only known in a job with {wanted.get(name, 'repeat')}"

    def _templates(self) -> Iterator[tuple[str, Template]]:
        for key, value in self._fields.items():
            for template in templates_in(value):
                yield key, template

    def _named_jobs(self, sent_back_by: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
        needs, source = self._fields.get("needs", ()), self._fields.get("for_each")
        if needs is not WRONG:
            yield "needs", list(needs)
        if isinstance(source, ChainSource):
            yield "for_each", list(source.jobs)
        if isinstance(self._fields.get("action"), LandAction):
            yield "action", [self._fields["action"].job]
        for key, template in self._templates():
            yield key, sorted(template.jobs - set(sent_back_by))

    def _tell(self, key: str | None, message: str) -> None:
        if key is None:
            self._problems.tell(("jobs", self._id), message)
            return
        candidates = ACTIONS if key == "action" else ("prompt", "prompt_file") if key == "prompt" else (key,)
        written = next((candidate for candidate in candidates if candidate in self._own), None)
        if written is None:
            shown = "its action" if key == "action" else key
            self._problems.tell(("jobs", self._id), f"{shown} of [defaults]: {message}")
        else:
            self._problems.tell(("jobs", self._id, written), message)
