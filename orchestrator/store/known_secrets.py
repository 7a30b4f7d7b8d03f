"""What a run knows of the secrets that its supervisors had, so that whoever shows it later shows none of them.

The file is only for what is shown: one that is missing or damaged hides less, and stops nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from orchestrator.store.durable_file import write_whole
from orchestrator.store.run_dir import RunDir
from orchestrator.system.redaction import forms_to_remember
from orchestrator.system.remembered_secrets import RememberedSecrets, remember_none
from orchestrator.workers.byte_text import encode_json, json_decoder
from orchestrator.workers.files.opening import open_file
from orchestrator.workers.foreign import ForeignBytesError, decode_struct

_LARGEST_BYTES = 16 << 20
_decode: Callable[[bytes], RememberedSecrets] = json_decoder(RememberedSecrets)


def remember_secrets(run_dir: RunDir, environment: Mapping[str, str]) -> RememberedSecrets:
    """Keep by what the secrets of `environment` are known again. Survives SIGKILL. Raises StateUnwritableError."""
    forms = forms_to_remember(environment)
    before = known_secrets(run_dir)
    known = (before or remember_none()).with_more(forms) if forms or before else remember_none()
    if known.known and known != before:
        write_whole(run_dir.secrets, encode_json(known))
    return known


def known_secrets(run_dir: RunDir) -> RememberedSecrets | None:
    """By what the run's secrets are known; None: nothing that can be read."""
    try:
        with open(open_file(run_dir.secrets, os.O_RDONLY), "rb") as file:
            return decode_struct(_decode, file.read(_LARGEST_BYTES), _LARGEST_BYTES)
    except (OSError, ForeignBytesError):
        return None
