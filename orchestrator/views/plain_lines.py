"""Plain lines, for cron and pipes: what begins, what fails and why, how far the run is, then the end report.

`EachLine` has one for each item that ends, too. `Quiet` reports failures alone, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from orchestrator.system.wording import how_many, lasting, shown, title
from orchestrator.views.end_report import EndReport, ended_line
from orchestrator.views.happenings import (
    AccountSpared,
    Charged,
    GateAnswered,
    GateAsked,
    Happening,
    ItemEnded,
    ItemRetrying,
    ItemRoundEnded,
    ItemStarted,
    ItemWaiting,
    JobClosed,
    JobGrew,
    JobListed,
    Noted,
    PromptClosed,
    PromptOpened,
    RunBegan,
    RunFinished,
)
from orchestrator.views.outlet import Outlet, TerminalOutlet
from orchestrator.views.progress import Progress


class PlainLines:
    """Says each thing once, as it happens, and nothing of a success. `program`: how the user calls orchestrate, for commands in
    the report."""

    def __init__(self, outlet: Outlet, program: str) -> None:
        self._outlet = outlet
        self._report = EndReport(program)
        self._progress = Progress()
        self.shows_time = isinstance(outlet, TerminalOutlet)

    def hear(self, happening: Happening) -> None:
        """Write the lines of one happening, if it has any; at the end, the report."""
        self._report.hear(happening)
        for line in self._lines_of(happening):
            self._say(line)
        if (progress := self._progress_line(happening)) is not None:
            self._say(progress)

    def _lines_of(self, happening: Happening) -> Iterable[str]:
        if isinstance(happening, RunFinished):
            return self._end_lines(happening)
        if isinstance(happening, ItemEnded) and happening.status == "failed":
            return self._failure_lines(happening)
        line = self._line_of(happening)
        return () if line is None else (line,)

    def _say(self, line: str) -> None:
        self._outlet.line(line)

    def _failure_lines(self, ended: ItemEnded) -> Iterable[str]:
        return self._report.failure_lines(ended)

    def _end_lines(self, finished: RunFinished) -> Iterable[str]:
        return self._report.lines(finished)

    def _line_of(self, happening: Happening) -> str | None:
        match happening:
            # What goes on, or is as it should be: how far the run is tells enough of it.
            case ItemEnded() | ItemRetrying() | ItemRoundEnded() | JobClosed(status="skipped"):
                return None
            case _:
                return line_of(happening)

    def _progress_line(self, happening: Happening) -> str | None:
        return self._progress.line_after(happening)

    def refresh(self, now: float) -> None:  # noqa: ARG002 - lines show no time
        """Lines do not change; a terminal that stood still may take them now."""
        self._outlet.flush()

    def close(self) -> None:
        """See that all lines are out."""
        self._outlet.finish()


class EachLine(PlainLines):
    """Says each end of an item, an attempt or a round, too, and so not how far the run is."""

    def _line_of(self, happening: Happening) -> str | None:
        return line_of(happening)

    def _progress_line(self, happening: Happening) -> str | None:  # noqa: ARG002 - each end is told
        return None


class Quiet:
    """Nothing on success, but for warnings; otherwise the end report."""

    shows_time = False
    follows_items = False

    def __init__(self, outlet: Outlet, program: str) -> None:
        self._outlet = outlet
        self._report = EndReport(program)

    def hear(self, happening: Happening) -> None:
        """Write a warning as it comes, and the report at the end if the run did not complete."""
        self._report.hear(happening)
        if isinstance(happening, Noted) and happening.is_warning and (line := line_of(happening)) is not None:
            self._outlet.line(line)
        if isinstance(happening, RunFinished) and happening.exit_code != 0:
            for line in self._report.lines(happening):
                self._outlet.line(line)

    def refresh(self, now: float) -> None:
        """Nothing is shown."""

    def close(self) -> None:
        """See that the report is out."""
        self._outlet.finish()


def line_of(happening: Happening) -> str | None:
    """The line that tells a happening; None for a happening that only changes a picture, or that others tell."""
    # A question that stands at the terminal is written there by the prompt. A job that closed without a message has items that
    # told why. The report has the end.
    match happening:
        case RunBegan():
            return began_line(happening)
        case ItemRetrying():
            return retry_line(happening)
        case ItemRoundEnded():
            return round_line(happening)
        case GateAsked(is_here=False):
            return asked_line(happening)
        case GateAnswered():
            return answered_line(happening)
        case ItemEnded():
            return ended_line(happening)
        case JobClosed(status="failed", message=message) if message:
            return f"FAILED {happening.job}: {shown(message, 300)}"
        case JobClosed(status="skipped", message=message) if message:
            return f"skipped {happening.job}: {shown(message, 300)}"
        case Noted():
            return f"note: {shown(happening.message)}"
        case GateAsked() | JobClosed() | RunFinished() | PromptOpened() | PromptClosed():
            return None
        case JobListed() | JobGrew() | ItemStarted() | ItemWaiting() | Charged() | AccountSpared():
            return None
        case unknown:
            assert_never(unknown)


def began_line(began: RunBegan) -> str:
    """`run ID name: 8 slots`."""
    slots = "inline" if began.slots == 0 else how_many(began.slots, "slot")
    return f"run {began.run_id} {shown(began.name)}: {'resumed, ' if began.is_resumed else ''}{slots}"


def asked_line(asked: GateAsked) -> str:
    """The question of a gate, and its choices."""
    return f"asks {title(asked.item, asked.label)}: {shown(asked.question, 300)} [{', '.join(asked.options)}]"


def answered_line(answered: GateAnswered) -> str:
    """The choice that was made at a gate."""
    said = f": {shown(answered.message, 300)}" if answered.message else ""
    return f"answered {title(answered.item, answered.label)} {answered.choice}{said}"


def round_line(ended: ItemRoundEnded) -> str:
    """The round of a loop that ended, and when the next one comes."""
    later = f", the next in {lasting(ended.wait_s)}" if ended.wait_s >= 1 else ""
    return f"round {ended.round} of {title(ended.item, ended.label)} {lasting(ended.duration_s)}{later}"


def retry_line(retrying: ItemRetrying) -> str:
    """The failure of an attempt, and when the next one comes."""
    said = f"{title(retrying.item, retrying.label)} {shown(retrying.message, 300)}"
    return f"retry {said}, attempt {retrying.attempt + 1} in {lasting(retrying.wait_s)}"
