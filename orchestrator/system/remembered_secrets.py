"""Secrets of an environment that somebody else will not have: kept so that they are found again, and not so that they are read.

Promise: what is kept of a secret is the name of its variable, its length, a keyed hash, and a sketch: one bit for each of its
first bytes, by a table that the key gives. The sketch is looked for as quickly as a word, and only where it is found the hash is
made. It tells at most `_SKETCH_BYTES` bits of the secret, and the key beside it lies in a folder of the owner alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import msgspec

_SKETCH_BYTES = 16
_DIGEST_BYTES = 16
_BEGINNING_BYTES = 4


class RememberedSecret(msgspec.Struct, frozen=True):
    """One way in which one secret may be written. `begins`: bytes before its first blank, at most a few; 0 if it has none."""

    name: str
    length: int
    sketch: bytes
    digest: bytes
    begins: int = 0


class RememberedSecrets(msgspec.Struct, frozen=True):
    """The secrets of the environments that a run was supervised in."""

    key: bytes
    known: list[RememberedSecret] = []
    format: int = 1

    def with_more(self, forms: Mapping[bytes, str]) -> RememberedSecrets:
        """These, and `forms`: how secrets may be written, with the names of their variables."""
        sketches, there = Sketches(self.key), {each.digest for each in self.known}
        more = [_remembered(self.key, sketches, form, name) for form, name in forms.items()]
        return msgspec.structs.replace(self, known=[*self.known, *(each for each in more if each.digest not in there)])


def remember_none() -> RememberedSecrets:
    """No secret yet, and a new key."""
    return RememberedSecrets(os.urandom(32))


class Sketches:
    """The sketches of what is searched: of the same bytes one is made, however many secrets are looked for."""

    def __init__(self, key: bytes) -> None:
        bits = _hashed(key, b"sketch", 32)
        self._table = bytes(bits[byte >> 3] >> (byte & 7) & 1 for byte in range(256))
        self._data = b""
        self._sketch = b""

    def of(self, data: bytes) -> bytes:
        """A byte of 0 or 1 for each of `data`."""
        if data is not self._data:
            self._data, self._sketch = data, data.translate(self._table)
        return self._sketch


class RememberedSeeker:
    """Finds one remembered secret (as the seekers of `redaction` do)."""

    def __init__(self, key: bytes, sketches: Sketches, secret: RememberedSecret) -> None:
        self.name = secret.name.encode()
        self.length = secret.length
        self._key = key
        self._sketches = sketches
        self._secret = secret

    def seek(self, data: bytes, begin: int) -> int:
        """Where the next candidate begins, from `begin` on; -1: there is none."""
        return self._sketches.of(data).find(self._secret.sketch, begin)

    def span(self, data: bytes, at: int) -> tuple[int, int] | None:
        """Begin and end of the secret, if the candidate at `at` is it."""
        end = at + self.length
        found = end <= len(data) and _digest(self._key, data[at:end]) == self._secret.digest
        return (at, end) if found else None

    def may_begin_in(self, data: bytes) -> bool:
        """Whether it may begin in `data` and go on behind a blank; False is certain."""
        return self._secret.begins > 0 and self._secret.sketch[: self._secret.begins] in self._sketches.of(data)


def seekers_of(remembered: Iterable[RememberedSecrets]) -> list[RememberedSeeker]:
    """A seeker for each secret, the longest first: one may be the beginning of another."""
    found = []
    for each in remembered:
        sketches = Sketches(each.key)
        found += [RememberedSeeker(each.key, sketches, secret) for secret in each.known]
    return sorted(found, key=lambda seeker: -seeker.length)


def _remembered(key: bytes, sketches: Sketches, form: bytes, name: str) -> RememberedSecret:
    words = form.split(maxsplit=1)
    begins = min(len(words[0]), _BEGINNING_BYTES) if len(words) > 1 else 0
    return RememberedSecret(name, len(form), sketches.of(form)[:_SKETCH_BYTES], _digest(key, form), begins)


def _digest(key: bytes, data: bytes) -> bytes:
    return _hashed(key, data, _DIGEST_BYTES)


def _hashed(key: bytes, data: bytes, size: int) -> bytes:
    from hashlib import blake2b  # where there is a secret: it loads OpenSSL

    return blake2b(data, key=key, digest_size=size).digest()
