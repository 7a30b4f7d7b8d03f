"""The account whose limits bind an attempt: a key for provider and account, by which all runs know the same one.

The key tells nothing of a secret but whether it is the same: `PROVIDER-` and eight hex digits of a hash over the values of the
profile's `account_env`. It names files, so of the provider only letters, digits and `-` are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from orchestrator.jobsfile.profiles.profile import Profile
from orchestrator.workers.byte_text import encode_json

_DIGITS = 8


def account_of(profile: Profile, declared: Mapping[str, str | None], environ: Mapping[str, str]) -> str:
    """The key of the account that the agent uses with `declared` (None: removed) laid over its profile's `env` and `environ`."""
    import hashlib

    seen: dict[str, str | None] = {**environ, **profile.env, **declared}
    values = {name: seen.get(name) for name in profile.account_env}
    # A variable that is set to nothing is for most CLIs none.
    told = sorted((name, value) for name, value in values.items() if value)
    digest = hashlib.blake2b(encode_json([profile.provider, told]), digest_size=_DIGITS // 2).hexdigest()
    return f"{_plain(profile.provider or profile.name)}-{digest}"


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "agent"
