"""Twelve kinds of driver scripts that people have, as they stand with orchestrate: one line or one file each, without a detour.

The programs that they drive (ffmpeg, pandoc, terraform, …) are stand-ins of a line or two, first on PATH.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

LIMIT_SECONDS = 60


class Desk:
    """A folder with files and stand-in programs, in which a user types."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs = folder / "programs"
        self._programs.mkdir()

    def programs(self, **scripts: str) -> None:
        for name, script in scripts.items():
            path = self._programs / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)

    def files(self, contents: Mapping[str, str]) -> None:
        for name, text in contents.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def types(self, script: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self._programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=os.environ | {"PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )

    def lines(self, name: str) -> list[str]:
        return sorted((self.folder / name).read_text().splitlines())


@pytest.fixture
def desk(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("ORCHESTRATE_HOME", str(home))
    (tmp_path / "desk").mkdir()
    return Desk(tmp_path / "desk")


def test_videos_are_converted_and_removed(desk: Desk) -> None:
    """Was: find . -name '*.mov' -exec sh -c 'ffmpeg -i "$1" "${1%.mov}.mp4" && rm "$1"' _ {} \\;"""
    desk.programs(ffmpeg='case "$2" in *broken*) exit 1;; esac; cp "$2" "$3"')
    desk.files({"v/a.mov": "a", "v/b c.mov": "b", "v/broken.mov": ""})
    done = desk.types("find v -name '*.mov' -print0 | orchestrate each -0 -k --shell -- 'ffmpeg -i {} {.}.mp4 && rm {}'")
    assert done.returncode == 1, done.stderr
    assert sorted(path.name for path in (desk.folder / "v").iterdir()) == ["a.mp4", "b c.mp4", "broken.mov"]


def test_a_list_of_addresses_in_which_one_is_gone(desk: Desk) -> None:
    """Was: while read -r u; do wget -q "$u" || echo "$u" >> failed.txt; done < urls.txt"""
    desk.programs(wget='case "$2" in */404) echo "404 Not Found" >&2; exit 8;; esac; echo "$2" >> got')
    desk.files({"urls.txt": "http://h/1\nhttp://h/404\nhttp://h/2\n"})
    done = desk.types("orchestrate each -k -a urls.txt -- wget -q {}")
    assert done.returncode == 1
    assert desk.lines("got") == ["http://h/1", "http://h/2"]
    assert "404 Not Found" in done.stderr, "a failure says why"


def test_folds_of_a_training_on_two_gpus(desk: Desk) -> None:
    """Was: parallel -j2 'CUDA_VISIBLE_DEVICES=$(({%} - 1)) python train.py --fold {}' ::: 0 1 2 3"""
    desk.programs(train='echo "$CUDA_VISIBLE_DEVICES" >> gpus; echo "$2" >> folds')
    done = desk.types("orchestrate each -j2 --shell -- 'CUDA_VISIBLE_DEVICES={%} train --fold {}' ::: 0 1 2 3")
    assert done.returncode == 0, done.stderr
    assert desk.lines("folds") == ["0", "1", "2", "3"]
    assert set(desk.lines("gpus")) <= {"0", "1"}


def test_a_file_of_command_lines(desk: Desk) -> None:
    """Was: parallel -j4 < commands.txt"""
    desk.files({"commands.txt": "echo one > 'out 1'\nexit 3\necho two | tr a-z A-Z > out2\n"})
    done = desk.types("orchestrate each -j4 -k --shell < commands.txt")
    assert done.returncode == 1, done.stderr
    assert (desk.lines("out 1"), desk.lines("out2")) == (["one"], ["TWO"])


def test_a_bash_function(desk: Desk) -> None:
    """Was: export -f convert_one; parallel convert_one ::: *.txt"""
    desk.files({"a.txt": "a\n", "b c.txt": "b\n"})
    done = desk.types(
        'convert_one() { tr a-z A-Z < "$1" > "${1%.txt}.up"; }; export -f convert_one\n'
        "orchestrate each -- bash -c 'convert_one \"$1\"' _ {} ::: *.txt"
    )
    assert done.returncode == 0, done.stderr
    assert (desk.lines("a.up"), desk.lines("b c.up")) == (["A"], ["B"])


def test_a_list_of_hosts_is_asked_with_retries(desk: Desk) -> None:
    """Was: for h in $(cat hosts); do for i in 1 2 3; do ping -c1 "$h" && break; sleep 1; done; done"""
    desk.programs(ping='echo "$2" >> asked; case "$2" in up) ;; late) test "$(grep -c late asked)" = 2;; *) exit 1;; esac')
    desk.files({"hosts": "up\nlate\ndown\n"})
    done = desk.types("orchestrate each -j1 -k --attempts 3 --retry-delay 0.01s --timeout 5s -a hosts -- ping -c1 {}")
    assert done.returncode == 1
    assert desk.lines("asked") == ["down", "down", "down", "late", "late", "up"]


def test_a_loop_of_an_agent_until_it_says_that_it_is_done(desk: Desk) -> None:
    """Was: until claude -p "$(cat task.md)" | grep -q ALL_DONE; do :; done"""
    desk.programs(claude='cat > /dev/null; echo x >> turns; test "$(wc -l < turns)" -lt 3 || echo ALL_DONE')
    desk.files({
        "task.md": "Port the next file. When none is left, say ALL_DONE.\n",
        "loop.toml": """
[jobs.port]
repeat = { until = "{{ 'ALL_DONE' in output }}", max = 20, must = true }
shell = "claude -p < task.md"
""",
    })  # fmt: skip
    done = desk.types("orchestrate run loop.toml")
    assert done.returncode == 0, done.stderr
    assert desk.lines("turns") == ["x"] * 3


def test_tasks_of_a_file_that_are_split_at_a_bar(desk: Desk) -> None:
    """Was: while IFS='|' read -r file task; do claude -p "$task in $file"; done < tasks.txt"""
    desk.files({"tasks.txt": "a.py|fix the typo\nb.py|add types\n"})
    done = desk.types("orchestrate each --colsep '|' -a tasks.txt --agent demo -p 'say {2} in {1}'")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["fix the typo in a.py", "add types in b.py"]


def test_plans_of_folders_in_their_order(desk: Desk) -> None:
    """Was: for d in */; do (cd "$d" && terraform plan -detailed-exitcode; test $? -ne 1) || exit; done"""
    desk.programs(terraform='basename "$PWD" >> ../../order; exit "$(cat says)"')
    desk.files({"stacks/a/says": "0", "stacks/b/says": "2", "stacks/c/says": "1", "stacks/d/says": "0"})
    desk.files({
        "plan.toml": """
[jobs.plan]
for_each = { glob = "stacks/*" }
cwd = "{{ item }}"
command = ["terraform", "plan", "-detailed-exitcode"]
ok_exit_codes = [0, 2]
max_concurrency = 1
""",
    })  # fmt: skip
    done = desk.types("orchestrate run plan.toml")
    assert done.returncode == 1
    assert (desk.folder / "order").read_text().split() == ["a", "b", "c"], "the first that failed ended it"


def test_a_folder_of_prompts_that_hold_braces_of_their_own(desk: Desk) -> None:
    """Was: for p in prompts/*.md; do claude -p < "$p"; done"""
    desk.files({"prompts/a.md": "say {{ user.name }} stays\n", "prompts/b.md": "say {% raw %} too\n"})
    desk.files({
        "prompts.toml": """
[jobs.ask]
for_each = { glob = "prompts/*.md" }
agent = "demo"
prompt_file = { path = "{{ item }}", template = false }
""",
    })  # fmt: skip
    done = desk.types("orchestrate run prompts.toml --quiet && orchestrate results --last --fields output --format jsonl")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["output"] for line in done.stdout.splitlines()] == ["{{ user.name }} stays", "{% raw %} too"]


def test_pages_that_are_made_anew_when_their_source_or_the_template_is_newer(desk: Desk) -> None:
    """Was, in a Makefile: %.pdf: %.md template.tex; pandoc --template=template.tex -o $@ $<"""
    desk.programs(pandoc='echo "$4" >> made; cat "$4" "${1#--template=}" > "$3"')
    desk.files({"text/a.md": "a", "text/b.md": "b", "template.tex": "t"})
    desk.files({
        "pages.toml": """
[jobs.page]
for_each = { glob = "text/*.md" }
creates = "out/{{ item | stem }}.pdf"
sources = ["{{ item }}", "template.tex"]
command = ["pandoc", "--template=template.tex", "-o", "{{ creates }}", "{{ item }}"]
""",
    })  # fmt: skip
    again = "orchestrate run pages.toml --quiet && cat made && : > made; "
    older = "touch -d '1 hour ago' out/*.pdf; "
    done = desk.types(
        f"{again} {again} touch -d '1 hour' text/a.md; {again} {older} touch -d '2 hours ago' text/*; touch template.tex; {again}"
    )
    assert done.returncode == 0, done.stderr
    made = done.stdout.split()
    assert (sorted(made[:2]), made[2:3], sorted(made[3:])) == (
        ["text/a.md", "text/b.md"],
        ["text/a.md"],
        ["text/a.md", "text/b.md"],
    )


@pytest.mark.slow
def test_a_hundred_thousand_lines_several_arguments_a_line(desk: Desk) -> None:
    """Was: xargs -P64 -n 100 touch_all < lines"""
    done = desk.types("seq 100000 | orchestrate each --quiet -j64 -n 100 -- sh -c 'echo $#' _ {} | sort | uniq -c")
    assert done.stdout.split() == ["1000", "100"], done.stderr
