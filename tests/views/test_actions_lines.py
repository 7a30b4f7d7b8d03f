"""Lines in a job of GitHub Actions: groups, annotations, the summary of the step, and nothing that anybody else may command."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from drivers.views_story import began, ended, finished, listed

from orchestrator.views.actions_lines import ActionsLines, EachActionsLine, mistake_commands
from orchestrator.views.failures import Failure
from orchestrator.views.happenings import Happening, Noted
from orchestrator.views.outlet import Outlet
from orchestrator.views.source_places import SourcePlaces
from orchestrator.views.step_summary import MOST_BYTES

FORGED = ["::error::forged", "  ::set-env name=A::b", "x ##[error]forged", "a\r::warning::forged", "</pre><b>[x](y)|"]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").touch()
    (tmp_path / "b.py").touch()
    return tmp_path


def lines_of(workspace: Path, *happenings: Happening, kind: type[ActionsLines] = ActionsLines) -> list[str]:
    stream = io.StringIO()
    environment = {"GITHUB_WORKSPACE": str(workspace), "GITHUB_STEP_SUMMARY": str(workspace / "sum")}
    view = kind(Outlet(stream), "orchestrate", environment)
    for happening in (began(), listed(3), *happenings):
        view.hear(happening)
    view.close()
    return stream.getvalue().split("\n")[1:-1]


def failed(index: int, *tail: str, **more: Any) -> Happening:
    return ended(index, "failed", message="exit code 1", tail=list(tail), **more)


def test_why_is_a_group_and_what_failed_alike_is_one_annotation(workspace: Path) -> None:
    lines = lines_of(
        workspace,
        failed(0, "b.py:12: no", "100%", label="src/a.py"),
        failed(1, "b.py:12: no", "100%"),
        failed(2, label="src/a.py"),
        finished("failed", failed=3),
    )
    assert lines[:-3] == [
        "::group::FAILED port:0 src/a.py exit code 1",
        "       | b.py:12: no",
        "       | 100%",
        "::endgroup::",
        "FAILED port:1 exit code 1 (like port:0)",
        "FAILED port:2 src/a.py exit code 1",
        "::error file=b.py,line=12,title=port%3A0 src/a.py::port:0 src/a.py: exit code 1: 100%25%0Aand 1 more like this: port:1",
        "::error file=src/a.py,title=port%3A2 src/a.py::port:2 src/a.py: exit code 1",
    ]
    assert (workspace / "sum").read_text().startswith("### run: failed\n")


def test_a_mistake_of_the_jobs_file_is_annotated_where_it_stands(workspace: Path) -> None:
    problems = ["../b.py:4: jobs.a: no\n::error::forged", "jobs.toml:3:8: invalid TOML", "../b.py: jobs: no jobs"]
    assert list(mistake_commands(problems, str(workspace), str(workspace / "src"))) == [
        "::error file=b.py,line=4::../b.py:4: jobs.a: no%0A::error::forged",
        "::error::jobs.toml:3:8: invalid TOML",
        "::error::../b.py: jobs: no jobs",
    ]


@pytest.mark.parametrize("kind", [ActionsLines, EachActionsLine])
def test_no_word_of_an_item_is_a_command(workspace: Path, kind: type[ActionsLines]) -> None:
    label = "a,b:c%\n::error::forged"
    story: list[Happening] = [
        failed(0, *FORGED, label=label),
        ended(1, label=label, message="##[error]x"),
        failed(2, label="::x"),
    ]
    notes = [Noted(message=each, at=1.0) for each in FORGED]
    lines = lines_of(workspace, *story, *notes, finished("failed", failed=2), kind=kind)
    assert not [line for line in lines if "##[" in line or "\r" in line]
    commands = [line for line in lines if line.lstrip().startswith("::")]
    assert [command.split("::")[1].split(" ")[0] for command in commands] == ["group", "endgroup", "error", "error"]
    assert commands[2].startswith("::error title=port%3A0 a%2Cb%3Ac%25\\n%3A%3Aerror%3A%3Aforged::port:0 ")
    # Of others only letters, digits and numbers of characters stand in the summary.
    told = (workspace / "sum").read_text()
    ours = re.sub(r"</?(details|summary|pre)>|^\|.*|^###.*|&#\d+;", "", told, flags=re.MULTILINE)
    assert re.sub(r"[\w\s]", "", ours) == ""


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("src/a.py:3:7: E501", ("src/a.py", 3)),
        ('  File "src/a.py", line 9, in f', ("src/a.py", 9)),
        ("at b.py:1, from src/a.py:2", ("src/a.py", 2)),
        ("src/none.py:3: x, ./b.py:4", ("b.py", 4)),
        ("../../etc/passwd:1: x", None),
        ("http://host:80/x", None),
        ("12:30:00 nothing", None),
        ("\0:1", None),
        ("x" * 9999 + ":1", None),
    ],
)
def test_a_file_and_a_line_are_those_that_are_named_last_and_are_there(
    workspace: Path, line: str, place: tuple[str, int] | None
) -> None:
    failure = Failure((0, 0), "port:0", "no file", "exit code 1", 1, None, [line, "refused"])
    assert SourcePlaces(str(workspace), str(workspace / "jobs.toml")).of(failure) == place
    assert SourcePlaces("", "").of(failure) is None


@pytest.mark.parametrize("lost", ["folder", "full"])
def test_a_summary_that_cannot_be_written_is_noted_and_ends_nothing(workspace: Path, lost: str) -> None:
    path = workspace / "sum"
    if lost == "full":
        path.write_bytes(b"x" * MOST_BYTES)
    else:
        path.mkdir()
    lines = lines_of(workspace, finished(succeeded=1))
    assert [line for line in lines if line.startswith("note: the summary of the step could not be written: ")] == lines[-1:]
