"""What a person is told of a jobs file that is right: values that a program of a job would read as commands, agents that would
change files under each other's hands.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.jobsfile.language.problems import Place, Problems
from orchestrator.jobsfile.language.rereading import has_arithmetic, reader_in_argv, reader_in_script
from orchestrator.jobsfile.model import CommandAction, Job, JobsFile, ShellAction
from orchestrator.workers.lazy_pattern import lazy_pattern


def warnings_about(jobs_file: JobsFile, shown_path: str) -> list[str]:
    """One line for each place, as the mistakes of a file are told, in the file's order."""
    told = Problems(shown_path, jobs_file.text)
    for place, words in _warnings(jobs_file, _IN_A_FILE):
        told.tell(place, words)
    return told.lines()


def warnings_about_typed(jobs_file: JobsFile) -> list[str]:
    """The same of a file that `each` made of a command line: without places, which nobody has seen."""
    # Of `sh -c` among the words of the command `each` itself has warned, with what to type instead.
    told = (words for place, words in _warnings(jobs_file, _TYPED) if place[-1] != "command" or not _OF_A_SCRIPT.match(words))
    return list(dict.fromkeys(told))


_IN_A_FILE = ('workspace = "{}"', "{{ x }}")
_TYPED = ("--workspace {}", "{}")
"""How a workspace is chosen, and what stands for a value."""

_OF_A_SCRIPT = lazy_pattern(r"\S+ -\S+ reads ")


def _warnings(jobs_file: JobsFile, spelling: tuple[str, str]) -> Iterator[tuple[Place, str]]:
    workspace, value = spelling
    for job in jobs_file.jobs:
        if _edits_at_once(job, jobs_file.run.slots):
            yield (
                ("jobs", job.id),
                f"up to {job.max_concurrency} of its agents change files in one folder at once;"
                f" {workspace.format('worktree')} gives each its own, {workspace.format('shared')} says that this is meant",
            )
        for key, reader in _readers(job):
            meant = "write {{ x | raw }}" if key == "command" else "put it into a shell variable first"
            # In what is typed nothing else can be meant.
            otherwise = f"; if it is meant, {meant}" if spelling is _IN_A_FILE else ""
            yield (
                ("jobs", job.id, key),
                f"{reader} reads the value once more, as commands, and our quotes are for nothing: pass it as an argument"
                f" (sh -c 'ls -- \"$1\"' _ {value}){otherwise}",
            )
        for key, script in _scripts(job):
            if has_arithmetic(script):
                yield (
                    ("jobs", job.id, key),
                    "bash reads the value as arithmetic, in which a[$(…)] runs a command: {{ x | int | raw }} is a number",
                )


def _scripts(job: Job) -> Iterator[tuple[str, str]]:
    """Key of the job -> a script of it that has values."""
    found = {"check": job.check, "workspace": job.workspace.setup}
    if isinstance(job.action, ShellAction):
        found["shell"] = job.action.script
    yield from ((key, template.source) for key, template in found.items() if template is not None and not template.is_static)


def _edits_at_once(job: Job, slots: int | None) -> bool:
    is_one = job.for_each is None or job.max_concurrency == 1 or slots in (0, 1)
    return job.is_agent and not is_one and not job.workspace.is_said and job.allowed != "read"


def _readers(job: Job) -> Iterator[tuple[str, str]]:
    """Key of the job -> the program that reads a value in it as commands."""
    if isinstance(job.action, CommandAction):
        stdin = job.stdin.source if job.stdin is not None else ""
        if reader := reader_in_argv([each.source for each in job.action.argv], stdin):
            yield "command", reader
    yield from ((key, reader) for key, script in _scripts(job) if (reader := reader_in_script(script)))
