"""The commands, by their names: for who needs no more of them, as a shell that completes a word."""

from __future__ import annotations

import keyword

COMMANDS = {
    "run": "Run a jobs file.",
    "each": "Run a command, or an agent, once for each line of stdin, as xargs does.",
    "init": "Copy an example jobs file here, or list the examples.",
    "import": "Make a jobs file of a Spec Kit workflow (YAML).",
    "resume": "Go on with a run: run all that has not succeeded.",
    "check": "Tell every mistake of a jobs file; run nothing.",
    "plan": "Show the items and commands of a jobs file; run nothing.",
    "schema": "Print the JSON Schema of jobs files, for editors.",
    "agents": "List the agent CLIs that jobs can use: their versions, and what each can do.",
    "list": "List the runs, newest first.",
    "status": "Tell how a run stands: counts, what runs, what failed and why.",
    "attach": "Show a run that goes on elsewhere, as its own terminal would.",
    "why": "Tell in words why an item waits, failed or was skipped.",
    "logs": "Print what items wrote.",
    "results": "Print one result an item, in item order.",
    "capsule": "Write an archive of what a run's agents did, for run --replay.",
    "diff": "Print what items changed in workspaces of their own.",
    "land": "Merge what items did in workspaces of their own.",
    "cost": "Tell what agents have cost, over all runs.",
    "wait": "Wait for a run to end and exit as it did.",
    "exec": "Run an item's command by hand, in its folder, with its environment.",
    "retry": "Run items of a run one more time, perhaps with a change.",
    "cancel": "Cancel a run, or some of its items.",
    "approve": "Answer a gate.",
    "pause": "Have a run pause: start nothing more, and go on with it later.",
    "stop": "Have a run drain: start nothing more, let what runs finish.",
    "flush": "Make finished outcomes durable now; disturb nothing.",
    "set": "Change how many items of a run are at work at once, or its budget: set slots=4.",
    "tokens": "List what tokens stand for, or forget one.",
    "prune": "Remove old runs, and tokens.",
    "completion": "Print what has a shell complete words: completion bash, zsh or fish.",
    "doctor": "Check this machine and the state folder.",
}
"""Name -> its line in the help, in the order of the help. The module of a command (`module_of`) has it as `command`."""


def module_of(name: str) -> str:
    """The module that has the command `name`."""
    return f"orchestrator.cli.{name}{'_' if keyword.iskeyword(name) else ''}"


HIDDEN = ("child",)
"""Commands that only orchestrate itself calls."""
