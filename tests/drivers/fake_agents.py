"""What tests know of `fake_agent.py`: how it is called, and what its witness file says that really happened."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.workers.protocol.reading import Reading

FAKE_AGENT = Path(__file__).with_name("fake_agent.py")

FAKE_ARGV = [sys.executable, "-I", "-S", str(FAKE_AGENT)]
"""Its command line, without the options."""

STATE_VARIABLE = "FAKE_AGENT_STATE"

PROFILE = f"""\
extends = "claude"
description = "The fake agent of the tests"
command = {json.dumps(FAKE_ARGV)}
provider = "fake"
account_env = ["FAKE_ACCOUNT"]
pass_env = ["FAKE_*"]
version = {json.dumps([*FAKE_ARGV, "--version"])}
tested = ["1"]

[flags]
schema_inline = ["--schema", "{{schema}}"]

[permissions]
read = ["--permissions", "read"]
edit = ["--permissions", "edit"]
full = ["--permissions", "full"]

[config_dir]
variable = "FAKE_CONFIG_DIR"
default = "~/.fake-agent"
shared = []
"""
"""The profile of the agent `fake`."""


def add_profile(folder: Path, more: str = "") -> Path:
    """Let the jobs files in `folder` name the agent `fake`; `more` are top-level keys of its profile. Its file."""
    path = folder / "agents" / "fake.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(more + PROFILE)
    return path


def claude_reading() -> Reading:
    """How claude's stream is read, by the profile that is shipped."""
    return Profiles().get("claude").reading


class Witness:
    """What the fake agent noted in its state folder: what was paid for, whoever lived to tell of it."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The lines, oldest first: all, or those of `prompt`, `answer`, `exit`."""
        path = self.state / "witness.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [event for line in lines if (event := json.loads(line)) and kind in (None, event["event"])]

    def prompts(self) -> list[dict[str, Any]]:
        """The prompts that came in, each of which a provider would have been paid for."""
        return self.events("prompt")

    def classes(self) -> list[str]:
        """What each answer was, in the order of the answers."""
        return [event["class"] for event in self.events("answer")]

    def cost(self) -> float:
        """What all answers cost together, in USD."""
        return sum(event["cost"] or 0.0 for event in self.events("answer"))

    def most_at_once(self) -> int:
        """How many calls were in work at the same time at most; one that was killed counts until its last line."""
        last = {event["call"]: event["at"] for event in self.events()}
        spans = [(event["at"], last[event["call"]]) for event in self.prompts()]
        return max((sum(begin <= at <= end for begin, end in spans) for at, _ in spans), default=0)

    def daemons(self) -> list[int]:
        """The pids of the processes that it left behind."""
        path = self.state / "daemons"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []
