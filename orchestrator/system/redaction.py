"""Takes secrets out of what people are shown: the values of environment variables with a telling name, and shapes of known keys.

Promise: the result does not depend on how the bytes were cut into chunks. Each secret becomes `[redacted:NAME]`, where NAME is
the variable's name or the kind of key; all other bytes stay as they are. A secret that is written as JSON is found, too.

Invariant: no shape is longer than `_LONGEST_SHAPE`, so the bytes up to there decide whether a secret begins at a byte. Only
private keys, and values with line breaks in them, go on beyond the end of a line.

Not found: short values (words and numbers of ordinary text), secrets in another encoding (base64, a cipher), and secrets of an
environment that neither this process has nor a supervisor of the run had (`remembered_secrets`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING

from orchestrator.system.wording import harmless_json

if TYPE_CHECKING:
    from orchestrator.system.remembered_secrets import RememberedSecrets, RememberedSeeker

SHORTEST_VALUE = 8
"""Characters of the shortest value that counts as a secret."""

_TELLING = (
    r"(?i)(?:^|_)(?:\w*API_?KEY|\w*APIKEY|ACCESS_?KEY|SECRET_?KEY|PRIVATE_?KEY|KEYS?|\w*TOKEN|\w*SECRETS?|\w*PASSWORD|\w*PASSWD"
    r"|\w*PASSPHRASE|\w*(?<!BY)(?<!COM)PASS|PWD|CREDENTIALS?|AUTHORIZATION|PAT|DSN)(?:_\w{1,8})?$"
)
_ONLY_ABOUT_ONE = r"(?i)(?:^|_)(?:FILE|PATH|DIR|SOCK|ID|NAME|URL|TTL|TYPE|AGE|COUNT|LIMIT|LENGTH|HELPER)$|^(?:OLD)?PWD$"
"""Names of variables that tell about a secret and hold none. PWD is a shell's folder; other names that end so may hold one."""

_PARTS_OF_TELLING = ("key", "token", "secret", "pass", "credent", "author")
_WORDS_OF_TELLING = frozenset(("pwd", "pat", "dsn"))
"""A name that tells has one of these: most environments have no such name, and need neither pattern."""

_LONGEST_TOKEN = 8192
_LONGEST_KEY_BLOCK = 16_384
_LONGEST_SHAPE = _LONGEST_KEY_BLOCK + 256

_BEGIN_BLOCK = rb"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"
_END_BLOCK = rb"-----END [A-Z ]{0,30}PRIVATE KEY-----"


class _Shape:
    """A kind of key: `before` (one character, if any), then the needle, which is quick to look for, then `rest`.

    `is_word`: the key does not begin in the middle of a word.
    """

    def __init__(self, name: str, needle: bytes, rest: bytes, before: bytes = b"", is_word: bool = True) -> None:
        self.name, self.needle, self.rest = name, needle, rest
        self.before, self.is_word = before, is_word

    @property
    def pattern(self) -> bytes:
        """All of it. What stands before it is asked behind the needle: so a search jumps from needle to needle."""
        begin = self.before + re.escape(self.needle)
        return begin + (b"(?<![A-Za-z0-9_]%s)" % begin if self.is_word else b"") + self.rest


_JWT_PART = rb"(?:[A-Za-z0-9_]|-(?!eyJ))"
"""A part ends where another one may begin: in a text of beginnings alone the same bytes would be gone over behind each."""

_SHAPES = (
    _Shape(
        "private key",
        b"-----BEGIN ",
        # Without an end, as far as it looks like one. One that stands in JSON ends with its string, and each where the next
        # begins: a text of beginnings alone would be searched for an end behind each.
        b"[A-Z ]{0,30}PRIVATE KEY-----(?:(?:[^\"'{}<>-]|-(?!----BEGIN )){0,%d}?%s"
        b"|(?:(?:\\s|\\\\[rn]){0,4}[A-Za-z0-9+/=]{16,128}){0,120}(?:(?:\r?\n|(?:\\\\r)?\\\\n)[A-Za-z0-9+/=]{1,15})?)"
        % (_LONGEST_KEY_BLOCK, _END_BLOCK),
        is_word=False,
    ),
    _Shape("anthropic key", b"sk-ant-", rb"[A-Za-z0-9_-]{12,%d}" % _LONGEST_TOKEN),
    _Shape("api key", b"sk-", rb"(?=[A-Za-z_-]{0,200}+[0-9])[A-Za-z0-9_-]{20,%d}" % _LONGEST_TOKEN),
    *(_Shape("github token", b"gh%c_" % kind, rb"[A-Za-z0-9]{20,255}") for kind in b"pousr"),
    _Shape("github token", b"github_pat_", rb"[A-Za-z0-9_]{20,255}"),
    _Shape("gitlab token", b"glpat-", rb"[A-Za-z0-9_-]{16,255}"),
    *(_Shape("aws key", begin, rb"[A-Z0-9]{16}(?![A-Za-z0-9])") for begin in (b"AKIA", b"ASIA")),
    _Shape("google key", b"AIza", rb"[A-Za-z0-9_-]{30,64}"),
    _Shape("google token", b"ya29.", rb"[A-Za-z0-9_-]{20,%d}" % _LONGEST_TOKEN),
    _Shape("slack token", b"xox", rb"[abeprs]-[A-Za-z0-9-]{10,255}"),
    _Shape("hugging face token", b"hf_", rb"[A-Za-z0-9]{30,64}"),
    _Shape("npm token", b"npm_", rb"[A-Za-z0-9]{30,64}"),
    *(_Shape("stripe key", b"k_%s_" % use, rb"[A-Za-z0-9]{16,255}", rb"[rs]") for use in (b"live", b"test")),
    _Shape("jwt", b"eyJ", rb"%s{8,2048}+\.eyJ%s{8,4096}+\.[A-Za-z0-9_-]{8,2000}" % (_JWT_PART, _JWT_PART)),
    *(
        _Shape(
            "bearer",
            word,
            rb"[ \t]{1,4}((?=[A-Za-z._~+/-]{0,200}[0-9])[A-Za-z0-9._~+/=-]{16,%d})" % _LONGEST_TOKEN,
            rb"[Bb]",
        )
        for word in (b"earer", b"EARER")
    ),
    _Shape("password in a url", b"://", rb"[^\s/@:\"'\\]{0,128}:([^\s/@\"'\\]{3,256})@", is_word=False),
)


def secrets_in(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that hold a secret, by their names and the lengths of their values."""
    return {
        name: value
        for name, value in environment.items()
        if is_telling(name) and len(value) >= SHORTEST_VALUE and not (name.upper().endswith("PWD") and value.startswith("/"))
    }


def is_telling(name: str) -> bool:
    """Whether a variable of that name holds a secret."""
    folded = name.casefold()
    if not any(part in folded for part in _PARTS_OF_TELLING) and _WORDS_OF_TELLING.isdisjoint(folded.split("_")):
        return False
    if folded in ("pwd", "oldpwd"):
        return False
    return name.isidentifier() and re.search(_TELLING, name) is not None and re.search(_ONLY_ABOUT_ONE, name) is None


class _Seeker:
    """How one secret is found. Without a `pattern` the needle is the secret; if the pattern has a group, the group is."""

    def __init__(self, name: bytes, needle: bytes, pattern: bytes | None = None) -> None:
        self.name, self.needle, self.pattern = name, needle, pattern

    def seek(self, data: bytes, begin: int) -> int:
        """Where the next candidate begins, from `begin` on; -1: there is none. With a pattern it is a secret."""
        at = data.find(self.needle, begin)
        if at < 0 or self.pattern is None:
            return at
        # One search for all beginnings that are none: each by itself would cost a turn of `redact_part`.
        match = _compiled(self.pattern).search(data, max(begin, at - 1))
        return match.start() if match else -1

    def may_begin_in(self, data: bytes) -> bool:
        """Whether a secret may begin in `data`, also one that goes on behind a blank; False is certain."""
        beginning = self.needle if self.pattern is not None else re.split(rb"\s", self.needle, maxsplit=1)[0][:4]
        return beginning in data

    def span(self, data: bytes, at: int) -> tuple[int, int] | None:
        """Begin and end of the secret that begins at `at`; None: what stands there is none."""
        if self.pattern is None:
            return at, at + len(self.needle)
        pattern = _compiled(self.pattern)
        match = pattern.match(data, at)
        return match.span(pattern.groups) if match else None


class Redactor:
    """Knows the secrets of some environments, those that are `remembered` of others, and the shapes of keys."""

    def __init__(self, *environments: Mapping[str, str], remembered: Iterable[RememberedSecrets] = ()) -> None:
        names = forms_in(*environments)
        self.values = sorted(names, key=lambda each: (-len(each), each))
        """Longest first: a value may be the beginning of another."""
        plain = [_Seeker(names[value].encode(), value) for value in self.values] + _shape_seekers()
        self._remembered = _remembered_seekers(remembered)
        self._needles = [seeker.needle for seeker in plain]
        self._seekers: list[_Seeker | RememberedSeeker] = [*plain, *self._remembered]

    def redact(self, data: bytes) -> bytes:
        """`data` without its secrets."""
        # Most lines have no needle in them: this loop is all that they cost.
        for needle in self._needles:
            if needle in data:
                return self.redact_part(data, 0, len(data))[0]
        if any(seeker.seek(data, 0) >= 0 for seeker in self._remembered):
            return self.redact_part(data, 0, len(data))[0]
        return data

    def redact_text(self, text: str) -> str:
        """`text` without its secrets, whatever characters it has."""
        data = text.encode("utf-8", "surrogatepass")
        redacted = self.redact(data)
        return text if redacted is data else redacted.decode("utf-8", "surrogatepass")

    def stream(self) -> RedactedStream:
        """For bytes that come in chunks."""
        return RedactedStream(self)

    def is_suspect(self, data: bytes) -> bool:
        """Whether a secret may begin in it; False is certain."""
        return any(seeker.may_begin_in(data) for seeker in self._seekers)

    @property
    def longest(self) -> int:
        """No secret is longer, in bytes."""
        return max([_LONGEST_SHAPE, *map(len, self.values), *(seeker.length for seeker in self._remembered)])

    def redact_part(self, data: bytes, begin: int, end: int) -> tuple[bytes, int]:
        """`data` from `begin` without the secrets that begin before `end`, and where that ended: at `end`, or behind a secret.

        Of two secrets that overlap the one that begins first counts.
        """
        # The nearest candidate of each seeker; the nearest of all is on top. So the data is gone through once.
        found = [(at, order) for order, seeker in enumerate(self._seekers) if (at := seeker.seek(data, begin)) >= 0]
        heapify(found)
        parts, given = [], begin
        while found and found[0][0] < end:
            at, order = found[0]
            seeker = self._seekers[order]
            # A candidate inside of a secret that was taken out already is part of that.
            span = seeker.span(data, at) if at >= given else None
            if span is not None:
                parts += [data[given : span[0]], b"[redacted:%s]" % seeker.name]
                given = span[1]
            following = seeker.seek(data, max(at + 1, given))
            if following >= 0:
                heapreplace(found, (following, order))
            else:
                heappop(found)
        stop = max(given, end)
        parts.append(data[given:stop])
        return b"".join(parts), stop


@cache
def _shape_seekers() -> list[_Seeker]:
    return [_Seeker(each.name.encode(), each.needle, each.pattern) for each in _SHAPES]


@cache
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    """Compiled when a candidate is found: a short run needs none of the patterns."""
    return re.compile(pattern)


def _forms(value: str) -> Iterable[bytes]:
    """How a value may be written: as it is, or inside of JSON or CSV."""
    import json  # only where there is a secret

    raw = value.encode("utf-8", "surrogateescape")
    shown = value.encode("utf-8", "replace").decode()
    in_csv = raw.replace(b'"', b'""')
    in_json = json.dumps(shown, ensure_ascii=False)[1:-1].encode()
    return {raw, in_csv, json.dumps(shown)[1:-1].encode(), in_json, harmless_json(in_json)}


def _remembered_seekers(remembered: Iterable[RememberedSecrets]) -> list[RememberedSeeker]:
    found = list(remembered)
    if not found:
        return []
    from orchestrator.system.remembered_secrets import seekers_of  # and msgspec, which `--version` does without

    return seekers_of(found)


def forms_in(*environments: Mapping[str, str]) -> dict[bytes, str]:
    """How the secrets of these environments may be written, with the names of their variables."""
    names: dict[bytes, str] = {}
    for environment in environments:
        for name, value in secrets_in(environment).items():
            for form in _forms(value):
                names.setdefault(form, name)
    return names


def forms_to_remember(environment: Mapping[str, str]) -> dict[bytes, str]:
    """As `forms_in`; of a value with line breaks each line for itself, for a stream is looked at line by line."""
    return {
        line: name for form, name in forms_in(environment).items() for line in form.splitlines() if len(line) >= SHORTEST_VALUE
    }


class RedactedStream:
    """Redacts what comes in chunks: line by line where lines are short, so that what is followed live is seen at once."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._longest = redactor.longest
        self._prefixes = [each for value in redactor.values for each in _cut_at_newlines(value)]
        self._held = bytearray()
        self._begin = 0
        """Where in `_held` that begins which was not given out yet; the byte before it is kept for what looks behind."""

    def feed(self, chunk: bytes) -> bytes:
        """Take in `chunk`; the bytes that are certain by now, redacted."""
        before = len(self._held)
        self._held += chunk
        newline = self._held.rfind(b"\n", before) + 1
        given = b""
        # Whole lines are certain, up to where a secret begins that may go on in the next line.
        if newline:
            given = self._give(min(newline, self._open_block(newline), self._open_value(newline)))
        # A line without an end must not be held for ever: what begins so far back has ended.
        if len(self._held) - self._begin > 4 * self._longest:
            given += self._give(len(self._held) - self._longest)
        return given

    @property
    def is_settled(self) -> bool:
        """Whether all that was fed was given out."""
        return self._begin == len(self._held)

    def settle(self) -> bytes:
        """Nothing comes for now: the bytes of the unfinished last line that are certain, redacted."""
        held = bytes(self._held[self._begin :])
        if b"\n" in held or self._redactor.is_suspect(held):
            return b""
        # The last word may go on. (A pattern would cost the square of a long line: half a minute of it.)
        is_open = bool(held) and not held[-1:].isspace()
        word = held.rsplit(None, 1)[-1] if is_open else b""
        return self._give(self._begin + len(held) - len(word))

    def close(self) -> bytes:
        """The rest, redacted."""
        return self._give(len(self._held))

    def _give(self, end: int) -> bytes:
        if end <= self._begin:
            return b""
        held = bytes(self._held)
        given, stop = self._redactor.redact_part(held, self._begin, end)
        kept = max(stop - 1, 0)
        del self._held[:kept]
        self._begin = stop - kept
        return given

    def _open_block(self, end: int) -> int:
        """Where a private key begins that may go on behind `end`; else `end`."""
        if b"-----BEGIN" not in self._held:
            return end
        closed = [match.end() for match in re.finditer(_END_BLOCK, self._held)]
        opened = (match.start() for match in re.compile(_BEGIN_BLOCK).finditer(self._held, closed[-1] if closed else 0))
        return next((start for start in opened if len(self._held) - start <= _LONGEST_SHAPE), end)

    def _open_value(self, end: int) -> int:
        """Where a value with line breaks begins that may go on behind `end`; else `end`."""
        found = [end - len(prefix) for prefix in self._prefixes if self._held.endswith(prefix, 0, end)]
        return min(found, default=end)


def _cut_at_newlines(value: bytes) -> list[bytes]:
    return [value[: match.end()] for match in re.finditer(rb"\n", value) if match.end() < len(value)]


_remembered: list[RememberedSecrets] = []


def remember(secrets: RememberedSecrets) -> None:
    """What this process writes from now on shall have none of these."""
    if secrets not in _remembered:
        _remembered.append(secrets)
        of_this_process.cache_clear()


@cache
def of_this_process() -> Redactor:
    """For what this process writes: its environment as it is when this is asked first, and what it was told to remember."""
    return Redactor(os.environ, remembered=_remembered)
