"""The command line, a file a command. No code here: a module named `list` becomes a name of this package, over the builtin."""

from orchestrator.cli.entry import main

__all__ = ["main"]
