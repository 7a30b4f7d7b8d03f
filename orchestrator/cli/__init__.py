"""The command line, a file a command.

A command reads its words, calls `runs`, `reading` or `control`, and prints. It decides nothing about a run that a
program could not decide through the library as well. No code stands here: a module named `list` becomes a name of this package,
over the builtin.
"""

from orchestrator.cli.entry import end_process, main

__all__ = ["end_process", "main"]
