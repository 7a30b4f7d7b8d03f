"""From a worker's outcome to what it means: what `output` promised has to be there, and whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.events import Verdict
from orchestrator.jobsfile.model import OutputKind
from orchestrator.store.rundir import RunDir
from orchestrator.verdicts import checked, verdict_of
from workers.protocol import AttemptClass, Capture, Outcome

CUT = Capture(size=2, inline=b"1\n", is_cut=True)


def outcome_with(stdout: Capture) -> Outcome:
    return Outcome(
        attempt_class=AttemptClass.OK, started_at=1.0, finished_at=2.0, duration_seconds=1.0, exit_code=0, stdout=stdout
    )


@pytest.mark.parametrize("kind", ["lines", "json", "jsonl"])
def test_an_output_that_was_cut_is_no_list_and_no_json(kind: OutputKind, tmp_path: Path) -> None:
    found = checked(outcome_with(CUT), kind, RunDir(tmp_path))
    assert found.attempt_class is AttemptClass.BAD_OUTPUT
    assert found.message == f'the output was cut at max_output: output = "{kind}" needs all of it'
    assert verdict_of(found, None) is Verdict.FAILED


def test_text_that_was_cut_is_text_that_says_so(tmp_path: Path) -> None:
    outcome = outcome_with(CUT)
    assert checked(outcome, "text", RunDir(tmp_path)) is outcome


@pytest.mark.parametrize("kind", ["text", "lines", "json", "jsonl"])
def test_an_output_that_is_whole_is_left_as_it_is(kind: OutputKind, tmp_path: Path) -> None:
    outcome = outcome_with(Capture(size=2, inline=b"1\n"))
    assert checked(outcome, kind, RunDir(tmp_path)) is outcome
