"""What `orchestrate child FILE` does with its words, whoever has read them: the attempt of an item whose job has `workflow`.

The inputs come as one JSON object on stdin, with their types and of any size. The results go to stdout as one JSON object.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli.output import write_bytes
from orchestrator.cli.supervising import Shown, supervise
from orchestrator.jobsfile.kept_files import NOTHING_KEPT, KeptFiles
from orchestrator.workers.byte_text import json_decoder

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation
    from orchestrator.runs.commands import RunReport
    from orchestrator.store.run_dir import RunDir
    from orchestrator.views.listeners import Listeners
    from orchestrator.views.prompt import Prompt


def run_child_file(
    invocation: Invocation,
    *,
    file: str,
    run_id: str,
    parent: str,
    kept_path: str | None = None,
    keep_going: bool = False,
    update: bool = False,
    fresh: bool = False,
) -> int:
    """Run FILE as the child of the item `parent` (RUN/ITEM), or go on with that run; the exit code. Raises UserError."""
    kept = _kept(kept_path) if kept_path is not None else NOTHING_KEPT
    given = json_decoder(dict[str, Any])(sys.stdin.buffer.read())

    def start(home: Path, listeners: Listeners, _prompt: Prompt | None) -> RunReport:
        from orchestrator.runs.commands import ChildRequest, run_child
        from orchestrator.store.settings_records import RunOptions

        options = RunOptions(keep_going=keep_going, fresh=fresh)
        request = ChildRequest(path=file, given=given, run_id=run_id, parent=parent, options=options, is_update=update, kept=kept)
        return run_child(home, request, listeners)

    code = supervise(invocation, Shown(quiet=True, progress="never"), start)
    assert invocation.run_dir is not None
    for chunk in _told(invocation.run_dir):
        write_bytes(chunk)
    return code


def _kept(path: str) -> KeptFiles:
    """What the parent has kept of the files that it needs, this one and its own among them. Raises StateRefusedError."""
    from orchestrator.errors import StateRefusedError
    from orchestrator.store.kept_files import decode_kept
    from orchestrator.workers.files.opening import read_file

    try:
        return decode_kept(read_file(Path(path)))
    except (OSError, ValueError, RecursionError) as error:
        raise StateRefusedError(f"{path}: the parent's own copy of its files cannot be read: {error}") from error


def _told(run_dir: RunDir) -> Iterator[bytes]:
    """`{run_id, status, jobs: {ID: {status, output}}, results: […]}`, in pieces, for the results may be large."""
    from orchestrator.attempts.context import JobView
    from orchestrator.reading.item_result import item_results
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.reading.seen_statuses import job_status, run_status
    from orchestrator.views.json_lines import json_line, json_list

    # As of a run that has ended: its supervisor was this process, whose lock is gone.
    reader = RunReader.read(run_dir)
    reader.alive = False
    jobs = {
        job_id: {"status": job_status(reader, job_id), "output": JobView(reader, job_id).template_field("output")}
        for job_id in reader.history.header.jobs
    }
    head = json_line({"run_id": run_dir.run_id, "status": run_status(reader), "jobs": jobs})
    yield head.removesuffix(b"}\n") + b',\n"results":'
    yield from json_list(item_results(reader))
    yield b"}\n"
