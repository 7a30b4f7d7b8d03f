"""The message that a worker gets for one attempt: all that it must know, made of what was prepared and of the recorded start.

Nothing is decided here and no template is evaluated: what the attempt does is `Prepared`, which attempt it is says `Started`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from orchestrator.attempts.agent.command import config_task
from orchestrator.attempts.agent.work import AgentWork
from orchestrator.attempts.rendering import Prepared
from orchestrator.attempts.replay.asked import compared, places_of
from orchestrator.attempts.workspaces.assignment import Workspaces
from orchestrator.jobsfile.model import Job, JobsFile, templates_in
from orchestrator.reading.run_records import Records
from orchestrator.shared.nesting.ancestors import Nesting
from orchestrator.store.home import HOME_VARIABLE
from orchestrator.store.records import Started
from orchestrator.system.passed_variables import is_passed
from orchestrator.system.redaction import of_this_process
from orchestrator.workers.protocol import AgentTask, Check, ConfigTask, Holding, Start, WorkspaceTask

if TYPE_CHECKING:
    from orchestrator.attempts.replay.replay import Replay

MOST_EVENTS = 100_000
"""Events that an agent's attempt may write: some loop for ever on a reply that was cut, thousands of events a second."""


class StartMessages:
    """The messages of one run. `nesting`: the items that the run is started by; `replay`: what is played, if the run is one."""

    def __init__(
        self, records: Records, jobs_file: JobsFile, nesting: Nesting | None = None, replay: Replay | None = None
    ) -> None:
        header = records.history.header
        self._records = records
        self._max_depth = jobs_file.run.max_depth
        self._run_env = jobs_file.run.env
        self._secret_names = [name for name, spec in jobs_file.inputs.items() if spec.is_secret]
        self._workspaces = Workspaces(records, jobs_file)
        self._nesting = nesting
        self._replay = replay
        self._home = str(records.run_dir.home)
        self._run_folder = str(records.run_dir.path)
        self._run_id = header.run_id
        # A replay knows one name more: that of the run which was recorded.
        self._places = replay.places if replay is not None else places_of(records.run_dir, header.run_id, jobs_file.folder)
        self.run_mark = f"{nesting.marks[-1]}/{header.mark}" if nesting is not None else header.mark
        """What the mark of every attempt of this run begins with."""

    def mark(self, item: str, attempt: int) -> str:
        """The mark in the environment of everything that this attempt starts."""
        return f"{self.run_mark}/{item}/{attempt}"

    def environment(self, item: str, attempt: int, prepared: Prepared) -> dict[str, str | None]:
        """The changes to the environment that the attempt starts with; None removes a variable."""
        is_apart = prepared.place is not None and prepared.place.kind != "shared"
        # An agent hears of the state folder only where its job wants that.
        is_home_told = prepared.agent is None or is_passed(HOME_VARIABLE, prepared.agent.env_allowed)
        return {
            # The run may be started by a git hook: by its variables a git in a workspace would write to the user's index.
            **(_no_repository() if is_apart else {}),
            **prepared.env,
            **({HOME_VARIABLE: self._home} if is_home_told else {}),
            "ORCHESTRATE_RUN": self._run_id,
            "ORCHESTRATE_ITEM": item,
            "ORCHESTRATE_ATTEMPT": str(attempt),
        }

    def compose_start(
        self,
        job: Job,
        started: Started,
        prepared: Prepared,
        *,
        name: str,
        mark: str,
        recorded_through: int,
        kept_locks: int,
        pools: list[str],
        more_arguments: Sequence[str],
    ) -> Start:
        """The message for the attempt that `started` records, of the item `name`. `pools`: of which it holds a slot.

        `recorded_through` and `kept_locks` as in `Start`; `more_arguments` stand behind the prepared ones.
        """
        item = name
        stdout_path, stderr_path = self._records.run_dir.output_paths(job.id, started.index, started.attempt)
        # Files of the attempt beside its two streams differ from them in the suffix alone.
        stem = stdout_path.removesuffix("stdout")
        start = Start(
            sequence=started.sequence,
            item=item,
            attempt=started.attempt,
            mark=mark,
            argv=[*prepared.argv, *more_arguments] if more_arguments else prepared.argv,
            cwd=prepared.cwd,
            stdout_path=stdout_path,
            stderr_path=stderr_path,
            env=self.environment(item, started.attempt, prepared),
            stdin=prepared.stdin,
            script=prepared.script,
            limits=job.limits,
            creates=prepared.creates,
            made_note=prepared.made_note,
            kept_locks=kept_locks,
            holding=self._holding_of(job, item, pools),
            check=Check(script=prepared.check, path=f"{stem}check") if prepared.check else None,
            workspace=self._workspace_task(prepared, item, stdout_path) if prepared.place is not None else None,
            recorded_through=recorded_through,
        )
        if prepared.agent is not None:
            start = msgspec.structs.replace(
                start,
                agent=self._agent_task(prepared.agent, f"{stem}answer"),
                env_allowed=prepared.agent.env_allowed,
                config=self._config_task(prepared.agent, prepared),
            )
        if self._secret_names and (named := self._secrets_of(job)):
            start = msgspec.structs.replace(start, secrets=named)
        # Last, because the player stands in the place of the agent as it would have been started.
        return start if self._replay is None or prepared.played is None else self._replay.start(start, prepared.played)

    def _secrets_of(self, job: Job) -> list[str]:
        """The secret inputs that the job names where it may: what somebody else wrote never becomes a secret in other jobs."""
        named = {name for template in templates_in((self._run_env, job.env, job.stdin)) for name in template.inputs}
        return [name for name in self._secret_names if name in named]

    def _holding_of(self, job: Job, item: str, pools: list[str]) -> Holding:
        """What the attempt lends to the runs that are started inside it."""
        run, nesting = self._run_folder, self._nesting
        if nesting is None:
            return Holding(
                run=run,
                root=run,
                item=item,
                lane=job.lane,
                pools=pools,
                max_depth=self._max_depth,
                control=job.control,
                is_agents=job.is_agent,
            )
        return Holding(
            run=run,
            root=str(nesting.root),
            item=item,
            lane=job.lane,
            pools=pools,
            parent=nesting.parent,
            depth=nesting.depth,
            max_depth=min(nesting.max_depth, nesting.depth + self._max_depth),
            control=job.control,
            is_agents=job.is_agent,
        )

    def _workspace_task(self, prepared: Prepared, item: str, stdout_path: str) -> WorkspaceTask:
        task = self._workspaces.make_task(prepared, item, stdout_path)
        return task if prepared.agent is None else msgspec.structs.replace(task, litter=prepared.agent.litter)

    def _agent_task(self, work: AgentWork, text_path: str) -> AgentTask:
        """What the worker gets besides for an agent. `text_path`: where its answer goes."""
        session = work.session
        return AgentTask(
            agent=work.agent,
            model=work.model,
            reading=work.reading,
            text_path=text_path,
            session_id=session.session_id if session is not None else None,
            usage_before=session.usage_before if session is not None else None,
            cost_before=session.cost_before if session is not None else None,
            max_events=MOST_EVENTS,
            expect=work.expect,
            asked=compared(work.asked, self._places, of_this_process()),
        )

    def _config_task(self, work: AgentWork, prepared: Prepared) -> ConfigTask | None:
        """Where an agent's CLI keeps its state, if anything is to be done about that: not where the user names the place."""
        config = work.config
        if config is None or config.variable in prepared.env or not (config.per_slot or config.warm):
            return None
        return config_task(self._records.run_dir.home, work.agent, config)


def _no_repository() -> dict[str, str | None]:
    from orchestrator.workers.workspaces.git import LOCAL_VARIABLES

    return dict.fromkeys(LOCAL_VARIABLES)
