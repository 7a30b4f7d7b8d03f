"""Answers whose judges come to their end when the test says so: no process judges them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

from orchestrator.supervisor.judgements import Judgements
from orchestrator.system.judged_apart import Judgement


class HeldJudgement(Judgement):
    """An answer that is judged as long as the test wants: no process does it."""

    def __init__(self, judge: Callable[[], bytes], cpu_seconds: float) -> None:  # noqa: ARG002 - it is never late
        self._told = judge()
        self._reading, self._writing = os.pipe()
        self.deadline = math.inf

    def take_in(self) -> bool:
        """It was let go."""
        return True

    def let_go(self) -> None:
        """It has come to its end."""
        os.write(self._writing, b".")

    def end(self) -> bytes | None:
        """What it came to, as if it had come to its end."""
        os.close(self._reading)
        os.close(self._writing)
        return self._told


def let_go(judgements: Judgements) -> None:
    """Whatever is being judged comes to its end."""
    for _, judgement in judgements._under_way.values():
        assert isinstance(judgement, HeldJudgement)
        judgement.let_go()
