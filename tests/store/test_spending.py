"""What agents have cost, recorded and read again: exact sums, from a journal or a checkpoint, whatever came of the attempts."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from weakref import WeakKeyDictionary

import msgspec
import pytest
from drivers.store_samples import LISTED, ended, new_run, settled, started
from drivers.sweeps import examples
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.reading.money.costs import charge_of, nano_usd, spent_after_attempt, spent_after_child, spent_after_replay
from orchestrator.reading.money.ledger import KeptLedger, Ledger, ledger_of, ledger_of_item
from orchestrator.store.load import read_history
from orchestrator.store.records import AttemptEnded, ItemSettled, Reopened, RunHeader, Started, Status
from orchestrator.store.run_history import RunHistory
from orchestrator.store.run_store import RunStore
from orchestrator.store.spending import tokens_of
from orchestrator.store.spending_records import AgentSpent, Spent
from orchestrator.supervisor.restored_jobs import costs_of
from orchestrator.workers.protocol import AgentReport, AttemptClass, Outcome, Usage


def outcome(cost: float | None = 0.25, tokens: int | None = 10, how: AttemptClass = AttemptClass.OK, model: str = "m") -> Outcome:
    usage = None if tokens is None else Usage(input_tokens=tokens)
    report = AgentReport(agent="claude", model=model, cost_usd=cost, usage=usage)
    return Outcome(attempt_class=how, started_at=0.0, finished_at=1.0, duration_seconds=1.0, agent=report)


def silent(how: AttemptClass) -> Outcome:
    return Outcome(attempt_class=how, started_at=0.0, finished_at=1.0, duration_seconds=1.0)


def begin(index: int, attempt: int = 1) -> Started:
    return msgspec.structs.replace(started(index, attempt, sequence=attempt), agent="claude", model="m")


def end(
    history: RunHistory,
    index: int,
    attempt: int,
    came: Outcome,
    status: Status = Status.SUCCEEDED,
    *,
    is_adopted: bool = False,
    job: str = "port",
) -> AttemptEnded:
    """As the supervisor records it."""
    spent = spent_after_attempt(history.jobs[job].spent(index), came, agent="claude", model="m", is_adopted=is_adopted)
    record = ended(index, attempt, status, job=job)
    return msgspec.structs.replace(record, outcome=came, spent=spent, is_adopted=is_adopted)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    run_dir = new_run(tmp_path)
    opened = RunStore.open(run_dir)
    header = msgspec.structs.replace(opened.history.header, jobs={"port": True, "ship": True})
    opened.append([header, LISTED])
    yield opened
    opened.close()


KEPT: WeakKeyDictionary[RunStore, KeptLedger] = WeakKeyDictionary()


def ledger(store: RunStore) -> Ledger:
    """The same from memory, from the journal, and from a checkpoint; also as it is kept while the run goes on."""
    found = ledger_of(store.history)
    kept = KEPT.setdefault(store, KeptLedger(store.history))
    assert kept.now() == kept.now() == found
    assert ledger_of(read_history(store.run_dir)) == found
    store.take_checkpoint()
    assert ledger_of(store.history) == found
    assert ledger_of(read_history(store.run_dir)) == found
    return found


def test_all_attempts_of_an_item_count_whatever_came_of_them(store: RunStore) -> None:
    classes = [
        AttemptClass.AGENT_FAILED,
        AttemptClass.CANCELLED,
        AttemptClass.RATE_LIMIT,
        AttemptClass.USAGE_LIMIT,
        AttemptClass.OK,
    ]
    for attempt, how in enumerate(classes, 1):
        status = Status.SUCCEEDED if how is AttemptClass.OK else Status.WAITING
        store.append([begin(0, attempt)])
        store.append([end(store.history, 0, attempt, outcome(0.1, how=how), status)])
    assert ledger(store) == Ledger(attempts=5, nano_usd=500_000_000, usage=Usage(input_tokens=50))


def test_a_lost_attempt_is_one_of_unknown_cost(store: RunStore) -> None:
    store.append([begin(0), end(store.history, 0, 1, silent(AttemptClass.LOST), Status.WAITING)])
    assert ledger(store) == Ledger(attempts=1, nano_usd=None, unknown=1, untold=1)
    store.append([begin(0, 2)])
    store.append([end(store.history, 0, 2, outcome(0.5))])
    assert ledger(store) == Ledger(
        attempts=2, nano_usd=500_000_000, unknown=1, untold=1, usage=Usage(input_tokens=10), after_loss=1
    )


@pytest.mark.parametrize("how", [AttemptClass.CANNOT_START, AttemptClass.SHORTAGE])
def test_what_never_began_is_no_attempt(how: AttemptClass) -> None:
    assert spent_after_attempt(None, silent(how), agent="claude", model=None, is_adopted=False) is None
    assert charge_of(silent(how), "claude") is None


def test_a_command_costs_nothing_that_we_count(store: RunStore) -> None:
    assert spent_after_attempt(None, silent(AttemptClass.OK), agent=None, model=None, is_adopted=False) is None
    store.append([started(0), ended(0)])
    assert ledger(store).is_empty


@pytest.mark.parametrize("told", [float("nan"), float("inf"), -1.0, 1e10, 1e300, None])
def test_what_is_no_amount_of_money_is_unknown(told: float | None) -> None:
    assert nano_usd(told) is None


def test_a_tenth_of_a_cent_ten_thousand_times_is_ten_dollars_exactly() -> None:
    spent = None
    for _ in range(10_000):
        spent = spent_after_attempt(spent, outcome(0.001), agent="claude", model="m", is_adopted=False)
    assert spent is not None
    assert ledger_of_item(spent).cost_usd == 10.0


def test_each_agent_and_model_is_told_apart(store: RunStore) -> None:
    for attempt, model in enumerate(("small", "large", "small"), 1):
        store.append([end(store.history, 0, attempt, outcome(0.1, model=model), Status.WAITING)])
    found = store.history.jobs["port"].spending.by_agent
    assert {key: each.attempts for key, each in found.items()} == {("claude", "small"): 2, ("claude", "large"): 1}


def test_a_replayed_outcome_costs_nothing_and_counts_as_saved(store: RunStore) -> None:
    shared = msgspec.structs.replace(
        ended(3), outcome=outcome(0.4), deduped_from="r0/port:1", spent=spent_after_replay(None, outcome(0.4))
    )
    store.append([shared])
    assert ledger(store) == Ledger(replayed=1, replayed_nano_usd=400_000_000)


def test_an_item_that_paid_for_an_attempt_and_then_shared_an_outcome_keeps_its_cost(store: RunStore) -> None:
    store.append([begin(0), end(store.history, 0, 1, outcome(0.1, how=AttemptClass.CANCELLED), Status.INTERRUPTED)])
    spent = spent_after_replay(store.history.jobs["port"].spent(0), outcome(0.4))
    store.append([msgspec.structs.replace(ended(0, 0), outcome=outcome(0.4), deduped_from="r0/port:1", spent=spent)])
    found = ledger(store)
    assert (found.nano_usd, found.replayed_nano_usd, found.attempts) == (100_000_000, 400_000_000, 1)


def test_what_was_adopted_was_paid_and_would_else_have_been_paid_once_more(store: RunStore) -> None:
    store.append([begin(0)])
    store.append([end(store.history, 0, 1, outcome(0.3), is_adopted=True)])
    store.append([begin(1)])
    store.append([end(store.history, 1, 1, silent(AttemptClass.LOST), Status.WAITING, is_adopted=True)])
    found = ledger(store)
    assert (found.adopted, found.adopted_nano_usd, found.nano_usd, found.unknown) == (1, 300_000_000, 300_000_000, 1)


def done(store: RunStore, index: int = 0) -> None:
    store.append([begin(index)])
    store.append([end(store.history, index, 1, outcome())])


def test_a_start_of_what_had_succeeded_is_paid_twice(store: RunStore) -> None:
    done(store)
    store.append([begin(0, 2)])
    assert ledger(store).paid_twice == 1


def test_a_start_beside_one_whose_end_was_not_waited_for_is_paid_twice(store: RunStore) -> None:
    store.append([begin(0)])
    store.append([begin(0, 2)])
    assert ledger(store).paid_twice == 1


def test_an_item_whose_outcome_was_spoiled_is_paid_twice_when_it_runs_again(store: RunStore) -> None:
    done(store)
    store.append([settled(0, Status.INTERRUPTED)])
    assert ledger(store).paid_twice == 0
    store.append([begin(0, 2)])
    assert ledger(store).paid_twice == 1


@pytest.mark.parametrize(
    "asked",
    [
        Reopened(job="port", indices=[0]),
        settled(0, Status.PENDING),
        settled(0, Status.SUCCEEDED, stale=True),
    ],
    ids=["a gate sent it back", "an update set it back", "it was stale"],
)
def test_what_somebody_asked_for_again_is_not_paid_twice(store: RunStore, asked: Reopened | ItemSettled) -> None:
    done(store)
    store.append([asked])
    store.take_checkpoint()
    store.append([begin(0, 2)])
    store.take_checkpoint()  # it has the start behind a success, too
    assert ledger(store).paid_twice == 0


def test_whether_what_is_made_again_after_a_loss_is_paid_twice_is_unknown(store: RunStore) -> None:
    """Its agent may have been answered before its worker was killed."""
    store.append([begin(0), end(store.history, 0, 1, silent(AttemptClass.LOST), Status.WAITING)])
    assert ledger(store).as_json()["paid_twice"] == 0, "nothing was made again"
    store.append([begin(0, 2)])
    store.append([end(store.history, 0, 2, silent(AttemptClass.LOST), Status.WAITING)])
    store.append([begin(0, 3)])
    store.append([end(store.history, 0, 3, outcome(0.5))])
    told = ledger(store).as_json()
    assert (told["paid_twice"], told["unknown_paid_twice"], told["unknown_costs"]) == (None, 2, 2)
    store.take_checkpoint()
    store.append([begin(0, 4)])
    told = ledger(store).as_json()
    assert (told["paid_twice"], told["unknown_paid_twice"]) == (1, 2), "one more, for certain"


@pytest.mark.parametrize("is_promoted", [True, False])
def test_what_took_over_the_lost_work_of_another_item_may_be_paid_twice(is_promoted: bool) -> None:
    spent = None
    for _ in range(2):  # its own second attempt repeats nobody's
        spent = spent_after_attempt(spent, outcome(), agent="claude", model="m", is_adopted=False, is_promoted=is_promoted)
    assert spent is not None
    assert ledger_of_item(spent).after_loss == is_promoted


@pytest.mark.parametrize("status", [Status.WAITING, Status.FAILED, Status.INTERRUPTED, Status.CANCELLED])
def test_another_attempt_after_one_that_failed_is_not_paid_twice(store: RunStore, status: Status) -> None:
    store.append([begin(0)])
    store.append([end(store.history, 0, 1, outcome(how=AttemptClass.AGENT_FAILED), status)])
    store.append([begin(0, 2)])
    assert ledger(store).paid_twice == 0


def test_a_command_that_runs_again_is_not_paid_at_all(store: RunStore) -> None:
    store.append([started(0), ended(0), started(0, 2)])
    assert ledger(store).paid_twice == 0


def test_a_job_that_begins_anew_keeps_what_it_has_cost(store: RunStore) -> None:
    done(store)
    store.append([begin(0, 2)])
    header: RunHeader = store.history.header
    store.append([msgspec.structs.replace(header, jobs={"port": False, "ship": True}, revision=1)])
    store.append([begin(0)])
    store.append([end(store.history, 0, 1, outcome(0.5))])
    found = ledger(store)
    assert (found.nano_usd, found.attempts, found.paid_twice) == (750_000_000, 2, 1)


def test_a_job_that_an_update_removed_was_paid_for_all_the_same(store: RunStore) -> None:
    done(store)
    header = store.history.header
    store.append([msgspec.structs.replace(header, jobs={"ship": True}, removed={"port": True}, revision=1)])
    assert ledger(store).nano_usd == 250_000_000


def test_a_resume_knows_what_the_last_attempt_of_each_item_cost(store: RunStore) -> None:
    done(store, 0)
    store.append([end(store.history, 1, 1, outcome(0.1), Status.WAITING)])
    store.append([end(store.history, 1, 2, outcome(0.75))])
    store.append([end(store.history, 4, 1, outcome(None, None))])
    for history in (store.history, read_history(store.run_dir)):
        costs = costs_of(history.jobs["port"].spending)
        assert costs.nano_usd.last == {0: 250_000_000, 1: 750_000_000}
        assert (costs.nano_usd.known, costs.nano_usd.told, costs.nano_usd.unknown) == (1_100_000_000, 3, 1)
        assert (costs.tokens.known, costs.tokens.told, costs.tokens.last) == (30, 3, {0: 10, 1: 10})


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, None),
        (Usage(), None),
        (Usage(output_tokens=0), 0),
        (Usage(input_tokens=1, cache_read_tokens=20, cache_write_tokens=300, output_tokens=4000, reasoning_tokens=999), 4321),
        (Usage(input_tokens=1, reasoning_tokens=2), 3),
    ],
)
def test_tokens_are_all_that_was_read_and_written(usage: Usage | None, tokens: int | None) -> None:
    assert tokens_of(usage) == tokens


class Attempt(NamedTuple):
    index: int
    cost: int | None
    """In billionths of a dollar."""
    tokens: int | None
    model: str
    how: str


attempts = st.lists(
    st.builds(
        Attempt,
        st.integers(0, 3),
        st.one_of(st.none(), st.integers(0, 10**10)),
        st.one_of(st.none(), st.integers(0, 10**7)),
        st.sampled_from(["m", "n"]),
        st.sampled_from(["own", "adopted", "replayed", "lost", "checkpoint"]),
    ),
    max_size=12,
)


@examples(30)
@given(attempts)
def test_the_ledger_is_the_sum_of_the_attempts_whenever_checkpoints_are_taken(steps: list[Attempt]) -> None:
    expected: dict[str, Fraction] = {"paid": Fraction(0), "replayed": Fraction(0), "adopted": Fraction(0)}
    count = unknown = tokens = 0
    with TemporaryDirectory() as folder:
        store = RunStore.open(new_run(Path(folder, "home")))
        store.append([msgspec.structs.replace(store.history.header, jobs={"port": True}), LISTED])
        for number, step in enumerate(steps, 1):
            cost = None if step.cost is None else step.cost / 1e9
            came = outcome(cost, step.tokens, model=step.model)
            if step.how == "checkpoint":
                store.take_checkpoint()
            elif step.how == "replayed":
                spent = spent_after_replay(store.history.jobs["port"].spent(step.index), came)
                store.append([msgspec.structs.replace(ended(step.index, 0), outcome=came, deduped_from="r/p", spent=spent)])
                expected["replayed"] += step.cost or 0
            else:
                came = silent(AttemptClass.LOST) if step.how == "lost" else came
                is_adopted = step.how == "adopted"
                record = end(store.history, step.index, number, came, Status.WAITING, is_adopted=is_adopted)
                store.append([record])
                count += 1
                told = step.cost if step.how != "lost" else None
                unknown += told is None
                tokens += (step.tokens or 0) if step.how != "lost" else 0
                expected["paid"] += told or 0
                expected["adopted"] += (told or 0) if is_adopted else 0
            assert KEPT.setdefault(store, KeptLedger(store.history)).now() == ledger_of(store.history)
        found = ledger(store)
        assert (found.attempts, found.unknown) == (count, unknown)
        assert found.nano_usd == (None if count == unknown else expected["paid"])
        assert (found.usage.input_tokens or 0) == tokens
        assert (found.replayed_nano_usd, found.adopted_nano_usd) == (expected["replayed"], expected["adopted"])
        items = [store.history.jobs["port"].spent(index) or Spent() for index in range(4)]
        assert sum(ledger_of_item(each).nano_usd or 0 for each in items) == expected["paid"]
        store.close()


def of_child(attempts: int, nano_usd: int) -> list[AgentSpent]:
    return [AgentSpent(agent="claude", model="m", attempts=attempts, nano_usd=nano_usd, usage=Usage(input_tokens=attempts))]


def test_what_a_child_run_costs_is_told_of_its_item_whichever_run_it_goes_on_with(store: RunStore) -> None:
    spent = None
    for attempt, (child, agents) in enumerate(
        [("one", of_child(1, 100)), ("one", of_child(3, 250)), ("two", of_child(1, 40))], 1
    ):
        spent = spent_after_child(store.history.jobs["port"].spent(0), child, agents)
        store.append([msgspec.structs.replace(ended(0, attempt, Status.WAITING), spent=spent)])
    assert spent is not None
    assert (spent.last_nano_usd, spent.last_tokens) == (40, 1)
    assert ledger(store) == Ledger(attempts=4, nano_usd=290, usage=Usage(input_tokens=4))
    assert store.history.jobs["port"].spending.by_agent == {}, "the child runs tell it themselves"


def test_a_child_run_without_agents_costs_nothing_that_is_recorded() -> None:
    assert spent_after_child(None, "one", []) is None
