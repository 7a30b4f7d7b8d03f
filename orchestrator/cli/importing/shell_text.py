"""Placeholders in a shell script. Spec Kit pastes values into the script; here each value becomes one quoted word.

So a placeholder inside quotes has to come out of them: `"a {{ x }} b"` becomes `"a "{{ x }}" b"`. The kind of quotes around a
placeholder is not guessed: each kind is tried, and the rules of shell templates (`jobsfile.language.shell_quoting`) say which one
holds. Where none holds (a here-document, a comment) the value stays unquoted, as in Spec Kit, by `| raw`.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.cli.importing.code import plain_text
from orchestrator.cli.importing.printing import Placeholder, written
from orchestrator.jobsfile.language.shell_contexts import PLACEHOLDER, RAW
from orchestrator.jobsfile.language.shell_quoting import Misplaced, check_placeholders

_QUOTES = ('"', "'")
_BEFORE_A_WORD = " \t\n="
_AFTER_A_WORD = ("", " ", "\t", "\n", ";", ")")
_MOST_PLACEHOLDERS = 200
_LONGEST_SHOWN = 60


def script_of(pieces: list[str | Placeholder], changed: Callable[[str], None]) -> str:
    """The script as a shell template. `changed` is told of each value that is not quoted, and why."""
    # A script that is one value is code, and no word of it.
    places = [number for number, piece in enumerate(pieces) if isinstance(piece, Placeholder)]
    if len(places) == 1 and all(not piece.strip() for piece in pieces if isinstance(piece, str)):
        changed("the whole command is a value, so it is not quoted (| raw)")
        return "".join(_raw(piece) for piece in pieces)
    if len(places) > _MOST_PLACEHOLDERS:
        changed(f"more than {_MOST_PLACEHOLDERS} values in one command: none is quoted (| raw)")
        return _joined(pieces, dict.fromkeys(places, "raw"))
    # From the first placeholder that cannot stand as it does: a way holds if it moves the first mistake further back.
    ways = dict.fromkeys(places, "")
    while (misplaced := _first_misplaced(pieces, ways)) is not None:
        at = places[misplaced.ordinal]
        for quote in _QUOTES if not ways[at] and not _is_escaped(pieces, at) else ():
            trial = _first_misplaced(pieces, {**ways, at: quote})
            if trial is None or trial.ordinal > misplaced.ordinal:
                ways[at] = quote
                break
        else:
            ways[at] = "raw"
            shown = written(pieces[at]) or "a value"
            shown = shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 1] + "…"
            changed(f"{shown} is not quoted, as in Spec Kit (| raw): it {misplaced.words.partition(':')[0]}")
    return _joined(pieces, ways)


def _is_escaped(pieces: list[str | Placeholder], at: int) -> bool:
    """Whether a backslash stands before the placeholder: it would escape the quote that is put there."""
    before = pieces[at - 1] if at else ""
    return isinstance(before, str) and (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _first_misplaced(pieces: list[str | Placeholder], ways: dict[int, str]) -> Misplaced | None:
    marks = {"": PLACEHOLDER, "raw": RAW}
    script = "".join(
        piece if isinstance(piece, str) else marks.get(ways[at]) or ways[at] + PLACEHOLDER + ways[at]
        for at, piece in enumerate(pieces)
    )
    try:
        check_placeholders(script)
    except Misplaced as misplaced:
        return misplaced
    return None


def _joined(pieces: list[str | Placeholder], ways: dict[int, str]) -> str:
    """The pieces in a row. Empty quotes are left out where a placeholder is a whole word: `"{{ x }}"` becomes `{{ x }}`."""
    script = ""
    open_quote = ""
    """The quote that was closed for a placeholder and must be opened again for the next piece."""
    for at, piece in enumerate(pieces):
        way = ways.get(at, "")
        # Inside quotes: close them before the placeholder, unless they were opened only for it.
        if way in _QUOTES:
            assert isinstance(piece, Placeholder)
            if not open_quote:
                is_opening = script == way or (script.endswith(way) and script[-2] in _BEFORE_A_WORD)
                script = script[:-1] if is_opening else script + way
            script += written(piece) or "''"
            open_quote = way
            continue
        # Outside: open again what was closed, unless the piece closes it at once.
        if isinstance(piece, Placeholder):
            script += open_quote + (_raw(piece) if way == "raw" else written(piece) or "''")
        elif open_quote and piece.startswith(open_quote) and piece[1:2] in _AFTER_A_WORD:
            script += plain_text(piece[1:])
        else:
            script += open_quote + plain_text(piece)
        open_quote = ""
    return script + open_quote


def _raw(piece: str | Placeholder) -> str:
    if isinstance(piece, str):
        return plain_text(piece)
    text = written(piece)
    return f"{{{{ {piece.code.without_null().inside(3)} | raw }}}}" if text else ""
