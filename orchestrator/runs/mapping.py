"""`orchestrator.map`: a command, or an agent, once for each of a program's values: a normal run, recorded and resumable."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.jobsfile.language.toml_values import toml_value
from orchestrator.reading.run_result import RunResult
from orchestrator.runs import commands as runs
from orchestrator.runs.api import AnyPath, home_of, result_of
from orchestrator.runs.callback_listener import CallbackListener, OnEvent
from orchestrator.store.run_dir import RunDir
from orchestrator.store.settings_records import RunOptions
from orchestrator.system.stop_signals import Stopper, StopSources
from orchestrator.views.listeners import Listeners


def map_items(
    command: Sequence[str] | str | None,
    items: Iterable[Any],
    *,
    slots: int | None = None,
    keep_going: bool = False,
    folder: AnyPath | None = None,
    run_id: str | None = None,
    home: AnyPath | None = None,
    on_event: OnEvent | None = None,
    stopper: Stopper | None = None,
    signals: bool = True,
    **job: Any,
) -> RunResult:
    """Run `command` once for each of `items` (values that JSON has), and tell what came of it: `result.results`, in their order.

    `command`: an argv, in which `{}` or `{{ item }}` stands for the item (else it is the last argument); or a text for the shell,
    in which `{{ item }}` is quoted; None with `agent=…, prompt=…`. `job`: any key of a job (`attempts=3`, `timeout="20m"`,
    `output="json"`). The items are those of the job `each`. `folder`: where it works (default: the current one); all else, and
    what is raised, as of `run`. The run is gone on with by `resume(result)`.
    """
    folder = os.path.abspath(folder or os.curdir)
    keys = {**_action(command), **job}
    text = 'name = "map"\n[jobs.each]\nfor_each = { jsonl = "items.jsonl" }\n'
    text += "".join(f"{name} = {toml_value(value)}\n" for name, value in keys.items())
    options = RunOptions(slots=slots, keep_going=keep_going)
    request = runs.EachRequest(jobs_text=text, lines=items, folder=folder, options=options, run_id=run_id)
    state = home_of(home, is_made=True)
    with CallbackListener(on_event, stopper) as listener:
        stops = StopSources(signals=signals, stopper=listener.stopper)
        report = runs.run_each(state, request, Listeners([listener]), stops=stops)
    return result_of(RunDir.of(state, report.run_id), report)


def _action(command: Sequence[str] | str | None) -> dict[str, Any]:
    if command is None:
        return {}
    if isinstance(command, str):
        return {"shell": command}
    argv = [word.replace("{}", "{{ item }}") for word in command]
    return {"command": argv if any("{{" in word for word in argv) else [*argv, "{{ item }}"]}
