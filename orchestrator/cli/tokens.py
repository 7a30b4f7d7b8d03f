"""`orchestrate tokens list` and `orchestrate tokens forget TOKEN`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import json_option
from orchestrator.cli.output import write_json, write_line, write_lines
from orchestrator.system.wording import lasting, shell_word, shown

if TYPE_CHECKING:
    from orchestrator.cli.known_tokens import KnownToken

_WIDTH = 200
"""Characters of a token that are shown: some tokens are whole prompts."""


@click.group("tokens", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> int:
    """Tokens: work that is done once, however many runs ask for it. List what tokens stand for (also alone), or forget one."""
    return int(context.invoke(list_command, as_json=False)) if context.invoked_subcommand is None else 0


@command.command("list")
@json_option
@pass_invocation
def list_command(invocation: Invocation, *, as_json: bool) -> int:
    """List the tokens, newest first. Those in flight tell who does the work, the others what came of it."""
    from orchestrator.cli.known_tokens import known_tokens
    from orchestrator.store.run_dir import RunDir

    known = list(known_tokens(invocation.home()))
    # A token is a text of the run that has or had it, and may hold one of that run's secrets.
    for run_id in sorted({each.record.holder.run_id for each in known if each.record is not None}):
        invocation.hide_secrets_of(RunDir.of(invocation.home(), run_id))
    told = sorted(map(_told, known), key=lambda each: each["age_s"] or 0.0)
    if as_json:
        write_json(told)
    elif told:
        write_lines(_table(told))
    return 0


@command.command("forget")
@click.argument("token")
@pass_invocation
def forget_command(invocation: Invocation, *, token: str) -> int:
    """Forget what came of TOKEN. The next run that asks for it does the work anew.

    TOKEN is all of its text, or its key as in `tokens list --json`. A token in flight is not forgotten (exit 75): cancel the
    item that has it.
    """
    from orchestrator.cli.known_tokens import forget
    from orchestrator.control.permits import refuse_in_attempts

    refuse_in_attempts("tokens forget")
    forget(invocation.home(), token)
    write_line(f"forgotten: {shown(_in_quotes(token), _WIDTH)}")
    return 0


def _told(known: KnownToken) -> dict[str, Any]:
    record = known.record
    return {
        "token": known.token,
        "key": known.key,
        "state": known.state,
        "holder": record.holder.words if record is not None else None,
        "pid": known.pids[0] if known.pids else None,
        "age_s": round(record.age, 3) if record is not None else None,
        "payload_hash": record.payload if record is not None else None,
        "promotions": record.promotions if record is not None else None,
        "replaced_by": record.replaced_by if record is not None else None,
        "error": known.trouble or None,
    }


def _in_quotes(token: str) -> str:
    """The token quoted as for a shell, if one could not see otherwise where it begins and ends."""
    is_plain = token.strip() == token and token.isprintable() and token[:1] not in ("", "'", '"')
    return token if is_plain else shell_word(token)


def _table(told: list[dict[str, Any]]) -> Iterator[str]:
    from orchestrator.views.tables import aligned

    cells = (
        [
            each["state"],
            "" if each["age_s"] is None else lasting(each["age_s"]),
            str(each["pid"] or ""),
            each["holder"] or "",
            shown(each["error"] or _in_quotes(each["token"]), _WIDTH),
        ]
        for each in told
    )
    return aligned(["STATE", "AGE", "PID", "HOLDER", "TOKEN"], cells)
