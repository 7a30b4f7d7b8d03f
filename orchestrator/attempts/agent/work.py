"""What an agent is told and allowed in one attempt: the templates of its job, rendered, and how its CLI is called with that.

What it is told depends on how the attempt before ended (`agents.sessions`). What the item *does*, its payload, does not: that is
the whole prompt and all that decides over the work, the same for every attempt.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.attempts.agent.command import Asked, Call, call_of, takes_schema
from orchestrator.attempts.agent.fallback import Choose, FindProfile, own_agent
from orchestrator.attempts.agent.sessions import (
    RESUME_PROMPT,
    RETRY_PROMPT,
    LastEnd,
    Resumed,
    Words,
    check_was_ended,
    session_of,
    was_unchecked,
    words_for,
)
from orchestrator.attempts.template_texts import (
    ItemRefused,
    check_argument,
    refuse_nul,
    rendered_arguments,
    rendered_text,
    utf8_size,
)
from orchestrator.errors import UserError
from orchestrator.jobsfile.answer_schema import AnswerSchema, AnswerSchemaError, read_schema
from orchestrator.jobsfile.model import AgentAction, Job, JobsFile
from orchestrator.jobsfile.profiles.profile import ConfigDir, Profile
from orchestrator.jobsfile.prompt_files import PromptFileError, prompt_in
from orchestrator.store.records import RetryAsked
from orchestrator.workers.protocol.reading import Reading

if TYPE_CHECKING:
    from orchestrator.jobsfile.profiles.load import Profiles

_SCHEMA_WORDS = "Answer with nothing but one JSON value, without any text around it. It has to fit this JSON Schema:\n\n"


def finder(jobs_file: JobsFile) -> FindProfile:
    """Finds the agents that the jobs of a file name. Each is read once, and only if it is asked for."""

    @cache
    def profiles() -> Profiles:
        from orchestrator.jobsfile.profiles.load import Profiles

        return Profiles(os.path.dirname(jobs_file.path))

    return lambda name: profiles().get(name)


def no_agents(name: str) -> Profile:
    """For who renders jobs that have no agent."""
    raise UserError(f"no agent is called {name}")


class Before(msgspec.Struct, frozen=True):
    """What came before an attempt. `last`: how the one before it ended; None: it is the first, or its work is another now.

    `retry`: somebody asked for one more time of the item; `is_asked`: this attempt is the first since then.
    """

    last: LastEnd | None = None
    retry: RetryAsked | None = None
    is_asked: bool = False

    @property
    def feedback(self) -> str:
        """What somebody wants its agent to be told."""
        return self.retry.feedback if self.retry is not None else ""

    @property
    def is_begun_anew(self) -> bool:
        """Whether its agent is told something else than what its session began with."""
        return self.is_asked and self.retry is not None and self.retry.prompt is not None and not self.retry.is_prompt_kept


NOTHING_BEFORE = Before()


_NO_CHANGE = ("", None, None)


class AgentWork(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt of an agent. `prompt` is all that it has to do, `told` what it is told now.

    `env_allowed` is what passes of the environment, `schema` that of its answer. `account`: whose limits bind it; None: none's.
    `litter`: what it leaves in its workspace that is no work. `config`: where its CLI keeps its state. `asked`: tells, part by
    part, whether it is asked the same again.
    """

    agent: str
    account: str | None
    prompt: str
    told: str
    reading: Reading
    env_allowed: list[str]
    model: str | None = None
    session: Resumed | None = None
    schema: str | None = None
    litter: list[str] = []
    config: ConfigDir | None = None
    asked: dict[str, str] = {}


def agent_work(
    job: Job,
    context: Mapping[str, Any],
    declared: Mapping[str, str | None],
    *,
    cwd: str,
    folder: str,
    find: FindProfile,
    before: Before,
    choose: Choose = own_agent,
    left_usd: float | None = None,
) -> tuple[AgentWork, Call, tuple[Any, ...]]:
    """The agent action of `job` rendered, how it is called, and what tells whether two items do the same. Raises ItemRefused.

    `declared`: the environment that the job declares. `cwd`, where it works, and `folder`, where relative paths start, are
    absolute. Where it works is left to the caller to tell. `left_usd`: what is left of the budgets that bind it; None: what its
    job may cost at all.
    """
    assert isinstance(job.action, AgentAction)
    own_name = rendered_text(job.action.agent, context, "agent").strip()
    own = _profile(own_name, find)
    choice = choose([own, *(_profile(each, find) for each in job.fallback)], declared)
    profile, name = choice.profile, choice.profile.name
    if profile.needs_check and job.check is None:
        raise ItemRefused(f"agent: nobody can tell whether {name} succeeded: it needs a check")
    if job.allowed not in profile.permissions:
        known = " and ".join(profile.permissions)
        raise ItemRefused(f'permissions: the profile of {name} does not say how to keep it to "{job.allowed}" (only {known})')
    model = _model(job, context, before)
    prompt = _prompt(job, context, folder) if before.retry is None or before.retry.prompt is None else before.retry.prompt
    schema_path, schema = schema_of(job, context, folder)
    args = rendered_arguments(job.args, context, "args")
    resumed = session_of(
        before.last,
        agent=name,
        folder=cwd,
        can_resume=job.resume_session and profile.can_resume and not before.is_begun_anew,
        is_asked=before.is_asked and before.feedback != "",
    )
    told = _told(job, context, prompt, before, resumed)
    if schema is not None and not takes_schema(profile, schema.text):
        told = f"{told.rstrip()}\n\n{_SCHEMA_WORDS}{schema.text}"
    utf8_size(told, "the prompt")
    asked = Asked(
        prompt=told,
        permissions=job.allowed,
        model=model if profile.provider == own.provider else None,
        args=args if profile.command == own.command else [],
        max_turns=job.max_turns,
        budget_usd=job.budget_usd if left_usd is None else left_usd,
        schema_path=schema_path,
        schema_text=schema.text if schema is not None else None,
        session_id=resumed.session_id if resumed is not None else None,
        cwd=cwd,
        pass_env=job.pass_env,
    )
    call = call_of(profile, asked)
    if profile.prompt == "argument":
        check_argument(told, "the prompt", f"{name} takes it in no other way, so shorten it or name a file in it")
    for word in call.argv:
        check_argument(word, "an argument of the agent", "shorten it")
    work = AgentWork(
        agent=name,
        account=choice.account,
        prompt=prompt,
        told=told,
        reading=profile.reading,
        env_allowed=call.env_allowed,
        model=asked.model,
        session=resumed,
        schema=schema.text if schema is not None else None,
        litter=profile.litter,
        config=profile.config_dir,
        asked={
            "agent": own_name,
            "model": model or "",
            "permissions": job.allowed,
            "args": "\0".join(args),
            "max_turns": str(job.max_turns or ""),
            "prompt": prompt,
            "schema": schema.text if schema is not None else "",
        },
    )
    does: tuple[Any, ...] = ("agent", own_name, prompt, model, args, job.allowed, work.schema, job.output)
    return work, call, does if before.retry is None or before.retry.change == _NO_CHANGE else (*does, before.retry.change)


def _profile(name: str, find: FindProfile) -> Profile:
    if not name:
        raise ItemRefused("agent: the name is empty")
    try:
        return find(name)
    except UserError as error:
        raise ItemRefused(f"agent: {error.message}") from error


def _prompt(job: Job, context: Mapping[str, Any], folder: str) -> str:
    """The whole prompt. One that stands in a file whose path is no template was read with the jobs file."""
    template = job.prompt
    if job.prompt_file is not None and (template is None or not job.prompt_file.is_static):
        named = rendered_text(job.prompt_file, context, "prompt_file")
        refuse_nul(named, "prompt_file")
        try:
            template = prompt_in(os.path.join(folder, named))
        except PromptFileError as error:
            raise ItemRefused(f"prompt_file: {error}") from error
    assert template is not None, "a job with agent has a prompt"
    prompt = rendered_text(template, context, "prompt")
    if not prompt.strip():
        raise ItemRefused("prompt: it is empty")
    return prompt


def schema_of(job: Job, context: Mapping[str, Any], folder: str) -> tuple[str | None, AnswerSchema | None]:
    """The absolute path of the schema of its answer, and that schema, if it has one. Raises ItemRefused."""
    if job.schema is None:
        return None, None
    named = rendered_text(job.schema, context, "schema")
    refuse_nul(named, "schema")
    path = os.path.join(folder, named)
    try:
        return path, read_schema(path)
    except AnswerSchemaError as error:
        raise ItemRefused(f"schema: {error}") from error


def _model(job: Job, context: Mapping[str, Any], before: Before) -> str | None:
    model = before.retry.model if before.retry is not None else None
    if model is None and job.model is not None:
        model = rendered_text(job.model, context, "model").strip() or None
    if model is not None and model.startswith("-"):
        raise ItemRefused(f'model: "{model}" begins with a dash: its CLI would take it for an option')
    return model


def _told(job: Job, context: Mapping[str, Any], prompt: str, before: Before, resumed: Resumed | None) -> str:
    """What the agent is told: feedback alone where its session goes on, else behind the rest.

    It comes again with all but a failed check: the attempt before may not have heard it.
    """
    words = words_for(before.last, resumed)
    if resumed is not None and before.is_asked and before.feedback and words == "resume":
        return before.feedback
    told = _words(job, context, prompt, before.last, words)
    return f"{told.rstrip()}\n\n{before.feedback}" if before.feedback and (before.is_asked or words != "retry") else told


def _words(job: Job, context: Mapping[str, Any], prompt: str, last: LastEnd | None, words: Words) -> str:
    said = context["attempt"]["check_output"]
    if last is not None and not said.strip():  # "It said:" and then nothing is no help to anybody
        said = f"({last.outcome.message}, without a word)"
    elif last is not None and check_was_ended(last.outcome):
        said = f"{said}\n({last.outcome.message})"
    checked = {"check_output": said}
    match words:
        case "resume":
            told = rendered_text(job.resume_prompt, context, "resume_prompt") if job.resume_prompt is not None else ""
            return told if told.strip() else RESUME_PROMPT
        case "retry":
            told = rendered_text(job.retry_prompt, context, "retry_prompt") if job.retry_prompt is not None else ""
            return told if told.strip() else RETRY_PROMPT.format(**checked)
        case "prompt" if was_unchecked(last) and (job.prompt is None or "attempt" not in job.prompt.names):
            # A new session knows nothing of the attempt before: what its check said is all that can help.
            return f"{prompt.rstrip()}\n\n{RETRY_PROMPT_OF_NEW_SESSION.format(**checked)}"
        case _:
            return prompt


RETRY_PROMPT_OF_NEW_SESSION = "An earlier attempt at this failed its check, which said:\n\n{check_output}"
