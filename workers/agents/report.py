"""What an agent's attempt told, as its outcome keeps it: a pure rule."""

from __future__ import annotations

import msgspec

from ..protocol import AgentReport, AgentTask, Usage
from .stream_reader import AgentTold, StreamReader

_NOTHING_USED = Usage(input_tokens=0, output_tokens=0)


def answer_of(told: AgentTold) -> bytes:
    """The answer as it is kept: with a schema the JSON of it, else the text; empty if there was none."""
    if told.structured is not None:
        return msgspec.json.encode(told.structured)
    return (told.text or "").encode("utf-8", "replace")


def report_of(task: AgentTask, reader: StreamReader, told: AgentTold) -> AgentReport:
    """The report on an agent that ran, without its answer."""
    # Sums over a session hold what its earlier attempts used: those were charged already.
    usage = used_since(task.usage_before, told.usage) if task.reading.is_usage_cumulative else told.usage
    return AgentReport(
        agent=task.agent,
        model=reader.model or task.model,
        session_id=reader.session_id or task.session_id,
        is_resumed=task.session_id is not None,
        usage=usage,
        usage_told=told.usage or task.usage_before,
        cost_usd=spent_since(task.cost_before, told.cost_usd) if task.reading.is_cost_cumulative else told.cost_usd,
        cost_told=task.cost_before if told.cost_usd is None else told.cost_usd,
        resets_at=told.resets_at,
        reset_source=told.reset_source,
        denials=told.denials,
        turns=told.turns,
        notes=told.notes,
        events=reader.events,
    )


def report_of_none(task: AgentTask) -> AgentReport:
    """The report on an agent that was not started: it used nothing, and that is known."""
    return AgentReport(
        agent=task.agent,
        model=task.model,
        session_id=task.session_id,
        is_resumed=task.session_id is not None,
        usage=_NOTHING_USED,
        usage_told=task.usage_before,
        cost_usd=0.0,
        cost_told=task.cost_before,
    )


def report_of_unknown(task: AgentTask, session_id: str | None) -> AgentReport:
    """The report on an agent that ran, and nobody knows what it told."""
    return AgentReport(
        agent=task.agent,
        model=task.model,
        session_id=session_id or task.session_id,
        is_resumed=task.session_id is not None,
        usage_told=task.usage_before,
        cost_told=task.cost_before,
    )


def used_since(before: Usage | None, told: Usage | None) -> Usage | None:
    """What was used since the sums `before` were told. Sums that fell were begun anew."""
    if before is None or told is None:
        return told
    pairs = {name: (getattr(told, name), getattr(before, name) or 0) for name in told.__struct_fields__}
    if any(now is not None and now < then for now, then in pairs.values()):
        return told
    return Usage(**{name: None if now is None else now - then for name, (now, then) in pairs.items()})


def spent_since(before: float | None, told: float | None) -> float | None:
    """What was spent since the sum `before` was told. A sum that fell was begun anew."""
    return told if before is None or told is None or told < before else told - before
