"""What a resume runs, leaves and tells: stale items, outputs of failed items, attempts that a disk could not hold."""

from __future__ import annotations

from drivers.run_driver import RunDriver

from orchestrator.errors import ExitCode


def test_a_succeeded_item_whose_inputs_changed_is_told_as_stale_and_runs_again_when_asked(driver: RunDriver) -> None:
    driver.write("""
[jobs.draw]
for_each = ["a", "b"]
continue_on_error = true
shell = "test {{ item }} = a || cat second"
[jobs.sum]
command = ["echo", "{{ jobs.draw.outputs | tojson }}"]
[jobs.report]
command = ["echo", "{{ jobs.sum.output }}"]
""")
    driver.assert_exit(driver.run(), ExitCode.FAILED)
    assert driver.result("sum")["output"] == '["", null]'

    (driver.folder / "second").write_text("now it is there\n")
    resumed = driver.launch("resume", driver.run_id)
    assert resumed.exit_code() == ExitCode.COMPLETED
    assert "1 succeeded item is stale" in resumed.stderr
    assert "--rerun-stale" in resumed.stderr
    assert driver.result("sum")["attempts"] == 1

    assert driver.launch("resume", driver.run_id, "--rerun-stale").exit_code() == ExitCode.COMPLETED
    assert {item: driver.result(item)["attempts"] for item in ("draw:0", "draw:1", "sum", "report")} == {
        "draw:0": 1,
        "draw:1": 2,
        "sum": 2,
        "report": 2,
    }
    assert driver.result("report")["output"] == '["", "now it is there"]'


def test_an_item_that_has_just_created_its_file_is_not_called_stale(driver: RunDriver) -> None:
    driver.write("""
[jobs.draw]
command = ["date"]
[jobs.made]
needs = ["draw"]
creates = "made.txt"
shell = "echo made > {{ creates }}"
""")
    command = driver.run()
    driver.assert_exit(command, ExitCode.COMPLETED)
    assert "stale" not in command.stderr
    assert driver.result("made")["attempts"] == 1


def test_nothing_is_fanned_out_over_the_output_of_a_failed_item(driver: RunDriver) -> None:
    driver.write(f"""
[jobs.list]
continue_on_error = true
shell = "echo half; exit 1"
output = "lines"
[jobs.work]
for_each = "{{{{ jobs.list.output }}}}"
shell = '''{driver.witnessed()}'''
""")
    run = driver.run()
    assert run.exit_code() == ExitCode.FAILED
    assert not driver.acts("begin")
    assert driver.result("list")["output"] is None


def test_an_item_whose_output_the_disk_could_not_hold_runs_again_in_the_resume(driver: RunDriver) -> None:
    driver.write(f"""
[run]
slots = 1
[jobs.work]
for_each = ["a", "b"]
shell = '''{driver.witnessed("echo said")}'''
""")
    driver.assert_exit(driver.run(worker_fault="worker.capture:1:ENOSPC"), ExitCode.STATE_UNWRITABLE)
    driver.assert_exit(driver.run(), ExitCode.COMPLETED)
    assert [result["output"] for result in driver.results()] == ["said", "said"]
    assert driver.acts("end") == {"work:0": 2, "work:1": 1}


def test_a_link_that_leads_nowhere_is_no_file_that_exists(driver: RunDriver) -> None:
    (driver.folder / "made").symlink_to("nowhere")
    driver.write('[jobs.work]\ncreates = "made"\nshell = "echo new > {{ creates }}"\n')
    driver.assert_exit(driver.run(), ExitCode.COMPLETED)
    assert (driver.folder / "made").read_text() == "new\n"
    assert driver.result("work")["attempts"] == 1


def test_run_resume_continues_the_newest_run_that_is_unfinished_past_newer_ones_that_are_not(
    driver: RunDriver,
) -> None:
    driver.write('[jobs.work]\nshell = "test -e good"\n')
    (driver.folder / "good").touch()
    interrupted = driver.launch("run", "jobs.toml", "--run-id", "old", fault="supervisor.recorded:2")
    assert interrupted.exit_code() < 0
    assert driver.launch("run", "jobs.toml", "--run-id", "new").exit_code() == ExitCode.COMPLETED
    continued = driver.launch("run", "jobs.toml", "--resume", "--json")
    assert continued.exit_code() == ExitCode.COMPLETED
    assert '"run_id":"old"' in continued.stdout
