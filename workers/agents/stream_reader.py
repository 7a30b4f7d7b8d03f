"""How the bytes of an agent become what it told: what every reader of a stream does, whatever its format.

`formats` says which reader reads which format. A further format is a class that fills `StreamReader`, and a line there. A
protocol in which the agent asks and is answered while it runs (JSON-RPC on its stdin) is a reader with a `dialogue`: `AgentWatch`
keeps the agent's stdin open then, and writes to it what the dialogue says.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from ..protocol import EndReason, ResetSource, Usage
from ..protocol.outcome import AttemptClass
from .failures import Finding


class AgentTold(NamedTuple):
    """What an attempt came to. `structured` is the answer to a schema. None: not told, never 0 for that.

    `usage` and `cost_usd` are as the CLI told them, so sums over a session where its reading says so. `notes`: of a success, in
    how far nothing may have been done.
    """

    attempt_class: AttemptClass
    message: str
    text: str | None
    structured: Any
    usage: Usage | None
    cost_usd: float | None
    resets_at: float | None
    reset_source: ResetSource | None
    denials: list[str]
    turns: int | None
    notes: list[str]


class Dialogue(Protocol):
    """What a reader says to its agent. `begin` once, before the agent starts; then `take_due` after each look at its streams."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be said: the agent's stdin is closed once it has read what was."""

    def begin(self, prompt: str) -> None:
        """`prompt` is what the agent would have been given as its stdin."""

    def take_due(self) -> bytes:
        """What the agent is to be told now, besides what was taken before. Empty: nothing."""


class StreamReader(Protocol):
    """One attempt's output: `feed` it as it comes, then `classify`.

    Promise of every reader: however the stream is cut into chunks, the result is the same; whatever stands in it, nothing raises;
    what is not known is never a success. `events` counts what the agent wrote. `has_ended`: it told its end, so it ought to exit
    now, unless it `is_waiting`: it has tasks of its own in the background, and may work on when they are done. `dialogue` None:
    the agent is told nothing while it runs.
    """

    @property
    def events(self) -> int: ...

    @property
    def has_ended(self) -> bool: ...

    @property
    def is_waiting(self) -> bool: ...

    @property
    def dialogue(self) -> Dialogue | None: ...

    @property
    def session_id(self) -> str | None: ...

    @property
    def model(self) -> str | None: ...

    @property
    def finding(self) -> Finding | None:
        """Not None while the CLI tries again what has failed for certain: it has to be ended."""

    @property
    def last_failure(self) -> str:
        """The message of the failure that counts so far; empty if there is none, or it has been overcome."""

    def feed(self, data: bytes) -> None:
        """Take in what was written to stdout since the last time."""

    def feed_stderr(self, data: bytes) -> None:
        """Take in what was written to stderr since the last time. A caller that does not feed it live leaves it to `classify`."""

    def classify(self, *, exit_code: int | None, signal: int | None, ended_by: EndReason | None, stderr: bytes) -> AgentTold:
        """What the attempt came to. `exit_code` or `signal` is how the main process ended, `ended_by` why we ended it, if we
        did; `LINGERING` says that we did so after its terminal event, when nothing came any more. `stderr` is all of it, or its
        end.
        """
