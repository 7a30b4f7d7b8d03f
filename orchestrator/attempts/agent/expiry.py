"""Forgetting what agent CLIs keep below HOME/agents: sessions that no run of the home can go on in, and slots without any.

Promise: a session stays that the last attempt of an item has told, or one that runs, in any run that is left; where one of these
cannot be read, all sessions stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

from orchestrator.engines.onlookers import logged_sessions
from orchestrator.errors import StateRefusedError
from orchestrator.store.home import agents_folder
from orchestrator.store.known_runs import list_runs
from orchestrator.store.load import read_history
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.files.config_expiry import Forgotten, forget_old_state


def forget_agents_state(
    home: Path, oldest: float, gone: Set[str], notes: list[str], *, is_dry: bool
) -> Iterator[tuple[str, Forgotten]]:
    """For each agent what is forgotten of what is older than `oldest` (seconds since the epoch). `gone`: ids of runs that do not
    count any more. `notes` gets in words what had to stay. `is_dry`: nothing is done. Raises OSError.
    """

    @cache
    def needed() -> frozenset[str] | None:
        try:
            return frozenset(session for run in list_runs(home) if run.run_id not in gone for session in _sessions_of(run))
        except StateRefusedError as error:
            notes.append(f"sessions of agents stay: {error.message}")
            return None

    def is_needed(session: str) -> bool:
        # Asked only once a note is old, for it reads every run.
        found = needed()
        return found is None or session in found

    for folder in sorted(agents_folder(home).glob("*/")):
        found = forget_old_state(str(folder), oldest, is_needed, is_dry=is_dry)
        why = "an earlier version made it, and did not note which logins in it are yours; remove it by hand"
        notes += [f"{slot} is left: {why}" for slot in found.left]
        yield folder.name, found


def _sessions_of(run_dir: RunDir) -> Iterator[str]:
    """Those that an item of the run could go on in. Raises StateRefusedError."""
    try:
        history = read_history(run_dir)
    except FileNotFoundError:
        return
    for job in history.jobs.values():
        for index in range(job.known):
            ended = job.last_end(index) if job.spending.is_known(index) else None
            if ended is not None and ended.outcome.agent is not None and ended.outcome.agent.session_id is not None:
                yield ended.outcome.agent.session_id
    # Of an attempt without an end the log of its worker alone may tell.
    for start in history.open_starts.values():
        if start.agent is not None:
            yield from (start.session,) if start.session is not None else ()
            yield from logged_sessions(run_dir, start)
