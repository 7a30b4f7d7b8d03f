"""`python -m drivers.model_server`: the server for a person. Says where it listens; each exchange is a line on stdout."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from drivers.model_server.server import ModelServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m drivers.model_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--scenario", default="ok", help="for requests that name none by /s/SCENARIO/v1/… or scenario:… in the prompt"
    )
    parser.add_argument("--log", type=Path, default=Path("/dev/stdout"))
    options = parser.parse_args()
    with ModelServer(options.scenario, port=options.port, log=options.log) as server:
        print(server.url(), flush=True)  # noqa: T201
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
