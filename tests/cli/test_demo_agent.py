"""The agent that ships with the program: what it says, what it may, what it remembers, and that it is small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.demo_agent import VERSION, Call, calls_of
from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.workers.agents.stream import AgentStream

LIMIT_SECONDS = 30.0


class Demo:
    """Calls the CLI in one folder, with a state of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        self.state = folder / "state"

    def process(self, prompt: str, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "orchestrator.demo_agent", *args],
            input=prompt,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
            cwd=cwd or self.folder,
            env={**os.environ, "XDG_STATE_HOME": str(self.state)},
        )

    def events(self, prompt: str, *args: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.process(prompt, *args).stdout.splitlines()]

    def result(self, prompt: str, *args: str) -> dict[str, Any]:
        """The last event, with which every stream ends."""
        *_, last = self.events(prompt, *args)
        assert last["type"] == "result"
        return last


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return Demo(tmp_path)


def test_it_does_line_by_line_what_it_is_told_and_says_so(demo: Demo) -> None:
    prompt = "Please greet.\n\nwrite out/a.txt: hello you\n- append out/a.txt: and you\nreplace out/a.txt: hello -> Hello\n"
    events = demo.events(prompt, "--permissions", "edit")
    assert (demo.folder / "out" / "a.txt").read_text() == "Hello you\nand you\n"
    assert [event["type"] for event in events] == ["system", *["assistant", "user"] * 3, "assistant", "result"]
    assert events[0]["session_id"] == events[-1]["session_id"]
    assert (events[-1]["is_error"], events[-1]["num_turns"], events[-1]["permission_denials"]) == (False, 4, [])
    assert events[-1]["result"] == "wrote out/a.txt\nappended a line to out/a.txt\nreplaced 'hello' in out/a.txt"


def test_the_same_prompt_costs_the_same_and_a_resumed_session_pays_for_what_it_knows(demo: Demo) -> None:
    first, again = demo.result("Tell me."), demo.result("Tell me.")
    assert (first["result"], first["usage"], first["total_cost_usd"]) == (
        again["result"],
        again["usage"],
        again["total_cost_usd"],
    )
    assert first["usage"] == {
        "input_tokens": 2,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 7,
    }
    assert first["total_cost_usd"] == pytest.approx(2 * 3e-6 + 7 * 15e-6)
    resumed = demo.result("Tell me.", "--resume", first["session_id"])
    assert resumed["usage"]["cache_read_input_tokens"] == 9
    assert resumed["total_cost_usd"] == pytest.approx(first["total_cost_usd"] + 9 * 0.3e-6)


@pytest.mark.parametrize(
    ("permissions", "file", "is_allowed"),
    [
        ("read", "in.txt", False),
        ("edit", "in.txt", True),
        ("edit", "../out.txt", False),
        ("full", "../out.txt", True),
    ],
)
def test_it_changes_only_what_it_may(demo: Demo, permissions: str, file: str, is_allowed: bool) -> None:
    result = demo.result(f"write {file}: x", "--permissions", permissions)
    assert (demo.folder / file).exists() is is_allowed
    assert [denial["tool_input"]["file"] for denial in result["permission_denials"]] == ([] if is_allowed else [file])
    assert result["is_error"] is False, "a denial alone is no failure, as with real agents"


def test_a_resumed_session_first_does_what_it_had_not_done(demo: Demo) -> None:
    cut = demo.result("write a.txt: a\nwrite b.txt: b", "--permissions", "edit", "--max-turns", "1")
    assert (cut["subtype"], cut["is_error"]) == ("error_max_turns", True)
    assert not (demo.folder / "b.txt").exists()
    went_on = demo.result("Go on.", "--permissions", "edit", "--resume", cut["session_id"])
    assert went_on["result"] == "wrote b.txt"


def test_a_session_belongs_to_its_folder(demo: Demo, tmp_path: Path) -> None:
    session = demo.result("Tell me.")["session_id"]
    elsewhere = demo.process("Tell me.", "--resume", session, cwd=tmp_path)
    assert (elsewhere.returncode, elsewhere.stdout) == (2, "")
    assert "no session" in elsewhere.stderr


def test_told_to_fail_it_says_why_and_exits_with_1(demo: Demo) -> None:
    failed = demo.process("say hello\nfail overloaded")
    assert failed.returncode == 1
    last = json.loads(failed.stdout.splitlines()[-1])
    assert (last["is_error"], last["subtype"], last["result"]) == (True, "error_during_execution", "overloaded")


@pytest.mark.parametrize(
    ("reason", "attempt_class"),
    [
        ("", "agent_failed"),
        ("auth", "auth"),
        ("rate_limit", "rate_limit"),
        ("overloaded", "overloaded"),
        ("network", "network"),
        ("context", "context"),
        ("usage_limit 60", "usage_limit"),
    ],
)
def test_it_fails_as_its_profile_reads_it(demo: Demo, reason: str, attempt_class: str) -> None:
    failed = demo.process(f"fail {reason}\nsay I went on")
    stream = AgentStream(Profiles().get("demo").reading, lambda: 1000.0)
    stream.feed(failed.stdout.encode())
    verdict = stream.classify(exit_code=failed.returncode, signal=None, ended_by=None, stderr=b"")
    assert verdict.attempt_class == attempt_class
    assert (verdict.resets_at is not None) is (attempt_class == "usage_limit")
    assert stream.session_id is not None
    assert demo.result("Go on.", "--resume", stream.session_id)["result"] == "I went on"


def test_an_answer_fits_the_schema_or_is_the_json_that_it_is_told_to_say(demo: Demo) -> None:
    schema = {
        "$defs": {"level": {"enum": ["low", "high"]}},
        "type": "object",
        "required": ["level", "words", "texts"],
        "additionalProperties": False,
        "properties": {
            "level": {"$ref": "#/$defs/level"},
            "words": {"type": "integer", "minimum": 1},
            "texts": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
        },
    }
    (demo.folder / "schema.json").write_text(json.dumps(schema))
    result = demo.result("Tell me.", "--json-schema", "schema.json")
    jsonschema.validate(result["structured_output"], schema)
    assert json.loads(result["result"]) == result["structured_output"]
    assert demo.result('say {"n": 1}', "--json-schema", "schema.json")["structured_output"] == {"n": 1}


@pytest.mark.parametrize(("prompt", "args"), [("", []), ("x", ["--json-schema", "missing.json"])])
def test_called_wrongly_it_says_nothing_on_stdout(demo: Demo, prompt: str, args: list[str]) -> None:
    ended = demo.process(prompt, *args)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("demo-agent: ")


def test_its_version_is_asked_for_without_a_prompt(demo: Demo) -> None:
    assert demo.process("", "--version").stdout.split()[0] == VERSION


@pytest.mark.parametrize(
    "line", ["Please write: a poem", "I read a book", "do not fail", "sleep well", "the say of it", "failing"]
)
def test_ordinary_text_asks_for_nothing(line: str) -> None:
    assert calls_of(line) == []


def test_what_a_check_wrote_may_hold_the_next_thing_to_do() -> None:
    told = "The check failed:\n  replace out/a b.txt: x -> y -> z\nGo on."
    assert calls_of(told) == [Call("Replace", {"file": "out/a b.txt", "old": "x", "new": "y -> z"})]


def test_it_loads_nothing_that_is_dear() -> None:
    listed = "import sys, orchestrator.demo_agent; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS)
    ours = {name for name in found.stdout.split() if name.startswith(("orchestrator", "workers"))}
    assert ours == {"orchestrator", "orchestrator.demo_agent"}
    assert not {"msgspec", "click", "dataclasses", "subprocess", "uuid", "asyncio"} & set(found.stdout.split())
