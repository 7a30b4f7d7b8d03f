"""What an item has to have before it starts, and who needs nothing of that."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from drivers.token_driver import TOKEN, Run
from drivers.token_samples import lock_held

from orchestrator.attempts.rendering import Prepared
from orchestrator.engines.engine import Engine
from orchestrator.errors import StateUnwritableError
from orchestrator.jobsfile.load import load_text
from orchestrator.shared.limits.parks import Parks
from orchestrator.shared.limits.trials import Trials
from orchestrator.shared.tokens.answers import Joins, Shared
from orchestrator.store.outcomes import DoneHere
from orchestrator.supervisor.admission import Admission, Answer, Candidate, SlotHeld
from orchestrator.supervisor.resources import Missing, MissingResources, Resources
from orchestrator.supervisor.run import Run as SupervisedRun


class NoEngine:
    """Whoever gets here has everything else."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} of the engine is asked for")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path, "a")
    yield made
    made.close()


class EngineWithoutPython:
    """Its workers cannot be started any more: the interpreter was removed while the run went on."""

    def prepare(self, _slot: int) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/venv/bin/python")


def admit(run: Run, number: int, slot: int, keys: str = "", *, pool: str = "", engine: object = None) -> Answer:
    text = f"[run]\n{keys}\n{pool}\n[jobs.port]\nfor_each = [1, 2]\ntoken = '{TOKEN}'\ncommand = ['true']\n"
    if pool:
        text += "pool = 'narrow'\n"
    jobs_file = load_text(text, path="jobs.toml", folder="/")
    resources = Resources(run.home, jobs_file, None, Trials(run.home, Parks(run.home)))
    supervised = SimpleNamespace(
        id=run.run_id,
        dir=run.run_dir,
        jobs_file=jobs_file,
        tell=SimpleNamespace(note=pytest.fail),
    )
    missing = MissingResources(run.run_dir, resources)
    admission = Admission(cast(SupervisedRun, supervised), resources, missing, cast(Engine, engine or NoEngine()), run.desk)
    prepared = Prepared(argv=["true"], script=None, cwd="/", env={}, stdin=None, creates=[], label=None, payload="p", token=TOKEN)
    return admission.admit(Candidate((0, number), f"port:{number}", jobs_file.jobs[0], slot, run.mark(number), prepared, None))


def test_a_duplicate_in_its_run_needs_neither_slot_nor_memory_to_join(run: Run) -> None:
    with lock_held(run.run_dir.slot_lock(1)):
        assert isinstance(admit(run, 0, slot=1), SlotHeld)
        run.takes(0)
        assert isinstance(admit(run, 1, slot=1), Joins)
        assert isinstance(admit(run, 1, slot=1, keys="min_free_memory = '1000000 GB'"), Joins)


def test_what_the_run_has_done_needs_neither_slot_nor_memory_to_be_shared(run: Run) -> None:
    run.takes(0)
    run.ends(0)
    outcome = run.record()
    assert outcome is not None
    assert outcome.outcome is not None
    run.done[TOKEN] = DoneHere("port:0", "p", outcome.outcome)
    shared = admit(run, 1, slot=0, keys="min_free_memory = '1000000 GB'")
    assert isinstance(shared, Shared)
    assert not run.run_dir.slot_lock(0).exists()


def test_an_item_that_waits_for_its_pool_keeps_no_token(run: Run) -> None:
    """Or of two runs of the same work one would have the token, and the other the pool."""
    with lock_held(run.home / "pools" / "narrow" / "0.lock"):
        assert isinstance(admit(run, 0, slot=0, pool="[pools.narrow]\nslots = 1"), Missing)
    assert not run.desk.knows((0, 0))
    other = Run(run.home, "b")
    other.takes(0)
    other.close()


def test_a_worker_that_cannot_be_started_for_no_shortage_stops_the_run_and_names_what_is_missing(run: Run) -> None:
    with pytest.raises(StateUnwritableError, match="/venv/bin/python: No such file or directory"):
        admit(run, 0, slot=0, engine=EngineWithoutPython())
    assert not run.desk.knows((0, 0)), "and nothing is held any more"
