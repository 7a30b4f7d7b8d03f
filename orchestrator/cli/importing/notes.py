"""What a person has to know about a translation: differences, losses, and mistakes of the workflow itself."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Note:
    """One thing to know. `line`: of the workflow (0: of all of it). `is_lost`: it was not carried, and a person must mend it."""

    line: int
    place: str
    words: str
    is_lost: bool

    def told(self, path: str) -> str:
        """The note as a line for stderr."""
        where = f"{path}:{self.line}" if self.line else path
        return f"{where}: {self.place + ': ' if self.place else ''}{'not carried: ' if self.is_lost else ''}{self.words}"


@dataclass(slots=True)
class Notes:
    """All notes of a translation, each once, in the order in which they were made."""

    all: list[Note] = field(default_factory=list)

    def lost(self, line: int, place: str, words: str) -> None:
        """Something could not be carried."""
        self._add(Note(line, place, words, is_lost=True))

    def changed(self, line: int, place: str, words: str) -> None:
        """Something was carried, and is worth a look."""
        self._add(Note(line, place, words, is_lost=False))

    def of(self, place: str) -> list[Note]:
        """The notes on one place."""
        return [note for note in self.all if note.place == place]

    @property
    def lost_count(self) -> int:
        """How many things could not be carried."""
        return sum(note.is_lost for note in self.all)

    def _add(self, note: Note) -> None:
        if note not in self.all:
            self.all.append(note)


@dataclass(slots=True)
class Mistakes:
    """The mistakes of a workflow by Spec Kit's own rules: lines with their places."""

    path: str
    lines: list[str] = field(default_factory=list)

    def tell(self, line: int, words: str) -> None:
        """Add one."""
        told = f"{self.path}:{line}: {words}"
        if told not in self.lines:
            self.lines.append(told)
