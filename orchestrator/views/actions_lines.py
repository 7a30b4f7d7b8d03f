"""Plain lines in a job of GitHub Actions: why an item failed is a group, what failed is annotated, and the step has a summary.

Promise: the runner obeys nothing that is not ours. It takes a line for a command that begins with `::` behind blanks, or that has
`##[` anywhere; no other line does, whatever items are called, wrote or said.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from orchestrator.system.redaction import of_this_process
from orchestrator.system.wording import shown, title
from orchestrator.views.failures import MOST_FAILURES, Failure, FailureGroup, group_words, more_lines
from orchestrator.views.happenings import ItemEnded, RunFinished
from orchestrator.views.outlet import Outlet
from orchestrator.views.plain_lines import EachLine, PlainLines
from orchestrator.views.source_places import SourcePlaces


class Command(str):
    """A line that the runner obeys."""


class ActionsLines(PlainLines):
    """`environment`: that of the step, which says where the repository is and where its summary goes."""

    def __init__(self, outlet: Outlet, program: str, environment: Mapping[str, str]) -> None:
        super().__init__(outlet, program)
        self._environment = environment

    def _say(self, line: str) -> None:
        self._outlet.line(line if isinstance(line, Command) else _obeyed_by_nobody(line))

    def _failure_lines(self, ended: ItemEnded) -> Iterator[str]:
        first, *tail = super()._failure_lines(ended)
        if not tail:
            yield first
            return
        yield Command(f"::group::{_data(first)}")
        yield from tail
        yield Command("::endgroup::")

    def _end_lines(self, finished: RunFinished) -> Iterable[str]:
        yield from self._report.lines(finished, lambda groups, count: self._annotations(finished, groups, count))
        path = self._environment.get("GITHUB_STEP_SUMMARY")
        if path:
            from orchestrator.views.step_summary import add_step_summary

            if (why := add_step_summary(path, finished, self._report.groups(finished))) is not None:
                yield f"note: the summary of the step could not be written: {why}"

    def _annotations(self, finished: RunFinished, groups: Sequence[FailureGroup], count: int) -> Iterator[str]:
        """An annotation for each reason; the runner shows its words in the log, too."""
        places = SourcePlaces(self._environment.get("GITHUB_WORKSPACE", ""), str(finished.summary.get("jobs_file", "")))
        for group in groups[:MOST_FAILURES]:
            first = group.first
            name = title(first.item, first.label)
            told = ",".join(f"{key}={_property(value)}" for key, value in (*_place(places.of(first)), ("title", name)))
            yield Command(f"::error {told}::{_data(f'{name}: ' + chr(10).join(group_words(group)))}")
        yield from more_lines(groups, count)


def mistake_commands(problems: Iterable[str], workspace: str, folder: str) -> Iterator[str]:
    """An annotation for each mistake of a jobs file, which begins with its place (`jobs.toml:3: …`), seen from `folder`."""
    places = SourcePlaces(workspace, os.path.join(folder, "jobs"))
    for problem in problems:
        found = places.of(Failure((0, 0), "", None, "", 0, None, [problem.partition(": ")[0]]))
        told = ",".join(f"{key}={_property(value)}" for key, value in _place(found))
        yield f"::error{told and ' '}{told}::{_data(problem)}"


class EachActionsLine(ActionsLines, EachLine):
    """As `EachLine`, too."""


def _place(place: tuple[str, int | None] | None) -> Iterator[tuple[str, str]]:
    if place is not None:
        yield "file", place[0]
        if place[1] is not None:
            yield "line", str(place[1])


def _obeyed_by_nobody(line: str) -> str:
    line = line.replace("##[", "##\\[")
    return f"\\{line}" if line.lstrip().startswith("::") else line


def _data(text: str) -> str:
    """What stands behind the second `::`. Without secrets: behind the escapes none would be found."""
    text = "\n".join(map(shown, of_this_process().redact_text(text).split("\n")))
    return text.replace("%", "%25").replace("\n", "%0A").replace("##[", "##\\[")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
