"""The command `orchestrate`: it knows each command by its name and one line, and imports only the command that is called."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import click

from orchestrator import __version__
from orchestrator.cli.command_names import COMMANDS, HIDDEN, module_of
from orchestrator.cli.invocation import Invocation


class LazyGroup(click.Group):
    """A group that imports a command when it is called: no call pays for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command, and give it and its own commands --home, and --last where they are about a run."""
        del ctx
        if cmd_name not in COMMANDS and cmd_name not in HIDDEN:
            return None
        command = importlib.import_module(module_of(cmd_name)).command
        assert isinstance(command, click.Command)
        for each in [command, *(command.commands.values() if isinstance(command, click.Group) else ())]:
            if not any(parameter.name == "home" for parameter in each.params):
                if any(parameter.name == "run" for parameter in each.params):
                    each.params.append(_last_option())
                each.params.append(_home_option())
        return command

    def every_command(self) -> Iterator[tuple[str, click.Command]]:
        """Each command as it is typed, those within a command behind it. Imports all of them: for pages about them."""
        for name in COMMANDS:
            command = self.get_command(click.Context(self), name)
            assert command is not None, "each name of the table has its module"
            yield f"orchestrate {name}", command
            for inner_name, inner in sorted(command.commands.items()) if isinstance(command, click.Group) else ():
                yield f"orchestrate {name} {inner_name}", inner

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a suggestion for a name that is close to one of ours."""
        if args and args[0] not in COMMANDS and args[0] not in HIDDEN and not args[0].startswith("-"):
            import difflib  # For a mistake alone.

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {close[0]}?" if close else "orchestrate --help lists the commands"
            ctx.fail(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands, without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _remember_home(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Invocation).home_option = value


def _remember_last(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Invocation).is_last = value


def _last_option() -> click.Option:
    return click.Option(["--last"], is_flag=True, expose_value=False, callback=_remember_last, help="RUN is the newest run.")


def _home_option() -> click.Option:
    return click.Option(
        ["--home"],
        metavar="DIR",
        expose_value=False,
        callback=_remember_home,
        help="The state folder (default: ORCHESTRATE_HOME, else $XDG_STATE_HOME/orchestrate).",
    )


def _group(**settings: Any) -> LazyGroup:
    group = LazyGroup(
        name="orchestrate",
        help="Run slow, paid, flaky commands over many items: bounded, recorded, resumed after kill -9.",
        context_settings={"help_option_names": ["-h", "--help"]},
        **settings,
    )
    group.params.append(_home_option())
    return click.version_option(__version__, prog_name="orchestrate", message="%(prog)s %(version)s")(group)


orchestrate = _group()
