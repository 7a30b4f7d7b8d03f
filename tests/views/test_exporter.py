"""An exporter is one file and one line: all that it tells comes from what it hears. This one makes a span of each attempt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_never

import pytest
from drivers.run_driver import RunDriver

from orchestrator.runs.commands import ResumeRequest, RunReport, RunRequest, resume_run, run_file
from orchestrator.store.run_dir import RunDir
from orchestrator.store.settings_records import RunOptions
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
from orchestrator.views.listeners import Listeners

pytestmark = pytest.mark.usefixtures("witness")


class SpanExporter:
    """One JSON line a span: of each attempt, and at the end of the run. This is the one file."""

    shows_time = True

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._run: RunBegan | None = None
        self._open: dict[int, ItemStarted] = {}

    def hear(self, happening: Happening) -> None:
        match happening:
            case RunBegan():
                self._run = happening
            case ItemStarted():
                assert happening.sequence is not None
                self._open[happening.sequence] = happening
            case ItemEnded() | ItemRetrying() | ItemRoundEnded() | ItemWaiting():
                if happening.sequence is not None:
                    self._write_attempt(happening.sequence, happening)
            case RunFinished():
                assert self._run is not None
                self._write(name=happening.run_id, start=self._run.at, end=happening.at, status=happening.status)
            case JobListed() | JobClosed() | Charged() | GateAsked() | GateAnswered() | AccountSpared() | Noted():
                pass
            case JobGrew() | PromptOpened() | PromptClosed():
                pass
            case unknown:
                assert_never(unknown)

    def _write_attempt(self, sequence: int, ended: ItemEnded | ItemRetrying | ItemRoundEnded | ItemWaiting) -> None:
        started = self._open.pop(sequence)
        self._write(
            name=ended.item,
            start=started.at,
            end=ended.at,
            attempt=started.attempt,
            worker=ended.worker,
            status=ended.attempt_class,
            cost_usd=ended.cost_usd,
            usage=ended.usage,
            session_id=ended.session_id,
            went_on_in=started.session_id,
            agent=ended.agent,
        )

    def _write(self, **span: Any) -> None:
        self._file.write(json.dumps(span) + "\n")

    def refresh(self, now: float) -> None:
        """An exporter may send what it has gathered here."""

    def close(self) -> None:
        self._file.close()


JOBS = """
[run]
slots = 2
[jobs.plain]
for_each = ["good", "bad"]
shell = "test {{ item }} = good"
attempts = 2
retry = { delay = "10ms" }
continue_on_error = true
[jobs.skipped]
when = "{{ false }}"
command = ["true"]
[jobs.rounds]
shell = "true"
repeat = { until = "{{ round == 3 }}" }
[jobs.agent]
agent = "fake"
attempts = 2
retry = { delay = "10ms" }
check = "test $ORCHESTRATE_ATTEMPT = 2"
prompt = '''
Do it.
fake: ok cost=0.25
'''
"""


def exported(folder: Path, run: Callable[[Listeners], RunReport]) -> tuple[RunReport, list[dict[str, Any]]]:
    path = folder / "spans.jsonl"
    listeners = Listeners([], [SpanExporter(path)])  # this is the one line
    report = run(listeners)
    listeners.close()
    assert listeners.silenced == []
    return report, [json.loads(line) for line in path.read_text().splitlines()]


def spans_of(spans: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [span for span in spans if span["name"] == name]


def test_an_exporter_has_a_span_for_each_attempt_with_all_that_is_known_of_it(driver: RunDriver) -> None:
    request = RunRequest(jobs_file=str(driver.write(JOBS)), run_id="r")
    report, spans = exported(driver.folder, lambda listeners: run_file(driver.home, request, listeners))
    assert [span["status"] for span in spans_of(spans, "plain:0")] == ["ok"]
    assert [(span["attempt"], span["status"]) for span in spans_of(spans, "plain:1")] == [
        (1, "command_failed"),
        (2, "command_failed"),
    ]
    assert [span["status"] for span in spans_of(spans, "rounds")] == ["ok"] * 3
    assert spans_of(spans, "skipped") == [], "no attempt, no span"
    first, second = spans_of(spans, "agent")
    assert (first["status"], second["status"], first["cost_usd"], second["cost_usd"]) == ("check_failed", "ok", 0.25, 0.25)
    assert first["usage"]["output_tokens"] > 0
    assert first["session_id"] == second["went_on_in"] == second["session_id"]
    assert (first["went_on_in"], first["agent"]) == (None, "fake")
    attempts = [span for span in spans if span["name"] != "r"]
    assert {span["worker"] for span in attempts} <= {0, 1}
    assert all(span["start"] <= span["end"] for span in spans)
    assert sum(span["cost_usd"] or 0 for span in attempts) == report.summary["cost_usd"] == 0.5
    assert [span["status"] for span in spans_of(spans, "r")] == ["failed"]


@pytest.mark.parametrize("refusal", ["rate_limit", "overloaded"])
def test_an_attempt_after_which_its_item_waits_for_its_account_has_its_end_told(driver: RunDriver, refusal: str) -> None:
    driver.write(f"[jobs.a]\nagent = 'fake'\nprompt = '''\nDo it.\nfake: {refusal} | ok\n'''\n")
    request = RunRequest(jobs_file=str(driver.folder / "jobs.toml"), run_id="r")
    report, spans = exported(driver.folder, lambda listeners: run_file(driver.home, request, listeners))
    assert report.exit_code == 0
    assert [span["status"] for span in spans_of(spans, "a")] == [refusal, "ok"]


def test_a_run_that_goes_on_has_only_new_sequences(driver: RunDriver) -> None:
    driver.write("[jobs.a]\nshell = 'test -e done'\n")
    request = RunRequest(jobs_file=str(driver.folder / "jobs.toml"), run_id="r", options=RunOptions(slots=1))
    heard: list[Happening] = []

    class Heard:
        shows_time = False

        def hear(self, happening: Happening) -> None:
            heard.append(happening)

        def refresh(self, now: float) -> None:
            pass

        def close(self) -> None:
            pass

    run_file(driver.home, request, Listeners([Heard()]))
    (driver.folder / "done").touch()
    resume_run(RunDir(driver.home / "runs" / "r"), ResumeRequest(), Listeners([Heard()]))
    sequences = [each.sequence for each in heard if isinstance(each, ItemStarted)]
    assert len(set(sequences)) == len(sequences) == 2
