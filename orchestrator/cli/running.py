"""What `orchestrate run FILE` does with its words, whoever has read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from orchestrator.cli.prompting import input_asker
from orchestrator.cli.supervising import Shown, supervise

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.cli.invocation import Invocation
    from orchestrator.runs.commands import RunReport
    from orchestrator.views.listeners import Listeners
    from orchestrator.views.prompt import Prompt


def run(
    invocation: Invocation,
    *,
    file: str,
    inputs: tuple[str, ...] = (),
    inputs_file: str | None = None,
    slots: int | None = None,
    keep_going: bool = False,
    folder: str | None = None,
    only: tuple[str, ...] = (),
    limit: int | None = None,
    run_id: str | None = None,
    resume: bool = False,
    max_age: float | None = None,
    overlap: str = "allow",
    replay: str | None = None,
    fresh: bool = False,
    **view: Any,
) -> int:
    """Run the jobs file, or go on with its newest run; the exit code. `view`: fields of `Shown`. Raises UserError."""
    shown = Shown(**view)

    def start(home: Path, listeners: Listeners, prompt: Prompt | None) -> RunReport:
        from orchestrator.runs.commands import RunRequest, run_file
        from orchestrator.store.settings_records import RunOptions, Selection

        # Inputs are asked for only where somebody sits at the terminal and did not want to be left alone.
        selection = Selection(only=only, limit=limit)
        options = RunOptions(slots=slots, keep_going=keep_going, fresh=fresh, selection=selection, replay=replay is not None)
        request = RunRequest(
            jobs_file=file,
            inputs=inputs,
            inputs_file=inputs_file,
            ask_input=None if shown.quiet or shown.detach else input_asker(),
            options=options,
            folder=folder,
            run_id=run_id,
            resume=resume,
            max_age=max_age,
            overlap=cast(Literal["allow", "skip", "wait", "fail"], overlap),
            capsule=replay,
        )
        return run_file(home, request, listeners, asker=prompt)

    return supervise(invocation, shown, start)
