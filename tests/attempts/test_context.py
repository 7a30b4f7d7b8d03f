"""What templates see of a run, without a file: and that an output is read only by the template that names it."""

from __future__ import annotations

from typing import Any

import pytest
from drivers.memory_records import MemoryRecords
from drivers.store_samples import started

from orchestrator.attempts.context import ItemContexts, JobView
from orchestrator.attempts.flight import Flight
from orchestrator.attempts.loops import Loops
from orchestrator.core.events import Verdict
from orchestrator.jobsfile.language.compiler import compile_template
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.records import JobClosed

JOBS = """
[jobs.port]
for_each = ["a", "b", "c"]
command = ["true"]

[jobs.sum]
needs = ["port"]
output = "json"
command = ["true"]

[jobs.check]
for_each = { job = "port" }
command = ["true"]

[jobs.loop]
repeat = { until = "{{ exit_code == 0 }}", max = 3 }
command = ["true"]

[jobs.think]
repeat = { until = "{{ output == 'done' }}", max = 3 }
command = ["true"]
"""


@pytest.fixture
def records() -> MemoryRecords:
    """Of the job `port`, a and c have succeeded and b has failed."""
    made = MemoryRecords(JOBS)
    made.list_items("port", ["a", "b", "c"])
    made.end_attempt("port", 0, b"first\n")
    made.end_attempt("port", 1, b"second\n", succeeded=False)
    made.end_attempt("port", 2, b"third\n")
    made.list_items("check", ["a", "b", "c"])
    return made


def rendered(records: MemoryRecords, source: str, job: str = "sum", index: int = 0) -> Any:
    context = ItemContexts(records, {}).for_item(records.job(job), index, 1)
    return compile_template(source, "value").render(context)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ jobs.port.succeeded | length }}", 2),
        ("{{ jobs.port.succeeded | map(attribute='item') | list }}", ["port:0", "port:2"]),
        ("{{ jobs.port.failed | map(attribute='value') | join }}", "b"),
        ("{% for each in jobs.port.results if each.status == 'failed' %}{{ each.label }}{% endfor %}", "file 1"),
        ("{{ jobs.port.results[1].class }}", "command_failed"),
        ("{{ jobs.port.results | selectattr('exit_code', 'eq', 0) | list | length }}", 2),
        ("{{ 'output' in jobs.port.results[0] }}", True),
        ("{{ jobs.port.results[0] is mapping }}", True),
        ("{{ jobs.port.status }}", "running"),
    ],
)
def test_a_template_that_names_no_output_reads_none(records: MemoryRecords, source: str, value: object) -> None:
    assert rendered(records, source) == value
    assert records.read == []


@pytest.mark.parametrize(
    ("source", "value", "read"),
    [
        ("{{ jobs.port.succeeded[1].output }}", "third", [b"third\n"]),
        ("{{ jobs.port.results[1].output is none }}", True, []),
        ("{{ jobs.port.succeeded | map(attribute='output') | list }}", ["first", "third"], [b"first\n", b"third\n"]),
        ("{{ jobs.port.outputs }}", ["first", None, "third"], [b"first\n", b"third\n"]),
        ("{{ (jobs.port.succeeded | last | tojson) is string }}", True, [b"third\n"]),
        ("{{ dict(jobs.port.succeeded[0]).output }}", "first", [b"first\n"]),
    ],
)
def test_a_template_reads_the_outputs_that_it_names(
    records: MemoryRecords, source: str, value: object, read: list[bytes]
) -> None:
    assert rendered(records, source) == value
    assert records.read == read


def test_a_whole_result_is_plain_data_with_its_keys_in_order(records: MemoryRecords) -> None:
    from orchestrator.reading.item_result import RESULT_FIELDS, item_results

    found = rendered(records, "{{ jobs.port.results }}")
    assert [type(each) for each in found] == [dict] * 3
    assert tuple(found[0]) == RESULT_FIELDS
    assert found == list(item_results(records, "port"))


def test_what_is_not_there_is_told_as_of_any_mapping(records: MemoryRecords) -> None:
    with pytest.raises(Exception, match=r"result\.nothing is undefined|nothing is undefined: the keys are item, job, index"):
        rendered(records, "{{ jobs.port.results[0].nothing }}")


def test_the_results_of_a_closed_job_are_kept_and_their_outputs_are_not(records: MemoryRecords) -> None:
    records.append(JobClosed(job="port", status="failed"))
    view = JobView(records, "port")
    first = view.template_field("succeeded")
    assert view.template_field("succeeded") is first
    assert [first[0]["output"], first[0]["output"]] == ["first", "first"]
    assert records.read == [b"first\n", b"first\n"], "read each time: it may be large"
    view.forget_fields()
    assert view.template_field("succeeded") is not first


def test_a_chain_item_reads_the_output_of_its_parent_once_if_its_templates_name_it(records: MemoryRecords) -> None:
    contexts = ItemContexts(records, {})
    context = contexts.for_item(records.job("check"), 2, 1)
    assert compile_template("{{ parent.label }} {{ parent.attempts }}", "text").render(context) == "file 2 1"
    assert records.read == []
    source = "{{ parent.output }} {{ parent.output | upper }}"
    assert compile_template(source, "text").render(context) == "third THIRD"
    assert records.read == [b"third\n"]


def test_a_lost_output_refuses_the_templates_that_name_it_alone(records: MemoryRecords) -> None:
    records.lose_output(records.end_attempt("port", 0, b"again\n", attempt=2))
    assert rendered(records, "{{ parent.status }}", "check") == "succeeded"
    with pytest.raises(CaptureMismatch, match="No such file"):
        rendered(records, "{{ parent.output }}", "check")


def flight_of(records: MemoryRecords, job: str, number: int) -> Flight:
    return Flight(
        item=(0, 0), name=job, job=records.job(job), start=started(0, number, number, job, round_number=number), slot=0, mark="m"
    )


def test_a_condition_that_asks_for_the_exit_code_reads_no_output(records: MemoryRecords) -> None:
    loops = Loops(records, ItemContexts(records, {}))
    record = records.end_attempt("loop", output=b"much\n", number=1)
    assert loops.round_ended(flight_of(records, "loop", 1), record.outcome)[1] is Verdict.SUCCEEDED
    assert records.read == []


def test_a_condition_that_asks_for_the_output_reads_it_and_the_next_round_sees_it(records: MemoryRecords) -> None:
    loops = Loops(records, ItemContexts(records, {}))
    think = records.job("think")
    assert loops.next_round(think, 0) == 1
    record = records.end_attempt("think", output=b"not yet\n", number=1)
    assert loops.round_ended(flight_of(records, "think", 1), record.outcome)[1] is Verdict.ROUND
    assert records.read == [b"not yet\n"]
    assert loops.names(think, 0, 2) == {"round": 2, "output": "not yet", "exit_code": 0}
    record = records.end_attempt("think", output=b"done\n", attempt=2, number=2)
    assert loops.round_ended(flight_of(records, "think", 2), record.outcome)[1] is Verdict.SUCCEEDED
