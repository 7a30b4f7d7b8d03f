"""Where a placeholder of a shell script may stand."""

from __future__ import annotations

import pytest
from drivers.sweeps import telling

from orchestrator.jobsfile.language.compiler import compile_template
from orchestrator.jobsfile.language.template import TemplateError

ALLOWED = [
    "echo {{ x }}",
    "{{ x }}",
    "grep -r --include={{ x }} needle . | sort > {{ y }}.txt",
    "awk '{ print $1 }' {{ x }}",
    "git log --format=\"%h '%s'\" -- {{ x }}",
    "f() { echo {{ x }}; }; f",
    "if test -e {{ x }}; then # it's there\n  echo {{ x }}\nfi",
    "echo it\\'s {{ x }}",
    "echo a#it's' {{ x }}",
    "# it's\necho {{ x }}",
    "echo $(cmd {{ x }})",
    'echo "$(cmd {{ x }})"',
    'echo "$(cmd "$(inner {{ x }})")" {{ y }}',
    "echo $(case a in a) echo {{ x }};; (b) ;; esac) {{ y }}",
    "case {{ x }} in a) b;; esac; echo {{ y }}",
    "echo $((1 + (2))) {{ x }}",
    "echo $'a\\n' {{ x }}",
    'a=${y:-"q\'s"} {{ x }}',
    "a=\"${y:-'c'}\" {{ x }}",
    "echo $# $$ $? {{ x }}",
    'x=`basename "$0"` {{ x }}',
    "cat <<EOF\nit's $(pwd)\nEOF\necho {{ x }}",
    "cat <<'E F'\nit's `\nE F\necho {{ x }}",
    "cat <<-E\n\tit's\n\tE\necho {{ x }}",
    "cat <<A; cat <<B\n'\nA\n\"\nB\necho {{ x }}",
    "cat <<EOF | grep {{ x }}\nit's\nEOF\n",
    "(cat <<EOF)\nit's\nEOF\necho {{ x }}",
    "cat <<<word {{ x }}",
    "echo '{{ x | raw }}' \"{{ y|raw }}\" {{ z }}",
    "{% if a %}-v {{ x }}{% else %}'literal'{% endif %} {{ y }}",
    "{% for i in xs %}echo {{ i }};{% endfor %}",
    "# {% if a %}it's{% endif %}\necho {{ x }}",
    'x="a{% if a %}b{% endif %}" {{ x }}',
    "echo {{ x }}; echo 'no end",
    "{% raw %}echo ${#y}{% endraw %} {{ x }}",
]

MISPLACED = [
    ("echo '{{ x }}'", "stands inside '…'"),
    ("echo 'a' 'b {{ x }}'", "stands inside '…'"),
    ('echo "{{ x }}"', 'stands inside "…"'),
    ('echo "$y {{ x }}"', 'stands inside "…"'),
    ('echo "$(a) {{ x }}"', 'stands inside "…"'),
    ('echo "\\"{{ x }}"', 'stands inside "…"'),
    ("echo \"$(cmd '{{ x }}')\"", "stands inside '…'"),
    ("echo $'{{ x }}'", "stands inside $'…'"),
    ("echo `cmd {{ x }}`", "stands inside `…`"),
    ('echo "`cmd {{ x }}`"', "stands inside `…`"),
    ("cat <<EOF\n{{ x }}\nEOF", "stands in a here-document"),
    ("cat <<'EOF'\na {{ x }}\nEOF\n", "stands in a here-document"),
    ("cat <<-EOF; b\n\t{{ x }}\n\tEOF\n", "stands in a here-document"),
    ("echo # {{ x }}", "stands in a comment"),
    ("echo ${{ x }}", "stands right after a $"),
    ("echo \\{{ x }}", "stands right after a backslash"),
    ("echo $(( {{ x }} + 1 ))", "stands inside arithmetic"),
    ("(( {{ x }} > 1 ))", "stands inside arithmetic"),
    ("echo ${y:-{{ x }}}", "stands inside ${…}"),
    ('echo "${y:-{{ x }}}"', "stands inside ${…}"),
    ("echo ${y:-'{{ x }}'}", "stands inside ${…}"),
]

DOUBTFUL = [
    "{% if a %}'{% endif %}{{ x }}",
    "{% if a %}'{% else %}'{% endif %}{{ x }}'",
    '{% if a %}"{% else %}a{% endif %}{{ x }}',
    "{% for a in b %}{{ x }}'{% endfor %}",
    "{% for i in y %}{{ i }} cat <<E\n{% endfor %}",
    "{% if a %}#{% endif %} {{ x }}",
    "${% if a %}({% endif %}{{ x }}",
    "\\{% if a %}{% endif %}{{ x }}",
    "cat <<E\n{% if a %}\n{% endif %}E\n'\nE\n{{ x }} #'",
    "cat <<{{ x }}\n",
    "cat <<{{ y | raw }}\n{{ x }}",
    "{{ x }}#'\n{{ y }}",
    "{{ y | raw }}#'\n{{ x }}",
    "echo $'a\\'' {{ x }}'",
    'echo "$(case x in a) b;; esac) {{ x }}"',
    'echo "$(ca\\\nse x in a) b;; esac) {{ x }}"',
    'echo "$(a{% if b %};case x in a{% endif %}) {{ x }}"',
    "a=\"${b:-'}'}\" {{ x }}",
    'echo "$(cat <<E) {{ x }}\nE\n"',
    "cat <<E\n$(\nE\n) {{ x }}",
    "cat <<E\na\\\nE\n{{ x }}\nE\n",
    "cat <<E $(a\n{{ x }})\nE\n",
    'cat <<E "a\nb" {{ x }}\nE\n',
    'echo "$(# it\'s\necho) {{ x }}"',
    "echo $((echo a); echo ')') {{ x }}",
    "echo `echo '` {{ x }}",
]


def test_a_placeholder_where_the_shell_reads_a_command_is_taken() -> None:
    for source in ALLOWED:
        with telling(source):
            compile_template(source, "shell")


def test_a_placeholder_whose_quotes_the_script_would_undo_is_refused() -> None:
    for source, why in MISPLACED:
        with telling(source):
            with pytest.raises(TemplateError) as caught:
                compile_template(source, "shell")
            assert str(caught.value).startswith("{{ x }} " + why)
            assert str(caught.value).endswith("{{ x | raw }}")


def test_raw_may_stand_anywhere() -> None:
    for source, _ in MISPLACED:
        with telling(source):
            compile_template(source.replace("{{ x }}", "{{ x | raw }}"), "shell")


def test_in_doubt_it_is_refused() -> None:
    for source in DOUBTFUL:
        with telling(source), pytest.raises(TemplateError, match=r"not every shell reads alike|here-document"):
            compile_template(source, "shell")


def test_the_placeholder_that_is_meant_is_named_as_written() -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template("echo {{ a }} '{{ b | raw }}'\necho \"{{   item.title|upper }}\" {{ c }}", "shell")
    assert str(caught.value).startswith("{{ item.title|upper }} stands inside")


def test_texts_and_arguments_may_have_placeholders_in_quotes() -> None:
    assert compile_template("say '{{ x }}'", "text").render({"x": "a"}) == "say 'a'"
