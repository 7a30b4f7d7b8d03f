"""The words of `each`: where its items come from (`:::`), and what `{}` and its sisters stand for. Pure: words in, templates out.

    {}          the item                    {1} {2}     its first, its second value
    {.}         without its suffix          {name}      its value in the column of that name
    {/}         its last part               {1.} {name/} …  both
    {//}        its folder                  {#}         the number of the item, from 1
    {/.}        its last part, no suffix    {%}         the slot that it runs in, from 0

Each becomes an expression of the templates of jobs files, so that a jobs file can say all that a command line says. `{{ item }}`
is the item, too. Every other text is text; but what looks like one of these and is none is refused, for it was meant to be one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence

import msgspec

from orchestrator.errors import UserError
from orchestrator.workers.lazy_pattern import lazy_pattern


class SourceWords(msgspec.Struct, frozen=True):
    """One source of items on the command line. `is_linked`: taken in step with the source before it, not combined with it."""

    words: tuple[str, ...]
    are_files: bool = False
    is_linked: bool = False


_SOURCES = {":::": (False, False), ":::+": (False, True), "::::": (True, False), "::::+": (True, True)}
"""Each word that begins a source: whether files are named behind it, whether it is linked."""


def split_sources(words: Sequence[str]) -> tuple[tuple[str, ...], list[SourceWords]]:
    """The words of the command, and the sources behind it. Raises UserError: nothing is named, or the first one is linked."""
    places = [place for place, word in enumerate(words) if word in _SOURCES]
    if not places:
        return tuple(words), []
    sources: list[SourceWords] = []
    for place, end in zip(places, [*places[1:], len(words)], strict=True):
        are_files, is_linked = _SOURCES[words[place]]
        given = tuple(words[place + 1 : end])
        if is_linked and not sources:
            raise UserError(f"{words[place]} is linked to a source before it, and there is none", f"write {words[place][:-1]}")
        if are_files and not given:
            raise UserError(f"{words[place]} names no file", f"name the files behind it: {words[place]} FILE")
        # Each file is a source of its own, as with -a.
        parts = [(name,) for name in given] if are_files else [given]
        sources += [SourceWords(part, are_files, is_linked) for part in parts]
    return tuple(words[: places[0]]), sources


class ItemForm(msgspec.Struct, frozen=True):
    """What an item is. `values` None: a text; else a list of so many texts (0: as many as its line has; `is_short`: or fewer).

    `names`: it is a table instead, with a text for each name.
    """

    values: int | None = None
    names: tuple[str, ...] = ()
    is_short: bool = False

    @property
    def is_text(self) -> bool:
        """Whether an item is one text."""
        return self.values is None and not self.names

    def whole(self) -> str:
        """The expression of all that an item is: a text, or a list."""
        return f"[{', '.join(map(_member, self.names))}]" if self.names else "item"

    def value(self, column: str) -> str | None:
        """The expression of one value, by its number or its name; None: an item has none such."""
        if column in self.names:
            return _member(column)
        number = int(column) if _NUMBER.fullmatch(column) else 0
        count = len(self.names) or (1 if self.values is None else self.values)
        if number == 0 or (count and abs(number) > count):
            return None
        if self.names:
            return _member(self.names[number - 1 if number > 0 else number])
        if self.values is None:
            return "item"
        value = f"item[{number - 1 if number > 0 else number}]"
        # The last item has what is left.
        return f"{value} | default('')" if self.is_short else value


TEXT = ItemForm()

_NUMBER = lazy_pattern(r"-?[1-9]\d{0,3}")
_NAME = lazy_pattern(r"[A-Za-z_]\w*")
ITEM_MARK = r"(?P<item>\{\{[ \t]*item[ \t]*\}\}|\{\})"
_LOOKS_SO = r"[\w./#%+-]{1,60}"
"""What no blank, quote or comma is in looks like a placeholder: `{print $1}` and `{a,b}` are text, and so is JSON."""

_INNER = lazy_pattern(r"(?P<column>.*?)(?P<part>/\.|//|/|\.|)")
_PARTS = {"": "", ".": " | with_suffix('')", "/": " | basename", "//": " | dirname", "/.": " | stem"}
_NUMBERS = {"#": "index + 1", "%": "slot"}


def _member(name: str) -> str:
    return f"item.{name}" if _NAME.fullmatch(name) else "item[" + _quoted_in_template(name) + "]"


def _quoted_in_template(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r") + "'"


class Placeholders(msgspec.Struct, frozen=True):
    """What the marks in words stand for. `mark`: what alone stands for the item (`-I`); None: all that this module knows."""

    form: ItemForm = TEXT
    mark: str | None = None

    def are_in(self, word: str) -> bool:
        """Whether something in the word stands for the item or a part of it. Raises UserError for what looks so and is none."""
        return any(not isinstance(part, str) for part in self._parts(word))

    def argument(self, word: str) -> str:
        """The template of one argument. A mark that is the whole word becomes as many arguments as the item has values."""
        parts = self._parts(word)
        return _joined(parts, literal, is_alone=len(parts) == 1)

    def text(self, text: str) -> str:
        """The template of a text: a prompt, a token."""
        return _joined(self._parts(text), literal, is_alone=False)

    def script(self, text: str) -> str:
        """The template of a command line for a shell: what stands for a value is quoted when it is rendered."""
        parts = [
            _Expression(f"({part.source}) | raw") if isinstance(part, _Expression) and part.is_number else part
            for part in self._parts(text)
        ]
        return _joined(parts, _literal_in_shell, is_alone=True)

    def item(self, *, is_text: bool = False) -> str:
        """The template of the item: as arguments, or as words of a shell; of several values as one text."""
        return _Expression(self.form.whole(), is_list=not self.form.is_text).template(is_alone=not is_text)

    def most_values(self, words: Iterable[str]) -> int:
        """How many values an item must have for all numbers in the words to stand for one."""
        inner = [found["inner"] for word in words if self.mark is None for found in self._pattern().finditer(word)]
        numbers = [_NUMBER.match(each) for each in inner if each is not None and each not in self.form.names]
        return max((abs(int(found[0])) for found in numbers if found is not None), default=0)

    def _parts(self, word: str) -> list[str | _Expression]:
        """The texts and the expressions of a word, in order. Raises UserError."""
        parts: list[str | _Expression] = []
        end = 0
        for found in self._pattern().finditer(word):
            parts += [word[end : found.start()], self._expression(found)]
            end = found.end()
        return [part for part in (*parts, word[end:]) if part != ""]

    def _pattern(self) -> re.Pattern[str]:
        if self.mark is not None:
            return re.compile(f"(?P<item>{re.escape(self.mark)})")
        # A name of a column may have blanks in it.
        names = "".join(rf"{re.escape(name)}(?:/\.|//?|\.)?|" for name in self.form.names)
        # Behind a `$` it is the shell's, in double braces another program's (`docker ps --format {{.ID}}`).
        return re.compile(rf"{ITEM_MARK}|(?<![{{$])\{{(?P<inner>{names}{_LOOKS_SO})\}}(?!\}})")

    def _expression(self, found: re.Match[str]) -> _Expression:
        if found["item"] is not None:
            return _Expression(self.form.whole(), is_list=not self.form.is_text)
        if found["inner"] in _NUMBERS:
            return _Expression(_NUMBERS[found["inner"]], is_number=True)
        inner = _INNER.fullmatch(found["inner"])
        assert inner is not None  # it matches whatever there is
        if not inner["column"] and not self.form.is_text:
            raise UserError(f"{found[0]}: an item has several values", f"say of which: {{1{inner['part']}}}")
        value = self.form.value(inner["column"]) if inner["column"] else "item"
        if value is None:
            raise UserError(f"{found[0]} stands for nothing: {self._known()}", _LITERALLY)
        filter_ = _PARTS[inner["part"]]
        return _Expression(f"({value}){filter_}" if filter_ and "|" in value else value + filter_)

    def _known(self) -> str:
        if self.form.names:
            return "the columns are " + ", ".join(self.form.names)
        if self.form.values:
            return f"an item has {self.form.values} values"
        return "there are {} {.} {/} {//} {/.} {#} {%}" + (" {1} {2} …" if self.form.values == 0 else "")


_LITERALLY = "meant as it stands? Choose another mark for the item, as -I @@: then braces mean nothing"


class _Expression(msgspec.Struct, frozen=True):
    """What stands for a value. `is_list`: it gives several texts. `is_number`: one that the shell may reckon with as it is."""

    source: str
    is_list: bool = False
    is_number: bool = False

    def template(self, *, is_alone: bool) -> str:
        """`is_alone`: several texts may become several words; else they are one text."""
        return "{{ " + self.source + ("" if is_alone or not self.is_list else " | join(' ')") + " }}"


def _joined(parts: Iterable[str | _Expression], literal: Callable[[str], str], *, is_alone: bool) -> str:
    return "".join(literal(part) if isinstance(part, str) else part.template(is_alone=is_alone) for part in parts)


_SHELLS = ("sh", "bash", "dash", "ash", "zsh", "ksh", "fish")
_SCRIPT_FOLLOWS = lazy_pattern("-[A-Za-z]*c")


def script_with_item(words: Sequence[str], meant: Placeholders) -> str | None:
    """The script of a `sh -c` among the words in which something stands for an item; None: there is none.

    The shell reads the item as a part of its script: blanks part it, and `$(…)` in it is run.
    """
    for place, word in enumerate(words):
        if word.rpartition("/")[2] not in _SHELLS:
            continue
        options = list(itertools.takewhile(lambda each: each.startswith("-"), words[place + 1 :]))
        script = "".join(words[place + 1 + len(options) :][:1])
        if any(_SCRIPT_FOLLOWS.fullmatch(option) for option in options) and meant.are_in(script):
            return script
    return None


_MEANT_FOR_A_TEMPLATE = lazy_pattern(r"\{(?=[{%#\r]|\Z)|\r")
"""A brace that a template would take for the beginning of a placeholder, a tag or a comment, also with the text behind it; and
the carriage return, which templates turn into a newline."""


def literal(text: str) -> str:
    """The template that gives `text`."""
    return _MEANT_FOR_A_TEMPLATE.sub(lambda found: "{{ '{' }}" if found[0] == "{" else "{{ '\\r' }}", text)


def _literal_in_shell(text: str) -> str:
    """As `literal`, where expressions are quoted: text of the command line itself is not."""
    return _MEANT_FOR_A_TEMPLATE.sub(lambda found: "{% raw %}{{% endraw %}" if found[0] == "{" else "{{ '\\r' | raw }}", text)
