"""A rendering that would never end, or fill the memory, is a mistake in words: counted, and refused before it is done."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.jobsfile.language import metering
from orchestrator.jobsfile.language.compiler import compile_template
from orchestrator.jobsfile.language.rereading import marked
from orchestrator.jobsfile.language.shell_contexts import PLACEHOLDER
from orchestrator.jobsfile.language.template import RenderError, TemplateError
from orchestrator.jobsfile.language.template_checks import refuse_shell_length
from orchestrator.jobsfile.template_fields import _has_text_around

STEPS = "it takes more than 10,000 steps, too much for a template: let a command do it"
TEXT = "it makes more than 1,000,000 characters, too much for a template: let a command do it"
NUMBER = "it gives a number that no double can hold"


@pytest.fixture(autouse=True)
def _low_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is counted costs nothing; what is not counted takes for ever all the same."""
    monkeypatch.setattr(metering, "MOST_STEPS", 10_000)
    monkeypatch.setattr(metering, "MOST_TEXT", 1_000_000)


def refusal(source: str, **names: Any) -> str:
    """In words, when it is rendered: nothing of it is worked out before."""
    with pytest.raises(RenderError) as caught:
        compile_template(source, "value").render(names)
    return str(caught.value)


DOUBLED = "{% set ns = namespace(x=START) %}{% for _ in range(99) %}{% set ns.x = EXPR %}{% endfor %}{{ ns.x | length }}"
FIB = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(99) }}"
TREE = "{% for x in [xs] recursive %}{{ loop(xs) if loop.depth < 9 else '' }}{% endfor %}"
LIST = "[" + ", ".join(["xs"] * 20) + "]"


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(5000) | map('string') %}{% for b in a | list | map('int') %}{{ b }}{% endfor %}{% endfor %}",
        FIB,
        TREE,
        "{% for a in range(5000) %}{{ a | string | trim }}{% endfor %}",
        "{{ [0] * 10**12 }}",
        "{{ 10**12 * (0,) }}",
        "{% set a = xs * 40 %}{% for b in range(9000) %}{% if b in a %}{% endif %}{% endfor %}",
        "{% set a = xs * 40 %}{% for b in range(9000) %}{% if b is in a %}{% endif %}{% endfor %}",
        "{{ range(9000) | select('in', xs * 40) | list }}",
        "{% for b in range(900) %}{% set c = xs[:] %}{% endfor %}",
        "{{ [1] | batch(10**12, 0) | list }}",
        "{{ xs | slice(10**12) | list }}",
        "{{ ([xs] * 200) | sum(start=[]) | length }}",
        DOUBLED.replace("START", "[0]").replace("EXPR", "ns.x + ns.x"),
        "{% set a = " + LIST + " %}{% set b = " + LIST.replace("xs", "a") + " %}{{ " + LIST.replace("xs", "b") + " }}",
        "{% set a = " + LIST + " %}{% set b = " + LIST.replace("xs", "a") + " %}{{ " + LIST.replace("xs", "b") + " | tojson }}",
        "{% set a = " + LIST + " %}{% set b = " + LIST.replace("xs", "a") + " %}{{ " + LIST.replace("xs", "b") + " | upper }}",
        "{{ ('a' * 500000) | wordwrap(1) }}",
        "{{ ('(' * 60000 ~ 'www.a.b' ~ ')' * 60000) | urlize }}",
    ],
)
def test_more_steps_than_a_template_may_take_are_refused(source: str) -> None:
    assert refusal(source, xs=list(range(1000))) == STEPS


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10**12 }}",
        "{{ 10**12 * 'x' }}",
        "{{ 'x' | center(10**12) }}",
        "{{ 'x' | indent(10**12, true) }}",
        "{{ ('x\n' * 1000) | indent('y' * 2000) }}",
        "{{ '%1000000000000d' % 1 }}",
        "{{ '%(n)-1000000000000d' % {'n': 1} }}",
        "{{ '%.1000000000000f' | format(1) }}",
        "{{ ('%s' * 1000) | format(*[t] * 1000) }}",
        "{{ ('%(t)s' * 1000) % {'t': t} }}",
        "{{ (t | replace('', t)) | replace('', t) }}",
        "{{ range(2000) | join(t) }}",
        "{{ ([t] * 2000) | join }}",
        "{{ ([{'t': t}] * 2000) | join(attribute='t') }}",
        "{{ ([t] * 2000) | tojson }}",
        "{% for x in range(2000) %}" + "x" * 1000 + "{% endfor %}",
        "{% for x in range(2000) %}{% if x %}{{ t }}{% endif %}{% endfor %}",
        "{% macro m() %}{% for x in range(200) %}{{ t }}{% endfor %}{% endmacro %}{{ m() ~ m() ~ m() ~ m() ~ m() ~ m() }}",
        "{% set x %}" + "{{ t }}" * 600 + "{% endset %}{{ x ~ x }}",
        DOUBLED.replace("START", "'x'").replace("EXPR", "ns.x + ns.x"),
        DOUBLED.replace("START", "'x'").replace("EXPR", "ns.x ~ ns.x"),
        "{{ ('<!---->' * 9000) | striptags }}",
        "{{ ('a' * 90000) | trim('b' * 9000 ~ 'a') }}",
    ],
)
def test_more_text_than_a_template_may_make_is_refused(source: str) -> None:
    assert refusal(source, t="x" * 1000) == TEXT


@pytest.mark.parametrize("source", ["{{ 10 ** (10 ** 10) }}", "{{ (10 ** 300) * (10 ** 400) }}", "{{ 2 ** (2 ** 40) }}"])
def test_a_number_that_would_take_for_ever_is_refused(source: str) -> None:
    assert refusal(source) == NUMBER


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ '%*d' % (10**12, 1) }}", "a width that is a value (%*d) is not possible in a template"),
        ("{{ 1.5 | round(10**12, 'ceil') }}", "round: the precision may be 400"),
        ("{{ [1] | tojson(indent=10**12) }}", "tojson: the indent may be 32"),
    ],
)
def test_a_width_beyond_all_use_is_refused(source: str, told: str) -> None:
    assert refusal(source) == told


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for a in xs %}{{ loop.index }}/{{ loop.length }}{{ ' ' if not loop.last else '' }}{% endfor %}", "1/3 2/3 3/3"),
        ("{% for a in xs | map('string') %}{{ a }}{{ loop.length }}{% endfor %}", "132333"),
        ("{% for a in xs if a > 1 %}{{ a }}{% else %}none{% endfor %}", "23"),
        ("{% for a in [[1, [2]]] recursive %}{{ loop(a) if a is iterable else a }}{% endfor %}", "12"),
        (
            "{{ 'a' ~ 1 ~ [2] }} {{ 2 * 'ab' }} {{ 2 ** 10 }} {{ 7 % 4 }} {{ [1] + [2] }} {{ 2 ** -1 }}",
            "a1[2] abab 1024 3 [1, 2] 0.5",
        ),
        ("{{ 2 in xs }} {{ 2 not in xs }} {{ 'k' in {'k': 1} }} {{ xs[1:] }} {{ 2 is in xs }}", "true false true [2, 3] true"),
        (
            "{{ xs | join('-') }} {{ [{'a': 1}] | join(attribute='a') }} {{ xs | sum }} {{ [[1], [2]] | sum(start=[]) }}",
            "1-2-3 1 6 [1, 2]",
        ),
        (
            "{{ 'a' | center(3) }}|{{ 'a' | replace('a', 'b') }} {{ '%03d %s' % (7, 'x') }} {{ '%s' | format(1) }}",
            " a |b 007 x 1",
        ),
        ("{{ xs | select('in', [1, 2]) | list }} {{ xs | map('string') | first }} {{ missing | default('d') }}", "[1, 2] 1 d"),
        ("{{ xs | batch(2, 0) | list }} {{ xs | slice(2) | list }} {{ 1.25 | round(1) }}", "[[1, 2], [3, 0]] [[1, 2], [3]] 1.2"),
        ("{% macro f(n) %}{{ n }}{{ f(n - 1) if n else '' }}{% endmacro %}{{ f(3) }}", "3210"),
    ],
)
def test_what_is_counted_says_what_it_said(source: str, text: str) -> None:
    assert compile_template(source, "text").render({"xs": [1, 2, 3]}) == text


def test_each_rendering_has_its_own_bounds() -> None:
    template = compile_template("{% for a in range(6000) %}{% endfor %}{{ x }}", "text")
    assert [template.render({"x": x}) for x in range(3)] == ["0", "1", "2"]


def test_a_long_list_and_a_long_text_go_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    values = [str(number) for number in range(20_000)]
    assert compile_template("{{ xs | reject('eq', '1') | list | length }}", "value").render({"xs": values}) == 19_999
    assert len(compile_template("{{ t | upper ~ t }}", "text").render({"t": "x" * 2_000_000})) == 4_000_000


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "[" * 150 + "]" * 150 + " }}",
        "{% for a in x %}" * 25 + "{% endfor %}" * 25,
        "{% if a %}" * 120 + "{% endif %}" * 120,
        "{{ " + "9" * 5000 + " }}",
    ],
)
def test_what_cannot_be_read_is_a_mistake_of_the_file(source: str) -> None:
    with pytest.raises(TemplateError, match="nested too deeply, or a number too large, for a template"):
        compile_template(source, "text")


def test_a_source_is_gone_through_once() -> None:
    """Each of these took the square of its length, or the cube."""
    refuse_shell_length("{% raw %}" * 200_000 + "{% raw %}${#x}{% endraw %}" + "{% raw %}" * 200_000)
    assert marked("{#" * 200_000 + "{%" * 200_000 + "{{ x }}").endswith(PLACEHOLDER)
    assert _has_text_around("{{}}" * 20_000 + "%}") is False
    assert [
        _has_text_around(text) for text in ("{{ a }}", "{{ a }}{{ b }}", "{{ a }} ", "a {{ b }}", "{% if a %}x{% endif %}")
    ] == [
        *(False, True, True, True, False),
    ]
