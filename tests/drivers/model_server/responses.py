"""OpenAI Responses, as the server speaks it."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

from drivers.model_server.exchange import Asked, Usage
from drivers.model_server.reply import Event, Refusal
from drivers.model_server.scenario import Step

REFUSALS = {
    400: ("invalid_request_error", "invalid_request", "The request is not valid."),
    401: ("invalid_request_error", "invalid_api_key", "invalid x-api-key"),
    403: ("invalid_request_error", "forbidden", "Your API key may not use this model."),
    404: ("invalid_request_error", "model_not_found", "There is no such model."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
}
SHELL_ARGUMENT = {"exec_command": "cmd", "shell_command": "command"}
"""The shell tools of codex that take a whole command line, and under what name."""
_numbers = itertools.count(1)


def asked(body: dict[str, Any]) -> Asked:
    given = body.get("input", [])
    items = [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else given
    prompts = []
    for item in items:
        if item.get("type", "message") == "message" and item["role"] == "user":
            content = item["content"]
            texts = [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "input_text"]
            prompts += [text.strip() for text in texts if not text.lstrip().startswith("<")]  # `<environment_context>…`
    tools = [tool["name"] for tool in body.get("tools", []) if "name" in tool]
    return Asked(body.get("model", ""), prompts, bool(body.get("stream")), tools)


def refusal(step: Step, resets_at: float | None) -> Refusal:
    headers: dict[str, str] = {}
    status = step.status or 429
    kind, code, message = REFUSALS.get(status, ("server_error", "server_error", "The server had an error."))
    error: dict[str, Any] = {}
    match step.name:
        case "quota":
            kind, code, message = "insufficient_quota", "insufficient_quota", "You exceeded your current quota."
        case "context":
            status, kind, code = 400, "invalid_request_error", "context_length_exceeded"
            message = "Your input exceeds the context window of this model."
        case "limit":
            assert resets_at is not None
            kind, message = "usage_limit_reached", "The usage limit has been reached"
            error = {
                "plan_type": "plus",
                "resets_at": int(resets_at),
                "resets_in_seconds": max(0, int(resets_at - time.time())),
            }
        case "429" if step.value:
            headers = {"Retry-After": step.value}
    return Refusal(status, headers, {"error": {"type": kind, "code": code, "message": message, "param": None, **error}})


def message(asked: Asked, usage: Usage, step: Step, text: str) -> dict[str, Any]:
    """The answer in one piece: the text, or what the step says instead."""
    number = next(_numbers)
    item: dict[str, Any] = {
        "type": "message",
        "id": f"msg_{number}",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": step.value if step.name == "json" else text, "annotations": []}],
    }
    if step.name == "bash":
        tool = next((name for name in SHELL_ARGUMENT if name in asked.tools), "shell")
        arguments = {SHELL_ARGUMENT[tool]: step.value} if tool in SHELL_ARGUMENT else {"command": ["bash", "-lc", step.value]}
        item = {
            "type": "function_call",
            "id": f"fc_{number}",
            "call_id": f"call_{number}",
            "name": tool,
            "arguments": json.dumps(arguments),
            "status": "completed",
        }
    whole = usage.input_tokens + usage.cached_tokens
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "model": asked.model,
        "output": [item],
        "usage": {
            "input_tokens": whole,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": whole + usage.output_tokens,
        },
    }


def stream(message: dict[str, Any]) -> list[Event]:
    """The same answer as events; its last one ends it."""
    begun = {**message, "status": "in_progress", "output": [], "usage": None}
    (item,) = message["output"]
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress"}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": message},
    ]
    return [(event["type"], {**event, "sequence_number": number}) for number, event in enumerate(events)]
