"""From a worker's outcome to what it means: what `output` promised has to be there, and whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.events import Verdict
from orchestrator.jobsfile.model import OutputKind
from orchestrator.store import outputs
from orchestrator.store.captures import read_capture
from orchestrator.store.outcomes import check_text, outcome_in_words, verdict_of, with_output_checked
from orchestrator.store.outputs import read_output
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.protocol import AgentReport, AttemptClass, Capture, Outcome

CUT = Capture(size=2, inline=b"1\n", is_cut=True)


def outcome_with(stdout: Capture) -> Outcome:
    return Outcome(
        attempt_class=AttemptClass.OK, started_at=1.0, finished_at=2.0, duration_seconds=1.0, exit_code=0, stdout=stdout
    )


@pytest.mark.parametrize("kind", ["lines", "json", "jsonl"])
def test_an_output_that_was_cut_is_no_list_and_no_json(kind: OutputKind, tmp_path: Path) -> None:
    found = with_output_checked(outcome_with(CUT), kind, RunDir(tmp_path))
    assert found.attempt_class is AttemptClass.BAD_OUTPUT
    assert found.message == f'the output was cut at max_output: output = "{kind}" needs all of it'
    assert verdict_of(found, None) is Verdict.FAILED


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@pytest.mark.parametrize(
    ("output", "words"),
    [
        (b"[" * 100_000, "the output is nested deeper than 200 levels"),
        (b"[" * 990 + b"]" * 990, "the output is nested deeper than 200 levels"),
        (b'{"a":' * 990 + b"1" + b"}" * 990, "the output is nested deeper than 200 levels"),
        (b"9" * 400, "the output is out of range: it holds a number that no double can hold"),
        (b"[1e400]", "the output is not as it should be: Number out of range"),
        (b'"caf\xe9"', "the output is not JSON: Invalid UTF-8 encoded string"),
    ],
)
def test_json_that_nobody_could_use_is_a_bad_output(kind: OutputKind, output: bytes, words: str, tmp_path: Path) -> None:
    found = with_output_checked(outcome_with(Capture(size=len(output), inline=output)), kind, RunDir(tmp_path))
    assert found.attempt_class is AttemptClass.BAD_OUTPUT
    assert found.message.replace("line 1 of ", "").startswith(words)


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_lines_in_utf_16_are_a_bad_output(encoding: str, is_large: bool, tmp_path: Path) -> None:
    text = "\ufeffa\nb\n".encode(encoding)
    path = tmp_path / "out"
    path.write_bytes(text)
    stdout = Capture(size=len(text), path=str(path)) if is_large else Capture(size=len(text), inline=text)
    found = with_output_checked(outcome_with(stdout), "lines", RunDir(tmp_path))
    assert found.attempt_class is AttemptClass.BAD_OUTPUT
    assert found.message == "the output is in UTF-16; lines are in UTF-8 (iconv -f UTF-16 -t UTF-8 makes them so)"
    assert with_output_checked(outcome_with(stdout), "text", RunDir(tmp_path)).attempt_class is AttemptClass.OK


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_more_json_than_could_be_values_is_a_bad_output_and_is_not_read(kind: OutputKind, tmp_path: Path) -> None:
    found = with_output_checked(outcome_with(Capture(size=257 << 20, path=str(tmp_path / "gone"))), kind, RunDir(tmp_path))
    assert (found.attempt_class, found.message) == (AttemptClass.BAD_OUTPUT, "the output is larger than 256 MiB")


def test_json_lines_are_checked_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "read_capture", None)
    output = b"[1]\n\n[2]\nno\n"
    (tmp_path / "out").write_bytes(output)
    found = with_output_checked(outcome_with(Capture(size=len(output), path=str(tmp_path / "out"))), "jsonl", RunDir(tmp_path))
    assert found.message.startswith("line 4 of the output is not JSON")


def test_text_that_was_cut_is_text_that_says_so(tmp_path: Path) -> None:
    outcome = outcome_with(CUT)
    assert with_output_checked(outcome, "text", RunDir(tmp_path)) is outcome


@pytest.mark.parametrize("kind", ["text", "lines", "json", "jsonl"])
def test_an_output_that_is_whole_is_left_as_it_is(kind: OutputKind, tmp_path: Path) -> None:
    outcome = outcome_with(Capture(size=2, inline=b"1\n"))
    assert with_output_checked(outcome, kind, RunDir(tmp_path)) is outcome


# Agents.


def agent_outcome(answer: bytes, attempt_class: AttemptClass = AttemptClass.OK, message: str = "", **told: Any) -> Outcome:
    report = AgentReport(agent="claude", text=Capture(size=len(answer), inline=answer), **told)
    return Outcome(
        attempt_class=attempt_class, started_at=1.0, finished_at=2.0, duration_seconds=1.0, message=message, agent=report
    )


@pytest.mark.parametrize(
    "answer",
    [
        '{"n": 1}',
        ' {"n": 1}\n',
        '```json\n{"n": 1}\n```',
        '```\n{"n":\n1}\n```\n',
        'Here it is:\n\n```json\n{"n": 1}\n```\nAnything else?',
    ],
)
def test_the_json_of_an_answer_may_stand_in_a_fence(answer: str, tmp_path: Path) -> None:
    assert read_output(agent_outcome(answer.encode()), "json", RunDir(tmp_path)) == {"n": 1}


@pytest.mark.parametrize("answer", ["", "Sure!", '{"n": 1', "```json\n1\n```\nor\n```json\n2\n```", "```json\n1"])
def test_an_answer_that_is_no_json_is_none_and_the_next_attempt_is_told_why(answer: str, tmp_path: Path) -> None:
    found = with_output_checked(agent_outcome(answer.encode()), "json", RunDir(tmp_path))
    assert found.attempt_class is AttemptClass.BAD_OUTPUT
    assert check_text(read_capture(found.check, RunDir(tmp_path))).startswith("the output is not JSON: ")


def test_an_answer_of_fences_without_end_is_looked_at_once(tmp_path: Path) -> None:
    answer = b"```json\n" * 100_000  # to look for the end of each of them would take minutes
    assert with_output_checked(agent_outcome(answer), "json", RunDir(tmp_path)).attempt_class is AttemptClass.BAD_OUTPUT


def test_the_end_of_a_long_check_is_what_a_prompt_gets(tmp_path: Path) -> None:
    said = b"x" * 50_000 + b"\n2 failed\n"
    path = tmp_path / "check"
    path.write_bytes(said)
    long = Capture(size=len(said), path=str(path))
    found = check_text(read_capture(long, RunDir(tmp_path)))
    assert found.startswith("[… 20009 characters before this are left out]\n")
    assert found.endswith("2 failed")
    assert len(found) < 31_000


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (agent_outcome(b"", AttemptClass.AUTH, "Invalid API key"), "auth: Invalid API key"),
        (agent_outcome(b"", AttemptClass.CANCELLED, "cancelled"), "cancelled"),
        (agent_outcome(b"", AttemptClass.AGENT_FAILED), "agent_failed: it says no more"),
        (agent_outcome(b""), ""),
        (agent_outcome(b"", denials=["Bash", "Bash", "Write"]), "3 denied (Bash, Write)"),
        (agent_outcome(b"", message="it lingered", denials=["Bash"]), "it lingered; 1 denied (Bash)"),
        (agent_outcome(b"", notes=["nothing was said"], denials=["Bash"]), "nothing was said; 1 denied (Bash)"),
        (outcome_with(CUT), ""),
    ],
)
def test_people_are_told_the_class_of_an_agents_failure_and_what_was_denied(outcome: Outcome, words: str) -> None:
    assert outcome_in_words(outcome) == words
