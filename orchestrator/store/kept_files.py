"""A run's own copy of the files that its jobs file needs besides itself (`jobsfile.kept_files`), in its folder."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from orchestrator.jobsfile.kept_files import KeptFiles
from orchestrator.workers.byte_text import comparable_json, json_decoder

_decode: Callable[[bytes], KeptFiles] = json_decoder(KeptFiles)


def encode_kept(kept: KeptFiles) -> bytes:
    """The same bytes for the same files. Of them a run's header tells the checksum."""
    return comparable_json(kept)


def decode_kept(data: bytes) -> KeptFiles:
    """What `encode_kept` made. Raises ValueError, RecursionError for anything else."""
    try:
        return _decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
