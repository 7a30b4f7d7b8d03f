"""What a person is told of a jobs file that is right: values that a program of a job would read as commands."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.jobsfile.language.problems import Problems
from orchestrator.jobsfile.language.rereading import reader_in_argv, reader_in_script
from orchestrator.jobsfile.model import CommandAction, Job, JobsFile, ShellAction


def rereads_told(jobs_file: JobsFile, shown_path: str) -> list[str]:
    """One line for each place, as the mistakes of a file are told, in the file's order."""
    told = Problems(shown_path, jobs_file.text)
    for job in jobs_file.jobs:
        for key, reader in _readers(job):
            meant = "write {{ x | raw }}" if key == "command" else "put it into a shell variable first"
            told.tell(
                ("jobs", job.id, key),
                f"{reader} reads the value once more, as commands, and our quotes are for nothing: pass it as an argument"
                f" (sh -c 'ls -- \"$1\"' _ {{{{ x }}}}); if it is meant, {meant}",
            )
    return told.lines()


def _readers(job: Job) -> Iterator[tuple[str, str]]:
    """Key of the job -> the program that reads a value in it as commands."""
    found = {"check": job.check, "workspace": job.workspace.setup}
    match job.action:
        case ShellAction(script=script):
            found["shell"] = script
        case CommandAction(argv=argv):
            stdin = job.stdin.source if job.stdin is not None else ""
            if reader := reader_in_argv([each.source for each in argv], stdin):
                yield "command", reader
    for key, template in found.items():
        if template is not None and not template.is_static and (reader := reader_in_script(template.source)):
            yield key, reader
