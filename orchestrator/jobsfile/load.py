"""Reads a jobs file and tells all its mistakes at once.

Promise: whatever the text is, the answer is a `JobsFile` that is right in every key, or a JobsFileError that has every
mistake, one line each. It takes several passes over the tables, and no pass stops at a mistake: what is wrong is told and
stands aside, so that it causes no second complaint.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import msgspec

from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.agent_checks import Surroundings
from orchestrator.jobsfile.child_files import ChildFiles
from orchestrator.jobsfile.inputs import build_inputs
from orchestrator.jobsfile.job_fields import JobFields, compile_fields, lay_over
from orchestrator.jobsfile.jobs import build_jobs
from orchestrator.jobsfile.kept_files import FROM_DISK, NOTHING_KEPT, Files, KeptFiles, TakenFiles
from orchestrator.jobsfile.keys import FILE_SCOPE, TEMPLATE_FUNCTIONS, ConfigTable, FileTable, RunTable
from orchestrator.jobsfile.language.decode import decode, plain
from orchestrator.jobsfile.language.problems import Problems
from orchestrator.jobsfile.language.suggestions import did_you_mean
from orchestrator.jobsfile.language.toml_text import parse_toml, read_text
from orchestrator.jobsfile.model import InputSpec, JobsFile, RunSettings, templates_in
from orchestrator.jobsfile.pools import PoolFields, build_pools, compile_pools
from orchestrator.jobsfile.template_fields import WRONG, compile_environment

STDIN = "-"
"""In place of a path: the jobs file comes from stdin."""


def load(
    path: str | os.PathLike[str], *, folder: str | None = None, user_config: str | None = None, kept: KeptFiles = NOTHING_KEPT
) -> JobsFile:
    """The jobs file at `path`, or that of stdin (`-`). `folder`: where its relative paths start, default its own
    folder, or of stdin the one that we are in.

    `user_config`: the user's config.toml, whose [defaults] and [pools] stand behind the file's; it need not exist.
    The files that it runs as children are loaded, too, as far as their paths are no templates. `kept`: of the run whose child
    it is. All that is read is remembered in the `kept` of what is returned.
    Raises UserError for a file that cannot be read, JobsFileError for mistakes in it.
    """
    files, given = TakenFiles(kept), os.fspath(path)
    if given == STDIN:
        place = os.path.abspath(folder or os.curdir)
        text = read_text("/dev/stdin", files.read)
        return load_text(text, path=os.path.join(place, "stdin.toml"), folder=place, user_config=user_config, is_recorded=False)
    children = ChildFiles(lambda child, below: _load_file(child, None, user_config, below, files), files)
    found = _load_file(given, folder, user_config, children, files)
    return msgspec.structs.replace(found, kept=files.taken(given))


def _load_file(given: str, folder: str | None, user_config: str | None, children: ChildFiles, files: TakenFiles) -> JobsFile:
    text = read_text(given, files.read)
    real_path = files.real_path(given)
    folder = os.path.abspath(folder) if folder is not None else os.path.dirname(real_path)
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: no such folder")
    around = Surroundings(folder, os.path.dirname(real_path), files)
    return _load(text, real_path, around, user_config, shown_path=given, children=children.of(real_path))


def load_text(
    text: str,
    *,
    path: str,
    folder: str,
    user_config: str | None = None,
    is_recorded: bool = True,
    kept: KeptFiles | None = None,
) -> JobsFile:
    """The jobs file that reads `text` and came from the absolute `path`. Errors as of `load`; child files are left alone.

    `is_recorded`: it is a run's copy, which has `kept` besides. Then agents and schemas that are there no more are no mistakes of
    it.
    """
    if is_recorded:
        files = Files(kept) if kept is not None else FROM_DISK
        found = _load(text, path, Surroundings(folder, None, files), user_config, shown_path=path)
        return msgspec.structs.replace(found, kept=kept)
    taken = TakenFiles()
    found = _load(text, path, Surroundings(folder, folder, taken), user_config, shown_path=path)
    return msgspec.structs.replace(found, kept=taken.taken(path))


def _load(
    text: str, path: str, around: Surroundings, user_config: str | None, *, shown_path: str, children: ChildFiles | None = None
) -> JobsFile:
    folder = around.folder
    problems = Problems(shown_path, text)
    # The user's config first: its defaults stand behind the file's, and its mistakes are told with the file's.
    config = _user_config(user_config)
    table = plain(parse_toml(text, shown_path), (), problems)
    raw, wrong = decode(table, FileTable, (), problems)
    if raw.name == "":
        problems.tell(("name",), "expected a name, got an empty string")
    inputs = build_inputs(raw.inputs or {}, problems)
    known_inputs = None if "inputs" in wrong else inputs
    # Where [inputs] or [pools] is wrong as a whole its names are not known (None): then no use of a name is a second mistake.
    run = _run_settings(raw.run or {}, known_inputs, problems)
    own_pools = compile_pools(raw.pools or {}, problems)
    pools = build_pools(config.pools, own_pools, config.problems, problems)
    known_pools = None if "pools" in wrong or not config.has_pools else {**config.pools, **own_pools}.keys()
    defaults = lay_over(config.defaults, compile_fields(raw.defaults or {}, ("defaults",), problems))
    # The jobs last: they name inputs, pools and other files.
    jobs = () if "jobs" in wrong else build_jobs(raw.jobs or {}, defaults, known_inputs, known_pools, problems, around)
    if any(job.is_agent for job in jobs):
        around.take_profiles()
    nests = children.check_children(jobs, folder, run.max_depth, problems) if children is not None else 0
    if any(spec.is_secret for spec in inputs.values()):
        from orchestrator.jobsfile.secret_inputs import check_secrets

        check_secrets(jobs, inputs, problems)
    lines = problems.lines() + config.problems.lines()
    if lines:
        raise JobsFileError(shown_path, lines)
    name = raw.name or PurePath(path).stem
    return JobsFile(name=name, path=path, folder=folder, text=text, inputs=inputs, run=run, jobs=jobs, pools=pools, nests=nests)


class _UserConfig(msgspec.Struct, frozen=True):
    """What the user's config.toml gives. `has_pools` is False where its pools cannot be known for a mistake."""

    problems: Problems
    defaults: JobFields = msgspec.field(default_factory=dict)
    pools: PoolFields = msgspec.field(default_factory=dict)
    has_pools: bool = True


def _user_config(path: str | None) -> _UserConfig:
    if path is None or not os.path.exists(path):
        return _UserConfig(Problems("config.toml", ""))
    text = read_text(path)
    problems = Problems(path, text)
    raw, wrong = decode(plain(parse_toml(text, path), (), problems), ConfigTable, (), problems)
    defaults = compile_fields(raw.defaults or {}, ("defaults",), problems)
    return _UserConfig(problems, defaults, compile_pools(raw.pools or {}, problems), "pools" not in wrong)


def _run_settings(table: dict[str, Any], inputs: Mapping[str, InputSpec] | None, problems: Problems) -> RunSettings:
    raw, wrong = decode(table, RunTable, ("run",), problems)
    values = {key: getattr(raw, key) for key in table if key not in wrong}
    if "env" in values:
        values["env"] = compile_environment(values["env"], ("run", "env"), problems)
        if values["env"] is WRONG:
            del values["env"]
    for template in templates_in(values.get("env")):
        for name in sorted(template.names - FILE_SCOPE - TEMPLATE_FUNCTIONS):
            problems.tell(("run", "env"), f"{name} is not known here, only {' and '.join(sorted(FILE_SCOPE))}")
        for name in sorted(template.inputs - inputs.keys() if inputs is not None else ()):
            problems.tell(("run", "env"), f"inputs.{name} is not declared{did_you_mean(name, inputs or ())}")
    slots, fast_slots = values.get("slots"), values.get("fast_slots")
    if slots and fast_slots is not None and fast_slots >= slots:
        problems.tell(("run", "fast_slots"), f"expected fewer than slots ({slots}): none would be left for the main lane")
    return RunSettings(**values)


def user_config() -> str | None:
    """The user's config.toml, if there is one."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    path = os.path.join(base, "orchestrate", "config.toml")
    return path if os.path.exists(path) else None
