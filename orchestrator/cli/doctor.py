"""`orchestrate doctor`: examine the machine and the state folder; find, and end, what dead runs left behind."""

from __future__ import annotations

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import json_option
from orchestrator.cli.output import write_json, write_line
from orchestrator.errors import ExitCode


@click.command("doctor")
@click.option("--orphans", is_flag=True, help="Only look for processes that dead runs left behind.")
@click.option("--kill", is_flag=True, help="With --orphans: end them (SIGTERM, 5 seconds, SIGKILL).")
@click.option("--salvage", metavar="RUN", help="Show what is whole of a run whose journal is damaged; ask whether to keep it.")
@click.option("--yes", is_flag=True, help="With --salvage: keep it without asking.")
@json_option
@pass_invocation
def command(invocation: Invocation, *, orphans: bool, kill: bool, salvage: str | None, yes: bool, as_json: bool) -> int:
    """Check this machine and the state folder. Exit 1 if something would make runs fail."""
    if kill and not orphans:
        raise click.UsageError("--kill ends what --orphans finds: give --orphans too")
    if yes and salvage is None:
        raise click.UsageError("--yes is about --salvage RUN: give that too")
    if salvage is not None:
        from orchestrator.cli.salvaging import salvage_run

        return salvage_run(invocation, salvage, is_agreed=yes, as_json=as_json)
    if orphans:
        return _orphans(invocation, kill=kill, as_json=as_json)
    from orchestrator.cli.checkup import examine

    findings = examine(invocation.home(is_made=True))
    if as_json:
        write_json([{"check": each.check, "level": each.level, "message": each.message} for each in findings])
    else:
        width = max(len(each.check) for each in findings)
        for each in findings:
            write_line(f"{each.level:<4}  {each.check:<{width}}  {each.message}")
    return int(ExitCode.FAILED) if any(each.level == "bad" for each in findings) else 0


def _orphans(invocation: Invocation, *, kill: bool, as_json: bool) -> int:
    from orchestrator.control.permits import refuse_in_attempts
    from orchestrator.engines.orphans import end, find_orphans
    from orchestrator.system.wording import lasting, shown

    if kill:
        refuse_in_attempts("doctor --orphans --kill")

    # To list them harms nothing, so it needs no consent; to end them does.
    found = find_orphans(invocation.home())
    survivors = end(found) if kill else set()
    if as_json:
        keys = ("pid", "mark", "command", "age_s")
        write_json([{**{key: getattr(each, key) for key in keys}, "ended": kill and each.pid not in survivors} for each in found])
    else:
        for each in found:
            ended = "" if not kill else "  still there" if each.pid in survivors else "  ended"
            write_line(f"{each.pid}  {lasting(each.age_s)}  {shown(each.mark)}  {shown(each.command, 100)}{ended}")
        if not found:
            write_line("no orphans")
        elif not kill:
            write_line("orchestrate doctor --orphans --kill ends them")
    return int(ExitCode.FAILED) if survivors else 0
