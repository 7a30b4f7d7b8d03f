"""How a replay starts a recorded attempt instead of an agent, and what it takes over of the outcome as it was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from orchestrator.attempts.agent.fallback import Choice, Choose
from orchestrator.attempts.replay.archive import CapsuleAttempt
from orchestrator.attempts.replay.recorded import Recorded, end_of, is_told
from orchestrator.jobsfile.profiles.profile import Profile
from orchestrator.reading.money.costs import NOT_PLAYED
from orchestrator.system.own_command import program_argv
from orchestrator.workers.protocol import Outcome, Start

_PLAYER = "attempts/replay/player.py"


def started_instead(start: Start, attempt: CapsuleAttempt, capsule: Path) -> Start:
    """`start`, with the player in the place of the agent. `capsule`: the absolute path of the folder that it was unpacked into.

    The player reads no prompt; it gets it so that a capsule of the replay has it, too.
    """
    # The player ends as the agent did, after it made the agent's changes where they are known.
    exit_code, signal = end_of(attempt)
    argv = program_argv(_PLAYER, str(capsule / attempt.folder), str(exit_code), str(signal))
    if start.workspace is not None and start.workspace.kind != "shared" and "patch" in attempt.files:
        argv.append(start.workspace.path)
    return msgspec.structs.replace(
        start,
        argv=argv,
        config=None,
        stdin=start.stdin if start.script is None else start.script,
        script=None,
        limits=msgspec.structs.replace(start.limits, stall_timeout_seconds=None),
    )


def taken_over(attempt: CapsuleAttempt, outcome: Outcome) -> Outcome:
    """The outcome of a played attempt; where no stream tells how it ended, as it was recorded."""
    if not is_told(attempt) or outcome.attempt_class in NOT_PLAYED:
        return outcome
    record = attempt.record
    return msgspec.structs.replace(outcome, attempt_class=record.attempt_class, ended_by=record.ended_by, message=record.message)


def recorded_choice(recorded: Recorded, job: str, index: int, place: int) -> Choose:
    """The agent that made the recorded attempt, if the job may still use it; else the job's own. No account is used."""
    return partial(_choose, recorded.agent_at(job, index, place))


def _choose(agent: str | None, profiles: Sequence[Profile], _declared: Mapping[str, str | None]) -> Choice:
    return Choice(next((profile for profile in profiles if profile.name == agent), profiles[0]), None)
