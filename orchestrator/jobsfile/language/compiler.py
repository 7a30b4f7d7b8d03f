"""Makes the templates of a jobs file.

jinja2 costs 30 ms to import, so a source without `{{`, `{%` or `{#` never touches it.
"""

from __future__ import annotations

from orchestrator.jobsfile.language.template import Template, TemplateKind


def compile_template(source: str, kind: TemplateKind) -> Template:
    """Check and compile `source`. Raises TemplateError."""
    if "{{" not in source and "{%" not in source and "{#" not in source:
        return Template(source, kind)
    from orchestrator.jobsfile.language.sandbox import compile_source

    return compile_source(source, kind)
