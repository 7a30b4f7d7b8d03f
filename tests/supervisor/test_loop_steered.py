"""A run that is asked, steered and bounded while it goes on: by the real loop, on an engine without a process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from drivers.loop_stories import LoopStories, fan_out, one
from drivers.memory_engine import MemoryEngine, Step, outcome

from orchestrator.control import server
from orchestrator.control.messages import (
    Approve,
    CancelRequest,
    Explain,
    Flush,
    GoOn,
    Reply,
    Request,
    RetryRequest,
    SetBudget,
    SetSlots,
    StopRequest,
)
from orchestrator.control.requester import Requester
from orchestrator.control.server import ControlServer
from orchestrator.system.enclosing import Enclosing
from orchestrator.system.process_chain import Process
from orchestrator.workers.protocol import AgentReport, AttemptClass


class TestRequests:
    @pytest.mark.parametrize("way", ["asked", "by a signal"])
    def test_a_flush_makes_durable_what_has_ended_and_disturbs_nothing(self, stories: LoopStories, way: str) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            engine.ok("a:0")
            yield from engine.until_running("a:1", "a:2")
            before = stories.generation()
            if way == "asked":
                assert (yield from stories.ask(Flush())).ok
            else:
                signal.raise_signal(signal.SIGUSR1)
            while stories.generation() == before:
                yield
            assert engine.running == ["a:1", "a:2"]
            engine.ok("a:1")
            engine.ok("a:2")

        assert stories.run(fan_out(3), story).exit_code == 0
        assert stories.engine.asked == []

    def test_what_is_answered_is_recorded_before(self, stories: LoopStories, monkeypatch: pytest.MonkeyPatch) -> None:
        unrecorded: list[int] = []
        answer = ControlServer.answer

        def noted(server: ControlServer, client: int, reply: Reply) -> None:
            unrecorded.append(len(stories.loop._run.recorder._records))
            answer(server, client, reply)

        monkeypatch.setattr(ControlServer, "answer", noted)

        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            assert (yield from stories.ask(SetSlots(2))).ok
            yield from engine.until_running("a:0", "a:1")
            engine.ok("a:0")
            engine.ok("a:1")

        assert stories.run(fan_out(2), story, slots=1).exit_code == 0
        assert unrecorded == [0], "a SIGKILL behind the answer must not take it back"

    def test_a_cancel_is_recorded_and_sent_before_it_is_answered(
        self, stories: LoopStories, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answered: list[tuple[list[str], list[str]]] = []
        answer = ControlServer.answer

        def noted(server: ControlServer, client: int, reply: Reply) -> None:
            answered.append(([item for item, *_ in stories.engine.asked], stories.statuses("a")))
            answer(server, client, reply)

        monkeypatch.setattr(ControlServer, "answer", noted)

        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            assert (yield from stories.ask(CancelRequest([("a", 0), ("a", 1)]))).ok
            while engine.running:
                yield

        assert (
            stories.run("[jobs.a]\nfor_each = [0, 1]\ncontinue_on_error = true\ncommand = ['true']\n", story, slots=1).exit_code
            == 1
        )
        ((asked, statuses),) = answered
        assert asked == ["a:0"], "a SIGKILL behind the answer must find the worker told"
        assert statuses[1] == "cancelled"

    def test_a_cancel_of_what_has_ended_says_so_and_changes_nothing(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            engine.ok("a:0")
            yield from engine.until_running("a:1", "a:2")
            assert (yield from stories.ask(CancelRequest([("a", 0)]))) == Reply(True, "nothing to cancel: it has ended")
            told = yield from stories.ask(CancelRequest([("a", 0), ("a", 1)]))
            assert told == Reply(True, "1 item is being cancelled")
            engine.ok("a:2")

        assert stories.run("[defaults]\ncontinue_on_error = true\n" + fan_out(3), story).exit_code == 1
        assert stories.statuses("a") == ["succeeded", "cancelled", "succeeded"]

    @pytest.mark.parametrize("items", [[("a", 0)], None])
    def test_an_item_that_the_halt_interrupted_is_cancelled_too(
        self, stories: LoopStories, items: list[tuple[str, int]] | None
    ) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "b")
            engine.fail("a:0")
            yield from engine.until_running("b", "c")
            engine.fail("b")
            while stories.statuses("a") != ["interrupted"]:
                yield  # its second attempt waits for the delay, and the run is halted
            assert (yield from stories.ask(CancelRequest(items))).ok
            if items:
                engine.ok("c")
            while engine.running:
                yield

        waits = "attempts = 2\nretry = { delay = '1h' }\n"
        stories.run(fan_out(1, waits) + one("b") + one("c"), story)
        assert stories.statuses("a") == ["cancelled"]

    def test_more_slots_are_used_at_once_and_fewer_once_they_are_free(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            assert (yield from stories.ask(SetSlots(3))).ok
            yield from engine.until_running("a:0", "a:1", "a:2")
            assert (yield from stories.ask(SetSlots(1))).ok
            engine.ok("a:0")
            engine.ok("a:1")
            yield from engine.until_running("a:2")
            for _ in range(5):
                yield
            assert engine.running == ["a:2"]
            engine.ok("a:2")
            yield from engine.until_running("a:3")
            engine.ok("a:3")

        assert stories.run(fan_out(4), story, slots=1).exit_code == 0

    def test_somebody_may_ask_why_an_item_waits(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            reply = yield from stories.ask(Explain([("a", 0), ("a", 1)]))
            assert [why.words for why in reply.waits] == ["", "it waits for a slot: all are in use"]
            engine.ok("a:0")
            yield from engine.until_running("a:1")
            engine.ok("a:1")

        assert stories.run(fan_out(2), story, slots=1).exit_code == 0

    def test_a_process_in_an_item_is_answered_and_steers_nothing(
        self, stories: LoopStories, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who asks is found out elsewhere; here, that each request is held against the table, and what is told of it."""
        chain = (Process(30, "sh", 30, "", 30),)
        requester = Requester(os.getuid(), chain, (Enclosing("r", "a:0", "/state/runs/r/workers/0"),))
        monkeypatch.setattr(server, "requester_of", lambda _: requester)

        def story(engine: MemoryEngine) -> Step:
            nonlocal requester
            yield from engine.until_running("a:0", "a:1")
            assert (yield from stories.ask(Explain([("a", 0)]))).ok
            for request in (StopRequest(), StopRequest(now=True), SetSlots(1), CancelRequest(), Flush()):
                told = yield from stories.ask(request)
                assert told.message.startswith("run r: asked from inside item a:0 of run r: it may look, not steer;")
                assert not told.ok
            requester = Requester(os.getuid(), chain)
            assert (yield from stories.ask(SetSlots(3))).ok
            engine.ok("a:0")
            engine.ok("a:1")

        assert stories.run(fan_out(2), story).exit_code == 0
        log = stories.run_dir.log.read_text()
        assert log.count("item a:0 of run r wanted to steer this run, and was refused") == 1, "each item is told of once"
        assert (log.count("asked by"), "(sh, process 30): {" in log) == (1, True)

    def test_an_item_runs_once_more_while_the_run_goes_on(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            engine.fail("a:0")
            yield from engine.until_running("a:1")
            assert (yield from stories.ask(RetryRequest([("a", 0)]))).ok
            yield from engine.until_running("a:1", "a:0")
            engine.ok("a:0")
            engine.ok("a:1")

        assert stories.run(fan_out(2, "continue_on_error = true"), story).exit_code == 0
        assert stories.statuses("a") == ["succeeded", "succeeded"]

    def test_an_answer_to_a_gate_writes_as_much_in_a_run_of_many_gates_as_in_one_of_few(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written: dict[int, list[int]] = {}
        for count in (20, 200):
            (tmp_path / str(count)).mkdir()
            stories = LoopStories(tmp_path / str(count), monkeypatch)

            def story(engine: MemoryEngine, stories: LoopStories = stories, count: int = count) -> Step:
                yield from engine.until_running("a")
                while stories.statuses("g").count("waiting") < count:
                    yield
                before = stories.generation()
                for index in range(10):
                    bytes_before = bytes_written()
                    assert (yield from stories.ask(Approve([("g", index)]))).ok
                    written.setdefault(count, []).append(bytes_written() - bytes_before)
                assert stories.generation() == before, "no checkpoint was taken"
                assert (yield from stories.ask(Approve.of([("g", index) for index in range(10, count)]))).ok
                engine.ok("a")

            gates = f"[jobs.g]\nfor_each = {list(range(count))}\ngate = 'Go on?'\n"
            assert stories.run(gates + one("a"), story).exit_code == 0
            assert stories.statuses("g") == ["succeeded"] * count
        assert max(written[200]) <= max(written[20]) + 200
        assert max(written[200]) < 2000

    def test_items_of_a_large_job_are_cancelled_and_had_again_in_one_request(self, stories: LoopStories) -> None:
        every = [("a", index) for index in range(1200)]

        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            told = yield from stories.ask(CancelRequest.of(every))
            assert told == Reply(True, "1200 items are being cancelled")
            yield from engine.until_running("b")
            assert stories.statuses("a") == ["cancelled"] * 1200
            told = yield from stories.ask(RetryRequest.of(every[:1100]))
            assert told == Reply(True, "run r runs 1100 items again")
            engine.ok("b")
            yield from engine.until_running("a:0")
            assert (yield from stories.ask(CancelRequest.of(every))).ok
            yield

        stories.run(fan_out(1200) + one("b"), story, slots=1)
        assert stories.statuses("a") == ["cancelled"] * 1200

    def test_a_request_that_names_what_the_run_does_not_have_is_refused_in_words(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            for request, words in (
                (CancelRequest([("c", 0)]), "job 'c'"),
                (CancelRequest([], None, {"a": [(0, 10**15)]}), "items a:0 to 999999999999999"),
                (RetryRequest([("a", -1)]), "item a:-1"),
                (Explain([("a", 2)]), "item a:2"),
                (Approve([("a", 7)]), "item a:7"),
                (GoOn(("a", 7)), "item a:7"),
            ):
                told = yield from stories.ask(request)
                assert told == Reply(False, f"run r has no {words}")
            engine.ok("a:0")
            engine.ok("a:1")

        assert stories.run(fan_out(2), story).exit_code == 0


def bytes_written() -> int:
    """By this process so far, to files and pipes."""
    told = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(told["wchar"])


AGENT = "agent = 'fake'\nprompt = 'work'\n"


def paid(usd: float) -> AgentReport:
    return AgentReport(agent="fake", cost_usd=usd, cost_told=usd)


class TestBudgets:
    def test_nothing_starts_that_would_go_beyond_the_budget_until_it_is_raised(self, stories: LoopStories) -> None:
        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            stories.world.end("a:0", outcome(AttemptClass.OK, "done", exit_code=0, agent=paid(0.6)))
            while stories.world.running or "a:0" not in stories.world.started:
                yield

        def resumed(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:1")
            stories.world.end("a:1", outcome(AttemptClass.OK, "done", exit_code=0, agent=paid(0.6)))
            yield

        stories.add_agent()
        text = f"[run]\nbudget_usd = 1.0\n[jobs.a]\nfor_each = [0, 1]\n{AGENT}"
        assert stories.run(text, story).exit_code == 3
        assert stories.statuses("a") == ["succeeded", "pending"]
        stories.set_budget(SetBudget("budget_usd", 5.0), instead_of=1.0)
        assert stories.resume(resumed).exit_code == 0
        assert stories.world.started == ["a:0", "a:1"]


class TestStrangers:
    def test_what_no_command_of_ours_asks_is_refused_and_the_run_goes_on(self, stories: LoopStories) -> None:
        huge = 10**300
        strange: list[Request] = [
            SetSlots(0),
            SetSlots(-huge),
            SetSlots(huge),
            SetBudget("budget_usd", 1e308),
            SetBudget("budget_tokens", -1.0),
            SetBudget("budget_usd", 1.0, "nobody"),
            Explain([("a", huge)]),
            Explain([("a", -1)]),
            Approve([("a", 0)]),
            GoOn(("nobody", 0)),
            RetryRequest([("a", huge)]),
            CancelRequest([("a", 0)], ranges={"a": [(0, huge)]}),
        ]
        replies: list[Reply] = []

        def story(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            for request in strange:
                reply = yield from stories.ask(request)
                replies.append(reply)
            assert engine.running == ["a:0", "a:1"]
            engine.ok("a:0")
            engine.ok("a:1")

        assert stories.run(fan_out(2), story).exit_code == 0
        assert [reply.ok for reply in replies] == [False] * len(strange), replies
