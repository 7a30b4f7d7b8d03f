"""A reader that speaks with its agent: no format of ours, only for tests of the place where such a reader would stand."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.workers.agents.failures import Finding
from orchestrator.workers.agents.stream_reader import AgentTold
from orchestrator.workers.protocol import AttemptClass, EndReason
from orchestrator.workers.protocol.reading import Reading


class AnsweringReader:
    """Says the prompt, answers `ask WORD` by `WORD for you`, and is done when the agent says `bye`. Its answer: all it heard."""

    def __init__(self, _reading: Reading | None = None, _wall_now: Callable[[], float] | None = None) -> None:
        self.events = 0
        self.has_ended = False
        self.is_waiting = False
        self.is_over = False
        self.session_id: str | None = None
        self.model: str | None = None
        self.finding: Finding | None = None
        self.last_failure = ""
        self.dialogue = self
        self._heard: list[str] = []
        self._rest = b""
        self._due = b""

    def begin(self, prompt: str) -> None:
        self._due += f"{prompt}\n".encode()

    def take_due(self) -> bytes:
        due, self._due = self._due, b""
        return due

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.events += 1
            self._heard.append(line.decode())
            if line.startswith(b"ask "):
                self._due += line.removeprefix(b"ask ") + b" for you\n"
            self.has_ended = self.is_over = self.is_over or line == b"bye"

    def feed_stderr(self, data: bytes) -> None:
        raise AssertionError(data)

    def classify(self, *, exit_code: int | None, signal: int | None, ended_by: EndReason | None, stderr: bytes) -> AgentTold:
        del signal, stderr  # nothing here depends on them
        is_well = self.is_over and (exit_code == 0 or ended_by is EndReason.LINGERING)
        attempt_class = AttemptClass.OK if is_well else AttemptClass.PROTOCOL_ERROR
        return AgentTold(attempt_class, "", "\n".join(self._heard), None, None, None, None, None, [], None, [])
