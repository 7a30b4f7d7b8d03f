"""A run whose supervisor is gone without a word goes on where it was: by the real loop, on an engine without a process."""

from __future__ import annotations

import os
import shutil

import pytest
from drivers.loop_stories import AbandonedError, LoopStories, fan_out
from drivers.memory_engine import MemoryEngine, Step, outcome

from orchestrator.cli import main
from orchestrator.control.messages import CancelRequest
from orchestrator.errors import StateUnwritableError
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_summary import run_summary
from orchestrator.reading.seen_statuses import run_status
from orchestrator.shared.nesting.ancestors import Nesting
from orchestrator.shared.nesting.borrowing import Capacity
from orchestrator.workers.protocol import AttemptClass


class TestResume:
    def test_what_still_runs_is_taken_over_and_not_started_again(self, stories: LoopStories) -> None:
        def leaving(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            raise AbandonedError

        def resumed(engine: MemoryEngine) -> Step:
            yield
            engine.ok("a:1")
            yield from engine.until_running("a:0", "a:2")
            engine.ok("a:0")
            engine.ok("a:2")

        stories.abandon(fan_out(3), leaving)
        assert stories.resume(resumed).exit_code == 0
        assert stories.world.started == ["a:0", "a:1", "a:2"]
        assert stories.statuses("a") == ["succeeded"] * 3

    def test_what_ended_meanwhile_is_taken_in_and_not_done_again(self, stories: LoopStories) -> None:
        def leaving(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0", "a:1")
            raise AbandonedError

        def resumed(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:1")
            engine.ok("a:1")

        stories.abandon(fan_out(2), leaving)
        stories.world.end("a:0", outcome(AttemptClass.OK, "done", exit_code=0))
        stories.world.lose("a:1")
        assert stories.resume(resumed).exit_code == 0
        assert stories.world.started == ["a:0", "a:1", "a:1"]

    @pytest.mark.parametrize("moment", range(1, 9))
    def test_a_supervisor_that_goes_at_any_turn_loses_nothing_and_starts_nothing_twice(
        self, stories: LoopStories, moment: int
    ) -> None:
        """Each of its turns is left once; what runs then ends while nobody looks."""

        def finishing(engine: MemoryEngine) -> Step:
            while not all(status == "succeeded" for status in stories.statuses("a") or ["not listed"]):
                for item in engine.running:
                    engine.ok(item)
                yield

        def leaving(engine: MemoryEngine) -> Step:
            for turn, _ in enumerate(finishing(engine)):
                if turn == moment:
                    raise AbandonedError
                yield
            raise AbandonedError

        stories.abandon(fan_out(10), leaving, slots=1)
        for item in stories.world.running:
            stories.world.end(item, outcome(AttemptClass.OK, "done", exit_code=0))
        assert stories.resume(finishing).exit_code == 0
        assert sorted(stories.world.started) == [f"a:{index}" for index in range(10)]
        assert sorted(stories.ends()) == [("a", index, "succeeded") for index in range(10)]

    @pytest.mark.parametrize("is_removed", [False, True], ids=["kept", "removed"])
    def test_a_slot_whose_lock_was_removed_with_its_folder_is_lent_to_no_nested_run(
        self, stories: LoopStories, *, is_removed: bool
    ) -> None:
        """What an earlier supervisor has left holds it, by a file that nobody sees any more."""

        def leaving(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            raise AbandonedError

        def resumed(engine: MemoryEngine) -> Step:
            yield
            nested = Capacity(Nesting((), (), stories.run_dir.path, 1, 9), stories.run_dir.home)
            room = nested.try_borrow(None, "nested")
            assert (room is None) == is_removed
            if room is not None:
                os.close(room.lock_fds[0])
            engine.ok("a:0")

        stories.abandon(fan_out(1), leaving, slots=2)
        if is_removed:
            shutil.rmtree(stories.run_dir.path / "slots")
        assert stories.resume(resumed).exit_code == 0

    def test_nothing_starts_whose_output_could_not_be_kept(self, stories: LoopStories) -> None:
        """Each resume ran and paid for what it had to throw away."""

        def first(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            engine.fail("a:0")

        def second(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:0")
            engine.ok("a:0")

        stories.run(fan_out(1), first)
        outputs = stories.run_dir.path / "outputs"
        outputs.rmdir()
        outputs.touch()
        with pytest.raises(StateUnwritableError, match="outputs is no folder any more"):
            stories.resume(second)
        assert stories.world.started == ["a:0"]
        outputs.unlink()
        assert stories.resume(second).exit_code == 0


class TestToldCancels:
    """What was told as cancelled stays so, though the supervisor is killed before it has ended."""

    def test_a_cancelled_run_is_cancelled_and_a_resume_runs_what_had_not_begun(self, stories: LoopStories) -> None:
        def leaving(engine: MemoryEngine) -> Step:
            engine.obeys = False
            yield from engine.until_running("a:0", "a:1")
            assert (yield from stories.ask(CancelRequest())).ok
            raise AbandonedError

        def resumed(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:2", "a:3")
            engine.ok("a:2")
            engine.ok("a:3")

        stories.abandon(fan_out(4), leaving)
        reader = RunReader.read(stories.run_dir)
        assert (run_status(reader), run_summary(reader)["counts"]) == ("cancelled", {"interrupted": 2, "pending": 2})
        # The worker of one is gone, too.
        stories.world.lose("a:1")
        stories.resume(resumed)
        assert stories.statuses("a") == ["cancelled", "cancelled", "succeeded", "succeeded"]
        assert stories.world.started == ["a:0", "a:1", "a:2", "a:3"]

    def test_one_more_cancel_ends_what_a_cancelled_run_has_left(self, stories: LoopStories) -> None:
        def leaving(engine: MemoryEngine) -> Step:
            engine.obeys = False
            yield from engine.until_running("a:0")
            assert (yield from stories.ask(CancelRequest())).ok
            raise AbandonedError

        stories.abandon(fan_out(1), leaving)
        report = stories.cancel()
        assert report is not None
        assert (report.status, stories.statuses("a")) == ("cancelled", ["cancelled"])
        assert stories.cancel() is None

    def test_a_cancelled_item_is_not_run_again(self, stories: LoopStories, capsys: pytest.CaptureFixture[str]) -> None:
        def leaving(engine: MemoryEngine) -> Step:
            engine.obeys = False
            yield from engine.until_running("a:0")
            assert (yield from stories.ask(CancelRequest([("a", 0)]))).ok
            raise AbandonedError

        stories.abandon(fan_out(2), leaving, slots=1)
        assert run_status(RunReader.read(stories.run_dir)) == "interrupted"
        at_home = ["--home", str(stories.folder / "home")]
        assert main([*at_home, "why", "r", "a:0"]) == 0
        assert main([*at_home, "retry", "r", "a:0"]) == 2
        told = capsys.readouterr()
        assert "it was cancelled while it ran, and nobody supervises the run" in told.out
        assert "orchestrate cancel r a:0 ends it first" in told.err
        stories.world.lose("a:0")

        def resumed(engine: MemoryEngine) -> Step:
            yield from engine.until_running("a:1")
            engine.ok("a:1")

        stories.resume(resumed, slots=1)
        assert (stories.statuses("a"), stories.world.started) == (["cancelled", "succeeded"], ["a:0", "a:1"])
