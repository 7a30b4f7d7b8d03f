"""What the commands that supervise a run share: who hears of it, how it goes to the background, and the last word."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.errors import UserError
from orchestrator.system.hidden_environment import hide_environment
from orchestrator.system.kept_modules import import_together
from orchestrator.views.happenings import Happening, RunBegan
from orchestrator.views.listener import Listener
from orchestrator.views.listeners import Listeners
from orchestrator.views.outlet import Outlet, outlet_to, waits_for_reader
from orchestrator.views.prompt import Prompt, has_terminal
from orchestrator.workers.protocol import MARK_VARIABLE
from orchestrator.workers.warm_process import fork_warm_process, let_go_of_warm_process

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.cli.invocation import Invocation
    from orchestrator.runs.commands import RunReport

_EACH_RUN_NEEDS = ["orchestrator.runs.commands"]


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The view options of a command line."""

    quiet: bool = False
    progress: str = "auto"
    events: bool = False
    as_json: bool = False
    detach: bool = False
    profile: str | None = None


class _RunFinder:
    """Tells the invocation which run it is about: that is where the traceback of a bug goes."""

    shows_time = False
    follows_items = False

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def hear(self, happening: Happening) -> None:
        if isinstance(happening, RunBegan):
            from orchestrator.store.run_dir import RunDir

            self._invocation.run_dir = RunDir.of(self._invocation.home(), happening.run_id)

    def refresh(self, now: float) -> None:
        """Nothing is shown."""

    def close(self) -> None:
        """Nothing to restore."""


def supervise(
    invocation: Invocation,
    shown: Shown,
    start: Callable[[Path, Listeners, Prompt | None], RunReport],
    *,
    reads_stdin: bool = False,
    outputs: Listener | None = None,
) -> int:
    """Call `start(home, listeners, prompt)` with the listeners that `shown` asks for, and print what it asks for; the exit code.

    The prompt is None where nobody can be asked. `reads_stdin`: standard input has items, and no answers.
    `outputs`: a listener that writes to stdout; beside a live view on a terminal it hears nothing. Raises UserError.
    """
    if shown.events and shown.as_json:
        raise UserError("--events and --json cannot both be given", "the last line of --events has the summary")
    profile: Listener | None = None
    if shown.profile is not None:
        from orchestrator.cli.profiling import Profile

        profile = Profile(shown.profile)
        start = profile.around(start)
    always = [_RunFinder(invocation), *([] if profile is None else [profile])]
    # In the background only the caller listens, until the run has begun.
    if shown.detach:
        _refuse_detach(shown)
        from orchestrator.cli.background import go_to_background

        def run_in_background(events: Listener) -> int:
            fork_warm_process()
            return _report(invocation, start, Listeners([*always, events]), None).exit_code

        return go_to_background(
            run_in_background,
            as_json=shown.as_json,
            keeps_stdin=reads_stdin,
        )
    # Workers are forked from a process that is forked here, while there is nothing to inherit yet: no thread, no lock.
    fork_warm_process()
    try:
        # One outlet for the view and the prompt: what both write to a terminal stays in order.
        outlet = outlet_to(sys.stderr)
        listeners = _chosen_listeners(invocation, shown, outlet, always, outputs)
        report = _report(invocation, start, listeners, None if reads_stdin else _prompt(listeners, shown, outlet))
    finally:
        # A run that is refused has not let go of it.
        let_go_of_warm_process()
    if report.status == "skipped" and not shown.quiet:
        Outlet(sys.stderr).line(f"skipped: run {report.run_id} of this file goes on")
    # The run is over: its exit code stands, whether or not somebody still reads the summary.
    if shown.as_json:
        _print_summary(report.summary)
    return report.exit_code


def _report(
    invocation: Invocation,
    start: Callable[[Path, Listeners, Prompt | None], RunReport],
    listeners: Listeners,
    prompt: Prompt | None,
) -> RunReport:
    home = invocation.home(is_made=True)
    # Agents run as the user: they shall not read in this process what they are not given.
    hide_environment()
    import_together("session", _EACH_RUN_NEEDS)
    try:
        return start(home, listeners, prompt)
    finally:
        listeners.close()
        # Others were told by a note. If the view itself failed, the user has seen none.
        for failed in listeners.silenced:
            Outlet(sys.stderr).line(f"orchestrate: {type(failed).__name__} failed while the run went on: see its supervisor.log")


def _chosen_listeners(
    invocation: Invocation, shown: Shown, outlet: Outlet, always: Sequence[Listener], outputs: Listener | None
) -> Listeners:
    """The listeners that the options ask for, and `always`. An exporter is one more line: a slow listener."""
    view = _chosen_view(invocation, shown, outlet)
    listeners = [*always]
    slow: list[Listener] = []
    if shown.events:
        from orchestrator.cli.output import own_stdout, stdout_bytes
        from orchestrator.views.json_lines import EventLines

        if waits_for_reader(sys.stdout) or (sys.stdout is not None and sys.stdout.isatty()):
            slow.append(EventLines(own_stdout()))
        else:
            listeners.append(EventLines(stdout_bytes()))
    if outputs is not None:
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        # Written between the pictures of a live view it would be torn: it is then printed at the end.
        if not (is_terminal and _is_live(outlet, shown)):
            (slow if is_terminal or waits_for_reader(sys.stdout) else listeners).append(outputs)
    (slow if waits_for_reader(sys.stderr) else listeners).append(view)
    # `2>&1 | …`: one thread, so that each line stands behind its event, and none is torn by another.
    if len(slow) > 1 and os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno()):
        from orchestrator.views.together import Together

        slow = [Together(slow)]
    return Listeners(listeners, slow)


def _chosen_view(invocation: Invocation, shown: Shown, outlet: Outlet) -> Listener:
    from orchestrator.views.plain_lines import EachLine, PlainLines, Quiet

    program = invocation.program()
    if shown.quiet:
        return Quiet(outlet, program)
    if _is_live(outlet, shown):
        from orchestrator.views.terminal import LiveView

        return LiveView(outlet, program, force=shown.progress == "always")
    if is_step_of_actions():
        from orchestrator.views.actions_lines import ActionsLines, EachActionsLine

        return (EachActionsLine if shown.progress == "lines" else ActionsLines)(outlet, program, os.environ)
    return EachLine(outlet, program) if shown.progress == "lines" else PlainLines(outlet, program)


def is_step_of_actions() -> bool:
    """Whether the runner of GitHub Actions obeys what we write: it started us itself, and no item did."""
    return os.environ.get("GITHUB_ACTIONS") == "true" and not os.environ.get(MARK_VARIABLE)


def _prompt(listeners: Listeners, shown: Shown, outlet: Outlet) -> Prompt | None:
    """A prompt if a person can be asked: they sit at a terminal, see what is written to it, and want to hear something."""
    if shown.quiet or shown.as_json or sys.stdin is None or not outlet.isatty() or os.environ.get(MARK_VARIABLE):
        return None
    return Prompt(sys.stdin.fileno(), outlet, listeners) if has_terminal(sys.stdin.fileno()) else None


def _is_live(outlet: Outlet, shown: Shown) -> bool:
    if shown.progress != "auto":
        return shown.progress == "always"
    # Events on the same terminal would be written into the live part.
    shares_terminal = shown.events and sys.stdout is not None and sys.stdout.isatty()
    return is_terminal_for_views(outlet) and not shares_terminal


def is_terminal_for_views(outlet: Outlet) -> bool:
    """Whether a picture can be drawn there."""
    return outlet.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def _print_summary(summary: dict[str, Any]) -> None:
    from orchestrator.cli.output import flush, silence, write_json
    from orchestrator.views.json_lines import with_times

    try:
        write_json(with_times(summary))
        flush()
    except BrokenPipeError:
        silence()


def _refuse_detach(shown: Shown) -> None:
    if shown.events:
        raise UserError("--detach and --events cannot both be given", "a run in the background has nobody to tell")
    from orchestrator.shared.nesting.ancestors import worker_above

    if os.environ.get(MARK_VARIABLE) or worker_above() is not None:
        raise UserError("--detach inside an item is refused: what an item leaves behind ends with it", "leave --detach out")
