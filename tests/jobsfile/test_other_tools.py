"""Who writes the word of another tool is told our key; a word that only looks like a key of ours is no reason to name that."""

from __future__ import annotations

import pytest

from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.keys import FileTable, JobTable, PoolTable, RunTable
from orchestrator.jobsfile.language.decode import fields_of
from orchestrator.jobsfile.language.other_tools import _WORDS, meant_key
from orchestrator.jobsfile.load import load_text

JOB, FILE, RUN = fields_of(JobTable), fields_of(FileTable), fields_of(RunTable)


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("retries", "attempts"),
        ("items", "for_each"),
        ("cmd", "command"),
        ("depends_on", "needs"),
        ("run", "shell"),
        ("if", "when"),
        ("parallel", "max_concurrency"),
        ("timeout-minutes", "timeout"),
        ("continue-on-error", "continue_on_error"),
        ("working-directory", "cwd"),
        ("environment", "env"),
        ("Needs", "needs"),
        ("deps", "needs"),
        ("generates", "creates"),
        ("ignore_error", "continue_on_error"),
        ("threads", "max_concurrency"),
        ("script", "shell"),
        ("steps", "shell"),
        ("max_concurency", "max_concurrency"),
    ],
)
def test_a_job_is_told_the_key_for_the_word_of_another_tool(word: str, key: str) -> None:
    assert meant_key(word, JOB) == f"; did you mean {key}?"


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("slots", "[run] slots"),
        ("parallel", "[run] slots"),
        ("tasks", "jobs"),
        ("env", "[run] env"),
        ("vars", "inputs"),
        ("job", "jobs"),
        ("budget_usd", "[run] budget_usd"),
        ("timeout", "[run] timeout"),
    ],
)
def test_a_file_is_told_the_table(word: str, key: str) -> None:
    assert meant_key(word, FILE, is_file=True) == f"; did you mean {key}?"


def test_a_run_and_a_pool_have_slots() -> None:
    assert meant_key("jobs", RUN) == meant_key("threads", fields_of(PoolTable)) == "; did you mean slots?"


def test_the_nearest_key_is_not_named_for_a_word_that_means_another_thing() -> None:
    assert meant_key("retries", RUN) == ""


def test_a_word_that_other_tools_have_and_we_have_not_is_told_no_key_that_only_looks_like_it() -> None:
    words = "then image container ports tags branches expose try release commit comment force export order_by trace tool file"
    assert [(word, meant_key(word, JOB)) for word in words.split() if meant_key(word, JOB)] == []
    slips = {"promt": "prompt", "comand": "command", "worksapce": "workspace", "wehn": "when", "timout": "timeout"}
    assert {word: meant_key(word, JOB) for word in slips} == {word: f"; did you mean {key}?" for word, key in slips.items()}


def test_each_key_that_is_named_is_one() -> None:
    known = {*JOB, *FILE, *fields_of(PoolTable), *(f"[run] {key}" for key in RUN), *RUN}
    assert [key for key in _WORDS if key not in known] == []


def test_all_mistakes_are_told_with_the_keys_that_were_meant() -> None:
    with pytest.raises(JobsFileError) as told:
        load_text("slots = 2\n[jobs.a]\nrun = 'x'\nretries = 2\ndepends_on = []\n", path="/x/jobs.toml", folder="/x")
    told_keys = [problem.partition("; did you mean ")[2] for problem in told.value.problems if "unknown key" in problem]
    assert sorted(told_keys) == ["[run] slots?", "attempts?", "needs?", "shell?"]
