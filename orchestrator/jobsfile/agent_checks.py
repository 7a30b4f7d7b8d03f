"""What a job with `agent` may get wrong, as far as the file, its folder and the profiles can tell before anything starts.

A static `prompt_file` is read here: what it says is a template of the job like any other, so that the jobs which it names are
needed. A run that is only read from its records looks at no file: what has changed since must not make it unreadable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.answer_schema import AnswerSchemaError, load_checker, read_schema
from orchestrator.jobsfile.job_fields import JobFields
from orchestrator.jobsfile.kept_files import Files, TakenFiles
from orchestrator.jobsfile.keys import AGENT_KEYS
from orchestrator.jobsfile.language.suggestions import shown
from orchestrator.jobsfile.language.template import Template
from orchestrator.jobsfile.model import AgentAction, GateAction, LandAction, Workspace
from orchestrator.jobsfile.prompt_files import PromptFileError, prompt_in
from orchestrator.jobsfile.template_fields import WRONG
from orchestrator.workers.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from orchestrator.jobsfile.profiles.load import Profiles

_VARIABLES = lazy_pattern(r"[^=*\0]+\*?")

DEFAULT_CONCURRENCY = 4
"""Items of an agent job that run at once where `max_concurrency` does not say: a provider's limits are soon reached."""

Tell = Callable[[str | None, str], None]
"""Notes a mistake of a job: at this key, or (None) of it as a whole."""


class Surroundings:
    """What a jobs file is checked against besides itself. `folder` (absolute) is where its relative paths start.

    `beside` (absolute): the folder that it lies in, where it may have profiles of its own. None: a run's copy of it is read once
    more, and nothing around it is asked. `files` reads what it names.
    """

    def __init__(self, folder: str, beside: str | None, files: Files) -> None:
        self.folder = folder
        self.files = files
        self.is_asked = beside is not None
        self._beside = beside

    @cached_property
    def profiles(self) -> Profiles:
        """The agents that its jobs may name. A file without agents never looks for one."""
        from orchestrator.jobsfile.profiles.load import Profiles

        return Profiles(self._beside, self.files)

    def take_profiles(self) -> None:
        """Remember for the run what profiles lie beside the file."""
        from orchestrator.jobsfile.profiles.load import profiles_beside

        if self._beside is not None and isinstance(self.files, TakenFiles):
            self.files.take_profiles(str(profiles_beside(self._beside)))


def check_agent(fields: JobFields, own: frozenset[str], around: Surroundings, tell: Tell) -> None:
    """Tell what is wrong with the keys of one job about agents. Gives `fields` the `prompt` that stands in a static file."""
    action = fields.get("action")
    # Nothing is known of a wrong action; and a gate refuses these keys itself, like all that are not its own.
    if action is WRONG or isinstance(action, GateAction):
        return
    if not isinstance(action, AgentAction):
        for key in sorted(AGENT_KEYS & own):
            tell(key, "says how an agent works, and this job has none")
        return
    _check_prompt(fields, own, around, tell)
    # What each key may say, whatever agent it is.
    passed = fields.get("pass_env", ())
    for name in () if passed is WRONG else passed:
        if not _VARIABLES.fullmatch(name):
            tell("pass_env", f'{shown(name)} names no environment variable: expected a name, or how names begin, as in "CI_*"')
    model = fields.get("model")
    if isinstance(model, Template) and model.is_static and model.source.strip().startswith("-"):
        tell("model", f"{shown(model.source)} begins with a dash: its CLI would take it for an option")
    # What does not go together. Only of the job's own keys: a default may be meant for other jobs.
    if "stdin" in own:
        tell("stdin", "does not go with agent: what an agent reads is its prompt")
    if fields.get("schema") is not None and "output" in own and fields.get("output") not in ("json", WRONG):
        tell("output", "does not go with schema: the answer is then JSON, which that describes")
    # Also of a default: nothing else would tell that it holds for none of the job's items.
    workspace = fields.get("workspace", Workspace())
    if fields.get("expect") == "change" and isinstance(workspace, Workspace) and workspace.kind == "shared":
        tell("expect", '"change" needs a workspace of its own, else nobody can tell who changed what: workspace = "worktree"')
    if fields.get("on_usage_limit") == "fallback" and not fields.get("fallback"):
        tell("on_usage_limit", 'names no agent that takes over: fallback = ["codex"], for example')
    # The world around the file last, and only for a run that is to begin.
    if around.is_asked:
        _check_names(fields, action, around.profiles, tell)
        _check_schema(fields, around, tell)


def check_place(fields: JobFields, tell: Tell) -> None:
    """Tell a folder that would lead out of the workspace."""
    workspace, cwd = fields.get("workspace"), fields.get("cwd")
    if not isinstance(workspace, Workspace) or workspace.kind == "shared" or not isinstance(cwd, Template) or not cwd.is_static:
        return
    is_above = os.path.normpath(cwd.source).split(os.sep)[0] == os.pardir
    # A worktree has what stands above the jobs file, too, as far as the repository goes: the item will know.
    if os.path.isabs(cwd.source) or (is_above and workspace.kind != "worktree"):
        tell("cwd", f"leads out of the workspace ({workspace.kind}): expected a path that is relative to it")


def check_land(fields: JobFields, jobs: Mapping[str, JobFields], tell: Tell) -> None:
    """Tell a `land` of what has no worktrees. `jobs`: all of the file."""
    action = fields.get("action")
    if isinstance(action, LandAction) and action.job in jobs:
        workspace = jobs[action.job].get("workspace")
        if workspace is not WRONG and (not isinstance(workspace, Workspace) or workspace.kind not in ("worktree", "copy")):
            tell("action", f'{action.job} has no worktrees to bring home: it needs workspace = "worktree"')


def agent_values(values: dict[str, Any]) -> dict[str, Any]:
    """The attributes of an agent job, with what an agent job has where nothing is said."""
    values = {"max_concurrency": DEFAULT_CONCURRENCY, **{key: value for key, value in values.items() if key != "stdin"}}
    return {**values, "output": "json"} if "schema" in values else values


def _check_prompt(fields: JobFields, own: frozenset[str], around: Surroundings, tell: Tell) -> None:
    if {"prompt", "prompt_file"} <= own:
        tell("prompt_file", "a job has a prompt or a prompt_file, this has both")
        return
    # Its own, whichever of the two it is, takes the place of the one that the defaults have.
    for key, other in (("prompt", "prompt_file"), ("prompt_file", "prompt")):
        if key in own:
            fields.pop(other, None)
    if "prompt" in fields and "prompt_file" in fields:
        tell("prompt_file", "a job has a prompt or a prompt_file, this has both")
    elif "prompt_file" in fields:
        _read_prompt(fields, around, tell)
    elif "prompt" not in fields:
        tell(None, "no prompt: a job with agent has a prompt or a prompt_file")


def _read_prompt(fields: JobFields, around: Surroundings, tell: Tell) -> None:
    named = fields["prompt_file"]
    if named is WRONG or not named.path.is_static:
        return
    path = os.path.join(around.folder, named.path.source)
    try:
        fields["prompt"] = prompt_in(path, around.files.read, is_template=named.is_template)
    except PromptFileError as error:
        if around.is_asked:
            tell("prompt_file", str(error))


def _check_names(fields: JobFields, action: AgentAction, profiles: Profiles, tell: Tell) -> None:
    fallback = fields.get("fallback", ())
    named = [("action", action.agent.source)] if action.agent.is_static else []
    named += [("fallback", name) for name in (fallback if fallback is not WRONG else ())]
    for key, name in named:
        try:
            profile = profiles.get(name)
        except JobsFileError as error:
            for problem in error.problems:
                tell(key, problem)
        except UserError as error:
            tell(key, error.message)
        else:
            if profile.needs_check and fields.get("check") is None:
                tell(key, f"nobody can tell whether {name} succeeded: it needs a check")


def _check_schema(fields: JobFields, around: Surroundings, tell: Tell) -> None:
    named = fields.get("schema")
    if not isinstance(named, Template):
        return
    try:
        load_checker()
        if named.is_static:
            read_schema(os.path.join(around.folder, named.source), around.files.read)
    except AnswerSchemaError as error:
        tell("schema", str(error))
