"""What the rest of a job will cost and take, from the items that ran; and which jobs may run for that."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from orchestrator.cli.forecast import jobs_to_run
from orchestrator.jobsfile.load import load_text
from orchestrator.reading.money.forecast import Forecast, Likely, Sample, add_forecasts, forecast_job, quantile


def samples(*dollars: float | None, seconds: float = 10.0) -> list[Sample]:
    return [Sample(None if each is None else round(each * 1e9), seconds) for each in dollars]


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ([], 0.5, None),
        ([3.0], 0.9, 3.0),
        ([1.0, 2.0], 0.5, 1.5),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.5),
        ([float(each) for each in range(11)], 0.9, 9.0),
    ],
)
def test_a_quantile_lies_between_two_values_in_proportion(values: list[float], share: float, found: float | None) -> None:
    assert quantile(values, share) == found


def test_the_rest_costs_so_many_times_the_mean() -> None:
    found = forecast_job("port", samples(1.0, 3.0), remaining=10, at_once=2)
    assert found.rest_usd.p50 == 20.0
    assert found.rest_usd.p90 is not None
    assert found.rest_usd.p90 > 20.0
    assert found.item_usd == Likely(2.0, 2.8)


def test_what_always_costs_the_same_is_certain() -> None:
    found = forecast_job("port", samples(0.25, 0.25, 0.25), remaining=97, at_once=4)
    assert found.rest_usd == Likely(24.25, 24.25)
    assert found.rest_seconds == Likely(242.5, 242.5)


def test_one_item_tells_nothing_of_the_spread() -> None:
    found = forecast_job("port", samples(0.5), remaining=4, at_once=1)
    assert found.rest_usd == Likely(2.0, None)
    assert found.rest_seconds == Likely(40.0, None)


def test_items_of_unknown_cost_are_told_and_left_out() -> None:
    found = forecast_job("port", samples(None, 0.5, 0.5), remaining=2, at_once=1)
    assert (found.sampled, found.unknown, found.rest_usd) == (3, 1, Likely(1.0, 1.0))


def test_where_nobody_tells_a_cost_it_is_unknown_and_the_time_is_not() -> None:
    found = forecast_job("port", samples(None, None), remaining=2, at_once=1)
    assert (found.rest_usd, found.rest_seconds) == (Likely(), Likely(20.0, 20.0))


def test_no_more_run_at_once_than_there_are_and_the_last_takes_its_time() -> None:
    assert forecast_job("port", samples(1.0, 1.0), remaining=2, at_once=100).rest_seconds.p50 == 10.0


def test_nothing_to_go_costs_nothing() -> None:
    found = forecast_job("port", samples(1.0, 2.0), remaining=0, at_once=4)
    assert (found.rest_usd, found.rest_seconds) == (Likely(0.0, 0.0), Likely(0.0, 0.0))


def job(at_once: int, remaining: int = 10) -> Forecast:
    return forecast_job("port", samples(1.0, 1.0), remaining=remaining, at_once=at_once)


def test_jobs_that_run_beside_each_other_share_the_slots() -> None:
    usd, seconds = add_forecasts([job(2), job(2)], slots=4)
    assert usd == Likely(20.0, 20.0)
    assert seconds == Likely(50.0, 50.0)
    assert add_forecasts([job(4), job(4)], slots=4)[1] == Likely(50.0, 50.0)
    assert add_forecasts([], slots=4) == (Likely(0.0, 0.0), Likely(0.0, 0.0))


def test_of_two_jobs_one_of_which_nobody_knows_nothing_is_known_together() -> None:
    assert add_forecasts([job(1), forecast_job("x", [], remaining=1, at_once=1)], slots=1) == (Likely(), Likely())


def test_nine_times_in_ten_the_rest_costs_less_than_was_said() -> None:
    dice = random.Random(7)
    held = 0
    for _ in range(600):
        costs = [dice.gauss(1.0, 0.3) for _ in range(60)]
        found = forecast_job("port", samples(*costs[:10]), remaining=50, at_once=1)
        assert found.rest_usd.p90 is not None
        held += math.fsum(costs[10:]) <= found.rest_usd.p90
    assert 0.86 <= held / 600 <= 0.93  # ten samples tell the spread itself only roughly


JOBS = """
[jobs.list]
command = ["true"]
output = "lines"
[jobs.port]
for_each = "{{ jobs.list.output }}"
agent = "demo"
prompt = "port {{ item }}"
[jobs.review]
for_each = { job = "port" }
agent = "demo"
prompt = "review {{ parent.output }}"
[jobs.sum]
agent = "demo"
prompt = "sum {{ jobs.review.outputs }}"
[jobs.tell]
needs = ["sum"]
command = ["true"]
[jobs.again]
for_each = "{{ jobs.port.outputs }}"
agent = "demo"
prompt = "again {{ item }}"
"""


def test_what_would_take_a_few_items_for_all_of_them_is_left_out(tmp_path: Path) -> None:
    jobs_file = load_text(JOBS, path=str(tmp_path / "jobs.toml"), folder=str(tmp_path))
    assert [each.id for each in jobs_to_run(jobs_file.jobs)] == ["list", "port", "review"]
