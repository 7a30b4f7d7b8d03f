"""An update that is killed: the run has the old file or the new one, never a mixture, and can be updated again."""

from __future__ import annotations

import pytest
from drivers.run_driver import KILLED, RunDriver
from drivers.sweeps import sweep

BEFORE = """
[jobs.port]
for_each = ["a", "b"]
shell = '''{body}; echo {{{{ item }}}}'''
[jobs.sum]
command = ["echo", "{{{{ jobs.port.outputs | tojson }}}}"]
"""
AFTER = BEFORE.replace('["a", "b"]', '["b", "c"]') + '[jobs.more]\nshell = "echo more"\n'

OLD = {"port:0": ("succeeded", "a"), "port:1": ("succeeded", "b"), "sum": ("succeeded", '["a", "b"]')}
NEW = {
    "port:0": ("skipped", None),
    "port:1": ("succeeded", "b"),
    "port:2": ("succeeded", "c"),
    "sum": ("succeeded", '[null, "b", "c"]'),
    "more": ("succeeded", "more"),
}

POINTS = [
    *(pytest.param(point, OLD, marks=pytest.mark.slow) for point in ("file.renamed:1", "file.written:2", "file.renamed:2")),
    pytest.param("update.written", OLD),
    pytest.param("journal.write", OLD, marks=pytest.mark.slow),
    pytest.param("journal.written", NEW),
    *(
        pytest.param(point, NEW, marks=pytest.mark.slow)
        for point in ("update.recorded", "journal.created", "file.written:3", "file.renamed:3")
    ),
    pytest.param("checkpoint.switched", NEW),
]


def told(driver: RunDriver) -> dict[str, tuple[str, str | None]]:
    return {result["item"]: (result["status"], result["output"]) for result in driver.results()}


@pytest.mark.parametrize(("killed_at", "found"), sweep(POINTS, quick=1))
def test_a_killed_update_leaves_the_old_file_or_the_new_one(
    driver: RunDriver, killed_at: str, found: dict[str, tuple[str, str | None]]
) -> None:
    driver.write(BEFORE.format(body=driver.witnessed()))
    driver.assert_exit(driver.run(), 0)
    driver.write(AFTER.format(body=driver.witnessed()))
    driver.assert_exit(driver.launch("resume", driver.run_id, "--update", fault=killed_at), KILLED)
    assert {item for item, (status, _) in told(driver).items() if status == "succeeded"} <= found.keys()

    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    assert told(driver) == found
    driver.assert_exit(driver.launch("resume", driver.run_id, "--update"), 0)
    assert told(driver) == NEW
    assert driver.acts("begin") == driver.acts("end") == {"port:0": 1, "port:1": 1, "port:2": 1}
    driver.assert_tidy()


def test_a_list_that_a_killed_update_left_behind_is_not_taken_for_a_later_one(driver: RunDriver) -> None:
    jobs = """
[jobs.list]
shell = "echo {word}; test -e {word}"
output = "lines"
continue_on_error = true
[jobs.port]
for_each = {source}
shell = "echo {{{{ item }}}}"
"""
    driver.write(jobs.format(word="a", source='["x"]'))
    driver.assert_exit(driver.run(), 1)
    driver.write(jobs.format(word="a", source='["x", "left behind"]'))
    driver.assert_exit(driver.launch("resume", driver.run_id, "--update", fault="update.written"), KILLED)
    for word in ("a", "b"):
        (driver.folder / word).touch()
    driver.write(jobs.format(word="b", source='"{{ jobs.list.output }}"'))
    driver.assert_exit(driver.launch("resume", driver.run_id, "--update"), 0)
    assert told(driver) == {"list": ("succeeded", ["b"]), "port:0": ("skipped", None), "port:1": ("succeeded", "b")}


def test_a_kill_between_the_new_list_and_its_record_starts_nothing_twice(driver: RunDriver) -> None:
    jobs = """
[jobs.list]
shell = "printf '{lines}'"
output = "lines"
[jobs.port]
for_each = "{{{{ jobs.list.output }}}}"
shell = '''{body}'''
"""
    driver.write(jobs.format(lines=r"a\nb\n", body=driver.witnessed()))
    driver.assert_exit(driver.run(), 0)
    driver.write(jobs.format(lines=r"b\nc\n", body=driver.witnessed()))
    driver.assert_exit(driver.launch("resume", driver.run_id, "--update", fault="supervisor.listed"), KILLED)
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    assert [(result["item"], result["value"], result["status"]) for result in driver.results()] == [
        ("list", None, "succeeded"),
        ("port:0", "a", "skipped"),
        ("port:1", "b", "succeeded"),
        ("port:2", "c", "succeeded"),
    ]
    driver.assert_each_ran_once(["port:0", "port:1", "port:2"])
