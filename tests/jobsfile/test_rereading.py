"""Which commands read a value once more as commands, so that our quotes are for nothing: told, and never refused."""

from __future__ import annotations

import pytest
from drivers.sweeps import telling

from orchestrator.jobsfile.language.rereading import has_arithmetic, reader_in_argv, reader_in_script
from orchestrator.jobsfile.load import load_text
from orchestrator.jobsfile.warnings import warnings_about, warnings_about_typed

TOLD = [
    ("eval {{ x }}", "eval"),
    ("X=1 eval echo {{ x }}", "eval"),
    ("true && { eval {{ x }}; }", "eval"),
    ("if test -e y; then\n  eval {{ x }}\nfi", "eval"),
    ("(eval {{ x }})", "eval"),
    ("cat <<E\ndon't\nE\neval {{ x }}", "eval"),
    ("sh -c {{ x }}", "sh -c"),
    ('y="$(sh -c {{ x }})"', "sh -c"),
    ("sudo -u bob /bin/bash -ec 'rm '{{ x }}", "bash -ec"),
    ("bash -o pipefail -c {{ x }}", "bash -c"),
    ("docker exec c sh -c {{ x.y }}", "sh -c"),
    ("su bob -c {{ x }}", "su -c"),
    ("python3 -c {{ x }}", "python3 -c"),
    ("perl -ne {{ x }}", "perl -ne"),
    ("ssh host {{ x }}", "ssh"),
    ("timeout 5s ssh -p 22 host rm {{ x }}", "ssh"),
    ("watch ls {{ x }}", "watch"),
    ("ls | xargs sh -c {{ x }}", "sh -c"),
    ("find . -exec sh -c {{ x }} \\;", "sh -c"),
    ("find {{ x }} -exec sh -c 'rm {}' \\;", "find … sh -c with {} in its script"),
    ("echo {{ x }} | xargs -I{} sh -c 'rm {}'", "xargs … sh -c with {} in its script"),
    ("echo {{ x }} | sh", "| sh"),
    ("echo {{ x }} | tee log | sudo bash -s", "| bash"),
]
LEFT = [
    "echo {{ x }}",
    "sh -c 'echo \"$1\"' _ {{ x }}",
    "sh {{ x }}",
    "bash {{ x }} -c {{ y }}",
    "eval {{ x | raw }}",
    'git commit -m "run; eval" {{ x }}',
    "echo 'eval' {{ x }}",
    "# eval {{ x }}\necho {{ x }}",
    "python -m lm eval {{ x }}",
    "python3 x.py -c {{ x }}",
    "pytest -c {{ x }}",
    "python -m pytest -c {{ x }}",
    'x={{ x }}; ssh host "$x"',
    "ssh {{ host }} uptime",
    "ssh -i {{ key }} host ls",
    "echo {{ x }} | grep sh",
    "echo {{ x }} | sh x.sh",
    "curl y | sh; echo {{ x }}",
    "echo {{ x }} > sh",
    "find . -exec rm {{ x }} {} +",
    "find {{ x }} -exec sh -c 'rm \"$1\"' _ {} \\;",
    "for i in {{ x }}; do sh -c 'ls'; done",
    "echo '{{ '",
]


def test_what_reads_a_value_as_commands_is_named() -> None:
    for script, reader in TOLD:
        with telling(script):
            assert reader_in_script(script) == reader


def test_what_takes_a_value_as_it_is_is_left_alone() -> None:
    for script in LEFT:
        with telling(script):
            assert reader_in_script(script) == ""


@pytest.mark.parametrize(
    "script", ['"', "'", "$(", "(", ")", "<<", "<<E\n", "\\", "{{ x }}", "|", "`", "eval {{ x }} $(($(", "(" * 5000]
)
def test_a_script_of_any_shape_is_read_to_its_end(script: str) -> None:
    """A script that is not for this reader must end it neither in a loop nor in an exception."""
    reader_in_script(f"{script} eval {{{{ x }}}} {script}")


def test_the_same_holds_for_an_argv_and_for_a_shell_that_reads_its_input() -> None:
    assert reader_in_argv(["sh", "-c", "rm {{ x }}"]) == "sh -c"
    assert reader_in_argv(["ssh", "host", "rm {{ x }}"]) == "ssh"
    assert reader_in_argv(["bash"], "rm {{ x }}") == "bash on its stdin"
    assert reader_in_argv(["sh", "-c", 'rm "$1"', "_", "{{ x }}"]) == ""
    assert reader_in_argv(["sh", "-c", "{{ x | raw }}"]) == ""
    assert reader_in_argv(["cat"], "{{ x }}") == ""


@pytest.mark.parametrize(
    ("keys", "is_warned"),
    [
        ('permissions = "edit"', True),
        ('permissions = "full"\nmax_concurrency = 2', True),
        ('permissions = "edit"\nmax_concurrency = 1', False),
        ('workspace = "worktree"', False),
        ('workspace = "shared"\npermissions = "edit"', False),
        ("", False),
    ],
)
def test_agents_that_edit_one_folder_at_once_are_warned_of(keys: str, is_warned: bool) -> None:
    text = f'[jobs.a]\nfor_each = ["x"]\nagent = "demo"\nprompt = "x"\n{keys}\n'
    told = warnings_about(load_text(text, path="/f/jobs.toml", folder="/f"), "jobs.toml")
    assert [line.partition(";")[0].partition(" of its ")[2] for line in told] == (
        ["agents change files in one folder at once"] if is_warned else []
    )
    assert not warnings_about(load_text(f"run.slots = 1\n{text}", path="/f/jobs.toml", folder="/f"), "jobs.toml")


@pytest.mark.parametrize(
    ("script", "is_read"),
    [
        ("echo $[ {{ x }} + 1 ]", True),
        ("a[{{ x }}]=1", True),
        ("let n={{ x }}", True),
        ("declare -i n={{ x }}", True),
        ("[[ {{ x }} -gt 3 ]]", True),
        ("if [[ -n $a && 3 -lt {{ x }} ]]; then :; fi", True),
        ("[[ {{ x | int | raw }} -gt 3 ]]", False),
        ("[ {{ x }} -gt 3 ]", False),
        ("[[ {{ x }} == 3 ]]", False),
        ("ls a[bc]* {{ x }}", False),
        ("echo 'let us' {{ x }}", False),
        ("a=({{ x }}); declare -a b={{ x }}", False),
    ],
)
def test_where_bash_takes_a_value_for_arithmetic(script: str, is_read: bool) -> None:
    assert has_arithmetic(script) is is_read


def test_each_place_of_a_file_is_told_with_its_line() -> None:
    text = (
        '[jobs.a]\nfor_each = ["x"]\nshell = "eval {{ item }}"\ncheck = "sh -c {{ item }}"\n'
        '[jobs.b]\nfor_each = ["x"]\ncommand = ["bash", "-c", "ls {{ item }}"]\n[jobs.c]\nshell = "eval x"\n'
    )
    told = warnings_about(load_text(text, path="/f/jobs.toml", folder="/f"), "jobs.toml")
    assert [line.partition(" reads ")[0] for line in told] == [
        "jobs.toml:3: jobs.a.shell: eval",
        "jobs.toml:4: jobs.a.check: sh -c",
        "jobs.toml:7: jobs.b.command: bash -c",
    ]


def test_of_what_was_typed_for_each_no_place_is_told_and_nothing_twice() -> None:
    text = '[jobs.each]\nfor_each = ["x"]\ncheck = "sh -c {{ item }}"\ncommand = ["bash", "-c", "ls {{ item }}"]\n'
    told = warnings_about_typed(load_text(text, path="/f/each.toml", folder="/f"))
    assert [words.partition(" reads ")[0] for words in told] == ["sh -c"], "each warns of bash -c itself"
    of_ssh = text.replace('"bash", "-c"', '"ssh", "host"').replace('check = "sh -c {{ item }}"', "")
    (words,) = warnings_about_typed(load_text(of_ssh, path="/f/each.toml", folder="/f"))
    assert words.startswith("ssh reads the value once more")
    assert words.endswith("""(sh -c 'ls -- "$1"' _ {})""")
    agents = '[jobs.each]\nfor_each = ["x"]\nagent = "demo"\nprompt = "x"\npermissions = "edit"\n'
    (words,) = warnings_about_typed(load_text(agents, path="/f/each.toml", folder="/f"))
    assert "; --workspace worktree gives each its own, --workspace shared says" in words
