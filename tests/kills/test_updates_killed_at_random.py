"""Random edits of a jobs file, each taken into the run by an update that may be killed: the run comes to what the last one says.

After each edit: the items that are there are those of the list, whose outputs are what their commands say now; an index means
what it always meant; what would do the same did not run again.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from drivers.run_driver import KILLED, RunDriver

EDITS = 6
POINTS = [
    *("update.written", "update.recorded", "journal.written:1", "journal.written:3", "journal.write:2", "checkpoint.switched"),
    *("file.renamed:1", "file.renamed:2", "file.written:2", "supervisor.listed", "supervisor.listed:2", "supervisor.resuming"),
    *("supervisor.recorded:3", "supervisor.recorded:6", "supervisor.outcome:1", "supervisor.outcome:3", "supervisor.ending"),
]


class Edit(msgspec.Struct):
    """A jobs file: `port` over `values`, as a literal list or by way of the job `list`; `review` follows it, `total` reads it."""

    values: list[str]
    words: dict[str, str]
    is_literal: bool
    has_review: bool
    is_turned: bool

    @classmethod
    def draw(cls, dice: random.Random) -> Edit:
        return cls(
            values=[dice.choice("abcd") for _ in range(dice.randint(0, 4))],
            words={job: dice.choice("xy") for job in ("port", "review", "total")},
            is_literal=dice.random() < 0.4,
            has_review=dice.random() < 0.8,
            is_turned=dice.random() < 0.3,
        )

    def text(self) -> str:
        source = json.dumps(self.values) if self.is_literal else '"{{ jobs.list.output }}"'
        lines = json.dumps("".join(value + r"\n" for value in self.values))
        jobs = [
            f'[jobs.list]\noutput = "lines"\ncommand = ["printf", "%b", {lines}]\n',
            f'[jobs.port]\nfor_each = {source}\nshell = "echo {self.words["port"]} {{{{ item }}}}"\n',
            f'[jobs.total]\ncommand = ["echo", "{self.words["total"]}", "{{{{ jobs.port.outputs | tojson }}}}"]\n',
        ]
        if self.has_review:
            command = f"echo {self.words['review']} {{{{ parent.output }}}}"
            jobs.append(f'[jobs.review]\nfor_each = {{ job = "port" }}\nshell = "{command}"\n')
        return "".join(reversed(jobs) if self.is_turned else jobs)

    def check(self, results: list[dict[str, Any]]) -> None:
        ports = [result for result in results if result["job"] == "port"]
        live = [result for result in ports if result["status"] == "succeeded"]
        assert Counter(result["value"] for result in live) == Counter(self.values)
        assert [result["output"] for result in live] == [f"{self.words['port']} {result['value']}" for result in live]
        assert {result["status"] for result in ports} <= {"succeeded", "skipped"}
        word, _, told = next(result for result in results if result["job"] == "total")["output"].partition(" ")
        assert (word, json.loads(told)) == (self.words["total"], [result["output"] for result in ports])
        reviews = [result for result in results if result["job"] == "review"]
        assert len(reviews) == (len(ports) if self.has_review else 0)
        for port, review in zip(ports, reviews, strict=False):
            expected = f"{self.words['review']} {port['output']}" if port["status"] == "succeeded" else None
            assert (review["status"], review["output"]) == (port["status"], expected)


def take(driver: RunDriver, dice: random.Random) -> None:
    """Update the run, perhaps with a kill or two on the way, and a plain resume in between."""
    for _ in range(2):
        if dice.random() < 0.4:
            break
        command = driver.launch("resume", driver.run_id, "--update", fault=dice.choice(POINTS))
        assert command.exit_code() in (0, KILLED), command.stderr
        if dice.random() < 0.4:
            driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    driver.assert_exit(driver.launch("resume", driver.run_id, "--update"), 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_edited_and_killed_the_run_comes_to_what_the_last_file_says(driver: RunDriver, seed: int) -> None:
    dice = random.Random(seed)
    edit = Edit.draw(dice)
    driver.write(edit.text())
    driver.assert_exit(driver.run(), 0)
    before = driver.results()
    meanings: dict[int, str] = {}
    for _ in range(EDITS):
        last, edit = edit, Edit.draw(dice)
        driver.write(edit.text())
        take(driver, dice)
        results = driver.results()
        edit.check(results)
        ports = [result for result in results if result["job"] == "port"]
        for result in ports:
            assert meanings.setdefault(result["index"], result["value"]) == result["value"]
        if edit.words["port"] == last.words["port"]:
            attempts = {result["index"]: result["attempts"] for result in ports}
            kept = [each for each in before if each["job"] == "port" and each["status"] == "succeeded"]
            assert all(attempts[each["index"]] == each["attempts"] for each in kept)
        before = results
    driver.assert_tidy()
