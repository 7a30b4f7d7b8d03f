"""`orchestrate agents`: the agent CLIs that jobs can name, and the usage limits of their accounts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import json_option
from orchestrator.cli.output import write_json, write_line, write_lines
from orchestrator.errors import ExitCode, JobsFileError, UserError
from orchestrator.jobsfile.language.suggestions import did_you_mean, shown

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.jobsfile.profiles.profile import Profile
    from orchestrator.jobsfile.profiles.versions import Installed


@click.command("agents")
@click.argument("file", required=False, metavar="[FILE]")
@click.option(
    "--forget-limits",
    "forgotten",
    is_flag=False,
    flag_value="",
    metavar="[ACCOUNT]",
    help="Take back the usage limit of an account (default: all): it is used again at once.",
)
@json_option
@pass_invocation
def command(invocation: Invocation, *, file: str | None, forgotten: str | None, as_json: bool) -> int:
    """List the agents that the jobs of FILE can name (default: those of jobs files in this folder).

    Profiles lie in the folder `agents` beside the jobs file, in $XDG_CONFIG_HOME/orchestrate/agents, and in the program. Of
    several profiles with one name the first counts. Those beside the jobs file are listed, and their programs are not run.

    The column CAN tells what the agent does by itself: resume its sessions, keep to a schema, tell its cost and its usage
    (tokens), bound its turns and its budget. With needs_check, only a check can tell that the agent succeeded.

    Accounts whose usage limit is reached come below. Exit 1 if a profile has mistakes.
    """
    if forgotten is not None:
        return _forget(invocation.home(), forgotten, as_json=as_json)
    from orchestrator.jobsfile.profiles.load import Profiles
    from orchestrator.jobsfile.profiles.versions import installed
    from orchestrator.shared.limits.parks import Parks, park_words

    # A profile with mistakes must not hide the others: it gets a row, and its mistakes come below.
    profiles = Profiles(os.path.dirname(os.path.realpath(file)) if file else os.getcwd())
    read: list[Profile] = []
    wrong: dict[str, JobsFileError] = {}
    for name in profiles.names():
        try:
            read.append(profiles.get(name))
        except JobsFileError as error:
            wrong[name] = error
    # All CLIs are asked for their version at once, for each takes a moment to start.
    rows = [_row(profile, found) for profile, found in zip(read, installed(read), strict=True)]
    if as_json:
        write_json(sorted([*rows, *(_wrong_row(name, error) for name, error in wrong.items())], key=lambda row: row["name"]))
    else:
        _print(rows, wrong, [park_words(park) for park in Parks(invocation.home()).parks_in_force()])
    return int(ExitCode.FAILED) if wrong else 0


def _forget(home: Path, account: str, *, as_json: bool) -> int:
    from orchestrator.control.permits import refuse_in_attempts
    from orchestrator.shared.limits.parks import Parks

    refuse_in_attempts("agents --forget-limits")
    parks = Parks(home)
    known = [park.account for park in parks.all_parks()]
    if account and account not in known:
        raise UserError(
            f"no usage limit of {shown(account)} is known{did_you_mean(account, known)}", "orchestrate doctor lists them"
        )
    taken_back = [each for each in known if account in ("", each) and parks.forget_limit(each)]
    if as_json:
        write_json(taken_back)
    else:
        write_lines([f"taken back: the usage limit of {each}" for each in taken_back] or ["no usage limit is known"])
    return 0


def _row(profile: Profile, found: Installed) -> dict[str, Any]:
    return {
        "name": profile.name,
        "description": profile.description,
        "program": found.program,
        "version": found.version,
        "is_tested": found.is_tested,
        "tested": profile.tested,
        "trouble": found.trouble or None,
        "from": profile.origin,
        "path": profile.path,
        "permissions": list(profile.permissions),
        "needs_check": profile.needs_check,
        "can": _can(profile),
        "mistakes": [],
    }


def _wrong_row(name: str, error: JobsFileError) -> dict[str, Any]:
    keys = (
        "description",
        "program",
        "version",
        "is_tested",
        "tested",
        "trouble",
        "from",
        "path",
        "permissions",
        "needs_check",
        "can",
    )
    return {"name": name, **dict.fromkeys(keys), "mistakes": error.problems}


def _can(profile: Profile) -> dict[str, bool]:
    return {
        "resume": profile.can_resume,
        "schema": profile.has_schema,
        "cost": profile.tells("cost_usd"),
        "usage": profile.tells("input_tokens"),
        "max_turns": profile.flags.max_turns is not None,
        "budget": profile.flags.budget is not None,
    }


def _print(rows: list[dict[str, Any]], wrong: dict[str, JobsFileError], limits: list[str]) -> None:
    from orchestrator.jobsfile.profiles.versions import NOT_ASKED
    from orchestrator.system.wording import shown
    from orchestrator.views.tables import aligned

    # One row an agent; what its CLI or its profile says may hold anything, so it is made safe for a terminal.
    table = []
    for row in rows:
        unknown = row["trouble"] if row["trouble"] == NOT_ASKED else f"unknown: {row['trouble']}"
        version = "not installed" if row["program"] is None else row["version"] or unknown
        untested = " (not tested)" if row["version"] and not row["is_tested"] else ""
        can = " ".join(name for name, is_able in row["can"].items() if is_able) + (" needs_check" if row["needs_check"] else "")
        table.append([shown(row["name"]), shown(version, 60) + untested, ", ".join(row["tested"]) or "-", row["from"], can])
    write_lines(aligned(["AGENT", "VERSION", "TESTED", "FROM", "CAN"], table))
    # Below the table, for they are sentences.
    for error in wrong.values():
        write_line("")
        write_lines(shown(problem) for problem in error.problems)
    if limits:
        write_line("")
        write_lines(map(shown, limits))
