"""The truth table: what each recorded sample of a real agent CLI comes to, read through its shipped profile.

`found` is what is known while the CLI still runs and would go on trying. What a sample does not tell is None, never 0. A
reply that was cut and its repetition are one text for gemini and qwen (`cutok`): nothing in their streams tells them apart.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from drivers.recorded_agents import SAMPLES, ended, read, reading_of, sample
from drivers.sweeps import telling
from msgspec import Struct

from orchestrator.workers.agents.stream import AgentStream
from orchestrator.workers.protocol import AttemptClass, EndReason, Usage

(OK, CANCELLED, STALLED, TURNS, BUDGET) = (
    AttemptClass.OK,
    AttemptClass.CANCELLED,
    AttemptClass.STALLED,
    AttemptClass.TURNS,
    AttemptClass.BUDGET,
)
AGENT_FAILED, PROTOCOL_ERROR = AttemptClass.AGENT_FAILED, AttemptClass.PROTOCOL_ERROR
(AUTH, BILLING, CONTEXT, NETWORK) = (AttemptClass.AUTH, AttemptClass.BILLING, AttemptClass.CONTEXT, AttemptClass.NETWORK)
(RATE_LIMIT, OVERLOADED, USAGE_LIMIT) = (AttemptClass.RATE_LIMIT, AttemptClass.OVERLOADED, AttemptClass.USAGE_LIMIT)

ANSWER = "FAKE-ANSWER-42"
CLAUDE_CALL = 0.000609
"""What claude says one call of these costs, in US dollars."""


class Told(Struct, frozen=True):
    """`session` and `denials` are told by their beginnings; `usage` is input, output, cache read, cache write, reasoning."""

    attempt_class: AttemptClass
    found: AttemptClass | None = None
    text: str | None = None
    structured: Any = None
    session: str | None = None
    usage: tuple[int | None, ...] | None = None
    cost_usd: float | None = None
    resets_at: float | None = None
    denials: tuple[str, ...] = ()
    turns: int | None = None
    notes: tuple[str, ...] = ()


TABLE = {
    "aider/401": Told(AUTH),
    "aider/404": Told(PROTOCOL_ERROR),
    "aider/429": Told(RATE_LIMIT, found=RATE_LIMIT),
    "aider/500": Told(OVERLOADED, found=OVERLOADED),
    "aider/ctx": Told(CONTEXT),
    "aider/cut": Told(OK, text="FAKE-AN", usage=(595, 4, None, None, None)),
    "aider/garbage": Told(OVERLOADED, found=OVERLOADED),
    "aider/limit": Told(USAGE_LIMIT, found=USAGE_LIMIT),
    "aider/ok": Told(OK, text=ANSWER, usage=(595, 7, None, None, None)),
    "aider/perm-read": Told(OK, text="```bash\ntouch bydash.txt\n```", usage=(103, 20, None, None, None)),
    "aider/quota": Told(BILLING, found=BILLING),
    "aider/term": Told(CANCELLED),
    "aider/tool": Told(OK, text=ANSWER, usage=(595, 7, None, None, None)),
    "aider/tool-denied": Told(OK, text=ANSWER, usage=(595, 7, None, None, None)),
    "claude/401": Told(AUTH, found=AUTH, session="8c28d612-0cf"),
    "claude/429": Told(RATE_LIMIT, found=RATE_LIMIT, session="988021b0-444"),
    "claude/429-subscription": Told(RATE_LIMIT, session="fead7f0e-d28", usage=(0, 0, 0, 0, None), cost_usd=0.0, turns=1),
    "claude/500": Told(OVERLOADED, found=OVERLOADED, session="df9852eb-f28"),
    "claude/background-agent": Told(
        OK, text=ANSWER, session="6e2625d8-8db", usage=(700, 140, 210, 0, None), cost_usd=0.004263, turns=1
    ),
    "claude/background-both": Told(
        OK,
        text=ANSWER,
        session="77d33dd5-b5d",
        usage=(900, 180, 270, 0, None),
        cost_usd=0.005481,
        turns=1,
        notes=("a task of its own was stopped",),
    ),
    "claude/background-command": Told(
        OK,
        text=ANSWER,
        session="ac2ee5b4-240",
        usage=(300, 60, 90, 0, None),
        cost_usd=0.001827,
        turns=2,
        notes=("a task of its own was stopped",),
    ),
    "claude/budget-cap": Told(BUDGET, session="0e1cf8f5-9c5", usage=(200, 40, 60, 0, None), cost_usd=2 * CLAUDE_CALL, turns=2),
    "claude/ctx": Told(CONTEXT, session="f58c767a-db8", usage=(0, 0, 0, 0, None), cost_usd=0.0, turns=1),
    "claude/cut": Told(OK, text=ANSWER, session="aadc6c3e-ad4", usage=(100, 20, 30, 0, None), cost_usd=CLAUDE_CALL, turns=1),
    "claude/garbage": Told(AGENT_FAILED, session="3bd5c2da-9ca", usage=(0, 0, 0, 0, None), cost_usd=0, turns=1),
    "claude/json-schema": Told(
        OK,
        text='{"answer":42}',
        structured={"answer": 42},
        session="ddfaa942-072",
        usage=(100, 20, 30, 0, None),
        cost_usd=CLAUDE_CALL,
        turns=2,
    ),
    "claude/limit": Told(RATE_LIMIT, session="94a1123c-580", usage=(0, 0, 0, 0, None), cost_usd=0.0, turns=1),
    "claude/limit-subscription": Told(
        USAGE_LIMIT, session="f4dcf14e-e3c", usage=(0, 0, 0, 0, None), cost_usd=0.0, resets_at=1795218409.0, turns=1
    ),
    "claude/limit-window": Told(
        USAGE_LIMIT, session="89fcabcb-a16", usage=(0, 0, 0, 0, None), cost_usd=0, resets_at=1795985943.0, turns=1
    ),
    "claude/limit-window-attempt2": Told(
        OK, text=ANSWER, session="89fcabcb-a16", usage=(112, 20, 30, 0, None), cost_usd=0.000645, turns=1
    ),
    "claude/no-key": Told(AUTH, session="45baec0e-d0c", usage=(0, 0, 0, 0, None), cost_usd=0.0, turns=1),
    "claude/no-network": Told(NETWORK, session="c77a297d-44b", usage=(0, 0, 0, 0, None), cost_usd=0.0, turns=1),
    "claude/ok": Told(OK, text=ANSWER, session="58b2f624-b8e", usage=(100, 20, 30, 0, None), cost_usd=CLAUDE_CALL, turns=1),
    "claude/quota": Told(BILLING, session="ea34f1b4-d26", usage=(0, 0, 0, 0, None), cost_usd=0.0, turns=1),
    "claude/slash": Told(
        OK,
        text="Unknown command: /nosuchcommand",
        session="9d433e95-6cb",
        usage=(0, 0, 0, 0, None),
        cost_usd=0,
        turns=0,
        notes=("it took no turn", "it used no tokens"),
    ),
    "claude/term": Told(CANCELLED, session="54e7d6df-4f6"),
    "claude/tool": Told(OK, text=ANSWER, session="c6f5c6aa-ce1", usage=(200, 40, 60, 0, None), cost_usd=2 * CLAUDE_CALL, turns=2),
    "claude/tool-denied": Told(
        OK,
        text=ANSWER,
        session="0fec9368-59a",
        usage=(200, 40, 60, 0, None),
        cost_usd=2 * CLAUDE_CALL,
        denials=("Bash",),
        turns=2,
    ),
    "claude/turns-cap": Told(TURNS, session="c8112811-ef9", usage=(200, 40, 60, 0, None), cost_usd=2 * CLAUDE_CALL, turns=3),
    "codex/401": Told(AUTH, found=AUTH, session="01a1fac2-786"),
    "codex/429": Told(RATE_LIMIT, session="01a1fac3-28c"),
    "codex/429after3600": Told(RATE_LIMIT, found=RATE_LIMIT, session="01a22929-89a"),
    "codex/429after3600-attempt2": Told(OK, text=ANSWER, session="01a22929-89a", usage=(76, 20, 30, 0, 0)),
    "codex/500": Told(OVERLOADED, found=OVERLOADED, session="01a1facd-697"),
    "codex/ctx": Told(CONTEXT, session="01a1facc-d76"),
    "codex/cut": Told(NETWORK, found=NETWORK, session="01a1fad2-758"),
    "codex/garbage": Told(NETWORK, found=NETWORK, session="01a22913-321"),
    "codex/json-schema": Told(OK, text='{"answer": 42}', session="01a1fad4-23f", usage=(70, 20, 30, 0, 0)),
    "codex/limit": Told(USAGE_LIMIT, session="01a1fac9-ab3", resets_at=4102444860.0),
    "codex/limit-2h": Told(USAGE_LIMIT, session="01a1faed-356", resets_at=1795218420.0),
    "codex/limit-window": Told(USAGE_LIMIT, session="01a22918-655", resets_at=1795294620.0),
    "codex/no-key": Told(AUTH, session="01a1fefa-f5a"),
    "codex/no-network": Told(NETWORK, found=NETWORK, session="01a1fefb-525"),
    "codex/ok": Told(OK, text=ANSWER, session="01a1fac2-538", usage=(70, 20, 30, 0, 0)),
    "codex/perm-read": Told(OK, text=ANSWER, session="01a22918-269", usage=(228, 60, 90, 0, 0), denials=("patch rejected: w",)),
    "codex/quota": Told(BILLING, session="01a1facb-306"),
    "codex/resume-1": Told(OK, text=ANSWER, session="01a1fad4-23f", usage=(140, 40, 60, 0, 0)),
    "codex/resume-2": Told(OK, text=ANSWER, session="01a1fad4-23f", usage=(210, 60, 90, 0, 0)),
    "codex/term": Told(CANCELLED, session="01a1fac8-689"),
    "codex/tool": Told(OK, text=ANSWER, session="01a1faca-859", usage=(140, 40, 60, 0, 0)),
    "codex/tool-denied": Told(OK, text=ANSWER, session="01a1face-b58", usage=(140, 40, 60, 0, 0)),
    "copilot/401": Told(AUTH, found=AUTH, session="31a2b68b-08c"),
    "copilot/429": Told(RATE_LIMIT, found=RATE_LIMIT, session="f7214384-202"),
    "copilot/500": Told(OVERLOADED, found=OVERLOADED, session="273cd501-129"),
    "copilot/ctx": Told(CONTEXT, session="07dc5f28-737"),
    "copilot/cut": Told(NETWORK, found=NETWORK, session="5bbecd89-603"),
    "copilot/limit": Told(USAGE_LIMIT, found=USAGE_LIMIT, session="4c3a4cd1-a02", resets_at=4102444800.0),
    "copilot/ok": Told(OK, text=ANSWER, session="198702d1-5d7"),
    "copilot/perm-edit": Told(OK, text=ANSWER, session="7329e871-ad2", denials=("Permission denied",)),
    "copilot/perm-read": Told(OK, text=ANSWER, session="9b9605cd-cd7", denials=("Permission to run", "Permission to run")),
    "copilot/quota": Told(BILLING, found=BILLING, session="9053bec2-353"),
    "copilot/schema-bad": Told(OK, text='{"answer":"no"}', session="81711a9e-6c1"),
    "copilot/term": Told(CANCELLED),
    "copilot/tool": Told(OK, text=ANSWER, session="2cd67532-b33"),
    "copilot/tool-denied": Told(OK, text=ANSWER, session="c92f238c-481", denials=("Permission denied",)),
    "gemini/401": Told(AUTH, session="940d15ad-c9c", usage=(0, 0, 0, None, None)),
    "gemini/429": Told(RATE_LIMIT, found=RATE_LIMIT, session="6a449430-dc3"),
    "gemini/500": Told(OVERLOADED, found=OVERLOADED, session="71074fc7-ac6"),
    "gemini/ctx": Told(CONTEXT, session="ef7742a0-87a", usage=(0, 0, 0, None, None)),
    "gemini/cut": Told(NETWORK, text="FAKE-ANFAKE-ANFAKE-ANFAKE-AN", session="b612c9fc-907", usage=(280, 80, 120, None, None)),
    "gemini/cutok": Told(OK, text="FAKE-ANFAKE-ANSWER-42", session="97d8096a-6ad", usage=(539, 40, 60, None, None)),
    "gemini/garbage": Told(AGENT_FAILED, session="3f35366d-c92", usage=(0, 0, 0, None, None)),
    "gemini/limit": Told(USAGE_LIMIT, found=USAGE_LIMIT, session="d09b4c2a-871"),
    "gemini/ok": Told(OK, text=ANSWER, session="fc4d66f7-667", usage=(70, 20, 30, None, None)),
    "gemini/quota": Told(USAGE_LIMIT, found=USAGE_LIMIT, session="1561ddeb-2e5"),
    "gemini/quota-retry-in": Told(OK, text=ANSWER, session="bf4e0c37-a93", usage=(76, 20, 30, None, None)),
    "gemini/term": Told(CANCELLED, session="bbd3345e-945"),
    "gemini/tool": Told(OK, text=ANSWER, session="df8669cf-6e4", usage=(140, 40, 60, None, None)),
    "gemini/tool-denied": Told(OK, text=ANSWER, session="38c3050a-3ce", usage=(70, 20, 30, None, None)),
    "opencode/401": Told(AUTH, session="ses_e053d724"),
    "opencode/404": Told(AGENT_FAILED, session="ses_dd6e95a5"),
    "opencode/429": Told(RATE_LIMIT, session="ses_e053c101"),
    "opencode/500": Told(OVERLOADED, session="ses_e0532138"),
    "opencode/ctx": Told(CONTEXT, session="ses_e0532d8a"),
    "opencode/cut": Told(NETWORK, found=NETWORK, text="FAKE-AN", session="ses_e052d3a3"),
    "opencode/limit": Told(USAGE_LIMIT, session="ses_e05362de", resets_at=4102444800.0),
    "opencode/limit-to-the-end": Told(USAGE_LIMIT, session="ses_dd6b2a0f", resets_at=1795992856.0),
    "opencode/ok": Told(OK, text=ANSWER, session="ses_e053d9af", usage=(70, 20, 30, 0, 0), cost_usd=0.00011),
    "opencode/perm-read": Told(OK, text=ANSWER, session="ses_dd6da473", usage=(73, 20, 30, 0, 0), cost_usd=0.000113),
    "opencode/quota": Told(BILLING, session="ses_e05347e4"),
    "opencode/term": Told(CANCELLED),
    "opencode/tool": Told(OK, text=ANSWER, session="ses_e0535363", usage=(140, 40, 60, 0, 0), cost_usd=0.00022),
    "opencode/tool-denied": Told(OK, text=ANSWER, session="ses_e05311d4", usage=(140, 40, 60, 0, 0), cost_usd=0.00022),
    "pi/401": Told(AUTH, found=AUTH, session="01a22942-49e"),
    "pi/429": Told(OK, text=ANSWER, session="01a22942-c19", usage=(88, 20, 30, 0, None), cost_usd=0.000131),
    "pi/ctx": Told(CONTEXT, found=CONTEXT, session="01a22945-9bd"),
    "pi/cut": Told(NETWORK, session="01a22946-500"),
    "pi/ok": Told(
        OK,
        text=ANSWER,
        session="01a22941-2fd",
        usage=(149, 40, 60, 0, None),
        cost_usd=0.000235,
        notes=("a change of files failed",),
    ),
    "pi/read": Told(OK, text=ANSWER, session="01a22944-ab4", usage=(97, 20, 30, 0, None), cost_usd=0.00014),
    "pi/sess": Told(OK, text="one", session="01a22943-53d", usage=(91, 20, 30, 0, None), cost_usd=0.000134),
    "pi/sess-attempt2": Told(OK, text="two", session="01a22943-53d", usage=(94, 20, 30, 0, None), cost_usd=0.000137),
    "qwen/401": Told(AUTH, session="c574631b-200", turns=1),
    "qwen/429": Told(STALLED, session="a7bc55da-ee6"),
    "qwen/500": Told(STALLED, session="50033b0f-b90"),
    "qwen/ctx": Told(CONTEXT, session="5ebea817-434", turns=1),
    "qwen/cut": Told(NETWORK, session="1200196d-b8b", turns=1),
    "qwen/cutok": Told(OK, text="FAKE-ANFAKE-ANSWER-42", session="0bfd5659-b70", usage=(575, 40, 60, None, None), turns=1),
    "qwen/edit-write": Told(OK, text=ANSWER, session="d851ab74-88a", usage=(152, 40, 60, None, None), turns=2),
    "qwen/limit": Told(STALLED, session="3c328517-d8c"),
    "qwen/limit3600": Told(CANCELLED, session="abaff82b-74f"),
    "qwen/ok": Told(OK, text=ANSWER, session="c532cc67-008", usage=(140, 40, 60, None, None), turns=1),
    "qwen/quota": Told(STALLED, session="caadb86e-caa"),
    "qwen/schema-bad": Told(AGENT_FAILED, session="3d2637bd-9dc", turns=1),
    "qwen/term": Told(CANCELLED, session="6d18a9bc-be3"),
}


def _usage(*counts: int | None) -> Usage:
    return Usage(**dict(zip(Usage.__struct_fields__, counts, strict=True)))


@pytest.fixture(autouse=True)
def _times_are_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """codex tells local time: the machine that recorded it was on UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_the_table_has_every_sample() -> None:
    assert sorted(TABLE) == SAMPLES


def test_a_sample_comes_to_what_the_table_says() -> None:
    for name in TABLE:
        with telling(name):
            stream = read(name)
            found = stream.finding
            verdict = ended(name, stream)
            expected = TABLE[name]
            assert verdict.attempt_class is expected.attempt_class, verdict.message
            assert (found.attempt_class if found else None) is expected.found
            assert (verdict.text, verdict.structured) == (expected.text, expected.structured)
            assert (stream.session_id or "")[:12] == (expected.session or "")
            assert verdict.usage == (None if expected.usage is None else _usage(*expected.usage))
            assert verdict.cost_usd == (None if expected.cost_usd is None else pytest.approx(expected.cost_usd))
            assert verdict.resets_at == expected.resets_at
            assert tuple(denial[:17] for denial in verdict.denials) == expected.denials
            assert (verdict.turns, tuple(verdict.notes)) == (expected.turns, expected.notes)


def test_a_failure_says_why_in_one_line() -> None:
    for name in (name for name, told in TABLE.items() if told.attempt_class is not OK):
        with telling(name):
            message = ended(name, read(name)).message
            assert message
            assert "\n" not in message


def test_what_we_ended_is_never_a_success() -> None:
    names = [name for name in TABLE if name.endswith("/term")]
    reasons = [EndReason.CANCEL, EndReason.DRAIN, EndReason.TIMEOUT, EndReason.STALLED]
    for name, reason, exit_code in itertools.product(names, reasons, [0, 143]):
        with telling((name, reason, exit_code)):
            stream = read(name)
            verdict = stream.classify(exit_code=exit_code, signal=None, ended_by=reason, stderr=b"")
            assert verdict.attempt_class in (AttemptClass.CANCELLED, AttemptClass.TIMEOUT, AttemptClass.STALLED)


def test_a_success_told_after_our_signal_is_none() -> None:
    """claude ends with a "success" after SIGTERM."""
    for name in (name for name, told in TABLE.items() if told.attempt_class is OK and told.found is None):
        with telling(name):
            verdict = read(name).classify(exit_code=0, signal=None, ended_by=EndReason.CANCEL, stderr=b"")
            assert verdict.attempt_class is AttemptClass.CANCELLED


TELL_THEIR_END = ["claude/ok", "codex/ok", "gemini/ok", "opencode/ok", "qwen/ok", "copilot/ok"]


def test_a_client_that_stays_after_its_success_keeps_it() -> None:
    for name in TELL_THEIR_END:
        with telling(name):
            stream = read(name)
            assert stream.has_ended
            verdict = stream.classify(exit_code=None, signal=9, ended_by=EndReason.LINGERING, stderr=b"")
            assert verdict.attempt_class is OK
            assert "did not exit" in verdict.message


def test_a_success_with_another_exit_than_0_is_none() -> None:
    for name, (exit_code, signal) in itertools.product(TELL_THEIR_END, [(1, None), (None, 9), (143, None)]):
        with telling((name, exit_code, signal)):
            verdict = read(name).classify(exit_code=exit_code, signal=signal, ended_by=None, stderr=b"")
            assert verdict.attempt_class is AttemptClass.AGENT_FAILED


def test_a_wrong_key_is_known_with_the_first_call() -> None:
    """claude would try ten times, for minutes."""
    stream = AgentStream(reading_of("claude"), lambda: 0.0)
    lines = sample("claude/401").stdout.splitlines(keepends=True)
    stream.feed(lines[0])
    assert stream.finding is None
    stream.feed(lines[1])
    assert stream.finding is not None
    assert stream.finding.attempt_class is AUTH


@pytest.mark.parametrize(("what", "waits"), [("command", True), ("agent", False), ("both", True)])
def test_claude_waits_behind_its_result_for_what_it_has_in_the_background(what: str, waits: bool) -> None:
    """For a command some seconds, before it stops that; for a subagent it holds the result back."""
    lines = sample(f"claude/background-{what}").stdout.splitlines(keepends=True)
    last = max(place for place, line in enumerate(lines) if line.startswith(b'{"type":"result"'))
    stream = AgentStream(reading_of("claude"), lambda: 0.0)
    stream.feed(b"".join(lines[: last + 1]))
    assert (stream.has_ended, stream.is_waiting) == (True, waits)
    # Ended here, by a timeout for example, it has not come to its end.
    verdict = stream.classify(exit_code=143, signal=None, ended_by=EndReason.TIMEOUT, stderr=b"")
    assert verdict.attempt_class is AttemptClass.TIMEOUT


def test_what_gemini_retries_is_only_told_on_stderr() -> None:
    recorded = sample("gemini/429")
    stream = AgentStream(reading_of("gemini"), lambda: 0.0)
    stream.feed(recorded.stdout)
    assert stream.finding is None
    stream.feed_stderr(recorded.stderr)
    assert stream.finding is not None
    assert stream.finding.attempt_class is RATE_LIMIT


def test_a_crash_whose_words_end_like_those_of_a_provider_is_no_call_that_failed() -> None:
    def comes_to(words: str) -> AttemptClass:
        stream = AgentStream(reading_of("claude"), lambda: 0.0)
        return stream.classify(exit_code=1, signal=None, ended_by=None, stderr=words.encode()).attempt_class

    crashes = (
        "FileNotFoundError: [Errno 2] No such file or directory: 'a'",
        "ModuleNotFoundError: No module named 'a'",
        "TypeError: writePipe is not a function",
        "ValueError: cannot generate limits",
        "RuntimeError: that capacity is too small",
    )
    assert [words for words in crashes if comes_to(words) is not AttemptClass.AGENT_FAILED] == []
    assert comes_to("Error: getaddrinfo ENOTFOUND api.example.com") is AttemptClass.NETWORK
    assert comes_to("write EPIPE") is AttemptClass.NETWORK
    assert comes_to("litellm.RateLimitError: slow down") is AttemptClass.RATE_LIMIT
    assert comes_to("error: api_rate_limit") is AttemptClass.RATE_LIMIT
    assert comes_to("the model is at capacity") is AttemptClass.OVERLOADED
