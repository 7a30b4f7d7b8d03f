"""Every status that `results` tells, compared with what a witness saw: a file beside the state, which the commands write.

Small jobs files are drawn: commands with ends that are known beforehand, in jobs that need each other. What an item comes to once
it has begun stands in a table; which items begin at all is what the witness tells, and it has to be allowed.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from drivers.command_line import RunCli
from drivers.sweeps import sweep


class End(NamedTuple):
    """A command, and what becomes of an item that begins with it: `keys` of the job, `begins` of an item that has its way.

    `begins_again`: how often a resume begins it, once it has failed.
    """

    body: str
    keys: str
    status: str
    attempt_class: str | None
    begins: int = 1
    exit_code: int | None = 0
    begins_again: int = 0
    notes: int = 0


ENDS = {
    "ok": End("exit 0", "", "succeeded", "ok"),
    "fails": End("exit 3", "", "failed", "command_failed", 1, 3, 1),
    "fails_late": End("echo out; exit 255", "attempts = 2", "failed", "command_failed", 2, 255, 2),
    "flaky": End("test {{ attempt.number }} -ge 2", "attempts = 3", "succeeded", "ok", 2),
    "crashes": End("kill -SEGV $$", "", "failed", "command_failed", 1, None, 1),
    "is_killed": End("kill -KILL $$", "attempts = 2", "failed", "command_failed", 2, None, 2),
    "hangs": End("sleep 60", 'timeout = "0.3s"\ngrace = "0.1s"', "failed", "timeout", 1, None, 1),
    "hangs_deaf": End("trap 'exit 0' TERM; sleep 60 & wait", 'timeout = "0.3s"', "failed", "timeout", 1, 0, 1),
    "leaves_one_behind": End("sleep 60 & exit 0", 'grace = "0.1s"', "succeeded", "ok"),
    "is_silent": End("exec sleep 60", 'stall_timeout = "0.3s"\ngrace = "0.1s"', "failed", "stalled", 1, None, 1),
    "no_json": End("echo '{'", 'output = "json"', "failed", "bad_output", 1, 0, 1),
    "json": End("echo '[1]'", 'output = "json"', "succeeded", "ok"),
    "too_much": End("seq 1000", 'output = "lines"\nmax_output = "1KiB"', "failed", "bad_output", 1, 0, 1),
    "is_refused": End("exit 0", 'check = "exit 1"', "failed", "check_failed", 1, 0, 1),
    "is_confirmed": End("exit 0", 'check = "exit 0"', "succeeded", "ok"),
    "makes": End("echo whole > {{ creates }}", 'creates = "FILE"', "succeeded", "ok"),
    "makes_by_name": End("echo whole > FILE", 'creates = "FILE"', "succeeded", "ok"),
    "makes_nothing": End("exit 0", 'creates = "FILE"', "failed", "creates_missing", 1, 0, 1),
    "makes_half": End("echo half > FILE; exit 1", 'creates = "FILE"\nattempts = 2', "failed", "command_failed", 2, 1, 2),
    "makes_it_the_second_time": End(
        "echo half > FILE; test {{ attempt.number }} -ge 2 && echo whole > FILE",
        'creates = "FILE"\nattempts = 2',
        "succeeded",
        "ok",
        2,
    ),
    "makes_and_fails": End("echo half > {{ creates }}; exit 1", 'creates = "FILE"', "failed", "command_failed", 1, 1, 1),
    "has_made": End("exit 9", 'creates = "made before"', "succeeded", None, 0, None),
    "goes_round": End("exit 0", "repeat = { until = '{{ round == 2 }}' }", "succeeded", "ok", 2),
    "goes_round_for_ever": End("exit 0", "repeat = { until = '{{ false }}', max = 2 }", "succeeded", "ok", 2, 0, 0, 1),
    "must_come_round": End(
        "exit 0", "repeat = { until = '{{ false }}', max = 2, must = true }", "failed", "loop_failed", 2, 0, 2
    ),
    "breaks_off": End(
        "test {{ round }} -lt 2", "repeat = { until = '{{ false }}', max = 9 }", "failed", "command_failed", 2, 1, 1
    ),
    "is_not_wanted": End("exit 9", "when = '{{ index == 5 }}'", "skipped", None, 0, None),
}


class Drawn(NamedTuple):
    """A job: its end, how many items it has (None: no fan-out), what it needs, and whether others go on behind its failure.

    `follows`: the job whose items its own follow one by one.
    """

    end: str
    items: int | None
    needs: list[str]
    when: str
    goes_on: bool
    follows: str = ""


def draw(seed: int) -> dict[str, Drawn]:
    """Six jobs; each may need some that stand above it."""
    chance = random.Random(seed)
    names = chance.sample(sorted(ENDS), 6)
    jobs: dict[str, Drawn] = {}
    for name in names:
        needs = chance.sample(sorted(jobs), min(len(jobs), chance.choice([0, 0, 1, 2])))
        when = chance.choice(["", "", "", "always", "failed"]) if needs and "when" not in ENDS[name].keys else ""
        items, follows = chance.choice([None, None, 1, 3]), ""
        listed = [each for each in jobs if jobs[each].items is not None]
        if listed and chance.random() < 0.4:
            follows = chance.choice(listed)
            items = jobs[follows].items
        jobs[name] = Drawn(name, items, needs, when, chance.random() < 0.5, follows)
    return jobs


def written(jobs: dict[str, Drawn], witness: Path) -> str:
    """The jobs file. Each attempt tells the witness that it begins; the path of a file is the item's own."""
    lines = ['[run]\nslots = 3\n[defaults]\nretry = "0s"']
    for name, job in jobs.items():
        end, index = ENDS[job.end], "" if job.items is None else "-{{ index }}"
        lines += [f"[jobs.{name}]", end.keys.replace("FILE", f"{name}{index}").replace("made before", f"before{index}")]
        if job.follows:
            lines.append(f'for_each = {{ job = "{job.follows}" }}')
        elif job.items is not None:
            lines.append(f"for_each = {list(range(job.items))}")
        if job.needs:
            lines.append(f"needs = {job.needs}")
        if job.when:
            lines.append(f'when = "{job.when}"')
        if job.goes_on:
            lines.append("continue_on_error = true")
        body = end.body.replace("FILE", f"{name}{index}")
        lines.append(f"shell = '''echo $ORCHESTRATE_ITEM >> {witness}\n{body}'''")
    return "\n".join(lines) + "\n"


class Seen(NamedTuple):
    """What a run told, and what the witness saw: how often each item began."""

    results: dict[str, dict[str, Any]]
    jobs: dict[str, str]
    exit_code: int
    begins: Counter[str]
    is_halted: bool


@pytest.mark.parametrize("seed", sweep(range(60), quick=0))
def test_what_is_told_of_an_item_is_what_a_witness_saw(run_cli: RunCli, tmp_path: Path, seed: int) -> None:
    witness = tmp_path / "witness"
    jobs = draw(seed)
    (tmp_path / "jobs.toml").write_text(written(jobs, witness))
    for name in ("before", "before-0", "before-1", "before-2"):
        (tmp_path / name).touch()

    goes_on = seed % 2 == 1

    def seen(exit_code: int) -> Seen:
        results = json.loads(run_cli("results", "jobs.toml", "--json").stdout)
        status = json.loads(run_cli("status", "jobs.toml", "--json").stdout)
        begins = Counter(witness.read_text().split()) if witness.exists() else Counter[str]()
        assert status["counts"] == dict(Counter(each["status"] for each in results))
        states = {job["id"]: job["status"] for job in status["jobs"]}
        return Seen({each["item"]: each for each in results}, states, exit_code, begins, not goes_on and exit_code == 1)

    first = seen(run_cli("run", "jobs.toml", *(["-k"] if goes_on else [])).returncode)
    assert_witnessed(jobs, first, tmp_path)
    # What has succeeded never begins again; what has failed does, and comes to the same.
    again = seen(run_cli("resume", "jobs.toml", *(["-k"] if goes_on else [])).returncode)
    for item, result in first.results.items():
        more = again.begins[item] - first.begins[item]
        if result["status"] == "succeeded":
            assert (more, again.results[item]["status"]) == (0, "succeeded"), item
        elif result["status"] == "failed":
            most, status = ENDS[result["job"]].begins_again, again.results[item]["status"]
            if again.is_halted and status == "interrupted":
                assert 0 < more < most, (item, more)
            else:
                assert (status, more in (0, most)) == ("failed", True), (item, more)


def assert_witnessed(jobs: dict[str, Drawn], told: Seen, folder: Path) -> None:
    """Every status is what the witness saw, and whatever began was allowed to."""
    for item, result in told.results.items():
        job, end = jobs[result["job"]], ENDS[result["job"]]
        begins = told.begins[item]
        if result["status"] == "interrupted":
            # A failure elsewhere has ended the run between two attempts of it: nothing is known of it but that it is to go on.
            assert told.is_halted, item
            assert 0 < begins == result["attempts"] < end.begins, item
        elif begins:
            # It had its way: all that is told of it stands in the table.
            came_to = (result["status"], result["class"], begins, result["exit_code"])
            assert came_to == (end.status, end.attempt_class, end.begins, end.exit_code), item
            assert (result["attempts"], len(result["notes"] or [])) == (begins, end.notes), item
            assert (result["error"] is None) is (end.status == "succeeded"), item
        elif result["status"] == "succeeded":
            assert job.end == "has_made", (item, "succeeded, and nobody saw it begin")
        else:
            assert result["status"] in ("skipped", "pending"), (item, result["status"], "and nobody saw it begin")
        if begins and job.follows and not job.when:
            followed = told.results[f"{job.follows}:{result['index']}"]["status"]
            assert followed == "succeeded", f"{item} began, and what it follows is {followed}"
        # The file is there, whole, exactly if a success is told.
        path = folder / (item.replace(":", "-"))
        if "FILE" in end.keys and result["status"] == "succeeded":
            assert path.read_text() == "whole\n"
        if begins and not job.when:
            # A chain has no barrier: what it follows is waited for item by item, also if it is needed besides.
            for need in [each for each in job.needs if each != job.follows]:
                is_allowed = told.jobs[need] == "succeeded" or jobs[need].goes_on
                assert is_allowed, f"{item} began, and {need} is {told.jobs[need]}"
    # What failed is told by its job, and by the exit code.
    for name, status in told.jobs.items():
        states = {each["status"] for each in told.results.values() if each["job"] == name}
        assert ("failed" in states) is (status == "failed"), (name, status, states)
    assert told.exit_code == (1 if "failed" in told.jobs.values() else 0)
