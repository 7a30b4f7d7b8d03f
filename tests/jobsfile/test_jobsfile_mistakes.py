"""A jobs file with mistakes: all at once, each with its place and a suggestion, and none that only follows from another."""

from __future__ import annotations

from pathlib import Path

import pytest
from drivers.sweeps import telling

from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.load import load, load_text


def mistakes(text: str) -> list[str]:
    """The problems without the file's name: `LINE: place: message`."""
    with pytest.raises(JobsFileError) as told:
        load_text(text, path="jobs.toml", folder="/project")
    return [problem.removeprefix("jobs.toml:") for problem in told.value.problems]


def mistakes_of_job(keys: str) -> list[str]:
    """The problems of the job `a`, which stands on line 4 in a file with another job `port` and an input `who`."""
    action = "" if any(word in keys for word in ("command", "shell", "[jobs")) else 'shell = "true"\n'
    return mistakes(f'inputs.who = "x"\n[jobs.port]\nshell = "true"\n[jobs.a]\n{keys}\n{action}')


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    assert mistakes(
        "\n".join(
            [
                "slots = 3",
                "[jobs.port]",
                'shell = "true"',
                "max_concurency = 2",
                'timeout = "5 parsecs"',
                "[jobs.next]",
                'needs = ["prot"]',
                'command = "ls"',
            ]
        )
    ) == [
        "1: slots: unknown key; did you mean [run] slots?",
        "4: jobs.port.max_concurency: unknown key; did you mean max_concurrency?",
        '5: jobs.port.timeout: expected a duration such as "90s", "20m" or "1h30m", or a number of seconds (0: no limit), '
        'got a string ("5 parsecs")',
        "7: jobs.next.needs: no job is called prot; did you mean port?",
        '8: jobs.next.command: expected a list of strings (the program and its arguments), got a string ("ls")',
    ]


IN_A_JOB = [
    ("comand = 1", "jobs.a.comand: unknown key; did you mean command?"),
    ("xyzzy = 1", "jobs.a.xyzzy: unknown key"),
    ("attempts = 0", "jobs.a.attempts: expected a whole number of at least 1, got a number (0)"),
    ('attempts = "three"', 'jobs.a.attempts: expected a whole number of at least 1, got a string ("three")'),
    ("max_concurrency = 1.5", "jobs.a.max_concurrency: expected a whole number of at least 1, got a number (1.5)"),
    ('priority = "high"', 'jobs.a.priority: expected a whole number, got a string ("high")'),
    ("priority = 99999999999999999999", "jobs.a.priority: expected a number of at most 64 bits"),
    ("continue_on_error = 1", "jobs.a.continue_on_error: expected true or false, got a number (1)"),
    ('halt = "later"', 'expected "soon" or "now", alone or with fail=N'),
    ('halt = "now,fail=0"', 'or done=N (a number or a percentage): "now,success=1", got a string ("now,fail=0")'),
    ('halt = "now,done=0%"', 'expected "soon" or "now"'),
    ('halt = "now,fail=2"\nmax_failures = 2', "fail= and max_failures each say how many may fail: leave one out"),
    ('halt = "now,fail=2"\ncontinue_on_error = true', "fail= and continue_on_error each say"),
    ('halt = "now"\ncontinue_on_error = true', "with continue_on_error no failure halts anything: leave one out"),
    ('max_failures = "120%"', 'or a percentage such as "20%", got a string ("120%")'),
    ("timeout = nan", "jobs.a.timeout: expected a finite number, got nan"),
    ("grace = -1", "or a number of seconds, got a number (-1)"),
    ('max_output = "10 parsecs"', 'jobs.a.max_output: expected a size such as "10MiB"'),
    ('output = "line"', 'got a string ("line"); did you mean lines?'),
    ("lane = 'slow'", 'jobs.a.lane: expected one of "main" and "fast", got a string ("slow")'),
    ("lane = 'fsat'", "did you mean fast?"),
    ("memory = '2 apples'", 'jobs.a.memory: expected a size such as "2GiB", or a number of bytes (0: no limit)'),
    ("pool = 3", "jobs.a.pool: expected a string, got a number (3)"),
    ("pool = 'x'", 'jobs.a.pool: no pool is called "x"; a table [pools.NAME] with slots, a rate or both makes one'),
    ("token = 3", "jobs.a.token: expected a string, got a number (3)"),
    ("token = ''", "jobs.a.token: the token is empty"),
    ("token = ' '", "jobs.a.token: the token is empty"),
    ('token = "a\\nb"', "jobs.a.token: the token holds a character that cannot be shown (\\n) at 1"),
    (f"token = '{'é' * 2049}'", "jobs.a.token: the token is 4098 bytes; at most 4096"),
    ("token = '{{ x'", "jobs.a.token: "),
    ("token = '{{ attempt.number }}'", "jobs.a.token: attempt is not known yet when token is evaluated"),
    ("creates = 'x'\ntoken = '{{ creates }}'", "jobs.a.token: creates is not known yet when token is evaluated"),
    ("creates = 3", 'jobs.a.creates: expected the path of a file or a list of them such as ["a.pdf", "a.log"], got a number (3)'),
    ("creates_when = 'newer'", "jobs.a.creates_when: says when the file of creates is made, and this job has no creates"),
    ("creates = 'x'\ncreates_when = 'newer'", 'jobs.a.creates_when: "newer" asks for sources'),
    ("creates = 'x'\ncreates_when = 'changd'", "did you mean changed?"),
    ("creates = []", "jobs.a.creates: expected the path of a file or a list of them"),
    ("creates = ['x', '{{ creates }}']", "jobs.a.creates: creates is not known yet when creates is evaluated"),
    ("token = '{{ item }}'", "jobs.a.token: item is only known in a job with for_each"),
    ("for_each = [1]\ntoken = '{{ itme }}'", "jobs.a.token: itme is not a name that templates know; did you mean item?"),
    ("token_tll = '1h'", "jobs.a.token_tll: unknown key; did you mean token_ttl?"),
    ("token = 'x'\ntoken_ttl = 'for ever'", "jobs.a.token_ttl: expected a duration"),
    ("token = 'x'\nif_running = 'joni'", 'expected one of "join", "reject", "replace" and "run_anyway"'),
    ("token = 'x'\nif_running = 'joni'", 'got a string ("joni"); did you mean join?'),
    ("token = 'x'\nif_done = 'replace'", 'expected one of "replay", "rerun" and "reject", got a string ("replace")'),
    ("token = 'x'\nif_changed = 'replay'", 'jobs.a.if_changed: expected one of "rerun" and "reject"'),
    ("token_ttl = '1h'", "jobs.a.token_ttl: says how a token is met, and this job has no token"),
    ("if_running = 'join'", "jobs.a.if_running: says how a token is met, and this job has no token"),
    ("if_done = 'rerun'", "jobs.a.if_done: says how a token is met, and this job has no token"),
    ("if_changed = 'rerun'", "jobs.a.if_changed: says how a token is met, and this job has no token"),
    ("label = 3", "jobs.a.label: expected a string, got a number (3)"),
    ("needs = 'port'", "jobs.a.needs: expected a list of strings, got a string"),
    ("needs = ['port', 3]", "jobs.a.needs: expected a list of strings, got a list with a number in it"),
    ("needs = ['prot']", "jobs.a.needs: no job is called prot; did you mean port?"),
    ("needs = ['a']", "jobs.a.needs: a job cannot wait for itself (a -> a)"),
    ("command = []", "jobs.a.command: expected a list of strings (the program and its arguments), got an empty list"),
    ("command = ['']", "jobs.a.command[0]: expected a program, got an empty string"),
    ("shell = ' '", "jobs.a.shell: expected a command line, got an empty string"),
    ("shell = '{{ item.'", "jobs.a.shell: "),
    ("env = 3", "jobs.a.env: expected a table, got a number (3)"),
    ("env.A = [1]", "jobs.a.env.A: expected a string, a number or a boolean, got a list"),
    ("env.'A=B' = 1", 'jobs.a.env."A=B": not a name that an environment variable can have'),
    ("env.A = '{{ '", "jobs.a.env.A: "),
    ("retry = true", "jobs.a.retry: expected a table such as"),
    ("retry.dely = 1", "jobs.a.retry.dely: unknown key; did you mean delay?"),
    ("retry.backoff = 0.5", "jobs.a.retry.backoff: expected a number from 1 to 1000, got a number (0.5)"),
    ("retry.jitter = 2", "jobs.a.retry.jitter: expected a number from 0 to 1, got a number (2)"),
    ("when = 'alwys'", 'got a string ("alwys"); did you mean always?'),
    ("when = 'item > 3'", 'jobs.a.when: expected "always", "failed", true, false or a template'),
    ("when = 1", "jobs.a.when: expected"),
    ("repeat = { max = 3 }", "jobs.a.repeat: expected exactly one of until and while"),
    ("repeat = { until = '{{ round }}', while = '{{ round }}' }", "expected exactly one of until and while, got both"),
    ("repeat = { until = 'yes' }", "jobs.a.repeat.until: expected a template such as"),
    ("repeat = { while = '{{ round }} < 3' }", "jobs.a.repeat.while: text around a placeholder is neither true nor false"),
    ("repeat = { until = '{{ round }}', max = 0 }", "jobs.a.repeat.max: expected a whole number of at least 1"),
    ("repeat = { untill = '{{ round }}' }", "jobs.a.repeat.untill: unknown key; did you mean until?"),
    ("repeat = { until = '{{ rounds }}' }", "jobs.a.repeat: rounds is not a name that templates know; did you mean round?"),
    ("stdin = '{{ round }}'", "jobs.a.stdin: round is only known in a job with repeat"),
    (
        "repeat = { until = '{{ round }}' }\nwhen = '{{ output }}'",
        "jobs.a.when: output is not known yet when when is",
    ),
    ("repeat = { until = '{{ round }}' }\ncreates = 'x'", "jobs.a.creates: does not go with repeat"),
    ("when = '{{ index }} > 3'", "jobs.a.when: text around a placeholder is neither true nor false"),
    ("when = 'not {{ index }}'", "jobs.a.when: text around a placeholder is neither true nor false"),
    ("when = '{{ index }} and {{ index }}'", "jobs.a.when: text around a placeholder is neither true nor false"),
    ("stdin = '{{ device }}'", "jobs.a.stdin: device is only known in a job with devices"),
    ("label = '{{ slot }}'", "jobs.a.label: slot is not known to label"),
    ("devices = ['0']\ntoken = '{{ device }}'", "jobs.a.token: device is not known to token"),
    ("devices = []", 'jobs.a.devices: expected a list of names, each once, such as ["0", "1"], got an empty list'),
    ("devices = ['0', 0]", "jobs.a.devices: expected a list of names, each once"),
    ("devices = '0'", "jobs.a.devices: expected a list of names, each once"),
    ("gpus = 1", "jobs.a.gpus: unknown key; did you mean devices?"),
    ("stdin = '{{.Names}}'", "what another tool is to read stands in {% raw %}{{.Names}}{% endraw %}"),
    (
        "stdin = 'sha ${{ github.sha }}'",
        "github is not a name that templates know; what another tool is to read stands in {% raw",
    ),
    ("stdin = '{{ jobs.lint-and-test.output }}'", 'a job with a hyphen is jobs["lint-and-test"]'),
    ("ok_exit_codes = [256]", "jobs.a.ok_exit_codes: expected a list of exit codes, from 0 to 255"),
    ("ok_exit_codes = 2", "jobs.a.ok_exit_codes: expected a list of exit codes, from 0 to 255"),
    ("for_each = 3", "jobs.a.for_each: expected a list, a template that gives one, or a source table, got a number (3)"),
    ("for_each = '*.py'", 'for the files that a pattern matches write { glob = "*.py" }'),
    ("for_each = ['{{ x']", "jobs.a.for_each[0]: "),
    ("for_each = {}", "jobs.a.for_each: expected exactly one of glob, lines, jsonl, csv, matrix, job"),
    ("for_each = { glob = 'x', csv = 'y' }", "got glob, csv"),
    ("for_each = { csv = 'x', delimiter = ';;' }", 'jobs.a.for_each.delimiter: expected one character, such as ";"'),
    ("for_each = { lines = 'x', delimiter = ';' }", "jobs.a.for_each.delimiter: says how a CSV file is read, and this is lines"),
    ("sources = ['x']", "jobs.a.sources: says what the file of creates is made of, and this job has no creates"),
    ("for_each = { globb = 'x' }", "jobs.a.for_each.globb: unknown key; did you mean glob?"),
    ("for_each = { glob = 'x', batch = 0 }", "jobs.a.for_each.batch: expected a whole number of at least 1"),
    ("for_each = { job = 'port', batch = 2 }", "jobs.a.for_each.batch: does not go with job"),
    ("for_each = { job = 'prot' }", "jobs.a.for_each: no job is called prot; did you mean port?"),
    ("for_each = { job = [] }", "jobs.a.for_each.job: expected at least one job"),
    ("for_each = { matrix = {} }", "jobs.a.for_each.matrix: expected at least one axis"),
    ("for_each = { matrix = { x = 3 } }", "jobs.a.for_each.matrix.x: expected a list or a source table, got a number (3)"),
    (
        "for_each = { matrix = { x = { job = 'port' } } }",
        "jobs.a.for_each.matrix.x.job: an axis of a matrix is a list or one of",
    ),
    ("for_each = ['{{ item }}']", "jobs.a.for_each: item is not known yet when for_each is evaluated"),
    ("label = '{{ item }}'", "jobs.a.label: item is only known in a job with for_each"),
    ("label = '{{ label }}'", "jobs.a.label: label is not known yet when label is evaluated"),
    ("for_each = [1]\nlabel = '{{ parent.output }}'", "parent is only known in a job with for_each = { job = … }"),
    ("command = ['{{ creates }}']", "jobs.a.command: creates is only known in a job with the key creates"),
    ("creates = '{{ creates }}'", "jobs.a.creates: creates is not known yet when creates is evaluated"),
    ("for_each = [1]\nlabel = '{{ itme }}'", "itme is not a name that templates know; did you mean item?"),
    ("label = '{{ env }}'", "jobs.a.label: env is not a name that templates know"),
    ("label = '{{ inputs.whoo }}'", "jobs.a.label: inputs.whoo is not declared; did you mean who?"),
    ("label = '{{ jobs.prot.output }}'", "jobs.a.label: no job is called prot; did you mean port?"),
    ("label = '{{ jobs.a.output }}'", "jobs.a.label: a job cannot wait for itself (a -> a)"),
    ("command = ['x']\nshell = 'y'", "jobs.a: a job has exactly one action, this has 2: command, shell"),
    ("[jobs.b]\ngate = ' '", "jobs.b.gate: expected a question, got an empty string"),
    ("[jobs.b]\ngate = '?'\ntimeout = 3", "jobs.b.timeout: does not go with gate: a gate asks, and runs nothing"),
    ("[jobs.b]\ngate = '?'\nshow_fiel = 'x'", "jobs.b.show_fiel: unknown key; did you mean show_file?"),
    ("on_reject = 'skip'", "jobs.a.on_reject: says how a gate asks, and this job is none"),
    ("[jobs.b]\ngate = '?'\noptions = []", "jobs.b.options: expected a list of at least one word"),
    ("[jobs.b]\ngate = '?'\noptions = ['ship it']", "is not a word of at most 40 letters, digits, _, - and ."),
    ("[jobs.b]\ngate = '?'\noptions = ['a', 'a']", "jobs.b.options: expected each choice once"),
    ("[jobs.b]\ngate = '?'\noptions = ['reject']", "jobs.b.options: none of them approves"),
    ("[jobs.b]\ngate = '?'\noptions = ['a']\non_reject = 'skip'", "jobs.b.on_reject: none of the options rejects"),
    ("[jobs.b]\ngate = '?'\non_reject = 'skpi'", 'jobs.b.on_reject: expected "abort", "skip", "retry" or'),
    ("[jobs.b]\ngate = '?'\non_reject = {}", 'jobs.b.on_reject: expected { retry = "JOB" }, got an empty table'),
    ("[jobs.b]\ngate = '?'\non_reject = { retry = 'prot' }\nneeds = ['port']", "no job is called prot; did you mean port?"),
    ("[jobs.b]\ngate = '?'\non_reject = { retry = 'port' }", "port is not a job that b needs, so it cannot go back to it"),
    ("[jobs.b]\nneeds = ['port']", "jobs.b: no action: a job has one of command, shell, agent, gate, workflow and land"),
]
"""What a job says, and what is told of it."""


def test_a_mistake_in_a_job_is_told_in_words() -> None:
    for keys, problem in IN_A_JOB:
        with telling(keys):
            found = mistakes_of_job(keys)
            assert any(problem in line for line in found), found
            assert all("\n" not in line for line in found)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("when = 'failed'", 'when: "failed" is about what the job needs, and this job needs nothing: it would never run'),
        ("when = 'failed'\nneeds = ['port']", None),
        ("when = 'failed'\nfor_each = { job = 'port' }", None),
        ("for_each = [1, 2]\ncreates = 'made'", "creates: a:0 and a:1 would both make made; name in it what tells them apart"),
        ("for_each = ['x', 'y', './x']\ncreates = 'out/{{ item }}.gz'", "creates: a:0 and a:2 would both make out/x.gz; name"),
        ("for_each = ['x', 'y']\ncreates = ['{{ item }}', 'log']", "creates: a:0 and a:1 would both make log; name"),
        ("for_each = { matrix = { n = [1, 2], m = ['x', 'y'] } }\ncreates = '{{ item.n }}'", "creates: a:0 and a:1 would both"),
        ("for_each = [1, 2]\ncreates = 'made'\ncwd = '{{ item }}'", None),
        ("for_each = [1, 2]\ncreates = 'made'\nwhen = '{{ item == 1 }}'", None),
        ("for_each = [1, 2]\ncreates = 'made'\ntoken = 'one'", None),
        ("for_each = [1, 2]\ncreates = 'made'\ntoken = '{{ item }}'", "creates: a:0 and a:1 would both make made"),
        ("for_each = [1, 2]\ncreates = '{{ inputs.who }}'", None),  # known when the list is made
        ("for_each = ['only one']\ncreates = 'made'", None),
        ("creates = 'made'\n[jobs.b]\nshell = 'true'\ncreates = 'made'\nwhen = 'failed'\nneeds = ['a']", None),
    ],
)
def test_what_could_never_go_well_is_told_of_a_file_but_not_of_the_copy_that_a_run_has(keys: str, problem: str | None) -> None:
    text = f'inputs.who = "x"\n[jobs.port]\nshell = "true"\n[jobs.a]\nshell = "true"\n{keys}\n'
    load_text(text, path="jobs.toml", folder="/project")
    try:
        load_text(text, path="jobs.toml", folder="/project", is_recorded=False)
    except JobsFileError as told:
        (found,) = told.problems
        assert f"jobs.a.{problem}" in found
    else:
        assert problem is None


def test_two_jobs_that_would_make_one_file_are_named() -> None:
    text = "[jobs.a]\nshell = 'x'\ncreates = 'made'\n[jobs.b]\nshell = 'x'\ncreates = './made'\n"
    with pytest.raises(JobsFileError) as told:
        load_text(text, path="jobs.toml", folder="/project", is_recorded=False)
    assert told.value.problems == ["jobs.toml:6: jobs.b.creates: a and b would both make made"]


@pytest.mark.parametrize(
    "keys",
    [
        "for_each = 3\nlabel = '{{ item }} {{ parent }}'",
        "creates = 3\nlabel = 'x'\ncommand = ['{{ creates }}']",
        "token = ''\nif_running = 'reject'\ntoken_ttl = 0",
        "pool = 3",
    ],
)
def test_a_mistake_causes_no_second_complaint(keys: str) -> None:
    assert len(mistakes_of_job(keys)) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no jobs: a jobs file has at least one table [jobs.ID]"),
        ("jobs = 3", "1: jobs: expected a table, got a number (3)"),
        ("[jobs]", "1: jobs: no jobs"),
        ("jobs.a = 3", "1: jobs.a: expected a table, got a number (3)"),
        ("[job.a]\nshell = 'x'", "1: job: unknown key; did you mean jobs?"),
        ("name = 3", "1: name: expected a string, got a number (3)"),
        ("name = ''", "1: name: expected a name, got an empty string"),
        ("[jobs.a]\ncommand = ['x']\nshell_program = ['sh', '-c']", "jobs.a.shell_program: says what runs a script"),
        ("[jobs.a]\nshell = 'x'\nshell_program = ['python3', '-c']", "jobs.a.shell_program: expected a shell (sh, bash, dash, "),
        ("[jobs.a]\nshell = 'x'\nshell_program = ['bash', '-e']", "jobs.a.shell_program: expected a shell (sh, bash, dash, "),
        ("[jobs.a]\nland = 'b'\nok_exit_codes = [2]\n[jobs.b]\nshell = 'x'", "jobs.a.ok_exit_codes: is about the exit code"),
        ("[jobs.1a]\nshell = 'x'", "1: jobs.1a: a job's id is at most 64 letters, digits, _ and -"),
        ("[jobs.-a]\nshell = 'x'", "jobs.-a: a job's id is at most 64 letters, digits, _ and -"),
        (f"[jobs.{'a' * 65}]\nshell = 'x'", "a job's id is at most 64 letters, digits, _ and -"),
        ("[jobs.Build]\nshell = 'x'\n[jobs.build]\nshell = 'y'", "jobs.build: differs from Build in case alone"),
        (
            "[jobs.lint-test]\nshell = 'x'\n[jobs.b]\nshell = 'echo {{ jobs.lint-test.output }}'",
            'jobs.b.shell: no job is called lint; did you mean lint-test? In a template that is jobs["lint-test"]',
        ),
        ("[run]\nslots = -1", "2: run.slots: expected a whole number from 0 to 4096, got a number (-1)"),
        ("[run]\nslotz = 1", "2: run.slotz: unknown key; did you mean slots?"),
        ("[run]\nenv.A = '{{ item }}'", "2: run.env: item is not known here, only inputs and run"),
        ("[run]\nenv.A = '{{ inputs.x }}'", "2: run.env: inputs.x is not declared"),
        ("[run]\nfast_slots = -1", "2: run.fast_slots: expected a whole number from 0 to 4096, got a number (-1)"),
        ("[run]\nslots = 2\nfast_slots = 2", "3: run.fast_slots: expected fewer than slots (2): none would be left for the main"),
        ("[run]\nmax_depth = 'deep'", "2: run.max_depth: expected a whole number from 0 to 100"),
        ("[run]\nmin_free_memory = -1", "2: run.min_free_memory: expected a size"),
        ("[run]\nmin_free_memroy = 1", "2: run.min_free_memroy: unknown key; did you mean min_free_memory?"),
        ("pools = 3", "1: pools: expected a table, got a number (3)"),
        ("[pool.x]\nslots = 1", "1: pool: unknown key; did you mean pools?"),
        ("[pools]\nx = 4", '2: pools.x: expected a table such as { slots = 4, rate = "50/min" }, got a number (4)'),
        ("[pools.x]", "1: pools.x: a pool has slots, a rate (starts in a time), or both; this has neither"),
        ("[pools.x]\nslots = 0", "2: pools.x.slots: expected a whole number from 1 to 4096, got a number (0)"),
        ("[pools.x]\nslot = 1", "2: pools.x.slot: unknown key; did you mean slots?"),
        ("[pools.x]\nrate = 50", '2: pools.x.rate: expected a rate such as "50/min", "5/s" or "3/10s"'),
        ("[pools.x]\nrate = '50 per minute'", "2: pools.x.rate: expected a rate"),
        ("[pools.x]\nrate = '0/s'", "2: pools.x.rate: expected a rate"),
        ("[pools.x]\nrate = '5/0s'", "2: pools.x.rate: expected a rate"),
        ("[pools.x]\nrate = '5/fortnight'", "2: pools.x.rate: expected a rate"),
        ("[pools.x]\nrate = '5/10'", "2: pools.x.rate: expected a rate"),
        ("[pools.'../x']\nslots = 1", '1: pools."../x": a pool\'s name is at most 64 lower-case letters'),
        ("[pools.X]\nslots = 1", "1: pools.X: a pool's name is"),
        (
            "[pools.abc]\nslots = 1\n[jobs.a]\nshell = 'x'\npool = 'abd'",
            '5: jobs.a.pool: no pool is called "abd"; did you mean abc?',
        ),
        ("[defaults]\npool = 'x'\n[jobs.a]\nshell = 'x'", '3: jobs.a: pool of [defaults]: no pool is called "x"'),
        ("[defaults]\ntoken = ''\n[jobs.a]\nshell = 'x'", "2: defaults.token: the token is empty"),
        ("[inputs]\nx = { type = 'strin' }", '2: inputs.x.type: expected one of "string"'),
        ("[inputs]\nx = { type = 'strin' }", "did you mean string?"),
        ("[inputs]\nx = { type = 'integer', default = 'a' }", '2: inputs.x.default: expected a whole number, got a string ("a")'),
        ("[inputs]\nx = { type = 'integer', default = true }", "2: inputs.x.default: expected a whole number, got true"),
        ("[inputs]\nx = { enum = ['low', 'high'], default = 'hig' }", "did you mean high?"),
        ("[inputs]\nx = { enum = ['low', 3] }", "2: inputs.x.enum[1]: expected a string, got a number (3)"),
        ("[inputs]\nx = { enum = [] }", "2: inputs.x.enum: expected a list of at least one value, got an empty list"),
        ("[inputs]\nx = { required = true, default = 1 }", "2: inputs.x.default: an input that is required has no default"),
        ("[inputs]\nx = { requird = true }", "2: inputs.x.requird: unknown key; did you mean required?"),
        ("[inputs]\n'a=b' = 1", '2: inputs."a=b": an input\'s name is a letter'),
        ("[defaults]\ntimeout = 'x'\n[jobs.a]\nshell = 'x'\n[jobs.b]\nshell = 'x'", "2: defaults.timeout: expected a duration"),
        ("[defaults]\nlabel = '{{ item }}'\n[jobs.a]\nshell = 'x'", "3: jobs.a: label of [defaults]: item is only known"),
        ("[defaults]\nagent = ' '", "2: defaults.agent: expected the name of an agent, got an empty string"),
        ("[defaults]\nworkspace = 'worktre'", "did you mean worktree?"),
        ("[defaults]\nworkspace = { base = 'main' }", "2: defaults.workspace: no kind: expected one of shared"),
        ("[defaults]\nworkspace = { kind = 'copy', base = 'x' }", "2: defaults.workspace.base: says how a git worktree is made"),
    ],
)
def test_a_mistake_around_the_jobs_is_told_in_words(text: str, problem: str) -> None:
    found = mistakes(text)
    assert sum(problem in line for line in found) == 1, found


@pytest.mark.parametrize(
    ("needs", "circles"),
    [
        ({"a": "b", "b": "a"}, ["a -> b -> a"]),
        ({"c": "a", "a": "b", "b": "c"}, ["c -> a -> b -> c"]),
        ({"a": "b", "b": "a", "c": "d", "d": "c", "e": "a"}, ["a -> b -> a", "c -> d -> c"]),
    ],
)
def test_circles_are_told_with_their_path(needs: dict[str, str], circles: list[str]) -> None:
    text = "".join(f'[jobs.{job}]\nshell = "echo {{{{ jobs.{need}.output }}}}"\n' for job, need in needs.items())
    assert [line.split(": ")[-1] for line in mistakes(text)] == circles


def test_a_chain_of_many_jobs_is_no_circle_and_no_deep_recursion() -> None:
    text = "".join(f'[jobs.j{number}]\nneeds = ["j{number + 1}"]\nshell = "true"\n' for number in range(1200))
    assert len(load_text(text + '[jobs.j1200]\nshell = "true"', path="jobs.toml", folder="/").jobs) == 1201
    assert len(mistakes(text + '[jobs.j1200]\nneeds = ["j0"]\nshell = "true"')) == 1


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a = 1\nb = \n", "2:5: invalid TOML: "),
        ("a = 1\na = 2", "2:6: invalid TOML: "),
        ('a = 1\n\nb = """x', "3:9: invalid TOML: "),
        ("[a", "1:3: invalid TOML: "),
    ],
)
def test_invalid_toml_is_told_with_line_and_column(text: str, place: str) -> None:
    (problem,) = mistakes(text)
    assert problem.startswith(place)
    line, column, _ = place.split(":", 2)
    assert problem.endswith(f"(line {line}, column {column})")


DEEP_EXPRESSIONS = ["(" * 2000, "[" * 300 + "]" * 300, "9" * 5000, "a" + ".a" * 3000]


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000 + "]" * 5000,
        "a = " + "[" * 100 + "]" * 100,
        "a = " + "9" * 5000,
        "a = 1e999",
        "a" + ".a" * 5000 + " = 1",
        *(f"[jobs.a]\ncommand = ['{{{{ {expression} }}}}']" for expression in DEEP_EXPRESSIONS),
    ],
    ids=range(9),
)
def test_a_monstrous_file_is_refused_in_words(text: str) -> None:
    assert all(len(problem) < 400 for problem in mistakes(text))


def test_the_mistakes_of_the_users_config_are_told_with_its_own_path(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[pools.x]\nslots = 0\n[defaults]\ntimeot = 1\ncwd = "{{ "\n')
    file = tmp_path / "jobs.toml"
    file.write_text('[jobs.a]\nshell = "true"\nattempts = 0')
    with pytest.raises(JobsFileError) as told:
        load(file, user_config=str(config))
    places = [problem.split(": ")[0:2] for problem in told.value.problems]
    assert places == [
        [f"{file}:3", "jobs.a.attempts"],
        [f"{config}:2", "pools.x.slots"],
        [f"{config}:4", "defaults.timeot"],
        [f"{config}:5", "defaults.cwd"],
    ]


def test_a_pool_of_the_users_that_bounds_nothing_is_told_where_it_stands_and_pools_are_then_not_missed(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    file = tmp_path / "jobs.toml"
    file.write_text('[jobs.a]\nshell = "true"\npool = "x"')
    for written, told_at in [("[pools.x]\n", "pools.x: a pool has slots"), ("pools = 3\n", "pools: expected a table")]:
        config.write_text(written)
        with pytest.raises(JobsFileError) as told:
            load(file, user_config=str(config))
        (problem,) = told.value.problems
        assert problem.startswith(f"{config}:1: {told_at}")


def test_a_word_that_the_users_config_does_not_know_is_told(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[default]\nattempts = 3\n")
    file = tmp_path / "jobs.toml"
    file.write_text('[jobs.a]\nshell = "true"')
    with pytest.raises(JobsFileError) as told:
        load(file, user_config=str(config))
    assert told.value.problems == [f"{config}:1: default: unknown key; did you mean defaults?"]


def test_a_file_too_large_to_search_is_told_without_line_numbers() -> None:
    text = '[jobs.a]\nshell = "true"\nfor_each = [\n' + '  ["x"],\n' * 3000 + "]\nattempts = 0"
    assert mistakes(text) == [" jobs.a.attempts: expected a whole number of at least 1, got a number (0)"]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("#!", "its #! names no program"),
        (
            "#!/usr/bin/env python3\nprint({{ index }})",
            "values are quoted for a shell, and python3 is none: give it values by env",
        ),
        ("#!/usr/bin/env python3\nprint(1)", ""),
        ("#!/usr/bin/env -S bash -eu\necho {{ index }}", ""),
    ],
)
def test_a_first_line_that_reads_no_quotes_is_told_but_not_of_a_run_that_was_begun(script: str, problem: str) -> None:
    text = f"[jobs.a]\nshell = '''{script}'''"
    assert load_text(text, path="/f/jobs.toml", folder="/f").jobs
    if not problem:
        assert load_text(text, path="/f/jobs.toml", folder="/f", is_recorded=False).jobs
        return
    with pytest.raises(JobsFileError) as told:
        load_text(text, path="/f/jobs.toml", folder="/f", is_recorded=False)
    assert f"jobs.a.shell: {problem}" in told.value.problems[0]
