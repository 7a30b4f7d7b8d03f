"""The raw tables of a jobs file: which keys there are, what each takes, and in which words a wrong value is refused.

A field is None when its key is absent (TOML has no null); what it takes is said in `key_types`. `json_schema` makes of this what
editors know of a jobs file; the string under a field says there what its key is for.

To add a key of a job:

1. Here: a field of `JobTable` (of `agent_keys.AgentKeys`, if it says how an agent works) with its type and the string under it.
2. Here: its name in the tables below that hold for it. `PAYLOAD_KEYS`, if another value makes it other work (a test asks);
   `LIMIT_KEYS`, if it bounds one attempt; `AGENT_KEYS`, `GATE_KEYS`, `KEYS_OF_A_GATE`, `NOT_OF_A_CHILD`: for whom it is.
3. A limit: a field of `Limits` (`workers/protocol/tasks.py`), and the place in `workers/` that keeps to it. That is all.
   Any other key: a field of `model.Job`. A template, or a value of more than one part: one line in `job_fields` too. What it may
   not be together with: `jobs`, or `agent_checks`.
4. Whoever acts on it. Core rules: `supervisor/job_rules.py` and `core/job_rules.py`. What is started: `attempts/rendering.py`
   and, for the worker, `attempts/message.py`.
5. `orchestrate schema -o configs/examples/jobs.schema.json`, a row in `tests/attempts/test_payload_keys.py`, docs/jobs-files.md.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from orchestrator.jobsfile.agent_keys import AgentKeys, PromptFileTable, WorkspaceTable
from orchestrator.jobsfile.key_types import (
    Argv,
    Axes,
    Backoff,
    Changed,
    Choices,
    Condition,
    Count,
    Created,
    Defaults,
    Delays,
    Delimiter,
    Depth,
    Devices,
    Dollars,
    Done,
    Duration,
    Environment,
    ExitCodes,
    Failures,
    Flag,
    Fraction,
    Given,
    Halting,
    Inputs,
    Items,
    Jobs,
    Kind,
    LaneName,
    Limit,
    Name,
    Output,
    ParentIds,
    Pools,
    PoolSlots,
    Rejection,
    Renewed,
    Repeats,
    Run,
    Running,
    Script,
    Size,
    SizeLimit,
    Slots,
    StartRate,
    Text,
    Texts,
    Value,
    Values,
    When,
    Whole,
)


class FileTable(msgspec.Struct, kw_only=True):
    """A jobs file: what `orchestrate run` runs."""

    name: Name | None = None
    """What the run is called; default: the file's name without its ending."""
    inputs: Inputs | None = None
    """What `-i NAME=VALUE` may give, and templates read as `inputs.NAME`: a default value, or a table."""
    run: Run | None = None
    """Settings of the run as a whole."""
    pools: Pools | None = None
    """Slots and start rates that all runs of this user share, by name. A job joins one with `pool`."""
    defaults: Defaults | None = None
    """Keys for every job; a job's own key wins."""
    jobs: Jobs | None = None
    """The jobs by id: at most 64 letters, digits, _ and -, the first a letter or _. In a template: `jobs["lint-and-test"]`."""


class ConfigTable(msgspec.Struct, kw_only=True):
    """The top of the user's config.toml."""

    pools: Pools | None = None
    """Pools for every jobs file; a file's own key wins."""
    defaults: Defaults | None = None
    """Keys for every job of every file; those of the file win."""


class InputTable(msgspec.Struct, kw_only=True):
    """`[inputs.NAME]`, the long form."""

    type: Kind | None = None
    """What it takes; without it, what `default` is."""
    required: Flag | None = None
    """Whether a run has to be given it. Goes without `default`."""
    default: Value | None = None
    """Its value if none is given."""
    enum: Values | None = None
    """The values that are allowed; of a list, those that it may contain."""
    description: Text | None = None
    """What it is, for whoever has to give it."""
    secret: Flag | None = None
    """Whether its value is kept out of the state, and of what is shown. It is required, and stands in `env` and `stdin` alone."""


class RunTable(msgspec.Struct, kw_only=True):
    """`[run]`: settings of the run as a whole."""

    slots: Slots | None = None
    """How many items run at once; default: the CPUs that this process may use. 0 runs all inline, without workers."""
    fast_slots: Slots | None = None
    """Slots of their own for jobs in the fast lane; default: half of `slots`, if a job is in that lane."""
    drain_timeout: Duration | None = None
    """How long a run that is told to stop waits for what runs, before it ends it."""
    timeout: Limit | None = None
    """How long the whole run may take."""
    max_depth: Depth | None = None
    """How deep runs may be nested in items of this one."""
    min_free_memory: SizeLimit | None = None
    """No item starts while the machine has less memory free."""
    env: Environment | None = None
    """Environment variables of every command. Values are templates, which know `inputs` and `run`."""
    budget_usd: Dollars | None = None
    """What the run may cost, failed attempts included. Once it is spent nothing more starts, and the run pauses."""
    budget_tokens: Count | None = None
    """The same in tokens, for agents that tell no cost."""


class PoolTable(msgspec.Struct, kw_only=True):
    """`[pools.NAME]`: slots, a rate, or both, which all runs of this user share."""

    slots: PoolSlots | None = None
    """How many items run at once in all runs together."""
    rate: StartRate | None = None
    """How many items start in a time in all runs together."""


class JobTable(AgentKeys, kw_only=True):
    """`[jobs.ID]` and `[defaults]`: one kind of work. A job has exactly one action."""

    command: Argv | None = None
    """Action: a program and its arguments, without a shell. Each is a template; a lone `{{ list }}` becomes several."""
    shell: Script | None = None
    """Action: a script for `/bin/sh -e`, or what its `#!` names. Each `{{ }}` is quoted for the shell: none stands in quotes."""
    gate: Script | None = None
    """Action: a question (a template) that somebody answers, here on the terminal or with `approve`. What needs it waits."""
    workflow: Name | None = None
    """Action: another jobs file, run as a child of the item. Its results are the output. Template of a path."""
    inputs: Given | None = None
    """What the child run of `workflow` is given: templates, of which a lone `{{ }}` keeps its type."""
    needs: Texts | None = None
    """Jobs that have to be done before this one starts. Those that a template names as `jobs.ID` are implied."""
    when: When | None = None
    """Whether an item runs: a template; "always", also after a failure; "failed", only after one. False skips the item."""
    for_each: Items | None = None
    """What to run the job for: one item each, known to templates as `item` and `index`. Without it the job is one item."""
    label: Text | None = None
    """Template of what an item is called in words; default: of a chain as the item that it follows, else the item, if short."""
    max_concurrency: Count | None = None
    """How many items of this job run at once; default: 4 of an agent's job, of others as many as there are slots."""
    lane: LaneName | None = None
    """"fast": short items that start no run of their own, in slots of their own (`[run] fast_slots`)."""
    pool: Text | None = None
    """The pool whose slots and rate bound this job together with all other runs."""
    devices: Devices | None = None
    """Names of devices, such as GPUs: each item has one as `{{ device }}`, and no other item of the run has it meanwhile."""
    priority: Whole | None = None
    """Of all items that could start, those of the job with the highest priority start first."""
    repeat: Repeats | None = None
    """A loop: round after round of the item, until a condition holds or while it does."""
    continue_on_error: Flag | None = None
    """After a failure go on with the other items, and with the jobs that need this one."""
    max_failures: Failures | None = None
    """How many items may fail with the job succeeding all the same; implies `continue_on_error`."""
    halt: Halting | None = None
    """When enough of the job has failed, succeeded or is done, and whether what runs may finish ("soon") or is ended ("now")."""
    attempts: Count | None = None
    """How often an item is tried in all."""
    retry: Delays | None = None
    """How long to wait between two attempts."""
    timeout: Limit | None = None
    """How long one attempt may take."""
    grace: Duration | None = None
    """How long a command that is told to end (SIGTERM) has before it is killed (SIGKILL)."""
    ok_exit_codes: ExitCodes | None = None
    """Exit codes with which the command has succeeded, besides 0."""
    shell_program: Argv | None = None
    """The shell and its options that run the script of `shell`: `["bash", "-euo", "pipefail", "-c"]`; default: `/bin/sh -ec`."""
    cwd: Text | None = None
    """Template of the folder that the command runs in; default: the folder of the jobs file."""
    env: Environment | None = None
    """Environment variables of the command, by themselves over those of [defaults] and [run]. Values are templates."""
    stdin: Text | None = None
    """Template of what the command reads from its standard input; default: nothing."""
    memory: SizeLimit | None = None
    """What the processes of an attempt may use together. One that uses more is ended and has failed."""
    output: Output | None = None
    """What templates see of the standard output: its text, its lines, or the JSON that it is."""
    max_output: Size | None = None
    """How much of each stream is kept."""
    control: Flag | None = None
    """Whether what the item starts may steer runs, its own too (`approve`, `set`, `cancel`, `stop`, …); else it may only look."""
    creates: Created | None = None
    """Path or paths (templates). If all exist, the item is done; else it writes to `{{ creates }}`, renamed at the end."""
    sources: Texts | None = None
    """Templates of files, or of patterns, of which `creates` is made: if one of them is newer, the item runs anew."""
    creates_when: Renewed | None = None
    """When it runs: a file is "missing"; a source is "newer"; or a source, or the work itself, has "changed" in what it holds."""
    token: Text | None = None
    """Template of what names this work: items with one token are the same work, done once, in this run and in all others."""
    token_ttl: Duration | None = None
    """For how long a finished outcome stands for the same work asked again. Within one run it always does."""
    if_running: Running | None = None
    """What an item does whose token is in flight elsewhere."""
    if_done: Done | None = None
    """What an item does whose token was completed within `token_ttl`."""
    if_changed: Changed | None = None
    """What an item does whose token was completed by other work, such as another command."""
    options: Choices | None = None
    """The choices of a gate. `reject` and `abort` reject, every other approves."""
    on_reject: Rejection | None = None
    """After a rejection: the run fails, the item is skipped, it is asked again, or a job that it needs runs again before."""
    show_file: Text | None = None
    """Template of the path of a file that is shown with a gate's question."""


class RetryTable(msgspec.Struct, kw_only=True):
    """`retry = { … }`: how long to wait between two attempts."""

    delay: Duration | None = None
    """Before the second attempt."""
    backoff: Backoff | None = None
    """Each later wait is so many times the one before."""
    max_delay: Duration | None = None
    """The longest wait."""
    jitter: Fraction | None = None
    """By which part of itself a wait is changed at random, so that not all come at once."""


class RepeatTable(msgspec.Struct, kw_only=True, rename={"while_": "while"}):
    """`repeat = { … }`: a loop, `until` or `while` something holds."""

    until: Condition | None = None
    """A template, asked after each round, of which it knows `round`, `output` and `exit_code`: true ends the loop."""
    while_: Condition | None = None
    """A template, asked before each round, the first one too: false ends the loop."""
    max: Count | None = None
    """The most rounds that there may be."""
    must: Flag | None = None
    """Whether the item has failed if `max` rounds did not bring the loop to its end."""
    delay: Duration | None = None
    """How long to wait between two rounds."""


class RejectionTable(msgspec.Struct, kw_only=True):
    """`on_reject = { retry = "JOB" }`: go back to a job."""

    retry: Name | None = None
    """This job, all between it and the gate, and the gate run again. It knows the message as `jobs.GATE.message`."""


class SourceTable(msgspec.Struct, kw_only=True):
    """`for_each = { … }`: one of `glob`, `lines`, `jsonl`, `csv`, `matrix` and `job`."""

    glob: Text | None = None
    """The files that a pattern matches, sorted; `**` goes through folders."""
    lines: Text | None = None
    """The lines of a file that are not empty."""
    jsonl: Text | None = None
    """The values of a file with one JSON value a line."""
    csv: Text | None = None
    """The rows of a CSV file, each a mapping by the names of the first line."""
    delimiter: Delimiter | None = None
    """What stands between the columns of a CSV file: one character, as ";" and "\\t"; default: a comma."""
    matrix: Axes | None = None
    """All combinations of some axes, each a list, a template or a source; `item` has one key for each axis."""
    job: ParentIds | None = None
    """A chain: item i starts as soon as item i of that job has succeeded (of all of them). `parent` is its result."""
    batch: Count | None = None
    """So many values make one item, which is a list. Does not go with `job`."""


RULES: dict[type[msgspec.Struct], dict[str, Any]] = {
    JobTable: {"dependentSchemas": {"prompt": {"properties": {"prompt_file": False}}}},
    RepeatTable: {"oneOf": [{"required": [key]} for key in ("until", "while")]},
    RejectionTable: {"required": ["retry"]},
    WorkspaceTable: {"required": ["kind"]},
    PromptFileTable: {"required": ["path"]},
    SourceTable: {
        "oneOf": [{"required": [key]} for key in ("glob", "lines", "jsonl", "csv", "matrix", "job")],
        "dependentSchemas": {"job": {"properties": {"batch": False}}, "delimiter": {"required": ["csv"]}},
    },
}
"""How the keys of a table go together, for editors, in the words of JSON Schema."""

PAYLOAD_KEYS = frozenset(
    {
        *("command", "shell", "agent", "workflow", "land", "inputs"),
        *("shell_program", "cwd", "env", "stdin", "output", "creates", "workspace", "check", "artifacts"),
        *("prompt", "prompt_file", "model", "permissions", "args", "schema", "expect"),
    }
)
"""Keys that say what the work is: with another value, rendered, the item has another payload. Then a token no longer stands for
what was done before, and a success that is recorded is stale. All other keys say when, where or how often the work is done.
`attempts.rendering` makes the payload; `tests/attempts/test_payload_keys.py` tries every key of a job."""

LIMIT_KEYS = {
    "timeout": "timeout_seconds",
    "stall_timeout": "stall_timeout_seconds",
    "grace": "grace_seconds",
    "max_output": "max_output_bytes",
    "memory": "memory_bytes",
    "ok_exit_codes": "ok_exit_codes",
}
"""Keys that bound one attempt, and what `Limits` calls each: its worker keeps to them."""

TOKEN_KEYS = ("token_ttl", "if_running", "if_done", "if_changed")
"""They say how a token is met; without one they would say nothing."""

GATE_KEYS = frozenset({"options", "on_reject", "show_file"})
"""They say how a gate asks; a job that is none has no use for them."""

AGENT_KEYS = frozenset(
    {
        *("prompt", "prompt_file", "model", "permissions", "args", "max_turns", "schema", "expect", "pass_env"),
        *("resume_session", "resume_prompt", "retry_prompt"),
        *("budget_usd", "budget_tokens", "estimate_usd", "on_usage_limit", "fallback"),
    }
)
"""They say how an agent works; a job without one has no use for them."""

KEYS_OF_A_GATE = GATE_KEYS | {"gate", "needs", "when", "for_each", "label", "continue_on_error", "max_failures"}
"""A gate runs nothing, so all other keys would say nothing of it."""

REJECTING = ("reject", "abort")
"""The choices that reject."""

NOT_OF_A_CHILD = ("cwd", "stdin", "output", "workspace", "check", "artifacts")
"""Keys that say nothing of a child run: it has its file's folder, is given `inputs`, and its output has a shape of its own."""

ACTIONS = ("command", "shell", "agent", "gate", "workflow", "land")
"""A job has exactly one of these keys."""

SOURCES: tuple[Literal["glob", "lines", "jsonl", "csv"], ...] = ("glob", "lines", "jsonl", "csv")
"""The sources that read something; the others are `matrix` and `job`."""

FILE_SCOPE = frozenset({"inputs", "run"})
"""Names that a template of [run] may use."""

LIST_SCOPE = frozenset({"inputs", "run", "jobs"})
"""Names that `for_each` may use: there is no item yet."""

ROUND_NAMES = frozenset({"round", "output", "exit_code"})
"""Names that the templates of a loop may use besides: the number of the round, and what came of the one before."""

PLACE_NAMES = frozenset({"slot", "device"})
"""Names of what an attempt has to itself while it runs: they tell where the work is done, and not which work it is."""

ITEM_SCOPE = (
    frozenset({"inputs", "run", "jobs", "item", "index", "label", "attempt", "parent", "creates"}) | ROUND_NAMES | PLACE_NAMES
)
"""Names that the templates of one item may use, as far as the job has them."""

HIDDEN_NAMES = {
    "label": frozenset({"label", "creates", "attempt"}) | ROUND_NAMES | PLACE_NAMES,
    "when": frozenset({"creates"}) | ROUND_NAMES | PLACE_NAMES,
    "cwd": frozenset({"creates"}),
    "creates": frozenset({"creates"}) | PLACE_NAMES,
    "model": frozenset({"creates"}) | PLACE_NAMES,
    "repeat": PLACE_NAMES,
    "workspace": frozenset({"creates"}) | PLACE_NAMES,
    "artifacts": frozenset({"creates"}) | PLACE_NAMES,
    "sources": frozenset({"creates"}) | PLACE_NAMES,
    "prompt_file": frozenset({"creates"}) | PLACE_NAMES,
    "schema": frozenset({"creates"}) | PLACE_NAMES,
    # One token stands for all attempts and rounds of an item, and for the same work of any run.
    "token": frozenset({"creates", "attempt"}) | ROUND_NAMES | PLACE_NAMES,
}
"""Names that a key's template may not use, because they are not known when it is rendered, or would be other ones each time."""

TEMPLATE_FUNCTIONS = frozenset({"range", "dict", "namespace"})
"""Functions that every template may call."""
