"""What an agent writes beside the jobs file has no say in its run: by the real loop, on an engine without a process."""

from __future__ import annotations

from pathlib import Path

import pytest
from drivers.loop_stories import LoopStories
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.attempts.by_hand import prepared_by_hand
from orchestrator.errors import StateRefusedError
from orchestrator.reading.run_reader import RunReader
from orchestrator.runs.commands import UpdateRequest

JOBS = '[run]\nslots = 1\n[jobs.a]\nfor_each = [0, 1, 2]\nagent = "fake"\nprompt = "Do it."\n'
PLANTED = 'extends = "demo"\ncommand = ["/planted"]\npass_env = ["SECRET_*"]\n'


def plant(stories: LoopStories) -> None:
    (stories.folder / "agents" / "fake.toml").write_text(PLANTED)


def test_a_profile_that_an_item_plants_is_used_by_no_other_item_until_an_update_takes_it(stories: LoopStories) -> None:
    stories.add_agent()
    programs: list[str] = []

    def look(engine: MemoryEngine, item: str) -> Step:
        yield from engine.until_running(item)
        message = stories.world.message(item)
        programs.append(message.argv[0])
        assert "SECRET_*" not in (message.env_allowed or ())
        plant(stories)

    def stopped(engine: MemoryEngine) -> Step:
        yield from look(engine, "a:0")
        engine.ok("a:0", "done")
        yield from look(engine, "a:1")
        engine.fail("a:1")

    def resumed(engine: MemoryEngine) -> Step:
        for item in ("a:1", "a:2"):
            yield from look(engine, item)
            engine.ok(item, "done")

    stories.run(JOBS, stopped, slots=1)
    stories.resume(resumed, slots=1)
    assert len(programs) == 4
    assert "/planted" not in programs
    # Without what it kept the run does not go on by whatever stands there now; an update says that this is wanted.
    stories.run_dir.kept_files(0).write_bytes(b"{}")
    with pytest.raises(StateRefusedError, match=r"kept\.json: the run's own copy cannot be read: it is not as it was written"):
        stories.resume(resumed, slots=1)
    stories.resume(lambda _engine: iter(()), slots=1, update=UpdateRequest())
    kept = RunReader.read(stories.run_dir).jobs_file.kept
    assert kept is not None
    assert list(kept.contents.values()) == [PLANTED.encode()]


NAMED = """
[jobs.a]
command = ["work"]
[jobs.b]
needs = ["a"]
agent = "demo"
prompt_file = "p.md"
schema = "s.json"
[jobs.c]
needs = ["a"]
workflow = "child.toml"
"""


def test_an_item_that_takes_away_what_the_file_names_or_puts_another_there_changes_nothing(stories: LoopStories) -> None:
    pytest.importorskip("jsonschema")
    files = {"p.md": "Port it.", "s.json": '{"type": "string"}', "child.toml": '[jobs.x]\nshell = "true"\n'}
    for name, text in files.items():
        (stories.folder / name).write_text(text)

    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a")
        for name in files:
            (stories.folder / name).write_text("true")
        engine.ok("a")
        yield from engine.until_running("b", "c")
        message = stories.world.message("b")
        assert (message.stdin or "").startswith("Port it.")
        # Its CLI reads the schema by itself.
        given = Path(message.argv[message.argv.index("--json-schema") + 1])
        assert given.read_text() == files["s.json"]
        engine.ok("b", '"done"')
        engine.ok("c", "{}")

    assert stories.run(NAMED, story).exit_code == 0


def test_who_does_an_items_work_by_hand_or_lands_it_goes_by_what_the_run_has_kept(
    stories: LoopStories, monkeypatch: pytest.MonkeyPatch
) -> None:
    stories.add_agent()
    monkeypatch.setenv("SECRET_X", "not for it")

    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("a:0")
        engine.ok("a:0", "done")

    assert stories.run(JOBS.replace("[0, 1, 2]", '["x"]\ncheck = "kept"'), story, slots=1).exit_code == 0
    plant(stories)
    (stories.folder / "jobs.toml").write_text(JOBS.replace("[0, 1, 2]", '["x"]\ncheck = "planted"'))
    prepared, environment = prepared_by_hand(RunReader.read(stories.run_dir), "a", 0, in_workspace=False)
    assert (prepared.argv[0] == "/planted", prepared.check, "SECRET_X" in environment) == (False, "kept", False)
    # Without what it has kept nobody knows by which check.
    stories.run_dir.kept_files(0).unlink()
    with pytest.raises(StateRefusedError, match=r"kept\.json: the run's own copy cannot be read"):
        prepared_by_hand(RunReader.read(stories.run_dir), "a", 0, in_workspace=False)
