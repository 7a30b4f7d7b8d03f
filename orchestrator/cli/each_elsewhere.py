"""What hands type that know xargs or GNU parallel: the option of `each` that does the same is named where it has another name."""

from __future__ import annotations

import click

_OURS = {
    "-j N": ("--max-procs", "--jobs"),
    "-n N": ("-N", "--max-replace-args", "--max-lines", "-l", "-m", "-X", "--xargs"),
    "-I MARK": ("-i", "--replace"),
    ":::+ between the sources": ("--link", "--xapply"),
    "--attempts N": ("--retries",),
    "-C DIR": ("--wd", "--workdir"),
    "--line-buffer": ("-u", "--ungroup", "--lb"),
    "--as-done": ("--group", "--no-keep-order"),
    "--eta": ("--bar",),
    "--tag --label TEXT": ("--tagstring",),
    "--dry-run": ("-t", "-v", "--verbose", "--shell-quote"),
    "--results DIR": ("--files",),
    "--pool NAME, a pool with a rate": ("--delay", "--load"),
    "orchestrate results --format csv": ("--joblog",),
    "orchestrate resume": ("--resume", "--resume-failed", "--retry-failed"),
    "nothing, for without items nothing runs": ("-r", "--no-run-if-empty"),
    "nothing, for without --shell no shell reads a word": ("-q", "--quote"),
    "split, which makes files: each is an item": ("--pipe", "--pipe-part"),
    "ssh HOST as the command": ("-S", "--sshlogin"),
}
"""What to type here -> what is typed there. The whole table is docs/how-to/from-xargs-and-parallel.md."""


class EachCommand(click.Command):
    """The command, which knows options of others by name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, but of an option of xargs or parallel it tells ours."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            ours = next((ours for ours, theirs in _OURS.items() if error.option_name in theirs), None)
            if ours is None:
                raise
            raise click.UsageError(f"each has no {error.option_name}; here it is {ours}", ctx) from error
