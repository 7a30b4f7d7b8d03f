"""Secret inputs: who may use them, and where their values are kept: in this process, and in nothing that is written.

What a run knows as the value of such an input is a mark (`workers.secrets`), in its records, its templates and its messages.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.errors import UserError
from orchestrator.jobsfile.inputs import variable_of
from orchestrator.jobsfile.language.problems import Problems
from orchestrator.jobsfile.model import InputSpec, Job, templates_in
from orchestrator.system.redaction import SHORTEST_VALUE, of_this_process
from orchestrator.workers.secrets import mark_of, variable_of_secret

_MAY_USE = ("env", "stdin")
"""Keys of a job in which secrets may stand: arguments are shown by every `ps`, and most else is recorded."""


def secret_names(specs: Mapping[str, InputSpec]) -> list[str]:
    """The inputs that are secret."""
    return [name for name, spec in specs.items() if spec.is_secret]


def check_secrets(jobs: Iterable[Job], specs: Mapping[str, InputSpec], problems: Problems) -> None:
    """Tell secrets that stand where others would see them."""
    secret = set(secret_names(specs))
    for job in jobs:
        for field in job.__struct_fields__:
            named = {name for template in templates_in(getattr(job, field)) for name in template.inputs} & secret
            for name in sorted(named) if field not in _MAY_USE else ():
                where = "what it runs" if field == "action" else field
                words = f"{where}: inputs.{name} is secret, and others would see it there; give it by env or stdin"
                problems.tell(("jobs", job.id), words)


def mistake_of_secret(value: Any) -> str:
    """What is wrong with a value for a secret input, without the value; "": nothing."""
    if not isinstance(value, str):
        return "expected a string"
    if "\0" in value:
        return "a NUL byte can stand in no variable"
    if len(value) < SHORTEST_VALUE:
        return f"a secret has at least {SHORTEST_VALUE} characters: a shorter one could not be hidden in what is shown"
    return ""


def keep_secret(name: str, value: str) -> str:
    """Have this process, its workers and no command know the value; the mark that stands for it."""
    os.environ[variable_of_secret(name)] = value
    # What it hides from now on.
    of_this_process.cache_clear()
    return mark_of(name)


def with_secrets_kept(values: Mapping[str, Any], specs: Mapping[str, InputSpec]) -> dict[str, Any]:
    """The values of a run's inputs, with marks for those that are secret: these this process keeps."""
    return {name: keep_secret(name, value) if specs[name].is_secret else value for name, value in values.items()}


def require_secrets(specs: Mapping[str, InputSpec], run: str) -> None:
    """Have this process know the secrets of a run that goes on; `run`: in words. Raises UserError if one is not given."""
    for name in secret_names(specs):
        if variable_of_secret(name) in os.environ:
            continue
        variable = variable_of(name)
        value = os.environ.get(variable, "")
        if not value:
            hint = f"set {variable}; resume, retry and approve --resume also take it by -i {name}=@FILE"
            raise UserError(f"{run} needs its secret input {name}, which is kept nowhere", hint)
        if mistake := mistake_of_secret(value):
            raise UserError(f"{variable}: {mistake}", "give the whole of it")
        keep_secret(name, value)
