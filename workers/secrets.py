"""Secret inputs of a run: what stands for one in every message and record, and where its value is.

The supervisor has the value in its environment, which each worker gets through its socket, in memory alone. A worker puts it in
the place of its mark when it begins the attempt. So no message, log, record or file of ours ever holds it.
"""

from __future__ import annotations

import os

from .protocol import Start


def mark_of(name: str) -> str:
    """What stands for the secret input `name` until its attempt begins."""
    return f"\N{LEFT DOUBLE ANGLE BRACKET}secret input {name}\N{RIGHT DOUBLE ANGLE BRACKET}"


def variable_of_secret(name: str) -> str:
    """The environment variable of the supervisor and its workers, and of no command, that holds the secret input `name`."""
    return f"ORCHESTRATE_{name.upper().replace('-', '_')}_SECRET"


def revealed(text: str, names: list[str]) -> str:
    """The text with these secrets in it. One that this process does not have stays a mark."""
    for name in names:
        text = text.replace(mark_of(name), os.environ.get(variable_of_secret(name), mark_of(name)))
    return text


def with_secrets(start: Start) -> Start:
    """The start with its secrets in its environment and standard input."""
    import msgspec

    env = {name: None if value is None else revealed(value, start.secrets) for name, value in start.env.items()}
    stdin = None if start.stdin is None else revealed(start.stdin, start.secrets)
    return msgspec.structs.replace(start, env=env, stdin=stdin)
