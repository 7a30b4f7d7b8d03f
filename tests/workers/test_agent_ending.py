"""More than one end: what an agent comes to that tells something behind its terminal event, or two of them.

By the profile of claude, whose client waits for background tasks behind its first result and then tells another.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from drivers.recorded_agents import reading_of

from orchestrator.workers.agents.stream import AgentStream
from orchestrator.workers.agents.stream_reader import AgentTold
from orchestrator.workers.protocol import AttemptClass, EndReason

OK, FAILED, NOT_TOLD = AttemptClass.OK, AttemptClass.AGENT_FAILED, AttemptClass.PROTOCOL_ERROR

Event = dict[str, Any]


def system(subtype: str, **more: Any) -> Event:
    return {"type": "system", "subtype": subtype, "session_id": "s-1", **more}


def result(cost: float = 0.1, text: str = "done", **more: Any) -> Event:
    fields = {"subtype": "success", "is_error": False, "num_turns": 1, "session_id": "s-1"}
    return {"type": "result", "result": text, "total_cost_usd": cost, **fields, **more}


def closed(status: str = "completed", **more: Any) -> Event:
    return system("task_notification", task_id="t-1", status=status, output_file="/tmp/t-1.output", **more)


def updated(status: str, task: str = "t-1") -> Event:
    return system("task_updated", task_id=task, patch={"status": status})


def said(**more: Any) -> Event:
    return {"type": "assistant", "message": {"role": "assistant", "content": [{"type": "text", "text": "…"}]}, **more}


INIT = system("init", model="m")
OPENED = system("task_started", task_id="t-1", task_type="local_agent", is_backgrounded=True)
OF_A_TASK = said(parent_tool_use_id="toolu_1")
RETRY = system("api_retry", error="authentication_failed", error_status=401)


def stream_of(*events: Event) -> AgentStream:
    stream = AgentStream(reading_of("claude"), lambda: 0.0)
    for event in (INIT, *events):
        stream.feed(json.dumps(event).encode() + b"\n")
    return stream


def come_to(*events: Event, code: int | None = 0, ended_by: EndReason | None = None) -> AgentTold:
    return stream_of(*events).classify(exit_code=code, signal=9 if code is None else None, ended_by=ended_by, stderr=b"")


@pytest.mark.parametrize(
    ("events", "code", "attempt_class"),
    [
        ((result(),), 0, OK),
        ((result(),), 1, FAILED),
        ((result(),), None, FAILED),
        ((result(is_error=True),), 0, FAILED),
        ((result(terminal_reason="completed"),), 0, OK),
        ((result(terminal_reason="aborted_streaming"),), 0, FAILED),
        ((result(terminal_reason="tool_deferred"),), 0, FAILED),
        ((result(terminal_reason="a reason that we do not know"),), 0, FAILED),
        ((result(), result()), 0, OK),
        ((result(), result(is_error=True)), 0, FAILED),
        ((result(is_error=True), result()), 0, FAILED),
        ((result(subtype="error_during_execution"), result()), 0, FAILED),
        ((result(), said(error="server_error")), 0, AttemptClass.OVERLOADED),
        ((said(error="rate_limit"), result()), 0, AttemptClass.RATE_LIMIT),
        ((result(), INIT), 0, NOT_TOLD),
        ((result(), said()), 0, NOT_TOLD),
        ((result(), said(), result()), 0, OK),
        ((result(), RETRY), 0, AttemptClass.AUTH),
        ((result(), RETRY, said(), result()), 0, OK),
        ((OPENED, result(), OF_A_TASK), 0, OK),
        ((OPENED, result(), OF_A_TASK, closed(), INIT), 0, NOT_TOLD),
        ((OPENED, result(), OF_A_TASK, closed(), INIT, said(), result()), 0, OK),
        ((OPENED, result(), OF_A_TASK, closed(), INIT, said(), result()), 1, FAILED),
        ((OPENED, result(), closed(), INIT, said(), result(is_error=True)), 0, FAILED),
    ],
)
def test_only_the_last_word_can_be_a_success_and_no_failure_is_taken_back(
    events: tuple[Event, ...], code: int | None, attempt_class: AttemptClass
) -> None:
    assert come_to(*events, code=code).attempt_class is attempt_class


@pytest.mark.parametrize(
    ("events", "is_told", "is_waiting"),
    [
        ((OPENED,), False, False),
        ((OPENED, closed(), result()), True, False),
        ((OPENED, result()), True, True),
        ((OPENED, result(), OF_A_TASK), True, True),
        ((OPENED, result(), closed()), True, True),
        ((OF_A_TASK, result()), True, False),
        ((result(), OF_A_TASK), True, True),
        ((result(), OF_A_TASK, result()), True, False),
        ((OPENED, result(), closed(), INIT), False, False),
        ((OPENED, result(), updated("killed")), True, True),
        ((OPENED, result(), closed(), INIT, result()), True, False),
        ((OPENED, system("background_tasks_changed", tasks=[]), result()), True, False),
        ((system("background_tasks_changed", tasks=[{"task_id": "t-2"}]), result()), True, True),
        ((system("task_started", task_id="m-1", ambient=True), result()), True, False),
        ((OPENED, result(is_error=True)), True, False),
    ],
)
def test_whether_it_waits_for_its_tasks(events: tuple[Event, ...], is_told: bool, is_waiting: bool) -> None:
    stream = stream_of(*events)
    assert (stream.has_ended, stream.is_waiting) == (is_told, is_waiting)


def test_the_last_result_is_the_whole_of_it() -> None:
    told = come_to(
        OPENED, result(0.1, "I wait."), OF_A_TASK, closed(), INIT, said(), result(0.4, "The report is written.", num_turns=3)
    )
    assert (told.attempt_class, told.cost_usd, told.text, told.turns, told.notes) == (OK, 0.4, "The report is written.", 3, [])


@pytest.mark.parametrize("reason", [EndReason.TIMEOUT, EndReason.CANCEL, EndReason.DRAIN])
@pytest.mark.parametrize("more", [(), (closed(),), (closed(), INIT), (closed(), said())])
def test_what_is_ended_while_it_waits_has_not_succeeded_and_its_cost_is_unknown(
    reason: EndReason, more: tuple[Event, ...]
) -> None:
    """The watch does not take it for one that lingers: it asks whether it waits."""
    told = come_to(OPENED, result(0.1, usage={"input_tokens": 7}), *more, code=None, ended_by=reason)
    assert told.attempt_class is not OK
    assert (told.cost_usd, told.usage) == (None, None), "0.1 would pass for the whole"


@pytest.mark.parametrize(
    ("events", "notes"),
    [
        ((result(text=""),), ["nothing was said"]),
        ((result(text=" \n", num_turns=0),), ["nothing was said", "it took no turn"]),
        ((result(text="", structured_output={"n": 1}),), []),
        ((result(stop_reason="refusal", text=""),), ["nothing was said", "the model refused"]),
        ((result(stop_reason="max_tokens"),), ["its answer breaks off at the longest that the model writes"]),
        ((result(terminal_reason="hook_stopped"),), ["a hook stopped it"]),
        ((OPENED, closed("stopped"), result()), ["a task of its own was stopped"]),
        ((OPENED, updated("killed"), closed("stopped"), result()), ["a task of its own was stopped"]),
        ((OPENED, updated("killed"), result()), ["a task of its own was stopped"]),
        ((closed("stopped"), updated("killed", "t-2"), result()), ["a task of its own was stopped (2 times)"]),
        ((OPENED, closed("failed"), result()), []),
        ((OPENED, closed("failed", usage={"total_tokens": 9}), result()), ["a subagent failed"]),
        ((result(usage={"input_tokens": 0, "output_tokens": 0}),), ["it used no tokens"]),
        ((result(usage={"input_tokens": 7, "output_tokens": 0}),), []),
        ((OPENED, result()), ["1 of its tasks had not ended"]),
    ],
)
def test_a_success_in_which_little_was_done_says_so(events: tuple[Event, ...], notes: list[str]) -> None:
    told = come_to(*events)
    assert (told.attempt_class, told.notes) == (OK, notes)


def told_by(agent: str, *events: Event, code: int = 0, stderr: bytes = b"") -> AgentTold:
    stream = AgentStream(reading_of(agent), lambda: 0.0)
    for event in events:
        stream.feed(json.dumps(event).encode() + b"\n")
    return stream.classify(exit_code=code, signal=None, ended_by=None, stderr=stderr)


def warning(message: str) -> Event:
    return {"type": "error", "severity": "warning", "message": message}


@pytest.mark.parametrize(
    ("agent", "events", "attempt_class", "words"),
    [
        (
            "gemini",
            (warning("Loop detected, stopping execution"), {"type": "result", "status": "success"}),
            FAILED,
            "Loop detected",
        ),
        (
            "copilot",
            ({"type": "abort", "data": {"reason": "user initiated"}}, {"type": "result", "exitCode": 0}),
            FAILED,
            "user init",
        ),
        ("copilot", ({"type": "abort"}, {"type": "result", "exitCode": 0}), FAILED, "aborted"),
    ],
)
def test_what_other_clients_call_a_success_by_name_alone(
    agent: str, events: tuple[Event, ...], attempt_class: AttemptClass, words: str
) -> None:
    told = told_by(agent, *events)
    assert told.attempt_class is attempt_class
    assert told.message.startswith(words)


def test_a_warning_of_gemini_is_told_with_its_success() -> None:
    said = {"type": "message", "role": "assistant", "content": "done"}
    told = told_by("gemini", warning("the tool is slow"), said, {"type": "result", "status": "success"})
    assert (told.attempt_class, told.notes) == (OK, ["the tool is slow"])


def test_a_subagent_of_copilot_that_failed_and_an_edit_of_opencode_are_told_with_a_success() -> None:
    said = {"type": "assistant.message", "data": {"content": "done"}}
    told = told_by("copilot", {"type": "subagent.failed", "data": {"error": "x"}}, said, {"type": "result", "exitCode": 0})
    assert (told.attempt_class, told.notes) == (OK, ["a subagent failed"])
    edit = {"type": "tool_use", "part": {"tool": "edit", "state": {"status": "error", "error": "no such text"}}}
    end = {"type": "step_finish", "part": {"reason": "stop"}}
    told = told_by("opencode", {"type": "step_start"}, edit, {"type": "text", "part": {"text": "done"}}, end)
    assert (told.attempt_class, told.notes) == (OK, ["a change of files failed"])


@pytest.mark.parametrize(
    ("statuses", "notes"),
    [
        (["failed"], ["a change of files failed"]),
        (["failed", "failed"], ["a change of files failed (2 times)"]),
        (["failed", "completed"], []),
        (["completed", "failed"], ["a change of files failed"]),
    ],
)
def test_codex_says_nothing_of_a_patch_that_could_not_be_made(statuses: list[str], notes: list[str]) -> None:
    changes = [{"type": "item.completed", "item": {"type": "file_change", "status": status}} for status in statuses]
    words = {"type": "item.completed", "item": {"type": "agent_message", "text": "All done."}}
    told = told_by("codex", {"type": "turn.started"}, *changes, words, {"type": "turn.completed", "usage": {}})
    assert (told.attempt_class, told.notes) == (OK, notes)


def test_names_of_tasks_are_bounded() -> None:
    stream = stream_of(
        *(system("background_tasks_changed", tasks=[{"task_id": f"t-{n}"} for n in range(11_000)]) for _ in range(2))
    )
    stream.feed(json.dumps(system("task_started", task_id="x" * 10_000)).encode() + b"\n")
    stream.feed(json.dumps(result()).encode() + b"\n")
    told = stream.classify(exit_code=0, signal=None, ended_by=None, stderr=b"")
    assert told.notes == ["10000 of its tasks had not ended"]
