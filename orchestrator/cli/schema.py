"""`orchestrate schema`: the JSON Schema of jobs files."""

from __future__ import annotations

import click

from orchestrator.cli.options import output_option
from orchestrator.cli.output import write_to


@click.command("schema")
@output_option
def command(path: str | None) -> int:
    """Print the JSON Schema of jobs files, by which editors complete, explain and check them.

    To use it: run `orchestrate schema -o jobs.schema.json` in the folder of a jobs file, and begin the file with the line
    `#:schema ./jobs.schema.json`. Editors that know Taplo (such as VS Code with Even Better TOML) then find it.
    """
    import json

    from orchestrator.jobsfile.json_schema import jobs_file_schema

    text = json.dumps(jobs_file_schema(), ensure_ascii=False, indent=2) + "\n"
    write_to(path, [text.encode()])
    return 0
