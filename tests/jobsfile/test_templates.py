"""What a template gives, and what it refuses, before anything starts and while rendering."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from orchestrator.jobsfile.language.compiler import compile_template
from orchestrator.jobsfile.language.template import RenderError, TemplateError, TemplateKind


class Port:
    """Stands for `jobs.port`."""

    def template_field(self, name: str) -> Any:
        return {"output": ["a", "b"], "status": "succeeded"}[name]


def render(source: str, kind: TemplateKind = "value", **context: Any) -> Any:
    return compile_template(source, kind).render(context)


@pytest.mark.parametrize(
    ("source", "context", "expected"),
    [
        ("{{ item }}", {"item": "007"}, "007"),
        ("{{ item }}", {"item": 7}, 7),
        ("{{ item }}", {"item": True}, True),
        ("{{ item }}", {"item": None}, None),
        ("{{ item }}", {"item": [1, {"a": "1"}]}, [1, {"a": "1"}]),
        ("{{ '[1, 2]' }}", {}, "[1, 2]"),
        (" {{ item }}", {"item": 7}, " 7"),
        ("{{ item }}\n", {"item": 7}, "7\n"),
        ("{{ item }}{{ item }}", {"item": 7}, "77"),
        ("{{ item + 1 }}", {"item": 7}, 8),
        ("{{ result }}", {"result": "a name like any other"}, "a name like any other"),
        ("{{ xs | map('upper') }}", {"xs": ["a"]}, ["A"]),
        ("{{ range(3) }}", {}, [0, 1, 2]),
        ("{{ item | e }}", {"item": "<"}, "&lt;"),
    ],
)
def test_only_a_lone_expression_keeps_its_type(source: str, context: dict[str, Any], expected: Any) -> None:
    given = render(source, **context)
    assert given == expected
    assert type(given) is type(expected)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\n", "a\n"),
        (True, "true"),
        (3, "3"),
        (1.5, "1.5"),
        (["é", None], '["é", null]'),
        ({"b": "<", "a": 1}, '{"b": "<", "a": 1}'),
    ],
)
def test_values_inside_a_text(value: Any, text: str) -> None:
    assert render("<{{ item }}>", "text", item=value) == f"<{text}>"


def test_a_final_newline_is_kept() -> None:
    assert render("{{ item }}\n\n", "text", item="a") == "a\n\n"


def test_null_has_no_text_and_the_error_says_what_to_do() -> None:
    with pytest.raises(RenderError, match="null has no text; use"):
        render("a{{ item }}", "text", item=None)


@pytest.mark.parametrize(
    ("source", "item", "told"),
    [
        ("{{ itme }}", "x", "itme is undefined"),
        ("{{ item.title }}", "x", "item.title is undefined: text has no field title"),
        ("{{ item.title() }}", "x", "item.title is undefined: text has no field title"),
        ("{{ item.real }}", 3, "item.real is undefined: a number has no field real"),
        ("{{ item.append }}", [], "item.append is undefined: a list has no field append"),
        ("{{ item.items }}", {"a": 1}, "item.items is undefined: only own keys resolve, never methods; the filter | items"),
        ("{{ item.b }}", {"a": 1, "c": 2}, "item.b is undefined: the keys are a, c"),
        ("{{ item['x'].y }}", {"x": None}, "item['x'].y is undefined: null has no field y"),
        ("{{ item.a.b.c }}", {"a": {}}, "item.a.b is undefined: the mapping is empty"),
        ("{{ item[2] }}", ["a"], "item[2] is undefined: the length is 1"),
        ("{{ item.__class__ }}", "x", "item.__class__ is undefined"),
        ("{{ [item.x] }}", {}, "item.x is undefined"),
        ("{{ item.x | upper }}", {}, "item.x is undefined"),
        ("{{ lipsum() }}", "", "lipsum is undefined"),
        ("{{ 1 / item }}", 0, "division by zero"),
    ],
)
def test_what_is_undefined_is_named_in_full(source: str, item: Any, told: str) -> None:
    for text in (source, f"in a text: {source}"):
        with pytest.raises(RenderError) as caught:
            render(text, item=item)
        assert str(caught.value).startswith(told)
        assert "\n" not in str(caught.value)


def test_an_own_key_wins_over_a_method_of_the_same_name() -> None:
    assert render("{{ item.items }}", item={"items": 3}) == 3


def test_indexes_and_slices_of_lists_and_texts() -> None:
    assert render("{{ item[0] }}{{ item[1:] }}{{ item[-1] }}", item="abc") == "abcc"
    assert render("{{ item[1:] }}", item=[1, 2, 3]) == [2, 3]


def test_default_takes_the_place_of_what_is_undefined() -> None:
    assert render("{{ item.x | default('none') }}", item={}) == "none"
    assert render("{{ 'yes' if item.x is defined else 'no' }}", item={}) == "no"


def test_tojson_is_plain_json() -> None:
    value = {"b": "<é & '>", "a": [1, None, True]}
    text = render("{{ item | tojson }}", item=value)
    assert json.loads(text) == value
    assert "<é & '>" in text
    assert list(json.loads(text)) == ["b", "a"]


def test_tojson_refuses_what_json_cannot_say() -> None:
    with pytest.raises(RenderError):
        render("{{ item | tojson }}", item=float("nan"))


def test_a_job_gives_its_fields_and_nothing_else() -> None:
    jobs = {"port": Port()}
    assert render("{{ jobs.port.output }}", jobs=jobs) == ["a", "b"]
    assert render("{{ jobs['port'].status }}!", jobs=jobs) == "succeeded!"
    with pytest.raises(RenderError, match=r"jobs\.port\.outptu is undefined"):
        render("{{ jobs.port.outptu }}", jobs=jobs)
    with pytest.raises(RenderError, match=r"jobs\.port\.template_field is undefined"):
        render("{{ jobs.port.template_field }}", jobs=jobs)
    with pytest.raises(RenderError, match="name one of its fields"):
        render("{{ jobs.port }}", jobs=jobs)


def test_filters_read_fields_as_expressions_do() -> None:
    results = [{"status": "failed", "item": "a"}, {"status": "succeeded", "item": "b"}]
    assert render("{{ xs | selectattr('status', 'eq', 'failed') | map(attribute='item') | join(',') }}", xs=results) == "a"
    assert render("{{ xs | groupby('status') | map(attribute='grouper') }}", xs=results) == ["failed", "succeeded"]
    with pytest.raises(RenderError):
        render("{{ ['a'] | map(attribute='upper') | list }}")


def test_loops_conditions_and_macros_of_jinja2_work_in_a_text() -> None:
    loop = "{% for x in xs %}{{ loop.index }}{{ m(x) }}{% if not loop.last %},{% endif %}{% endfor %}"
    source = "{% macro m(x) %}<{{ x }}>{% endmacro %}" + loop
    assert render(source, "text", xs=["a", "b"]) == "1<a>,2<b>"


def test_what_a_template_names_is_known_before_it_is_rendered() -> None:
    template = compile_template(
        "{{ jobs.port.output }}{{ jobs['list'].x }}{{ inputs.a }}{% for x in item %}{{ x }}{% endfor %}", "text"
    )
    assert template.jobs == {"port", "list"}
    assert template.inputs == {"a"}
    assert template.names == {"jobs", "inputs", "item"}
    assert not template.is_static


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("{{ jobs.port.output }}", ("jobs", "port", "output")),
        ("{{- jobs['a-b'].output -}}", ("jobs", "a-b", "output")),
        ("{{ jobs.port.output[0] }}", ()),
        ("{{ jobs.port.output | sort }}", ()),
        ("x{{ jobs.port.output }}", ()),
    ],
)
def test_a_template_that_is_nothing_but_names_tells_them(source: str, path: tuple[str, ...]) -> None:
    assert compile_template(source, "value").path == path


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ jobs[item].output }}", "name the job literally"),
        ("{% for j in jobs %}{% endfor %}", "name the job literally"),
        ("{% set jobs = 1 %}", "jobs cannot be set"),
        ("{% include 'x' %}", "{% include %} is not possible"),
        ("{% import 'x' as x %}", "{% import %} is not possible"),
        ("{% from 'x' import y %}", "{% from … import %} is not possible"),
        ("{% extends 'x' %}", "{% extends %} is not possible"),
        ("{% block x %}{% endblock %}", "{% block %} is not possible"),
        ("{% autoescape true %}{{ item }}{% endautoescape %}", "{% autoescape %} is not possible"),
        ("{{ 1e999 }}", "a number in it is too large"),
        ("{{ item | uper }}", "unknown filter uper; did you mean upper?"),
        ("{% if item %}{{ item | uper }}{% endif %}", "unknown filter uper; did you mean upper?"),
        ("{{ item is evn }}", "unknown test evn; did you mean even?"),
        ("{{ item | attr('title') }}", "unknown filter attr"),
        ("{{ item", "unexpected end of template"),
        ("a\n{{ item + }}", "line 2: "),
        ("echo ${#name}", "{# begins a comment of the template: write {% raw %}${#name}{% endraw %}"),
    ],
)
def test_mistakes_are_told_when_the_file_is_read(source: str, told: str) -> None:
    for kind in ("value", "text", "shell"):
        with pytest.raises(TemplateError) as caught:
            compile_template(source, kind)
        assert str(caught.value).startswith(told)
        assert "\n" not in str(caught.value)


def test_a_template_without_placeholders_never_loads_jinja2() -> None:
    program = (
        "import sys; from orchestrator.jobsfile.language.compiler import compile_template as c; t = c('echo }} {a}', 'shell');"
        "assert t.is_static and t.render({}) == 'echo }} {a}'; sys.exit('jinja2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=30, check=False).returncode == 0


# Shell templates.


@pytest.mark.parametrize(
    ("source", "context", "script"),
    [
        ("echo {{ item }}", {"item": "it's"}, "echo 'it'\"'\"'s'"),
        ("echo {{ item }}", {"item": ""}, "echo ''"),
        ("echo {{ item }}>out", {"item": 2}, "echo '2'>out"),
        ("echo {{ item }}", {"item": ["a b", 3, True]}, "echo 'a b' '3' 'true'"),
        ("echo {{ item }}", {"item": {"a": "b'"}}, 'echo \'{"a": "b\'"\'"\'"}\''),
        ("echo {{ item ~ ' b' }}", {"item": "a"}, "echo 'a b'"),
        ("echo {{ 'a b' }}", {}, "echo 'a b'"),
        ("echo {{ item | upper }}", {"item": "a b"}, "echo 'A B'"),
        ("echo {{ item | map('upper') }}", {"item": ["a", "b"]}, "echo 'A' 'B'"),
        ("echo {{ item | safe }}", {"item": "a;b"}, "echo 'a;b'"),
        ("echo {{ item | raw }}", {"item": "a b"}, "echo a b"),
        ("echo {{ item | raw }}", {"item": 3}, "echo 3"),
        ("echo '{{ item | raw }}'", {"item": "a"}, "echo 'a'"),
        ("{% for x in item %}echo {{ x }};{% endfor %}", {"item": ["a", "b c"]}, "echo 'a';echo 'b c';"),
        ("{% if item %}echo {{ item }}{% else %}true{% endif %}", {"item": "a b"}, "echo 'a b'"),
        ("{% set x = item ~ ';' %}echo {{ x }}", {"item": "a"}, "echo 'a;'"),
    ],
)
def test_each_placeholder_of_a_script_is_quoted_exactly_once(source: str, context: dict[str, Any], script: str) -> None:
    assert render(source, "shell", **context) == script


def test_an_empty_list_gives_no_word_and_joins_no_neighbours() -> None:
    assert render("echo a{{ item }}b", "shell", item=[]).split() == ["echo", "a", "b"]


def test_what_is_no_number_is_a_value_of_the_template_and_no_name_in_it() -> None:
    assert render("{{ ('nan' | float) == 1 }}") is False
    with pytest.raises(RenderError):
        render("{{ ('nan' | float) | tojson }}")


def test_raw_changes_nothing_outside_a_shell() -> None:
    assert render("{{ item | raw }}", item=3) == 3


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{% macro m() %}a{% endmacro %}{{ m() }}", "quoted twice"),
        ("{% set x %}a{% endset %}{{ x }}", "quoted twice"),
        ("{% filter upper %}a{% endfilter %}", "quoted twice"),
        ("{% call(x) item() %}a{% endcall %}", "quoted twice"),
        ("{% for x in item recursive %}{{ loop(x) }}{% endfor %}", "quoted twice"),
        ("echo {{ item | raw | upper }}", "raw must be the last filter"),
        ("echo {{ (item | raw) ~ 'a' }}", "raw must be the last filter"),
        ("{% set x = item | raw %}echo {{ x }}", "raw must be the last filter"),
        ("echo {{ (item | raw) if item else 'a' }}", "raw must be the last filter"),
    ],
)
def test_a_script_refuses_what_would_be_quoted_twice_or_not_at_all(source: str, told: str) -> None:
    with pytest.raises(TemplateError, match=told):
        compile_template(source, "shell")


@pytest.mark.parametrize(("item", "told"), [(None, "null has no text"), ([None], "null has no text"), ("a\0b", "NUL")])
def test_a_value_that_no_argument_can_carry_is_an_error(item: Any, told: str) -> None:
    with pytest.raises(RenderError, match=told):
        render("echo {{ item }}", "shell", item=item)
