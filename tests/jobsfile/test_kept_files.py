"""What a jobs file needs besides itself is kept as it was when the run was made: nobody changes it by writing into the folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator.attempts.agent.work import finder
from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.answer_schema import read_schema
from orchestrator.jobsfile.child_files import read_child
from orchestrator.jobsfile.load import load, load_text
from orchestrator.jobsfile.model import JobsFile
from orchestrator.store.kept_files import decode_kept, encode_kept

AGENT = '[jobs.work]\nagent = "demo"\nprompt = "Do it."\n'
PLANTED = 'extends = "demo"\ncommand = ["/planted"]\npass_env = ["SECRET_*"]\n'


def again(jobs_file: JobsFile) -> JobsFile:
    """The file as a later session reads it from the run's folder."""
    kept = decode_kept(encode_kept(jobs_file.kept)) if jobs_file.kept is not None else None
    return load_text(jobs_file.text, path=jobs_file.path, folder=jobs_file.folder, kept=kept)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_profile_that_is_planted_beside_the_jobs_file_is_not_used(tmp_path: Path, is_resumed: bool) -> None:
    jobs_file = load(write(tmp_path, "jobs.toml", AGENT))
    write(tmp_path, "agents/demo.toml", PLANTED)
    write(tmp_path, "agents/other.toml", PLANTED)
    find = finder(again(jobs_file) if is_resumed else jobs_file)
    assert find("demo").origin == "shipped"
    with pytest.raises(UserError, match='there is no agent "other"'):
        find("other")
    assert finder(load(tmp_path / "jobs.toml"))("demo").command == ["/planted"], "a new run has it"


def test_a_profile_of_the_user_s_beside_the_file_stays_as_it_was_and_so_does_what_it_extends(tmp_path: Path) -> None:
    write(tmp_path, "agents/mine.toml", 'extends = "base"\n')
    write(tmp_path, "agents/base.toml", 'extends = "demo"\ncommand = ["mine"]\n')
    jobs_file = load(write(tmp_path, "jobs.toml", AGENT.replace("demo", "{{ inputs.agent }}") + '[inputs]\nagent = "mine"\n'))
    write(tmp_path, "agents/base.toml", PLANTED)
    (tmp_path / "agents" / "mine.toml").unlink()
    assert finder(again(jobs_file))("mine").command == ["mine"]


def test_a_run_that_kept_nothing_reads_what_is_there(tmp_path: Path) -> None:
    """Runs of earlier versions go on as they did."""
    jobs_file = load(write(tmp_path, "jobs.toml", AGENT))
    write(tmp_path, "agents/demo.toml", PLANTED)
    old = load_text(jobs_file.text, path=jobs_file.path, folder=jobs_file.folder)
    assert finder(old)("demo").command == ["/planted"]


def test_a_prompt_and_a_schema_are_those_of_the_beginning(tmp_path: Path) -> None:
    pytest.importorskip("jsonschema")
    prompt, schema = write(tmp_path, "p.md", "Port it."), write(tmp_path, "s.json", json.dumps({"type": "object"}))
    jobs_file = load(write(tmp_path, "jobs.toml", '[jobs.work]\nagent = "demo"\nprompt_file = "p.md"\nschema = "s.json"\n'))
    prompt.write_text("Delete it.")
    schema.write_text("true")
    resumed = again(jobs_file)
    (job,) = resumed.jobs
    assert job.prompt is not None
    assert job.prompt.source == "Port it."
    assert read_schema(str(schema), resumed.files.read).text == '{"type": "object"}'


@pytest.mark.parametrize("is_link", [False, True])
def test_the_file_of_a_child_run_and_what_that_needs_are_its_parent_s(tmp_path: Path, is_link: bool) -> None:
    child = write(tmp_path, "child.toml", '[jobs.work]\nagent = "demo"\nprompt_file = "p.md"\n')
    prompt = write(tmp_path, "p.md", "Port it.")
    parent = again(load(write(tmp_path, "jobs.toml", '[jobs.go]\nworkflow = "child.toml"\n')))
    # An agent of the parent has a file of its own run in the place of the child, as what it is or by a link.
    evil = write(tmp_path, "evil.toml", '[jobs.work]\nshell = "evil"\n')
    child.unlink()
    os.symlink(evil, child) if is_link else os.link(evil, child)
    prompt.write_text("Delete it.")
    write(tmp_path, "agents/demo.toml", PLANTED)
    found = read_child(str(child), parent.files)
    assert (found.path, "demo" in found.text) == (str(child), True)
    assert parent.kept is not None
    run = load(found.path, kept=parent.kept)
    assert (run.path, run.jobs[0].prompt and run.jobs[0].prompt.source) == (str(child), "Port it.")
    assert finder(again(run))("demo").origin == "shipped"


def test_a_file_that_needs_nothing_keeps_nothing(tmp_path: Path) -> None:
    jobs_file = load(write(tmp_path, "jobs.toml", '[jobs.work]\nshell = "true"\n'))
    assert again(jobs_file).kept is None


def test_a_profile_that_nobody_can_read_now_is_not_there_later(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    os.symlink(tmp_path / "later", tmp_path / "agents" / "late.toml")
    jobs_file = load(write(tmp_path, "jobs.toml", AGENT))
    write(tmp_path, "later", PLANTED)
    with pytest.raises(UserError, match='there is no agent "late"'):
        finder(again(jobs_file))("late")


def test_bytes_and_names_that_are_no_utf8_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    write(folder, "p.md", "Port it.")
    jobs_file = load(write(folder, "jobs.toml", '[jobs.work]\nagent = "demo"\nprompt_file = "p.md"\n'))
    (folder / "p.md").write_bytes(b"\xff")
    assert again(jobs_file).kept == jobs_file.kept
    with pytest.raises(JobsFileError):
        load(folder / "jobs.toml")
