"""A `claude` for tests: the flags, the events and the exit codes of the real CLI, in 20 ms and without its own retries.

It sends its prompt to the model server that ANTHROPIC_BASE_URL names, as the next words of its session, and tells what came of
it. A session is a file in `.sessions` of the working folder: what was said in it. It is written before the model is asked, so
that whoever resumes it goes on with the same conversation. What the real one has and this one has not: tools, streaming.

An answer that is cut, and the status 599, make it crash: it dies by SIGKILL and has told neither result nor cost.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CRASH = 599
ERRORS = {401: "authentication_failed", 429: "rate_limit", 529: "overloaded"}
DOLLARS = {"input_tokens": 3e-6, "cache_read_input_tokens": 0.3e-6, "output_tokens": 15e-6}


def install(folder: Path) -> Path:
    """Once; the folder to put first on PATH."""
    program = folder / "bin" / "claude"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {Path(__file__).resolve()} "$@"\n')
    program.chmod(0o755)
    return program.parent


def main(arguments: list[str]) -> int:
    if "--version" in arguments:
        print("2.1.197 (small)")  # noqa: T201
        return 0
    flags = dict(itertools.pairwise(arguments))
    session, model = flags.get("--resume") or str(uuid.uuid4()), flags.get("--model", "claude-sonnet-4-5")
    if flags.get("--output-format") != "stream-json":
        sys.stderr.write("only --output-format stream-json\n")
        return 2
    path = Path(".sessions", session)
    if "--resume" in flags and not path.exists():
        sys.stderr.write(f"No conversation found with session ID: {session}\n")
        return 1
    tell(type="system", subtype="init", cwd=os.getcwd(), session_id=session, tools=[], model=model)
    said = json.loads(path.read_bytes()) if path.exists() else []
    said.append({"role": "user", "content": sys.stdin.read()})
    keep(path, said)
    status, headers, body = ask({"model": model, "messages": said, "max_tokens": 1000})
    if status == CRASH:
        os.kill(os.getpid(), signal.SIGKILL)
    result = {"type": "result", "subtype": "success", "session_id": session, "num_turns": 1, "permission_denials": []}
    if status != 200:
        words = refusal(status, headers, body, session)
        tell(**result, is_error=True, api_error_status=status, result=words, total_cost_usd=0, usage={}, modelUsage={})
        return 1
    usage = body["usage"]
    text = body["content"][0]["text"]
    keep(path, [*said, {"role": "assistant", "content": body["content"]}])
    tell(type="assistant", message=body, parent_tool_use_id=None, session_id=session)
    cost = sum(usage[name] * price for name, price in DOLLARS.items())
    tell(**result, is_error=False, api_error_status=None, result=text, total_cost_usd=cost, usage=usage, modelUsage={})
    return 0


def refusal(status: int, headers: dict[str, str], body: dict[str, Any], session: str) -> str:
    """Tells what the account's limit is, if that is why; the words of the result."""
    error = ERRORS.get(status, "server_error" if status >= 500 else "invalid_request")
    words = f"API Error: {status} {body['error']['message']}"
    if resets_at := headers.get("anthropic-ratelimit-unified-reset"):
        info = {"status": "rejected", "resetsAt": int(resets_at), "rateLimitType": "five_hour", "isUsingOverage": False}
        tell(type="rate_limit_event", rate_limit_info=info, session_id=session)
        words = "You've hit your session limit"
    content = [{"type": "text", "text": words}]
    tell(type="assistant", message={"model": "<synthetic>", "content": content}, error=error, session_id=session)
    return words


def tell(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def keep(path: Path, said: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(json.dumps(said))
    beside.replace(path)


def ask(request: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers (names in lower case), body. By hand, because `http.client` takes longer to import than all the rest."""
    base = urlsplit(os.environ["ANTHROPIC_BASE_URL"])
    body = json.dumps(request).encode()
    head = f"POST {base.path}/v1/messages HTTP/1.1\r\nHost: {base.netloc}\r\nx-api-key: {os.environ['ANTHROPIC_API_KEY']}\r\n"
    with socket.create_connection((base.hostname or "", base.port or 80)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        with connection.makefile("rb") as answer:
            told = answer.read()
    lines, _, content = told.partition(b"\r\n\r\n")
    first, *rest = lines.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    if len(content) < int(headers.get("content-length", "1")):
        return CRASH, headers, {}
    return int(first.split()[1]), headers, json.loads(content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
