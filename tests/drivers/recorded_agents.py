"""Output of real agent CLIs, recorded against a fake model server (tests/agent_samples/CLI/SITUATION), paths shortened to `~`.

Situations: `ok`; `tool`, `tool-denied`: a tool call; `401` `429` `500`: what the server answers; `quota`: no money left;
`limit…`: the usage limit; `ctx`: the prompt is too long; `cut`: replies break off; `term`: it hung, and got SIGTERM;
`no-key`: nobody is logged in; `no-network`: nobody answers.
A week later: `garbage`: replies that are none; `cutok`: one breaks off, then all is well; `404`: there is no such model;
`limit-window…`, `429after3600…`: a limit, and the attempt after it (`-attempt2`) in its session; `limit-to-the-end`: it tried
until it gave up; `quota-retry-in`: it waited for 25 seconds, and was let in; `perm-read`, `perm-edit`: what it was not allowed
to do; `read`: with no tools that write; `sess…`: a check refused the first answer; `edit-write`: what it was allowed
to do; `schema-bad`: an answer of another form; `background-…`: it had put a command, a subagent or both into the background;
`slash`: the prompt begins with one.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from msgspec import Struct

from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.workers.agents.stream import AgentStream
from orchestrator.workers.agents.stream_reader import AgentTold
from orchestrator.workers.protocol import EndReason
from orchestrator.workers.protocol.reading import Reading

FOLDER = Path(__file__).parents[1] / "agent_samples"
SAMPLES = sorted(f"{path.parent.name}/{path.name}" for path in FOLDER.glob("*/*/"))
RECORDED_AT = 1795211212.0
"""2026-11-20 21:46:52 UTC: when codex said "try again at 11:46 PM"."""

_EXIT_CODES = {
    "claude/budget-cap": 1,
    "claude/turns-cap": 1,
    "claude/429-subscription": 1,
    "claude/no-key": 1,
    "claude/no-network": 1,
    "claude/limit-subscription": 1,
    "codex/limit-2h": 1,
    "codex/no-key": 1,
}
"""Of those that were recorded without a report; of others of these it is 0."""


class Sample(Struct):
    """`exit_code` is negative for a signal. `was_hung`: the recorder gave up after 100 seconds; `ended_by`: why it ended it."""

    stdout: bytes
    stderr: bytes
    exit_code: int
    was_hung: bool
    ended_by: EndReason | None


@cache
def sample(name: str) -> Sample:
    folder = FOLDER / name
    report = json.loads(path.read_bytes()) if (path := folder / "report.json").exists() else {}
    stdout, stderr = (path.read_bytes() if (path := folder / each).exists() else b"" for each in ("stdout", "stderr"))
    code = report.get("rc", _EXIT_CODES.get(name, 0))
    # A reason of ours, or a time and a signal: the recorder's own.
    ends = [EndReason(each) if isinstance(each, str) else EndReason.CANCEL for each in report.get("signals", ())]
    return Sample(stdout, stderr, code, bool(report.get("timed_out")), ends[0] if ends else None)


@cache
def reading_of(agent: str) -> Reading:
    return Profiles().get(agent).reading


def read(name: str) -> AgentStream:
    """All of a sample as it is known while the CLI still runs."""
    stream = AgentStream(reading_of(name.split("/")[0]), lambda: RECORDED_AT)
    stream.feed(sample(name).stdout)
    stream.feed_stderr(sample(name).stderr)
    return stream


def ended(name: str, stream: AgentStream, ended_by: EndReason | None = None) -> AgentTold:
    """What we would say of it: we end one that hangs for what was found, else as stalled."""
    recorded = sample(name)
    if ended_by is None and recorded.was_hung:
        ended_by = EndReason.STALLED if stream.finding is None else EndReason.FINDING
    elif ended_by is None:
        ended_by = recorded.ended_by
    code = recorded.exit_code
    return stream.classify(
        exit_code=code if code >= 0 else None, signal=-code if code < 0 else None, ended_by=ended_by, stderr=recorded.stderr
    )
