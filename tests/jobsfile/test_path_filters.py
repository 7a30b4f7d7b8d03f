"""Filters for paths and words, in templates."""

from __future__ import annotations

import shlex

import pytest

from orchestrator.jobsfile.language.compiler import compile_template
from orchestrator.jobsfile.language.template import RenderError
from tests.drivers.sweeps import telling

CASES: dict[str, list[tuple[object, object]]] = {
    "{{ item | basename }}": [("out/a.tar.gz", "a.tar.gz"), ("a", "a"), ("out/", "out"), ("/", "/"), ("", ""), ("..", "..")],
    "{{ item | dirname }}": [("out/a.gz", "out"), ("a", "."), ("/a", "/"), ("/", "/"), ("a/b/", "a"), ("", ".")],
    "{{ item | stem }}": [("out/a.tar.gz", "a.tar"), (".bashrc", ".bashrc"), ("d.x/f", "f"), ("a.", "a"), ("/", "/")],
    "{{ item | suffix }}": [("out/a.tar.gz", ".gz"), (".bashrc", ""), ("d.x/f", ""), ("a", "")],
    "{{ item | with_suffix('.webp') }}": [("out/a.png", "out/a.webp"), ("d.x/f", "d.x/f.webp"), ("d/.rc", "d/.rc.webp")],
    "{{ item | with_suffix('') }}": [("out/a.tar.gz", "out/a.tar"), ("d.x/f", "d.x/f")],
    "{{ item | relative_to('src') }}": [("src/a/b.py", "a/b.py"), ("./src//a", "a"), ("src", "."), ("test/a", "../test/a")],
    "{{ item | relative_to('/srv/www') }}": [("/srv/www/a", "a"), ("/srv", ".."), ("/", "../..")],
    "{{ item | split(',') }}": [("a,b,,c", ["a", "b", "", "c"]), ("", [""])],
    "{{ item | split }}": [(" a  b ", ["a", "b"])],
    "{{ item | split(':', 1) | last }}": [("a:b:c", "b:c")],
    "{{ item | shell_join }}": [(["a b", "c"], "'a b' c"), ("a b", "'a b'"), ([1, True], "1 true"), ([], "")],
    "{{ item | map('stem') | join(' ') }}": [(["a/b.c", "d.e"], "b d")],
    "{{ item | map('stem') | shell_join }}": [(["a/b c.d", "e.f"], "'b c' e")],
    "ssh host -- {{ item | shell_join | dirname }}": [("a/b", "ssh host -- a")],
}


def test_each_filter_gives_the_part_of_the_path_that_it_names() -> None:
    for source, cases in CASES.items():
        for item, expected in cases:
            with telling(f"{source} of {item!r}"):
                assert compile_template(source, "value").render({"item": item}) == expected


def test_a_joined_command_line_in_a_shell_template_is_one_word_for_the_shell_that_gets_it() -> None:
    words = ["cat", "a b", "it's"]
    line = compile_template("ssh host -- {{ item | shell_join }}", "shell").render({"item": words})
    assert shlex.split(shlex.split(line)[-1]) == words


@pytest.mark.parametrize(
    ("source", "item", "told"),
    [
        ("{{ item | stem }}", 3, "stem: expected text, got a number"),
        ("{{ item | basename }}", ["a"], "basename: expected text, got a list"),
        ("{{ item.path | stem }}", {}, "item.path is undefined: the mapping is empty"),
        (
            "{{ item | with_suffix('webp') }}",
            "a.png",
            'with_suffix: expected a suffix such as ".webp", or "" for none, got "webp"',
        ),
        ("{{ item | with_suffix('.b/c') }}", "a", 'with_suffix: expected a suffix such as ".webp", or "" for none, got ".b/c"'),
        ("{{ item | with_suffix('.c') }}", "..", 'with_suffix: ".." names no file'),
        ("{{ item | relative_to('/srv') }}", "a", 'relative_to: of "a" and "/srv" one is absolute and the other is not'),
        ("{{ item | relative_to('../b') }}", "a", 'relative_to: where "../b" lies cannot be told from its name'),
        ("{{ item | split('') }}", "a", "empty separator"),
        ("{{ item | shell_join }}", [None], 'null has no text; use | default("…", true) or | tojson'),
    ],
)
def test_what_a_filter_does_not_take_is_said_in_its_words(source: str, item: object, told: str) -> None:
    with pytest.raises(RenderError) as caught:
        compile_template(source, "value").render({"item": item})
    assert str(caught.value) == told
