"""What shall happen to the requests of one conversation of an account: steps, joined by commas. Its n-th request gets the
n-th step, all further ones the last. A value is percent-encoded, so that a scenario is one word of a path or of a prompt.

    ok            an answer; ok=5: one that costs five times as much
    slow=2        an answer that begins after 2 seconds
    hold          an answer that begins when the test releases it
    json=VALUE    an answer that is this JSON, given as the client wants structured output
    bash=COMMAND  a call of the agent's shell tool; what comes of it is the next request
    cut           an answer that ends in its middle, with the connection
    hang          nothing, until the client goes away
    401 … 529     a refusal with that status; 429=7: with `Retry-After: 7`
    quota         the account has no money left
    context       the prompt is too long
    limit=20      the account's usage limit is reached, for 20 seconds from now: until then every request of the account
                  is refused. An account gets there once; the next time the step is passed over
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

NAMES = ("ok", "slow", "hold", "json", "bash", "cut", "hang", "quota", "context", "limit")
IN_PROMPT = re.compile(r"\bscenario:([^\s\"'<>]+)")


class Step(NamedTuple):
    name: str
    value: str = ""

    @property
    def status(self) -> int:
        """The HTTP status of a plain refusal; 0 for all others."""
        return int(self.name) if self.name.isdecimal() else 0

    @property
    def number(self) -> float:
        return float(self.value)


def steps_of(scenario: str) -> list[Step]:
    """Raises ValueError if there is no such step."""
    steps = []
    for word in scenario.split(","):
        name, _, value = word.partition("=")
        if name not in NAMES and not re.fullmatch("[45][0-9][0-9]", name):
            raise ValueError(f"no step of a scenario: {word!r}")
        steps.append(Step(name, unquote(value)))
    return steps


def in_prompt(prompt: str) -> str | None:
    """The scenario that a prompt asks for: `… scenario:429=1,ok …`."""
    found = IN_PROMPT.search(prompt)
    return found[1] if found else None


def step(name: str, value: str) -> str:
    """A step whose value may be anything."""
    return f"{name}={quote(value, safe='')}"


def shell_call(command: str) -> str:
    """The step that has the agent run `command`."""
    return step("bash", command)
