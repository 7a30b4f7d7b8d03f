"""Runs of `orchestrate` whose items are real agent CLIs, which talk to the model server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from drivers.model_server import Exchange, ModelServer
from drivers.run_driver import Command, RunDriver

CODEX_CONFIG = """
model_provider = "tests"
[model_providers.tests]
name = "tests"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "OPENAI_API_KEY"
"""


class Client(NamedTuple):
    name: str
    model: str
    tells_cost: bool
    keys: dict[str, str]
    """Environment that says who pays. Of claude: a subscription's, which has usage limits with a reset."""


CLIENTS = {
    "claude": Client("claude", "claude-sonnet-4-5", tells_cost=True, keys={"CLAUDE_CODE_OAUTH_TOKEN": "fake-token"}),
    "codex": Client("codex", "gpt-5.1", tells_cost=False, keys={"OPENAI_API_KEY": "fake-key"}),
}


class RealAgents:
    """One CLI with a home of its own, and a run of it."""

    def __init__(self, client: Client, driver: RunDriver, server: ModelServer, programs: Path) -> None:
        self.client, self.driver, self.server = client, driver, server
        user = driver.folder / "user"
        (user / ".codex").mkdir(parents=True)
        (user / ".codex" / "config.toml").write_text(CODEX_CONFIG.format(url=server.url()))
        self.env = {
            "HOME": str(user),
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "ANTHROPIC_BASE_URL": server.url(),
            "IS_SANDBOX": "1",  # without it claude refuses to do all that it is told where root runs the tests
            **{name: value for each in CLIENTS.values() for name, value in each.keys.items()},
        }

    def run(self, *prompts: str, concurrency: int = 8, keys: str = "") -> Command:
        """One item a prompt; `keys` are further lines of the job."""
        # Another agent that takes over has models of its own.
        model = "" if "fallback" in keys else f'model = "{self.client.model}"\n'
        self.driver.write(f"""
[run]
slots = 8
[jobs.ask]
agent = "{self.client.name}"
{model}for_each = {json.dumps(list(prompts))}
prompt = "{{{{ item }}}}"
timeout = "100s"
max_concurrency = {concurrency}
{keys}
""")
        return self.resume()

    def resume(self) -> Command:
        """Begin the run that is written, or go on with it."""
        return self.driver.run(**self.env)

    def asked(self) -> list[Exchange]:
        """What the CLI asked of the model, in order."""
        return [exchange for exchange in self.server.exchanges() if exchange.api in ("messages", "responses")]
