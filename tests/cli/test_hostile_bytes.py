"""Whatever items and agents write: no command ends by a bug of ours, hangs, or shows a traceback, and the run can be resumed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from drivers.command_line import RunCli
from drivers.fenced_bugs import fenced_in
from drivers.hostile_bytes import HUGE, OUTPUTS, agents, hostile_output, hostile_stream, is_waited_for

from orchestrator.errors import ExitCode

KINDS = ("text", "lines", "json", "jsonl")

ENDED_RUNS = {
    "open brackets": "bad_output",
    "990 levels": "bad_output",
    "200 levels": "ok",
    "400 digits": "bad_output",
    "half a character": "bad_output",
    "keys that are methods": "ok",
}
"""Of the table, with what they are."""

OUTPUT_JOBS = """
[defaults]
continue_on_error = true
attempts = 1
[jobs.said_KIND]
for_each = { glob = "said/*" }
command = ["cat", "{{ item }}"]
output = "KIND"
[jobs.told_KIND]
for_each = { job = "said_KIND" }
when = "{{ parent.output is not none }}"
label = "{{ parent.output }}"
stdin = "{{ parent.output }}"
command = ["cat"]
[jobs.each_KIND]
for_each = "{{ jobs.said_KIND.outputs }}"
shell = "printf %s {{ item | tojson }} {{ jobs.said_KIND.output | length }}"
[jobs.of_KIND]
for_each = "{{ jobs.said_KIND.outputs[0] }}"
command = ["echo", "{{ item }}"]
[jobs.loop_KIND]
for_each = { glob = "said/*" }
repeat = { until = "{{ output == 1 }}", max = 2 }
command = ["cat", "{{ item }}"]
output = "KIND"
"""

AGENT_JOBS = """
[jobs.agent_NAME]
for_each = { glob = "streams/NAME/*" }
agent = "NAME_hostile"
prompt = "go on"
permissions = "read"
check = "true"
attempts = 1
continue_on_error = true
env = { STREAM = "{{ item }}", EXIT = "{{ index % 3 }}", LOSE = "{{ index % 5 }}" }
"""

PROFILE = """
extends = "NAME"
command = ["sh", "-c", "cat \\"$STREAM\\"; cat \\"$STREAM\\" >&2; test $LOSE != 4 || kill -9 $PPID; exit $EXIT", "x"]
"""

SHORT = [("results", "r", "--json"), ("status", "r"), ("logs", "r")]
LONG = [
    *SHORT,
    ("results", "r"),
    ("results", "r", "--format", "csv"),
    ("results", "r", "--format", "jsonl", "--rounds"),
    ("status", "r", "--json"),
    ("logs", "r", "--raw", "-n", "2"),
    ("cost",),
    ("capsule", "r", "-o", "r.tar.gz"),
]
"""What people ask of a run."""


def check_all(run_cli: RunCli, home: Path, asked: list[tuple[str, ...]]) -> list[dict[str, Any]]:
    """Run `jobs.toml`, resume it, ask about it, and cancel it; the results."""
    said = [run_cli("run", "jobs.toml", "--run-id", "r", "-j", "4"), run_cli("resume", "r", "-j", "4")]
    said += [run_cli(*words) for words in (*asked, ("cancel", "r"))]
    for each in said:
        words = each.args[:4]
        assert each.returncode in (ExitCode.COMPLETED, ExitCode.FAILED), (words, each.returncode, each.stderr[-2000:])
        assert "Traceback" not in each.stderr, words
        assert "internal error" not in each.stderr, words
    assert said[1].returncode == said[0].returncode, "a resume judges the same bytes the same"
    assert fenced_in(home) == ""
    results: list[dict[str, Any]] = json.loads(said[2].stdout)
    return results


def why(jobs: Iterable[str]) -> list[tuple[str, ...]]:
    return [("why", "r", job, *more) for job in jobs for more in ((), ("--json",))]


def write_outputs(folder: Path, outputs: list[bytes]) -> None:
    (folder / "said").mkdir()
    for place, output in enumerate(outputs):
        (folder / "said" / f"{place:03}").write_bytes(output)


def write_streams(folder: Path, agent: str, streams: list[bytes]) -> None:
    (folder / "agents").mkdir(exist_ok=True)
    (folder / "agents" / f"{agent}_hostile.toml").write_text(PROFILE.replace("NAME", agent))
    (folder / "streams" / agent).mkdir(parents=True)
    for place, stream in enumerate(streams):
        (folder / "streams" / agent / f"{place:03}").write_bytes(stream)


def test_bytes_that_have_ended_runs_concern_their_items_alone(run_cli: RunCli, home: Path, tmp_path: Path) -> None:
    # Outputs: brackets without end, an integer of 400 digits, and more.
    write_outputs(tmp_path, [OUTPUTS[name] for name in ENDED_RUNS])
    # Events: such numbers as what the agent used and cost.
    begun = '{"type":"system","subtype":"init","session_id":"s"}\n'
    result = '{"type":"result","subtype":"success","is_error":false,"result":"done","total_cost_usd":COST,"usage":USAGE}\n'
    values = [HUGE, f"-{HUGE}", "NaN", "1e400", "true", "7"]
    told = [begun + result.replace("COST", value).replace("USAGE", f'{{"input_tokens":{value}}}') for value in values]
    write_streams(tmp_path, "claude", [each.encode() for each in told])
    agents_jobs = AGENT_JOBS.replace("NAME", "claude").replace("{{ index % 3 }}", "0").replace("{{ index % 5 }}", "0")
    (tmp_path / "jobs.toml").write_text(OUTPUT_JOBS.replace("KIND", "json") + agents_jobs)
    rows = check_all(run_cli, home, [*SHORT, *why(["said_json"])])
    classes = [row["class"] for row in rows if row["job"] == "said_json"]
    assert dict(zip(ENDED_RUNS, classes, strict=True)) == ENDED_RUNS
    assert [row["class"] for row in rows if row["job"] == "agent_claude"] == ["ok"] * len(values)
    assert [row["cost_usd"] for row in rows if row["job"] == "agent_claude"] == [None] * (len(values) - 1) + [7.0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_output_of_the_table_leaves_its_run_whole(run_cli: RunCli, home: Path, tmp_path: Path, kind: str) -> None:
    write_outputs(tmp_path, list(OUTPUTS.values()))
    (tmp_path / "jobs.toml").write_text(OUTPUT_JOBS.replace("KIND", kind))
    check_all(run_cli, home, [*LONG, *why([f"said_{kind}", f"loop_{kind}"])])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_any_output_leaves_its_run_whole(run_cli: RunCli, home: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    write_outputs(tmp_path, [hostile_output(rng) for _ in range(25)])
    kinds = rng.sample(KINDS, 2)
    texts = [OUTPUT_JOBS.replace("KIND", kind) for kind in kinds]
    (tmp_path / "jobs.toml").write_text(texts[0] + texts[1].partition("attempts = 1\n")[2])
    check_all(run_cli, home, [*LONG, *why(f"{job}_{kind}" for job in ("said", "loop") for kind in kinds)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_any_stream_of_an_agent_leaves_its_run_whole(run_cli: RunCli, home: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    chosen = rng.sample(agents(), 3)
    for agent in chosen:
        streams: list[bytes] = []
        while len(streams) < 15:
            stream = hostile_stream(rng, agent)
            streams += [] if is_waited_for(agent, stream, len(streams) % 3) else [stream]
        write_streams(tmp_path, agent, streams)
    (tmp_path / "jobs.toml").write_text("".join(AGENT_JOBS.replace("NAME", agent) for agent in chosen))
    check_all(run_cli, home, [*LONG, *why(f"agent_{agent}" for agent in chosen)])
