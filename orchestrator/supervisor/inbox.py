"""Where the loop waits: everything that may happen, from any number of sources, as one stream of `Happened`.

Promise: one wait asks each source at most once, and returns at the latest when the core wants to be woken. What no descriptor
tells is found at most `LOOK_SECONDS` after it is due. Invariant: exactly the descriptors that the sources name are watched. It
refuses to handle: what a happening means (`loop`).
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from orchestrator.supervisor.happened import Happened, TimeCame

LONGEST_WAIT_SECONDS = 1.0
"""As often the files of a run are looked at (`sources.HeldRun`): a run in which nothing happens wakes for that alone."""

LOOK_SECONDS = 0.005
"""While descriptors have news turn by turn, from one look for what no descriptor tells to the next."""


class Source:
    """Something that may have news: a descriptor says so, or a look finds out. No call blocks. As it stands it has none.

    `is_fixed`: its descriptors are the same for ever, so they are asked for once.
    """

    is_fixed = True

    def filenos(self) -> Sequence[int]:
        """Descriptors that become readable when `read_news` has some. One sequence is never changed: others are another one."""
        return ()

    def read_news(self, _fileno: int) -> Iterable[Happened]:
        """The news behind a descriptor that is readable."""
        return ()

    def news_at_hand(self) -> Iterable[Happened]:
        """The news that go before all that a wait has found: they came while it waited. Called after each wait."""
        return ()

    @property
    def next_look(self) -> float | None:
        """When `look_for_news` is due (monotonic seconds); None: the longest wait is short enough for it."""
        return None

    def look_for_news(self, _now: float) -> Iterable[Happened]:
        """The news that no descriptor tells. Called before a wait, not before each of a busy run; cheap while nothing is due."""
        return ()


class Inbox:
    """Of one run. `sources` are asked in this order."""

    def __init__(self, sources: Sequence[Source]) -> None:
        # Not by `selectors`, which makes a key and a tuple for each piece of news.
        self._poll = select.epoll()
        self._source_of: dict[int, Source] = {}
        """By descriptor, of those that are watched."""
        self._watched: dict[Source, Sequence[int]] = dict.fromkeys(sources, ())
        self._watch(sources)
        self._changing = [source for source in sources if not source.is_fixed]
        # All others would be asked for nothing, turn by turn.
        self._going_first = [source for source in sources if type(source).news_at_hand is not Source.news_at_hand]
        self._looking = [source for source in sources if type(source).look_for_news is not Source.look_for_news]
        self._look_at = 0.0
        """As long as waits find news: when the sources are asked for what no descriptor tells (monotonic seconds)."""
        self._is_busy = False
        """Whether the last wait found news before a look would have been due."""

    def wait(self, wake: float | None, *, is_in_hurry: bool) -> Iterator[Happened]:
        """Wait for news, at most until `wake` (monotonic seconds), and give it piece by piece.

        `is_in_hurry`: only look, for there is work to do. The caller takes in each piece before it asks for the next one.
        """
        # First the looks, and not between the end of an attempt and the start that follows it: a picture takes milliseconds.
        now = time.monotonic()
        if now >= self._look_at or not self._is_busy:
            self._look_at = now + LOOK_SECONDS
            for source in self._looking:
                for happened in source.look_for_news(now):
                    is_in_hurry = True
                    yield happened
        self._watch(self._changing)
        readable = self._readable(wake, is_in_hurry=is_in_hurry)
        for source in self._going_first:
            yield from source.news_at_hand()
        for fileno, _ in readable:
            # What was taken in meanwhile may have closed this descriptor.
            if (found := self._source_of.get(fileno)) is not None:
                yield from found.read_news(fileno)
                # At once: the number of a descriptor that was closed may come back as another source's.
                if not found.is_fixed and found.filenos() is not self._watched[found]:
                    self._watch([found])
        if wake is not None and time.monotonic() >= wake:
            yield TimeCame()

    def close(self) -> None:
        """Watch nothing any more. The sources are the caller's to close."""
        self._poll.close()

    def _readable(self, wake: float | None, *, is_in_hurry: bool) -> list[tuple[int, int]]:
        """Wait until a descriptor has news, or a look is due: the descriptors that have some."""
        if is_in_hurry:
            return self._poll.poll(0.0)
        now = time.monotonic()
        # To ask all sources when they want to look costs more than most news that a busy run waits for.
        can_put_off = self._is_busy and now < self._look_at and (wake is None or self._look_at <= wake)
        if can_put_off and (readable := self._poll.poll(self._look_at - now)):
            return readable
        readable = self._poll.poll(self._timeout(wake))
        self._is_busy = bool(readable) and time.monotonic() < now + LOOK_SECONDS
        return readable

    def _timeout(self, wake: float | None) -> float:
        now = time.monotonic()
        due = now + LONGEST_WAIT_SECONDS if wake is None else min(wake, now + LONGEST_WAIT_SECONDS)
        for source in self._looking:
            look = source.next_look
            if look is not None and look < due:
                due = look
        return max(0.0, due - now)

    def _watch(self, sources: Iterable[Source]) -> None:
        """Watch exactly what these sources name."""
        # Mostly nothing has changed, and a source may name hundreds.
        watched, changed = self._watched, []
        for source in sources:
            named = source.filenos()
            if named is not watched[source] and named != watched[source]:
                changed.append((source, named))
        if not changed:
            return
        # First let go of all that is not named, of every source: a number that one has closed may be another's by now.
        for source, named in changed:
            for fileno in set(self._watched[source]).difference(named):
                del self._source_of[fileno]
                # One that is closed is watched no more.
                with suppress(OSError):
                    self._poll.unregister(fileno)
        for source, named in changed:
            for fileno in set(named).difference(self._watched[source]):
                self._poll.register(fileno, select.EPOLLIN)
                self._source_of[fileno] = source
            self._watched[source] = named
