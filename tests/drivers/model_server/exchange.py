"""What the server remembers of a request, and what an answer costs."""

from __future__ import annotations

import msgspec

DOLLARS_PER_MILLION = {"input_tokens": 3.0, "cached_tokens": 0.3, "output_tokens": 15.0}
"""What Anthropic charges for the model that the tests name: the CLI tells the cost that the server knows."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens charged. `input_tokens` counts those that were not read from the cache."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def times(self, factor: int) -> Usage:
        return Usage(self.input_tokens * factor, self.cached_tokens * factor, self.output_tokens * factor)


def cost_usd(usage: Usage) -> float:
    return sum((getattr(usage, name) * price for name, price in DOLLARS_PER_MILLION.items()), 0.0) / 1e6


ANSWER = Usage(input_tokens=100, cached_tokens=30, output_tokens=20)
"""What one answer is charged with."""


class Asked(msgspec.Struct, frozen=True):
    """A request, as far as the server reads it. `prompts`: all that the user said, without what the CLI adds."""

    model: str
    prompts: list[str]
    is_streaming: bool
    tools: list[str]

    @property
    def conversation(self) -> str:
        """Names it: its first prompt. A session that is resumed has the same."""
        return self.prompts[0] if self.prompts else ""


class Exchange(msgspec.Struct):
    """One request and what became of it. `status` 0: no answer yet; 499: the client went away before it got one."""

    at: float
    """Seconds since the epoch."""
    api: str
    """`messages`, `responses`, or the path of a request that is neither."""
    account: str
    """The key that came with it."""
    model: str
    conversation: str
    """The first prompt of the conversation."""
    prompt: str
    """The last one."""
    scenario: str
    step: str
    status: int = 0
    charged: Usage = Usage()

    @property
    def is_paid(self) -> bool:
        return self.charged != Usage()

    @property
    def cost_usd(self) -> float:
        return cost_usd(self.charged)
