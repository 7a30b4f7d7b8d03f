"""A model server for tests, on the loopback: what agent CLIs talk to when no money may be spent and every failure must happen.

    with ModelServer() as server:
        env = {"ANTHROPIC_BASE_URL": server.url("429=1,ok")}
        ...
        assert server.paid() == {"Say hello.": 1}

It speaks Anthropic Messages and OpenAI Responses, streaming and not. What happens to a request is told by a scenario
(`scenario.py`): of the request's path, of a word in its prompt, or of the server.
By hand, in tests/: `python -m drivers.model_server --help`.
"""

from drivers.model_server.exchange import Exchange, Usage, cost_usd
from drivers.model_server.server import ModelServer

__all__ = ["Exchange", "ModelServer", "Usage", "cost_usd"]
