"""Where in the file a mistake stands: its line, and its place written as TOML would."""

from __future__ import annotations

from orchestrator.jobsfile.language.problems import find_lines, show_place


def test_line_numbers_see_through_strings_and_lists_of_many_lines() -> None:
    text = "\n".join(
        [
            'shell = """',  # 1
            "[jobs.fake]",
            'timeout = 3 ""',
            '"""',
            "list = [",  # 5
            "  '[x]', # ]",
            "  'timeout = 1',",
            "]",
            "[jobs . 'port']  # [no]",  # 9
            "inline = { a = 1, b.c = 2 }",  # 10
            "[[jobs.port.many]]",  # 11
            "below = 1",
            "[jobs.port.sub]",  # 13
            "dotted.key = 1",  # 14
        ]
    )
    for newline in ("\n", "\r\n"):
        lines = find_lines(text.replace("\n", newline))
        assert lines == {
            ("shell",): 1,
            ("list",): 5,
            ("jobs",): 9,
            ("jobs", "port"): 9,
            ("jobs", "port", "inline"): 10,
            ("jobs", "port", "inline", "a"): 10,
            ("jobs", "port", "inline", "b"): 10,
            ("jobs", "port", "inline", "b", "c"): 10,
            ("jobs", "port", "many"): 11,
            ("jobs", "port", "sub"): 13,
            ("jobs", "port", "sub", "dotted"): 14,
            ("jobs", "port", "sub", "dotted", "key"): 14,
        }


def test_a_place_is_written_as_toml_would() -> None:
    assert show_place(("jobs", "my job", "command", 2)) == 'jobs."my job".command[2]'
    assert show_place(("a\nb",)) == '"a\\nb"'
    assert show_place(("",)) == '""'
