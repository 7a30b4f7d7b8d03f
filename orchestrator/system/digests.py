"""Digests of texts, most of them short: for those hashlib is not needed, which loads OpenSSL and was a fiftieth of a start."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha256 import sha256
    except ImportError:
        try:
            from _sha2 import sha256  # from Python 3.12 on
        except ImportError:
            from hashlib import sha256

_MOST_OF_SHORT_BYTES = 10_000


def sha256_hex(data: bytes) -> str:
    """Of SHA-256 64 hex digits."""
    if len(data) > _MOST_OF_SHORT_BYTES:
        # Several times as quick, where there is much of it.
        import hashlib

        return hashlib.sha256(data).hexdigest()
    return sha256(data).hexdigest()
