"""The table of options of xargs and GNU parallel: what it says of ours is so, and it leaves out none of theirs that is typed."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.cli.each import command

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "from-xargs-and-parallel.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| xargs |"))
]
OF_XARGS = "-0 -a -d -E -e -I -i -L -l -n -o -P -p --process-slot-var -r -s --show-limits -t -x --help --version"
OF_PARALLEL = """
-0 -a --arg-file-sep --arg-sep --bar --bf --block --cat --cleanup -C --compress --csv -d --delay --dry-run --env --eof
--eta --fifo --files --filter --group --group-by --halt --header -I --joblog -j -k -L -l --limit --line-buffer --link
--load -m --memfree --memsuspend -N -n --nice -o -P -p --pipe --pipe-part --plus --profile -q -r --recend --recstart
--resume --resume-failed --results --retries --retry-failed --return --round-robin --rpl -S -s --semaphore --shebang
--shell-quote --shuf --skip-first-line --slf --sql --tag --tagstring --tee --term-seq --timeout --tmpdir --tmux
--transferfile --trc --trim -t -u -v --wd -X -x --xapply
"""


def options_in(cells: list[str]) -> set[str]:
    return set(re.findall(r"`(--?[A-Za-z0-9][\w-]*)", " ".join(cells)))


def test_each_row_has_a_cell_for_each() -> None:
    assert {len(row) for row in ROWS} == {4}


def test_what_the_table_says_is_ours_is() -> None:
    own = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help", "-c"}
    assert options_in([row[2] for row in ROWS]) <= own


def test_no_option_of_theirs_is_left_out() -> None:
    assert set(OF_XARGS.split()) <= options_in([row[0] for row in ROWS])
    assert set(OF_PARALLEL.split()) <= options_in([row[1] for row in ROWS])
