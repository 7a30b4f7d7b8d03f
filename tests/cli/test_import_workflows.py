"""Workflows with every step type become jobs files: what the text says, that it loads, and what is told of the rest."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from drivers.importing import HEAD, Import

from orchestrator.cli.importing.translation import translate
from orchestrator.errors import UserError


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    return Import(tmp_path)


def test_steps_in_a_row_wait_for_each_other(imported: Import) -> None:
    jobs = imported(
        """
        - {id: First-Step, type: shell, run: make}
        - {id: first_step, type: shell, run: "echo {{ steps.First-Step.output.stdout }}", timeout: 90}
        - {id: "2nd", type: shell, run: "true", continue_on_error: true}
        """
    )
    assert list(jobs) == ["first_step", "first_step_2", "step_2nd"]
    assert jobs["first_step_2"] == {"needs": ["first_step"], "shell": "echo {{ jobs.first_step.output }}", "timeout": 90}
    assert jobs["step_2nd"]["max_failures"] == "100%"
    assert imported.made.notes == []


def test_agents_get_prompts_and_commands(imported: Import) -> None:
    jobs = imported(
        """
        - {id: think, type: prompt, prompt: "Look at {{ inputs.file }}", model: "{{ inputs.model }}"}
        - {id: plan, command: speckit.plan, input: {args: "{{ inputs.file }}"}}
        - {id: other, command: speckit.git.commit, integration: codex}
        - {id: dotted, command: speckit.tasks, integration: gemini, options: {quick: true}}
        """,
        "{file: {type: string, required: true}, model: {default: sonnet}}",
    )
    assert jobs["think"]["prompt"] == "Look at {{ inputs.file }}"
    assert jobs["think"]["model"] == "{{ inputs.model }}"
    assert (jobs["plan"]["agent"], jobs["plan"]["prompt"]) == ("claude", "/speckit-plan {{ inputs.file }}")
    assert (jobs["other"]["agent"], jobs["other"]["prompt"]) == ("codex", "$speckit-git-commit")
    assert jobs["dotted"]["prompt"] == "/speckit.tasks"
    assert imported.told(lost=True) == ["options: Spec Kit records them, and hands none of them over"]


@pytest.mark.parametrize(
    ("does", "integration", "agent", "lost"),
    [
        ("type: prompt, prompt: go", "auto", "claude", 1),
        ("type: prompt, prompt: go", '"{{ inputs.b }}"', "claude", 1),
        ("type: prompt, prompt: go", "null", "claude", 1),
        ("type: prompt, prompt: go", '"{{ inputs.a }}"', "{{ inputs.a }}", 0),
        ("command: speckit.plan", '"{{ inputs.a }}"', "codex", 1),
    ],
)
def test_an_agent_that_is_computed_is_a_template_or_told(
    does: str, integration: str, agent: str, lost: int, imported: Import
) -> None:
    head = "workflow: {id: x, name: x, version: 1.0.0}\n"
    steps = f"- {{id: a, {does}, integration: {integration}}}"
    jobs = imported(steps, "{a: {default: codex}, b: {default: auto}}", head)
    assert jobs["a"]["agent"] == agent
    assert imported.made.lost_count == lost
    assert ("# NOT CARRIED: " in imported.made.text) == bool(lost)


def test_an_agent_of_which_nothing_is_known_is_told(tmp_path: Path) -> None:
    path = tmp_path / "workflow.yml"
    path.write_text(f"{HEAD}steps:\n- {{id: a, type: prompt, prompt: go, integration: auggie}}\n")
    (note,) = translate(str(path)).notes
    assert note.is_lost
    assert note.words == "integration auggie: nothing is known of that agent; a file agents/auggie.toml would tell"


def test_a_gate_asks_and_its_choice_is_read(imported: Import) -> None:
    jobs = imported(
        """
        - id: ask
          type: gate
          message: "Ship {{ inputs.x }}?"
          options: [approve, edit, Reject]
          on_reject: skip
          show_file: "{{ inputs.x }}.md"
        - {id: after, type: shell, run: "echo {{ steps.ask.output.choice }}"}
        - {id: hard, type: gate, message: "Sure?", verdict_input: x}
        - {id: last, type: shell, run: "echo {{ steps.hard.output.choice }} {{ steps.hard.output.message }}"}
        """,
        "{x: {default: a}}",
    )
    assert jobs["ask"] == {
        "gate": "Ship {{ inputs.x }}?",
        "options": ["approve", "edit", "reject"],
        "on_reject": "skip",
        "show_file": "{{ inputs.x }}.md",
    }
    # A rejection that is passed by skips the gate, and would skip what needs it.
    assert jobs["after"]["when"] is True
    assert jobs["after"]["shell"] == "echo {{ jobs.ask.output | default('reject', true) }}"
    assert jobs["hard"]["options"] == ["approve", "reject"]
    assert jobs["hard"]["on_reject"] == "abort"
    assert jobs["last"]["shell"] == "echo {{ jobs.hard.output }} {{ 'Sure?' }}"
    assert "when" not in jobs["last"]
    assert [words.partition(":")[0] for words in imported.told(lost=True)] == ["verdict_input"]


def test_what_is_read_as_json_is_written_as_json(imported: Import) -> None:
    jobs = imported(
        """
        - {id: list, type: shell, run: "echo '[1]'"}
        - id: each
          type: fan-out
          items: "{{ steps.list.output.stdout | from_json }}"
          step: {id: x, type: shell, run: "echo {{ item }}"}
        - {id: last, type: shell, run: "echo {{ steps.list.output.stdout }}"}
        """
    )
    assert jobs["list"]["output"] == "json"
    assert jobs["each"]["for_each"] == "{{ jobs.list.output }}"
    assert jobs["last"]["shell"] == "echo {{ jobs.list.output | tojson }}"


def test_a_project_is_set_up_by_its_own_command(imported: Import) -> None:
    jobs = imported("- {id: setup, type: init, here: true, script: sh, force: 'yes'}")
    argv = ["specify", "init", "--here", "--integration", "claude", "--script", "sh", "--ignore-agent-tools", "--force"]
    assert jobs["setup"] == {"command": argv}


def test_inputs_keep_their_types(imported: Import) -> None:
    imported(
        '- {id: a, type: shell, run: "echo {{ inputs.1st }} {{ inputs.free }}"}',
        """
        1st: {type: string, required: true, default: x}
        count: {type: number, default: "5", prompt: "How many?"}
        fast: {type: boolean, default: "no"}
        scope: {enum: [a, b], default: a}
        free: {type: string}
        must: {required: true}
        """,
    )
    assert imported.file["inputs"] == {
        "input_1st": {"type": "string", "default": "x"},
        "count": {"type": "number", "default": 5, "description": "How many?"},
        "fast": {"type": "boolean", "default": False},
        "scope": {"type": "string", "default": "a", "enum": ["a", "b"]},
        "free": {"type": "string"},
        "must": {"type": "string", "required": True},
    }
    assert imported.jobs["a"]["shell"] == "echo {{ inputs.input_1st }} {{ inputs.free | default('', true) }}"


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("echo {{ steps.a.output.nope }}", "steps.a.output.nope: no such field here, so null"),
        ("echo {{ steps.a.output.x | unknown }}", "unknown filter 'unknown'"),
        ("echo {{ inputs.x | from_json }}", "from_json of anything but"),
    ],
)
def test_what_cannot_be_carried_is_told_with_its_line(run: str, words: str, imported: Import) -> None:
    imported(f'- {{id: a, type: shell, run: "true"}}\n- {{id: b, type: shell, run: "{run}"}}', "{x: {default: a}}")
    (note,) = [note for note in imported.made.notes if note.is_lost]
    assert words in note.words
    assert note.told("f.yml").startswith("f.yml:7: b: not carried: ")
    comment = imported.made.text.partition("[jobs.b]")[0].splitlines()[-1]
    assert comment.startswith("# NOT CARRIED: ")


def test_long_text_and_strange_characters_come_back_as_they_were(imported: Import) -> None:
    for text in ("a\n'''\n\tb", 'say "x"\nand \\ back', "tab\t and \x7f and é\n", "ends with '\n'", '"', "\\"):
        imported.path.write_text(HEAD + f"steps:\n- {{id: a, type: prompt, prompt: {quoted_yaml(text)}}}\n")
        assert tomllib.loads(translate(str(imported.path)).text)["jobs"]["a"]["prompt"] == text


def quoted_yaml(text: str) -> str:
    escaped = "".join(f"\\x{ord(each):02x}" if ord(each) < 256 and not each.isalnum() else each for each in text)
    return f'"{escaped}"'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "1: not a workflow: the file is not a mapping"),
        ("- a", "1: not a workflow: the file is not a mapping"),
        ("steps: []", "1: not a workflow: it has no list of steps"),
        ("on: push\njobs: {a: {}}", "1: not a workflow: it has no list of steps; this looks like GitHub Actions"),
        ("a: [1\nb: 2", "2: invalid YAML: "),
        ("a: 1\na: 2", "2: the key 'a' stands twice"),
        ("a: !!python/object/apply:os.system [x]\nsteps: [a]", "2: a step is a mapping"),
        (b"a: \xff", "1: not UTF-8"),
        ("a: 1\n---\nb: 2", "2: invalid YAML: "),
        ("a: &x [*x]", "1: nested more than 100 deep"),
        ("a: 2026-13-45", "1: not a value of its kind"),
        ("[" * 600, "1: "),
        ("steps:\n- {id: a, type: shel, run: x}", "2: step a: unknown type 'shel'; did you mean shell?"),
        ("steps:\n- {id: a, type: shell}", "2: step a: a shell step has the key run"),
        ("steps:\n- {id: a, type: shell, run: [x]}", "2: step a: run: expected text"),
        ("steps:\n- {type: shell, run: x}", "2: a step has an id"),
        ("steps:\n- {id: a, type: shell, run: x}\n- {id: a, type: shell, run: x}", "3: step a: the id stands twice"),
        ("steps:\n- {id: a, type: if, condition: x > 1, then: []}", "2: step a: condition: not one {{ … }}"),
        ("steps:\n- {id: a, type: fan-in, wait_for: [a]}", "2: step a: wait_for: it waits for itself"),
        ("steps:\n- {id: a, type: fan-in, wait_for: [b]}\n- {id: b, type: shell, run: x}", "2: step a: wait_for: 'b' is no step"),
        ("steps:\n- {id: a, type: gate, message: x, options: [yes-, no-]}", "2: step a: options: none of them is reject"),
        ("steps:\n- {id: a, type: while, condition: true, max_iterations: 0}", "2: step a: max_iterations: expected"),
        ("schema_version: 9\nsteps:\n- {id: a, type: shell, run: x}", "1: schema_version 9: only 1.0 is known"),
        ("inputs:\n  x: {type: number, default: many}\nsteps:\n- {id: a, type: shell, run: x}", "2: inputs.x: default: 'many'"),
        ("steps:\n- {id: a, type: if, condition: true, then: []}", "1: nothing to run"),
    ],
)
def test_bad_input_is_refused_with_its_line(content: str | bytes, problem: str, imported: Import) -> None:
    assert any(line.startswith(problem) for line in imported.refused(content)), imported.refused(content)


@pytest.mark.parametrize(
    "bomb", ["[*{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}]", "{{<<: [*{0}, *{0}, *{0}, *{0}, *{0}]}}"]
)
def test_aliases_do_not_multiply_without_end(bomb: str, imported: Import) -> None:
    lines = ["a0: &a0 {k: v}", *(f"a{number}: &a{number} {bomb.format(f'a{number - 1}')}" for number in range(1, 30))]
    assert "more than 50000 values, aliases counted each time" in imported.refused("\n".join(lines))[0]


def test_all_mistakes_are_told_at_once(imported: Import) -> None:
    assert len(imported.refused("steps:\n- {id: a, type: nope}\n- {id: b, type: shell}\n- x\n")) == 3


def test_merged_keys_are_taken(imported: Import) -> None:
    jobs = imported("- &base {id: a, type: shell, run: x, timeout: 7}\n- {<<: *base, id: b, run: y}")
    assert jobs["b"] == {"needs": ["a"], "shell": "y", "timeout": 7}


def test_a_text_that_names_itself_has_an_end(imported: Import) -> None:
    imported(
        """
        - {id: a, type: gate, message: "{{ steps.b.output.message }} {{ steps.a.output.message }}"}
        - {id: b, type: gate, message: "{{ steps.a.output.message }} {{ steps.b.output.message }}"}
        - {id: c, type: gate, message: "{{ steps.b.output.message }}"}
        """
    )
    assert imported.made.lost_count > 0


def test_a_missing_yaml_reader_is_told_with_what_brings_it(imported: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(UserError, match="import needs PyYAML") as refusal:
        translate(str(imported.path))
    assert refusal.value.hint == "pip install 'orchestrate-runs[import]' brings it"
