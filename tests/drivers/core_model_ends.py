"""What an item of the plain model of a run becomes, and what follows from that at once."""

from __future__ import annotations

from drivers.core_model_state import ModelState, Ref


class ModelEnds(ModelState):
    """A run, and what its items come to."""

    def put(self, ref: Ref, word: str) -> None:
        order, was_stopped = ref[0], self.is_stopped(ref[0])
        words = self.jobs[order].words
        assert words is not None
        words[ref[1]] = word
        self.ending.pop(ref, None)
        self.joined.discard(ref)
        self.asking.discard(ref)
        self.posing.discard(ref)
        self.needs_account.pop(ref, None)
        if word != "running":
            self.slot_of.pop(ref, None)
            self.uses.pop(ref, None)
        if word == "failed":
            if self.is_limited(order):
                if not was_stopped:
                    self.heed_failures(order)
            elif self.counts_failures(order):
                self.heed_count(order)
            elif not self.goes_on(order) and not self.has_goal(order):
                self.halt(ref)
        self.heed_goal(order)

    def ask(self, ref: Ref) -> None:
        self.put(ref, "waiting")
        self.asking.add(ref)
        self.posing.add(ref)
        self.asked.append(ref)

    def heed_failures(self, order: int) -> None:
        """Of a job that limits failures: what waits is interrupted, and what runs is ended, if too many failed just now."""
        if self.is_stopped(order):
            self.interrupt(self.refs(order, "waiting"), is_now=self.ends_at_once(order))
            self.end(self.refs(order, "running"), is_now=self.ends_at_once(order))

    def heed_count(self, order: int) -> None:
        failed = self.refs(order, "failed")
        if len(failed) >= self.halts_at(order):
            self.halt(failed[0])

    def heed_goal(self, order: int) -> None:
        if not self.jobs[order].is_enough and self.has_reached_goal(order):
            self.jobs[order].is_enough = True
            self.give_up(order)

    def give_up(self, order: int) -> None:
        for ref in self.refs(order, "pending"):
            self.put(ref, "skipped")
        for ref in self.refs(order, "waiting", "interrupted"):
            if self.ends_at_once(order) or ref not in self.joined:
                self.put(ref, "cancelled")
        self.end(self.refs(order, "running"), is_now=self.ends_at_once(order))

    def halt(self, ref: Ref) -> None:
        self.halting.add(ref)
        is_now = self.ends_at_once(ref[0])
        self.interrupt([waiting for waiting in self.all_refs("waiting") if not self.is_cleanup(waiting[0])], is_now=is_now)
        self.end([running for running in self.all_refs("running") if not self.is_cleanup(running[0])], is_now=is_now)

    def interrupt(self, waiting: list[Ref], *, is_now: bool) -> None:
        """What waits to be started. Who joined starts nothing, and may still share a verdict."""
        for ref in waiting:
            if is_now or ref not in self.joined:
                self.put_off(ref)

    def put_off(self, ref: Ref) -> None:
        """A resume goes on with it, if it is wanted."""
        self.put(ref, "cancelled" if self.jobs[ref[0]].is_enough else "interrupted")

    def end(self, running: list[Ref], *, is_now: bool) -> None:
        for ref in running if is_now else ():
            self.ending.setdefault(ref, "halt")

    def wait_or_end(self, ref: Ref, due: float) -> None:
        """Nothing came of a start, or of what it joined: it waits, if it may still start, else it has its end."""
        if self.ending.get(ref) in ("cancel", "halt"):
            self.put(ref, "cancelled")
        elif self.is_over(ref[0]) or ref in self.ending:
            self.put_off(ref)
        else:
            self.put(ref, "waiting")
            self.due[ref] = due

    def end_all(self, word: str) -> None:
        for ref in self.all_refs("running"):
            self.ending.setdefault(ref, word)

    def begin(self, order: int) -> None:
        self.jobs[order].phase = "open"
        if self.jobs[order].is_skipped_whole:
            for ref in self.refs(order, "pending"):
                self.put(ref, "skipped")
        if self.jobs[order].is_enough:
            self.give_up(order)
