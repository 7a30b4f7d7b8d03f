"""The run's own copies of schemas, for agent CLIs that are given one by its path.

The file that the job names may be an agent's to write: what stands there now is not what the answer is held against. Only a
cache: made again whenever an attempt asks for it.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256

from orchestrator.store.durable_file import unwritable, write_whole
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.files.opening import read_file
from orchestrator.workers.files.syncing import make_folder


def copy_of_schema(run_dir: RunDir, text: str) -> str:
    """The absolute path of a file that holds `text` and nothing else. Raises StateUnwritableError."""
    data = text.encode()
    path = run_dir.schema(sha256(data).hexdigest()[:16])
    with suppress(OSError):
        # A power loss may have emptied it.
        if read_file(path) == data:
            return str(path)
    try:
        make_folder(str(path.parent), str(run_dir.path), is_synced=False)
    except OSError as error:
        raise unwritable(path, error) from error
    write_whole(path, data)
    return str(path)
