"""An agent's stream as lines for people: what it said, a line for each tool that it called, errors, and how it ended.

Which events are shown, and what of them, is data (`[[show]]` of the profile). What no rule names is left out; what is no event
is shown as it stands, and so is everything where there is no rule at all. No control character comes through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.jobsfile.profiles.profile import Profile, ShowRule
from orchestrator.system.wording import cut, how_many, shown
from orchestrator.workers.agents.event_fields import event_of, fields_at, has_one_of, texts_at
from orchestrator.workers.agents.formats import reader_of
from orchestrator.workers.agents.lines import LONGEST_LINE_BYTES, Lines
from orchestrator.workers.agents.stream_reader import AgentTold
from orchestrator.workers.protocol.reading import Scalar
from orchestrator.workers.wording import size_in_words

_WIDTH = 400
"""Of a line that tells of something; what the agent says is shown whole."""

_NOT_SHOWN = f"[a line of more than {size_in_words(LONGEST_LINE_BYTES)}: logs --raw has it]"

_WORDS = {"thought": "thinks", "tool": "tool", "result": "result", "denial": "denied", "error": "error"}


class ShownLines:
    """One attempt's stdout, fed as it comes; `profile` None: nothing is known of the agent."""

    def __init__(self, profile: Profile | None, wall_now: Callable[[], float]) -> None:
        self._rules = profile.show if profile is not None and profile.reading.format == "json" else []
        self._stream = reader_of(profile.reading, wall_now) if profile is not None else None
        self._lines = Lines(())
        self._part: list[str] = []
        """What was said so far of a line that comes in pieces."""
        self._said = ""
        """What was said last: many tell it once more at their end."""
        self._end: str | None = None

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that `chunk` completes."""
        if self._stream is not None:
            self._stream.feed(chunk)
        skipped = self._lines.skipped
        whole = self._lines.complete(chunk)
        yield from [_NOT_SHOWN] * (self._lines.skipped - skipped)
        for line in whole:
            yield from self._line(line)

    def close(self) -> Iterator[str]:
        """The rest, and what it came to."""
        rest = self._lines.take_rest()
        if rest is None:
            yield _NOT_SHOWN
        elif rest:
            yield from self._line(rest)
        yield from self._finish_part()
        if self._end is not None and self._stream is not None:
            told = self._stream.classify(exit_code=0, signal=None, ended_by=None, stderr=b"")
            yield f"[end] {', '.join([part for part in (self._end, *_summed(told)) if part])}"

    def _line(self, line: bytes) -> Iterator[str]:
        event = event_of(line) if self._rules else None
        if event is None:
            yield from self._finish_part()
            yield shown(line.rstrip(b"\r").decode("utf-8", "replace").expandtabs())
            return
        for rule in self._rules:
            if all(has_one_of(event, path, values) for path, values in rule.where.items()):
                for part in _parts(event, rule):
                    yield from self._show(rule, part, is_piece=fields_at(event, "delta") == [True])

    def _show(self, rule: ShowRule, part: Any, *, is_piece: bool) -> Iterator[str]:
        name = " ".join(texts_at(part, rule.name))
        if rule.shown_as == "text":
            yield from self._say("\n".join(texts_at(part, rule.detail)), is_piece=is_piece)
            return
        detail = " ".join(" ".join(texts_at(part, rule.detail)).split())
        if rule.shown_as == "end":
            is_said = detail == " ".join(self._said.split())
            self._end = ": ".join(shown(each, _WIDTH) for each in (name, "" if is_said else detail) if each)
            return
        yield from self._finish_part()
        told = " ".join(each for each in (name, detail) if each)
        if told:
            yield f"[{_WORDS[rule.shown_as]}] {shown(cut(told, _WIDTH))}"

    def _say(self, text: str, *, is_piece: bool) -> Iterator[str]:
        if not is_piece:
            yield from self._finish_part()
            self._said = text
            yield from (shown(line) for line in _split(text))
            return
        first, *others = text.split("\n")
        self._part.append(first)
        # Joined once a line is whole: what comes in a million pieces is copied once.
        whole = []
        if others:
            whole = ["".join(self._part), *others[:-1]]
            self._part = [others[-1]]
        self._said = text
        yield from (shown(line.expandtabs()) for line in whole)

    def _finish_part(self) -> Iterator[str]:
        part, self._part = "".join(self._part), []
        if part:
            yield shown(part.expandtabs())


def _parts(event: dict[str, Any], rule: ShowRule) -> list[Any]:
    """What the rule shows of the event: itself, or those elements of a list that it is for."""
    if rule.each is None:
        return [event]
    elements = fields_at(event, f"{rule.each}.*")
    return [element for element in elements if _fits(element, rule.where_each)]


def _fits(element: Any, where: dict[str, list[Scalar]]) -> bool:
    return all(has_one_of(element, path, values) for path, values in where.items())


def _split(text: str) -> list[str]:
    return text.expandtabs().removesuffix("\n").split("\n") if text else []


def _summed(told: AgentTold) -> list[str]:
    """What it took, as far as it was told."""
    usage = told.usage
    read = [n for n in (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens) if n is not None] if usage else []
    parts = [how_many(told.turns, "turn")] if told.turns is not None else []
    parts += [f"{sum(read):,} tokens in"] if read else []
    parts += [f"{usage.output_tokens:,} out"] if usage and usage.output_tokens is not None else []
    parts += [f"${told.cost_usd:.4f}"] if told.cost_usd is not None else []
    parts += [f"{len(told.denials)} denied ({shown(', '.join(told.denials), 200)})"] if told.denials else []
    parts += [shown(note, 200) for note in told.notes]
    return parts
