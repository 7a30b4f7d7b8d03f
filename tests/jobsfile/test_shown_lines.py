"""What people see of an agent's stream: by the rules of its profile, line by line, and nothing that drives a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drivers.sweeps import telling

from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.jobsfile.profiles.shown_lines import ShownLines

SAMPLES = Path(__file__).parents[1] / "agent_samples"


def shown(agent: str | None, *events: dict[str, Any] | str, chunk: int = 7) -> list[str]:
    """The lines of a stream of events (or of lines that are none), fed `chunk` bytes at a time."""
    data = "".join((event if isinstance(event, str) else json.dumps(event)) + "\n" for event in events).encode()
    lines = ShownLines(Profiles().get(agent) if agent is not None else None, lambda: 0.0)
    given = [line for at in range(0, len(data), chunk) for line in lines.feed(data[at : at + chunk])]
    return [*given, *lines.close()]


def said(text: str) -> dict[str, Any]:
    return {"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}}


def called(name: str, **given: Any) -> dict[str, Any]:
    return {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": name, "input": given}]}}


def ended(result: str, **more: Any) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "is_error": False, "result": result, **more}


def test_who_said_what_which_tools_were_called_and_what_it_cost() -> None:
    failed = {"type": "user", "message": {"content": [{"type": "tool_result", "is_error": True, "content": "no such\nfile"}]}}
    usage = {"input_tokens": 1200, "cache_read_input_tokens": 34, "output_tokens": 56}
    assert shown(
        "claude",
        {"type": "system", "subtype": "init", "session_id": "s"},
        said("I look at it.\nThen I mend it."),
        called("Bash", command="cat a\ncat b"),
        failed,
        said("done"),
        ended("done", num_turns=3, usage=usage, total_cost_usd=0.01234, permission_denials=[{"tool_name": "Write"}]),
    ) == [
        "I look at it.",
        "Then I mend it.",
        "[tool] Bash cat a cat b",
        "[error] no such file",
        "done",
        "[end] success, 3 turns, 1,234 tokens in, 56 out, $0.0123, 1 denied (Write)",
    ]


def test_a_success_in_which_nothing_was_done_says_so_at_its_end() -> None:
    assert shown("claude", ended("", num_turns=0)) == ["[end] success, 0 turns, nothing was said, it took no turn"]


def test_a_result_that_says_something_new_is_shown() -> None:
    failed = {"type": "result", "subtype": "error_during_execution", "is_error": True, "result": "it broke"}
    assert shown("claude", said("I try."), failed)[-1] == "[end] error_during_execution: it broke"


def test_an_answer_that_comes_in_pieces_is_put_together() -> None:
    pieces = [
        {"type": "message", "role": "assistant", "content": piece, "delta": True} for piece in ("one li", "ne\nan", "other")
    ]
    assert shown("gemini", *pieces, {"type": "result", "status": "success"})[:2] == ["one line", "another"]


def test_what_is_no_event_is_shown_as_it_stands() -> None:
    assert shown("claude", "Warning: no network", said("hi"), '{"torn": ')[:3] == ["Warning: no network", "hi", '{"torn": ']


@pytest.mark.parametrize("agent", ["claude", "aider", None])
def test_nothing_drives_a_terminal(agent: str | None) -> None:
    hostile = "\x1b]0;owned\x07 \u202e \x9b31m\r"
    lines = shown(agent, hostile, said(hostile), called("Bash" + hostile, command=hostile), ended(hostile))
    assert lines
    assert all(line.isprintable() for line in lines)


def test_an_agent_that_nobody_knows_is_shown_line_by_line() -> None:
    assert shown(None, said("hi"), "text") == [json.dumps(said("hi")), "text"]


def test_a_line_of_a_megabyte_is_shown_whole_if_it_is_said_and_cut_if_it_is_told() -> None:
    text = "word " * 200_000
    lines = shown("claude", said(text), called("Write", content=text), chunk=65_536)
    assert [len(line) for line in lines] == [len(text), len("[tool] ") + 400]


def test_every_sample_of_a_real_agent_is_shown_in_lines_that_people_can_read() -> None:
    profiles = Profiles()
    for sample in SAMPLES.rglob("stdout"):
        with telling(sample):
            agent = sample.parent.parent.name
            lines = ShownLines(profiles.get(agent), lambda: 0.0)
            given = [*lines.feed(sample.read_bytes()), *lines.close()]
            assert all(line.isprintable() for line in given)
            if agent != "aider":  # whose output is text
                assert not [line for line in given if line.startswith('{"type"')]
            if sample.parent.name == "ok":
                assert any("FAKE-ANSWER-42" in line for line in given)
                assert agent == "aider" or given[-1].startswith("[end] ")
