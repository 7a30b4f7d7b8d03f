"""Anthropic Messages, as the server speaks it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from drivers.model_server.exchange import Asked, Usage
from drivers.model_server.reply import Event, Refusal
from drivers.model_server.scenario import Step

REFUSALS = {
    400: ("invalid_request_error", "The request is not valid."),
    401: ("authentication_error", "invalid x-api-key"),
    403: ("permission_error", "Your API key may not use this model."),
    404: ("not_found_error", "There is no such model."),
    429: ("rate_limit_error", "This request would exceed your account's rate limit. Please try again later."),
    529: ("overloaded_error", "Overloaded"),
}
STRUCTURED_OUTPUT = "StructuredOutput"
"""The tool that claude adds for a schema; the model has to call it."""
_numbers = itertools.count(1)


def asked(body: dict[str, Any]) -> Asked:
    prompts: list[str] = []
    for message in body.get("messages", []):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if message["role"] == "user":
            prompts += _words(block["text"] for block in blocks if block["type"] == "text")
    tools = [tool["name"] for tool in body.get("tools", [])]
    return Asked(body.get("model", ""), prompts, bool(body.get("stream")), tools)


def _words(texts: Iterable[str]) -> Iterator[str]:
    """Without what the CLI puts beside the user's words: `<system-reminder>…`."""
    return (text.strip() for text in texts if not text.lstrip().startswith("<"))


def refusal(step: Step, resets_at: float | None) -> Refusal:
    headers: dict[str, str] = {}
    status = step.status or 429
    kind, message = REFUSALS.get(status, ("api_error", "Internal server error"))
    match step.name:
        case "quota":
            status, kind = 400, "invalid_request_error"
            message = (
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to purchase credits."
            )
        case "context":
            status, kind, message = 400, "invalid_request_error", "prompt is too long: 250000 tokens > 200000 maximum"
        case "limit":
            assert resets_at is not None
            headers = {
                "anthropic-ratelimit-unified-status": "rejected",
                "anthropic-ratelimit-unified-reset": str(int(resets_at)),
                "anthropic-ratelimit-unified-representative-claim": "five_hour",
                "anthropic-ratelimit-unified-5h-status": "rejected",
                "anthropic-ratelimit-unified-5h-reset": str(int(resets_at)),
                "anthropic-ratelimit-unified-overage-status": "rejected",
            }
        case "429" if step.value:
            headers = {"Retry-After": step.value}
    return Refusal(status, headers, {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"})


def message(asked: Asked, usage: Usage, step: Step, text: str) -> dict[str, Any]:
    """The answer in one piece: the text, or what the step says instead."""
    number = next(_numbers)
    block: dict[str, Any] = {"type": "text", "text": step.value if step.name == "json" else text}
    if step.name == "bash":
        block = _call(number, "Bash", {"command": step.value, "description": "fake"})
    elif step.name == "json" and STRUCTURED_OUTPUT in asked.tools:
        block = _call(number, STRUCTURED_OUTPUT, json.loads(step.value))
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [block],
        "stop_reason": "tool_use" if block["type"] == "tool_use" else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": usage.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
        },
    }


def _call(number: int, tool: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": tool, "input": given}


def stream(message: dict[str, Any]) -> list[Event]:
    """The same answer as events; its last one ends it."""
    (block,) = message["content"]
    if block["type"] == "text":
        opening, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        opening, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    begun = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": opening},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
            "usage": {"output_tokens": message["usage"]["output_tokens"]},
        },
        {"type": "message_stop"},
    ]
    return [(event["type"], event) for event in events]
