"""`resume --update`: what an edited jobs file makes of a run; what is kept, what runs again, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drivers.processes import is_living
from drivers.run_driver import Command, RunDriver

from orchestrator.errors import ExitCode


def update(driver: RunDriver, *arguments: str) -> Command:
    return driver.launch("resume", driver.run_id, "--update", *arguments)


def attempts(driver: RunDriver) -> dict[str, int]:
    return {result["item"]: result["attempts"] for result in driver.results()}


def statuses(driver: RunDriver) -> dict[str, str]:
    return {result["item"]: result["status"] for result in driver.results()}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


CHAIN = """
[jobs.list]
shell = "{list}"
output = "lines"
[jobs.port]
for_each = "{{{{ jobs.list.output }}}}"
shell = "echo {port} {{{{ item }}}}"
[jobs.review]
for_each = {{ job = "port" }}
shell = "echo {review} {{{{ parent.output }}}}"
[jobs.sum]
command = ["echo", "{{{{ jobs.review.outputs | tojson }}}}"]
"""


def test_what_an_edit_changes_runs_again_and_all_else_keeps_its_outcome(driver: RunDriver) -> None:
    driver.write(CHAIN.format(list=r"printf 'a\nb\n'", port="port", review="review"))
    driver.assert_exit(driver.run(), 0)
    driver.write(CHAIN.format(list=r"printf 'b\nc\n'", port="port", review="review"))
    before = contents(driver.run_folder)
    plan = driver.ask("resume", driver.run_id, "--update", "--dry-run")
    assert contents(driver.run_folder) == before
    assert {job["id"]: (job["counts"], job["listed_later"]) for job in plan["jobs"]} == {
        "list": ({"rerun": 1}, False),
        "port": ({"kept": 2}, True),
        "review": ({"checked": 2}, True),
        "sum": ({"checked": 1}, False),
    }
    driver.assert_exit(update(driver), 0)
    assert attempts(driver) == {
        "list": 2,
        "port:0": 1,
        "port:1": 1,
        "port:2": 1,
        "review:0": 1,
        "review:1": 1,
        "review:2": 1,
        "sum": 2,
    }
    assert statuses(driver)["port:0"] == statuses(driver)["review:0"] == "skipped"
    assert driver.result("port:0")["error"] == "no longer in the list"
    assert json.loads(driver.result("sum")["output"]) == [None, "review port b", "review port c"]

    # A plain resume looks at nothing again, and what comes back has its old index, outcome and all.
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    driver.write(CHAIN.format(list=r"printf 'a\nb\nc\n'", port="port", review="look"))
    driver.assert_exit(update(driver), 0)
    assert attempts(driver) == {
        "list": 3,
        "port:0": 1,
        "port:1": 1,
        "port:2": 1,
        "review:0": 2,
        "review:1": 2,
        "review:2": 2,
        "sum": 3,
    }
    assert set(statuses(driver).values()) == {"succeeded"}


@pytest.mark.slow
def test_jobs_are_added_removed_moved_and_come_back(driver: RunDriver) -> None:
    first = '[jobs.first]\nfor_each = [1, 2]\nshell = "echo {{ item }}"\n'
    second, third = (f'[jobs.{name}]\nshell = "echo {name}"\n' for name in ("second", "third"))
    driver.write(first + second)
    driver.assert_exit(driver.run(), 0)
    driver.write(third + second)
    planned = update(driver, "--dry-run")
    driver.assert_exit(planned, 0)
    assert planned.stdout == "third: new\nsecond: kept\nfirst: removed, 2 items\n"
    driver.assert_exit(update(driver), 0)
    assert attempts(driver) == {"third": 1, "second": 1}
    assert [job["id"] for job in driver.ask("status", driver.run_id)["jobs"]] == ["third", "second"]
    driver.write(first.replace("[1, 2]", "[2, 3]"))
    driver.assert_exit(update(driver), 0)
    assert statuses(driver) == {"first:0": "skipped", "first:1": "succeeded", "first:2": "succeeded"}
    assert attempts(driver) == {"first:0": 1, "first:1": 1, "first:2": 1}


def test_a_job_that_becomes_a_fan_out_begins_anew(driver: RunDriver) -> None:
    driver.write('[jobs.work]\ntoken = "t"\nshell = "echo one"\n')
    driver.assert_exit(driver.run(), 0)
    driver.write('[jobs.work]\nfor_each = ["x"]\nshell = "echo one"\n')
    driver.assert_exit(update(driver), 0)
    assert [(result["item"], result["value"], result["attempts"]) for result in driver.results()] == [("work:0", "x", 1)]


def test_a_refused_file_leaves_the_run_as_it_was(driver: RunDriver) -> None:
    driver.write('[jobs.a]\nfor_each = [1, 2]\nshell = "echo"\n[jobs.b]\nfor_each = { job = "a" }\nshell = "echo"\n')
    driver.assert_exit(driver.run(), 0)
    before = contents(driver.run_folder)
    for text, mistakes in (
        ('[jobs.a]\nshel = "echo"\ntimeout = "x"\n', ("shel: unknown key; did you mean shell?", "jobs.a.timeout: ")),
        ('inputs.x = { type = "string", required = true }\n[jobs.a]\nshell = "echo"\n', ("-i x=…: required",)),
        (
            '[jobs.a]\nfor_each = { lines = "none" }\nshell = "echo"\n[jobs.c]\nfor_each = [2, 1]\nshell = "echo"\n'
            '[jobs.b]\nfor_each = { job = "c" }\nshell = "echo"\n',
            ("jobs.a.for_each: none: No such file",),
        ),
    ):
        driver.write(text)
        for arguments in (("--dry-run",), ()):
            command = update(driver, *arguments)
            driver.assert_exit(command, ExitCode.USAGE)
            for mistake in mistakes:
                assert mistake in command.stderr
    (driver.folder / "jobs.toml").unlink()
    driver.assert_exit(update(driver), ExitCode.USAGE)
    after = contents(driver.run_folder)
    assert after.pop("supervisor.json") != before.pop("supervisor.json")
    assert after == before


def test_a_chain_never_follows_other_items_than_it_did(driver: RunDriver) -> None:
    jobs = '[jobs.a]\nfor_each = [1, 2]\nshell = "echo"\n[jobs.b]\nfor_each = [2, 1]\nshell = "echo"\n'
    driver.write(jobs + '[jobs.c]\nfor_each = { job = "a" }\nshell = "echo"\n')
    driver.assert_exit(driver.run(), 0)
    driver.write(jobs + '[jobs.c]\nfor_each = { job = "b" }\nshell = "echo"\n')
    command = update(driver)
    driver.assert_exit(command, ExitCode.USAGE)
    assert "jobs.c.for_each: c:0 would follow another item than it did" in command.stderr


@pytest.mark.slow
def test_inputs_keep_their_values_unless_others_are_given(driver: RunDriver) -> None:
    work = '[jobs.work]\nshell = "echo {{ inputs.kept }} {{ inputs.new | default(0, true) }}"\n'
    driver.write('inputs.kept = "default"\ninputs.gone = 1\n' + work.replace("inputs.new", "inputs.gone"))
    driver.assert_exit(driver.run("-i", "kept=given"), 0)
    driver.write('inputs.kept = "other"\ninputs.new = 1\n' + work)
    command = update(driver)
    driver.assert_exit(command, 0)
    assert "dropped: input gone" in command.stderr
    assert "input kept keeps the value that the run has" in command.stderr
    assert attempts(driver) == {"work": 1}
    driver.assert_exit(update(driver, "-i", "new=2"), 0)
    assert (driver.result("work")["output"], attempts(driver)) == ("given 2", {"work": 2})
    driver.assert_exit(driver.launch("resume", driver.run_id, "-i", "new=3"), ExitCode.USAGE)


def test_a_changed_file_is_noticed_and_not_taken(driver: RunDriver) -> None:
    driver.write('\ufeff[jobs.work]\nshell = "echo one"\n')
    driver.assert_exit(driver.run(), 0)
    quiet = driver.launch("resume", driver.run_id)
    driver.assert_exit(quiet, 0)
    assert "note:" not in quiet.stderr
    driver.write('[jobs.work]\nshell = "echo two"\n')
    told = driver.launch("resume", driver.run_id)
    driver.assert_exit(told, 0)
    assert told.stderr.count("has changed") == 1
    assert driver.result("work")["output"] == "one"
    (driver.folder / "jobs.toml").unlink()
    deleted = driver.launch("resume", driver.run_id)
    driver.assert_exit(deleted, 0)
    assert "note:" not in deleted.stderr


def test_an_update_that_changes_nothing_leaves_nothing_behind(driver: RunDriver) -> None:
    driver.write('[jobs.work]\r\nfor_each = ["a"]\r\nshell = "echo"\r\n')
    driver.assert_exit(driver.run(), 0)
    files = {path.name for path in driver.run_folder.glob("jobs*")}
    driver.assert_exit(update(driver), 0)
    assert {path.name for path in driver.run_folder.glob("jobs*")} == files


def test_a_run_of_each_has_no_file_to_take(driver: RunDriver) -> None:
    driver.assert_exit(driver.launch("each", "--run-id", driver.run_id, "--", "true", "{}"), 0)
    refused = update(driver)
    driver.assert_exit(refused, ExitCode.USAGE)
    assert "was made by `orchestrate each`" in refused.stderr


@pytest.mark.slow
def test_a_failed_item_that_is_other_work_now_runs_also_with_keep_failed(driver: RunDriver) -> None:
    jobs = '[jobs.work]\nfor_each = ["a", "b"]\ncontinue_on_error = true\nshell = "test {{ item }} != %s"\n'
    driver.write(jobs % "a")
    driver.assert_exit(driver.run(), 1)
    driver.assert_exit(update(driver, "--keep-failed"), 1)
    assert attempts(driver) == {"work:0": 1, "work:1": 1}
    driver.write(jobs % "c")
    driver.assert_exit(update(driver, "--keep-failed"), 0)
    assert attempts(driver) == {"work:0": 2, "work:1": 2}


def test_a_loop_that_changed_begins_anew_and_another_bound_goes_on(driver: RunDriver) -> None:
    loop = """
[jobs.loop]
repeat = {{ until = "{{{{ round == 3 }}}}", max = {max}, must = true }}
shell = "echo {word} {{{{ round }}}}"
"""
    driver.write(loop.format(max=2, word="one"))
    driver.assert_exit(driver.run(), 1)
    driver.write(loop.format(max=5, word="one"))
    driver.assert_exit(update(driver), 0)
    assert (attempts(driver), driver.result("loop")["output"]) == ({"loop": 3}, "one 3")
    driver.write(loop.format(max=5, word="two"))
    driver.assert_exit(update(driver), 0)
    result = driver.result("loop")
    assert (result["attempts"], result["round"], result["output"]) == (6, 3, "two 3")


def test_what_creates_its_file_has_done_so_whatever_the_file_says(driver: RunDriver) -> None:
    jobs = 'inputs.made = "made"\n[jobs.work]\ncreates = "{{ inputs.made }}"\nshell = "echo %s > {{ creates }}"\n'
    driver.write(jobs % "one")
    driver.assert_exit(driver.run(), 0)
    driver.write(jobs % "two")
    driver.assert_exit(update(driver), 0)
    assert (attempts(driver), (driver.folder / "made").read_text()) == ({"work": 1}, "one\n")
    driver.assert_exit(update(driver, "-i", "made=other"), 0)
    assert (attempts(driver), (driver.folder / "other").read_text()) == ({"work": 2}, "two\n")


def test_what_runs_on_is_adopted_if_it_is_the_same_work_and_ended_if_not(driver: RunDriver) -> None:
    jobs = f"""
[jobs.same]
shell = '''{driver.witnessed(driver.gated("same"))}'''
[jobs.other]
token = "other"
shell = '''{driver.witnessed("echo $$ > pid; " + driver.gated("other"))}'''
[jobs.listed]
for_each = ["a", "b"]
shell = '''{driver.witnessed(driver.gated("listed"))}'''
[jobs.gone]
shell = '''{driver.witnessed(driver.gated("gone"))}'''
"""
    driver.write("[run]\nslots = 5\n" + jobs)
    run = driver.run()
    driver.wait_for("begin", "same", "other", "listed:0", "listed:1", "gone")
    held = update(driver)
    driver.assert_exit(held, ExitCode.HELD)
    driver.assert_exit(update(driver, "--dry-run"), ExitCode.HELD)
    run.kill()
    edited = jobs.split("[jobs.gone]")[0].replace(driver.gated("other"), "true").replace('["a", "b"]', '["b"]')
    driver.write("[run]\nslots = 3\n" + edited)
    pid = int((driver.folder / "pid").read_text())
    updated = update(driver)
    driver.wait_for("end", "other")
    assert not is_living(pid)
    driver.open_gate("same")
    driver.open_gate("listed")
    driver.assert_exit(updated, 0)
    assert "adopted same" in updated.stderr
    assert "adopted listed:1" in updated.stderr
    assert "and would do something else now (3)" in updated.stderr
    assert attempts(driver) == {"same": 1, "other": 2, "listed:0": 1, "listed:1": 1}
    assert driver.acts("begin") == {"same": 1, "other": 2, "listed:0": 1, "listed:1": 1, "gone": 1}
    assert driver.acts("end") == {"same": 1, "other": 1, "listed:1": 1}
    driver.assert_tidy()


def test_an_outcome_that_came_too_late_is_kept_where_it_is_still_wanted(driver: RunDriver) -> None:
    """The worker finished without its supervisor, before the update: that is as good as any other outcome."""
    jobs = f"[jobs.work]\nshell = '''{driver.witnessed(driver.gated())}'''\n"
    driver.write(jobs)
    run = driver.run()
    driver.wait_for("begin", "work")
    run.kill()
    driver.open_gate()
    driver.wait_for("end", "work")
    driver.write(jobs + '[jobs.more]\nshell = "true"\n')
    driver.assert_exit(update(driver), 0)
    assert attempts(driver) == {"work": 1, "more": 1}


def test_a_kill_while_set_back_items_wait_for_their_turn_loses_no_outcome(driver: RunDriver) -> None:
    jobs = """
[jobs.first]
shell = '''{first}; echo same'''
[jobs.second]
shell = '''{second}; echo {{{{ jobs.first.output }}}}'''
"""
    driver.write(jobs.format(first=driver.witnessed(), second=driver.witnessed()))
    driver.assert_exit(driver.run(), 0)
    driver.write(jobs.format(first=driver.witnessed(driver.gated()), second=driver.witnessed()))
    updated = update(driver)
    driver.wait_for("begin", "first", times=2)
    assert statuses(driver)["second"] == "pending"
    updated.kill()
    driver.open_gate()
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    assert attempts(driver) == {"first": 2, "second": 1}
    assert driver.result("second")["output"] == "same"


@pytest.mark.slow
def test_a_choice_stands_as_long_as_its_question_and_what_it_was_about(driver: RunDriver) -> None:
    jobs = """
[jobs.port]
shell = "echo {port}"
[jobs.other]
shell = "echo {other}"
[jobs.ok]
gate = "{question}"
needs = ["port"]
[jobs.ship]
needs = ["ok", "other"]
shell = "echo shipped"
"""
    words = {"port": "one", "other": "one", "question": "Ship it?"}
    driver.write(jobs.format(**words))
    driver.assert_exit(driver.run(), ExitCode.PAUSED)
    driver.assert_exit(driver.launch("approve", driver.run_id, "ok"), 0)
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    for changed, code in (("other", 0), ("question", ExitCode.PAUSED), ("port", ExitCode.PAUSED)):
        words[changed] = "Really?"
        driver.write(jobs.format(**words))
        driver.assert_exit(update(driver), code)
        if code:
            driver.assert_exit(driver.launch("approve", driver.run_id, "ok"), 0)
            driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    assert attempts(driver) == {"port": 2, "other": 2, "ok": 0, "ship": 1}


@pytest.mark.slow
def test_an_update_keeps_what_is_selected(driver: RunDriver) -> None:
    jobs = '[jobs.work]\nfor_each = %s\nshell = "echo {{ item }}"\n[jobs.more]\nshell = "true"\n'
    driver.write(jobs % '["a", "b", "c"]')
    driver.assert_exit(driver.run("--only", "work:[bx]"), 0)
    driver.write(jobs % '["x", "b"]')
    driver.assert_exit(update(driver), 0)
    assert statuses(driver) == {
        "work:0": "skipped",
        "work:1": "succeeded",
        "work:2": "skipped",
        "work:3": "succeeded",
        "more": "skipped",
    }
    driver.write('[jobs.more]\nshell = "true"\n')
    refused = update(driver)
    driver.assert_exit(refused, ExitCode.USAGE)
    assert "--only 'work:[bx]': no job is called so" in refused.stderr
    driver.assert_exit(update(driver, "--all"), 0)
    assert statuses(driver) == {"more": "succeeded"}
