"""The work of an agent in one attempt: what it is told and allowed, rendered from its job, and how its CLI is called with that.

What an agent is told depends on how the attempt before ended (`sessions`). What the item *does* (its payload) does not: that is
the whole prompt and all else that decides over the work, the same for every attempt.
It refuses to handle: which account may be used now (`fallback`), the words of a CLI's flags (`command`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
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
    size_in_bytes,
)
from orchestrator.errors import UserError
from orchestrator.jobsfile.answer_schema import AnswerSchema, AnswerSchemaError, read_schema
from orchestrator.jobsfile.kept_files import Files
from orchestrator.jobsfile.model import AgentAction, Job, JobsFile
from orchestrator.jobsfile.profiles.profile import ConfigDir, Profile
from orchestrator.jobsfile.prompt_files import NO_TEMPLATE, PromptFileError, prompt_in
from orchestrator.store.home import HOME_VARIABLE
from orchestrator.store.records import RetryAsked
from orchestrator.workers.protocol import Expectation
from orchestrator.workers.protocol.reading import Reading

if TYPE_CHECKING:
    from orchestrator.jobsfile.profiles.load import Profiles

_SCHEMA_WORDS = "Answer with nothing but one JSON value, without any text around it. It has to fit this JSON Schema:\n\n"
_RETRY_PROMPT_OF_NEW_SESSION = "An earlier attempt at this failed its check, which said:\n\n{check_output}"


def finder(jobs_file: JobsFile) -> FindProfile:
    """Finds the agents that the jobs of a file name. Each is read once, and only if it is asked for."""

    @cache
    def profiles() -> Profiles:
        from orchestrator.jobsfile.profiles.load import Profiles

        return Profiles(os.path.dirname(jobs_file.path), jobs_file.files)

    return lambda name: profiles().get(name)


def no_agents(name: str) -> Profile:
    """Finds none: for jobs without an agent."""
    raise UserError(f"no agent is called {name}")


class Before(msgspec.Struct, frozen=True):
    """What came before an attempt. `last`: how the attempt before ended; None: this is the first, or its work is another now.

    `retry`: the wishes of a person who asked for the item once more; `is_asked`: this attempt is the first since then.
    """

    last: LastEnd | None = None
    retry: RetryAsked | None = None
    is_asked: bool = False

    @property
    def feedback(self) -> str:
        """What that person wants the agent to be told; empty: nothing."""
        return self.retry.feedback if self.retry is not None else ""

    @property
    def is_begun_anew(self) -> bool:
        """Whether the agent gets another prompt than its session began with: then a new session begins."""
        return self.is_asked and self.retry is not None and self.retry.prompt is not None and not self.retry.is_prompt_kept


NOTHING_BEFORE = Before()

_NO_CHANGE = ("", None, None)


class AgentSurroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent's attempt is rendered for, besides its job and its names.

    `find`: the profile of an agent by its name. `before`: what came before the attempt. `choose`: which agent does it.
    `left_usd`: what is left now of the budgets that bind it; None: what its job may cost at all. `copy_schema`: the path of a
    file with this text, for a CLI that takes its schema by path; None: nothing is started, so the named file will do.
    """

    find: FindProfile = no_agents
    before: Before = NOTHING_BEFORE
    choose: Choose = own_agent
    left_usd: float | None = None
    copy_schema: Callable[[str], str] | None = None


class AgentWork(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt of an agent. `prompt`: all that it has to do; `told`: what it is told now.

    `env_allowed`: the names that pass of our environment. `schema`: of its answer. `account`: whose limits bind it; None: none.
    `litter`: patterns of what it leaves in its workspace that is no work. `config`: where its CLI keeps its state. `asked`: part
    by part what it is asked, to compare with another attempt (`replay.asked`).
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
    expect: Expectation | None = None
    litter: list[str] = []
    config: ConfigDir | None = None
    asked: dict[str, str] = {}


def agent_work(
    job: Job,
    context: Mapping[str, Any],
    declared: Mapping[str, str | None],
    surroundings: AgentSurroundings,
    *,
    cwd: str,
    folder: str,
    files: Files,
) -> tuple[AgentWork, Call, tuple[Any, ...]]:
    """The agent action of `job` rendered, how it is called, and what tells whether two items do the same. Raises ItemRefused.

    `declared`: the environment that the job declares. `cwd`, where the agent works, and `folder`, where relative paths start, are
    absolute; `files` reads what is named. The caller adds `declared` and the folder to what tells two items apart.
    """
    assert isinstance(job.action, AgentAction)
    before = surroundings.before
    # Which agent: the job's own, or a fallback whose account is not parked. A profile that cannot do the job is refused now,
    # because a paid attempt would only find that out later.
    own_name = rendered_text(job.action.agent, context, "agent").strip()
    own = _profile(own_name, surroundings.find)
    choice = surroundings.choose([own, *(_profile(each, surroundings.find) for each in job.fallback)], declared)
    profile = choice.profile
    _refuse_unfit(profile, job)
    # What the work is, whichever agent does it and whatever it is told now.
    model = _model(job, context, before)
    prompt = _prompt(job, context, folder, files) if before.retry is None or before.retry.prompt is None else before.retry.prompt
    schema_path, schema = schema_of(job, context, folder, files)
    schema_text = schema.text if schema is not None else None
    # Not the file itself, which an item may have written since it was read.
    if schema_text is not None and profile.flags.schema_file is not None and surroundings.copy_schema is not None:
        schema_path = surroundings.copy_schema(schema_text)
    args = rendered_arguments(job.args, context, "args")
    # What this attempt is told: less than the prompt where a session goes on, more where the CLI itself takes no schema.
    resumed = session_of(
        before.last,
        agent=profile.name,
        folder=cwd,
        can_resume=job.resume_session and profile.can_resume and not before.is_begun_anew,
        is_asked=before.is_asked and before.feedback != "",
    )
    told = _told(job, context, prompt, before, resumed)
    if schema_text is not None and not takes_schema(profile, schema_text):
        told = f"{told.rstrip()}\n\n{_SCHEMA_WORDS}{schema_text}"
    size_in_bytes(told, "the prompt")
    # A model means something only to the same provider, arguments only to the same program: a fallback does without them.
    asked = Asked(
        prompt=told,
        permissions=job.allowed,
        model=model if profile.provider == own.provider else None,
        args=args if profile.command == own.command else [],
        max_turns=job.max_turns,
        budget_usd=job.budget_usd if surroundings.left_usd is None else surroundings.left_usd,
        schema_path=schema_path,
        schema_text=schema_text,
        session_id=resumed.session_id if resumed is not None else None,
        cwd=cwd,
        # What may steer runs must find them.
        pass_env=(*job.pass_env, HOME_VARIABLE) if job.control else job.pass_env,
    )
    call = call_of(profile, asked)
    _check_call(profile, call, told)
    work = AgentWork(
        agent=profile.name,
        account=choice.account,
        prompt=prompt,
        told=told,
        reading=profile.reading,
        env_allowed=call.env_allowed,
        model=asked.model,
        session=resumed,
        schema=schema_text,
        expect=job.expect,
        litter=profile.litter,
        config=profile.config_dir,
        asked={
            "agent": own_name,
            "model": model or "",
            "permissions": job.allowed,
            "args": "\0".join(args),
            "max_turns": str(job.max_turns or ""),
            "prompt": prompt,
            "schema": schema_text or "",
        },
    )
    # The job's own agent, not the one that was chosen: a fallback does the same work. A changed retry is other work.
    does: tuple[Any, ...] = ("agent", own_name, prompt, model, args, job.allowed, schema_text, job.output)
    if job.expect is not None:
        does = (*does, "expect", job.expect)
    return work, call, does if before.retry is None or before.retry.change == _NO_CHANGE else (*does, before.retry.change)


def _refuse_unfit(profile: Profile, job: Job) -> None:
    """Raise ItemRefused if the profile cannot be kept to what the job wants."""
    if profile.needs_check and job.check is None:
        raise ItemRefused(f"agent: nobody can tell whether {profile.name} succeeded: it needs a check")
    if job.allowed not in profile.permissions:
        known = " and ".join(profile.permissions)
        raise ItemRefused(
            f'permissions: the profile of {profile.name} does not say how to keep it to "{job.allowed}" (only {known})'
        )


def _check_call(profile: Profile, call: Call, told: str) -> None:
    """Raise ItemRefused if the kernel would not take an argument."""
    if profile.prompt == "argument":
        check_argument(told, "the prompt", f"{profile.name} takes it in no other way, so shorten it or name a file in it")
    for word in call.argv:
        check_argument(word, "an argument of the agent", "shorten it")


def _profile(name: str, find: FindProfile) -> Profile:
    if not name:
        raise ItemRefused("agent: the name is empty")
    try:
        return find(name)
    except UserError as error:
        raise ItemRefused(f"agent: {error.message}") from error


def _prompt(job: Job, context: Mapping[str, Any], folder: str, files: Files) -> str:
    """The whole prompt. A prompt file whose path is no template was read with the jobs file. Raises ItemRefused."""
    template, file = job.prompt, job.prompt_file
    if file is not None and (template is None or not file.path.is_static):
        named = rendered_text(file.path, context, "prompt_file")
        refuse_nul(named, "prompt_file")
        try:
            template = prompt_in(os.path.join(folder, named), files.read, is_template=file.is_template)
        except PromptFileError as error:
            raise ItemRefused(f"prompt_file: {error}") from error
    assert template is not None, "a job with agent has a prompt"
    try:
        prompt = rendered_text(template, context, "prompt")
    except ItemRefused as refused:
        raise ItemRefused(f"{refused}; {NO_TEMPLATE}" if file is not None else str(refused)) from refused
    if not prompt.strip():
        raise ItemRefused("prompt: it is empty")
    return prompt


def schema_of(job: Job, context: Mapping[str, Any], folder: str, files: Files) -> tuple[str | None, AnswerSchema | None]:
    """The absolute path of the schema for the answer, and that schema; None, None without one. Raises ItemRefused."""
    if job.schema is None:
        return None, None
    named = rendered_text(job.schema, context, "schema")
    refuse_nul(named, "schema")
    path = os.path.join(folder, named)
    try:
        return path, read_schema(path, files.read)
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
    """What the agent is told: the prompt or words for a session, with a person's feedback behind that."""
    words = words_for(before.last, resumed)
    # A session that goes on knows all but the feedback.
    if resumed is not None and before.is_asked and before.feedback and words == "resume":
        return before.feedback
    told = _words(job, context, prompt, before.last, words)
    # Told again in later attempts, because the one before may not have heard it; after a failed check the agent has.
    return f"{told.rstrip()}\n\n{before.feedback}" if before.feedback and (before.is_asked or words != "retry") else told


def _words(job: Job, context: Mapping[str, Any], prompt: str, last: LastEnd | None, words: Words) -> str:
    """The words for an attempt, without feedback. Raises ItemRefused."""
    # What the check said; where it said nothing, or was ended, its message: an empty quotation is no help.
    said = context["attempt"]["check_output"]
    if last is not None and not said.strip():
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
            # A new session knows nothing of the attempt before: tell it what the check said, unless the prompt does so itself.
            return f"{prompt.rstrip()}\n\n{_RETRY_PROMPT_OF_NEW_SESSION.format(**checked)}"
        case _:
            return prompt
