"""Branches, switches, loops and fan-outs of a workflow become conditions, repeated jobs and chains."""

from __future__ import annotations

from pathlib import Path

import pytest
from drivers.importing import Import


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    return Import(tmp_path)


def test_branches_become_conditions(imported: Import) -> None:
    jobs = imported(
        """
        - {id: test, type: shell, run: make test, continue_on_error: true}
        - id: broken
          type: if
          condition: "{{ steps.test.output.exit_code != 0 }}"
          then:
            - {id: fix, type: shell, run: make fix}
            - id: deeper
              type: if
              condition: "{{ inputs.ship }}"
              then: [{id: ship, type: shell, run: make ship}]
            - {id: note, type: shell, run: make note}
          else:
            - {id: rest, type: shell, run: make rest}
        - {id: last, type: shell, run: "echo {{ steps.ship.output.stdout }} {{ steps.broken.output.condition_result }}"}
        """,
        "{ship: {type: boolean, default: false}}",
    )
    assert {id_: job.get("when") for id_, job in jobs.items()} == {
        "test": None,
        "fix": "{{ jobs.test.results[0].exit_code != 0 }}",
        "ship": "{{ jobs.test.results[0].exit_code != 0 and inputs.ship }}",
        "note": "{{ jobs.test.results[0].exit_code != 0 }}",  # ship may be skipped, and would skip it
        "rest": "{{ not jobs.test.results[0].exit_code != 0 }}",
        "last": True,
    }
    assert jobs["last"]["needs"] == ["note", "rest"]
    assert jobs["last"]["shell"] == "echo {{ jobs.ship.output | default('', true) }} {{ jobs.test.results[0].exit_code != 0 }}"


def test_a_branch_is_skipped_as_a_whole_where_its_first_job_is(imported: Import) -> None:
    jobs = imported(
        """
        - id: maybe
          type: if
          condition: "{{ inputs.x == 'y' }}"
          then: [{id: a, type: shell, run: a}, {id: b, type: shell, run: b}]
        """,
        "{x: {default: a}}",
    )
    assert jobs["b"] == {"needs": ["a"], "shell": "b", "timeout": "5m"}


def test_a_switch_compares_text(imported: Import) -> None:
    jobs = imported(
        """
        - {id: ask, type: shell, run: "echo 1"}
        - id: route
          type: switch
          expression: "{{ steps.ask.output.stdout }}"
          cases: {1: [{id: one, type: shell, run: one}], "it's": [{id: two, type: shell, run: two}]}
          default: [{id: other, type: shell, run: "echo {{ steps.route.output.expression_value }}"}]
        - {id: last, type: shell, run: last}
        """
    )
    assert jobs["one"]["when"] == "{{ jobs.ask.output | trim == '1' }}"
    assert jobs["two"]["when"] == "{{ jobs.ask.output | trim == 'it\\'s' }}"
    assert jobs["other"]["when"] == "{{ jobs.ask.output | trim not in ['1', 'it\\'s'] }}"
    assert jobs["other"]["shell"] == "echo {{ jobs.ask.output }}"
    assert jobs["last"]["needs"] == ["one", "two", "other"]


def test_a_loop_of_one_command_is_a_job_that_repeats(imported: Import) -> None:
    jobs = imported(
        """
        - id: poll
          type: while
          condition: "{{ steps.try.output.exit_code != 0 }}"
          steps: [{id: try, type: shell, run: "echo {{ steps.try.output.stdout }}", continue_on_error: true}]
        - id: polish
          type: do-while
          condition: "{{ 'done' not in steps.improve.output.stdout }}"
          max_iterations: 4
          steps: [{id: improve, type: prompt, prompt: Go on}]
        - {id: last, type: shell, run: "echo {{ steps.improve.output.stdout }}"}
        """
    )
    assert jobs["try"]["repeat"] == {"while": "{{ exit_code != 0 }}", "max": 10}
    assert jobs["try"]["shell"] == "echo {{ output | default('', true) }}"
    assert jobs["improve"]["repeat"] == {"until": "{{ not 'done' not in output | default('', true) }}", "max": 4}
    assert jobs["last"]["shell"] == "echo {{ jobs.improve.output }}"


def test_a_loop_of_several_steps_is_written_out(imported: Import) -> None:
    jobs = imported(
        """
        - id: refine
          type: do-while
          condition: "{{ steps.review.output.choice == 'edit' }}"
          max_iterations: 2
          steps:
            - {id: revise, type: shell, run: "echo {{ steps.review.output.choice }}"}
            - {id: review, type: gate, message: "Good?", options: [approve, edit, reject]}
        - {id: last, type: shell, run: "echo {{ steps.review.output.choice }}"}
        """
    )
    assert list(jobs) == ["revise", "review", "revise_2", "review_2", "last"]
    assert jobs["revise"]["shell"] == "echo ''"  # nothing was chosen yet
    assert jobs["revise_2"]["when"] == "{{ jobs.revise.status != 'skipped' and jobs.review.output == 'edit' }}"
    assert jobs["revise_2"]["shell"] == "echo {{ jobs.review.output }}"
    assert "when" not in jobs["review_2"]
    assert jobs["last"]["when"] is True
    latest = "([jobs.review.output, jobs.review_2.output] | reject('none') | list | last | default(none))"
    assert jobs["last"]["shell"] == f"echo {{{{ {latest} }}}}"
    assert imported.made.lost_count == 0


def test_a_loop_in_a_branch_says_only_its_last_condition(imported: Import) -> None:
    jobs = imported(
        """
        - id: maybe
          type: if
          condition: "{{ inputs.x }}"
          then:
            - id: again
              type: while
              condition: "{{ steps.b.output.exit_code != 0 }}"
              max_iterations: 3
              steps: [{id: a, type: shell, run: a}, {id: b, type: shell, run: b, continue_on_error: true}]
        """,
        "{x: {type: boolean, default: true}}",
    )
    assert jobs["a"]["when"] == "{{ inputs.x and none != 0 }}"
    assert jobs["a_3"]["when"] == "{{ jobs.a_2.status != 'skipped' and jobs.b_2.results[0].exit_code != 0 }}"


def test_a_loop_that_would_be_too_long_is_left_out(imported: Import) -> None:
    body = "[{id: a, type: shell, run: a}, {id: b, type: shell, run: b}]"
    jobs = imported(
        f"""
        - {{id: long, type: while, condition: "{{{{ true }}}}", max_iterations: 1000, steps: {body}}}
        - {{id: last, type: shell, run: last}}
        """
    )
    assert list(jobs) == ["last"]
    assert imported.told(lost=True) == ["1000 rounds of 2 steps, too many to write out: put them into a file of their own"]


def test_a_fan_out_and_what_gathers_it(imported: Import) -> None:
    jobs = imported(
        """
        - {id: list, type: shell, run: ls-json, output_format: json}
        - id: port
          type: fan-out
          items: "{{ steps.list.output.data.files }}"
          max_concurrency: 3
          step: {id: one, type: prompt, prompt: "Port {{ item.path }} of {{ steps.list.output.data.n }}"}
        - id: gather
          type: fan-in
          wait_for: [port, list]
          output: {all: "{{ fan_in.results[0].results | map('stdout') }}", n: "{{ steps.port.output.item_count }}", kind: port}
        - id: last
          type: shell
          run: echo {{ steps.gather.output.n }} {{ steps.port.output.results | map('exit_code') | join(' ') }}
        """
    )
    assert jobs["port"]["for_each"] == "{{ jobs.list.output.files }}"
    assert jobs["port"]["max_concurrency"] == 3
    assert jobs["port"]["prompt"] == "Port {{ item.path }} of {{ jobs.list.output.n }}"
    members = "'all': jobs.port.outputs, 'n': jobs.port.results | length, 'kind': 'port'"
    assert jobs["gather"] == {
        "needs": ["port"],
        "command": ["cat"],
        "stdin": f"{{{{ {{'results': [jobs.port.outputs, jobs.list.output], {members}}} | tojson }}}}",
        "output": "json",
    }
    codes = "jobs.port.results | map(attribute='exit_code') | list | join(' ')"
    assert jobs["last"]["shell"] == f"echo {{{{ jobs.gather.output.n }}}} {{{{ {codes} }}}}"


def test_branches_inside_a_fan_out_follow_their_item(imported: Import) -> None:
    jobs = imported(
        """
        - id: per
          type: fan-out
          items: [a, "{{ b }}", {x: 1}]
          step:
            id: choose
            type: switch
            expression: "{{ item }}"
            cases:
              a:
                - {id: one, type: shell, run: "echo {{ item }}"}
                - {id: two, type: shell, run: "echo {{ steps.one.output.stdout }}"}
            default:
              - {id: poll, type: while, condition: "{{ steps.w.output.exit_code != 0 }}", steps: [{id: w, type: shell, run: w}]}
        """
    )
    assert jobs["one"]["for_each"][0] == "a"
    assert jobs["one"]["for_each"][2] == {"x": 1}
    assert jobs["one"]["when"] == "{{ item | string | trim == 'a' }}"
    assert jobs["two"]["for_each"] == {"job": "one"}
    assert jobs["two"]["shell"] == "echo {{ parent.output | default('', true) }}"
    assert jobs["w"]["for_each"] == jobs["one"]["for_each"]
    assert jobs["w"]["repeat"]["while"] == "{{ exit_code != 0 }}"


def test_the_list_of_a_fan_out_that_may_be_skipped_is_empty_then(imported: Import) -> None:
    jobs = imported(
        """
        - id: maybe
          type: if
          condition: "{{ inputs.x }}"
          then: [{id: list, type: shell, run: ls, output_format: json}]
        - {id: each, type: fan-out, items: "{{ steps.list.output.data }}", step: {type: shell, run: "echo {{ item }}"}}
        """,
        "{x: {type: boolean, default: true}}",
    )
    assert jobs["each"]["when"] is True
    assert jobs["each"]["for_each"] == "{{ jobs.list.output | default([], true) }}"
