"""Items that wait for each other, through nested runs and between runs: one gives up soon and says why; others go on.

That it takes no more than 5 s is promised where looks can be counted: `test_wait_board.py`.
"""

from __future__ import annotations

import pytest
from drivers.many_runs import ManyRuns, nested
from drivers.processes import wait_until
from drivers.sweeps import sweep


def tolerant(command: str) -> str:
    """Shell: goes well whatever becomes of the nested run."""
    return f"{command} || echo it gave up"


Item = tuple[str, str]
"""Run and item."""


def gave_up(runs: ManyRuns, *items: Item) -> list[tuple[Item, str]]:
    """Those of these items that failed, with their error."""
    results = [(item, runs.results_of(item[0]).get(item[1])) for item in items if runs.folder_of(item[0]).checkpoint.exists()]
    return [(item, result["error"]) for item, result in results if result is not None and result["status"] == "failed"]


def the_one_that_gives_up(runs: ManyRuns, *items: Item) -> tuple[Item, str]:
    """Wait until all of these items wait (the cycle is closed), and then until one of them has failed."""
    wait_until(lambda: gave_up(runs, *items) or all(runs.why(*item) for item in items), "the cycle is closed")
    ((victim, words),) = wait_until(lambda: gave_up(runs, *items), "one gives up")
    return victim, words


def postings(runs: ManyRuns) -> dict[str, int]:
    """What stands on the board of waits: file -> when it was written."""
    board = runs.home / "waits"
    return {path.name: path.stat().st_mtime_ns for path in board.glob("[!.]*.json")} if board.exists() else {}


def wait_for_looks(runs: ManyRuns, files: set[str], looks: int) -> None:
    """Until each of these postings has been written anew so often: every time its run had looked for deadlocks."""
    seen: dict[str, set[int]] = {name: set() for name in files}

    def have_looked() -> bool:
        for name, written in postings(runs).items():
            seen.setdefault(name, set()).add(written)
        return all(len(seen[name]) > looks for name in files)

    wait_until(have_looked, f"{sorted(files)} were written {looks} times")


# Tokens.


@pytest.mark.parametrize("depth", sweep([2, 1], quick=1))
def test_an_item_whose_token_an_item_around_it_holds_fails_at_once(runs: ManyRuns, depth: int) -> None:
    command = nested("middle.toml" if depth == 2 else "inner.toml", "middle" if depth == 2 else "inner")
    runs.write(f"[jobs.inner]\ntoken = 'T'\nshell = '''{command}'''\n", "inner.toml")
    runs.write(f"[jobs.middle]\nshell = '''{nested('inner.toml', 'inner')}'''\n", "middle.toml")
    runs.write(f"[run]\nslots = 1\n[jobs.outer]\ntoken = 'T'\nshell = '''{command}'''\n", "outer.toml")
    runs.assert_exit(runs.begin("outer.toml", "outer"), 1)
    result = runs.results_of("inner")["inner"]
    assert (result["status"], result["attempts"], result["stdout"]) == ("failed", 0, None)
    assert "'T'" in result["error"]
    assert "outer/outer" in result["error"]
    assert postings(runs) == {}


def write_crossed_tokens(runs: ManyRuns) -> None:
    """`a` has token A and needs B through the run `in-a`; `b` the other way round. What has one token is the same work."""
    does_a = tolerant(f"{runs.gated('a')}; {nested('in_a.toml', 'in-a')}")
    does_b = tolerant(f"{runs.gated('b')}; {nested('in_b.toml', 'in-b')}")
    runs.write(f"[jobs.needs_b]\ntoken = 'B'\nshell = '''{does_b}'''\n", "in_a.toml")
    runs.write(f"[jobs.needs_a]\ntoken = 'A'\nshell = '''{does_a}'''\n", "in_b.toml")
    job_a = f"[jobs.a]\ntoken = 'A'\nshell = '''{does_a}'''\n"
    job_b = f"[jobs.b]\ntoken = 'B'\nshell = '''{does_b}'''\n"
    runs.write(f"[run]\nslots = 2\n{job_a}{job_b}", "both.toml")
    runs.write(job_a, "a.toml")
    runs.write(job_b, "b.toml")


@pytest.mark.parametrize("is_one_run", sweep([False, True], quick=1), ids=["in two runs", "in one run"])
def test_of_two_items_that_need_each_others_token_one_gives_up_and_the_other_finishes(runs: ManyRuns, is_one_run: bool) -> None:
    write_crossed_tokens(runs)
    commands = [runs.begin("both.toml", "a")] if is_one_run else [runs.begin("a.toml", "a"), runs.begin("b.toml", "b")]
    for name in ("a", "b"):
        runs.process_of("a" if is_one_run else name, name)
        runs.open_gate(name)
    crossed = [("in-a", "needs_b"), ("in-b", "needs_a")]
    victim, words = the_one_that_gives_up(runs, *crossed)
    runs.assert_all_end(commands)
    assert gave_up(runs, *crossed) == [(victim, words)]
    assert words.startswith(f"{'/'.join(victim)} waits for token"), words
    assert words.endswith(f"which cannot end before {'/'.join(victim)}"), words
    assert "for token 'A', held by a/a" in words
    assert f"for token 'B', held by {'a' if is_one_run else 'b'}/b" in words
    other_run, other = next(item for item in crossed if item != victim)
    shared = runs.results_of(other_run)[other]
    assert (shared["status"], shared["attempts"]) == ("succeeded", 0)
    outer = runs.results_of("a") | runs.results_of("a" if is_one_run else "b")
    assert [outer[name]["status"] for name in ("a", "b")] == ["succeeded", "succeeded"]
    # Whose nested run gave up says so; the other's went well.
    assert sorted(outer[name]["output"] for name in ("a", "b")) == ["", "it gave up"]
    assert postings(runs) == {}


# Pools.


def write_crossed_pools(runs: ManyRuns) -> None:
    """`left` and `right` hold a pool each and need the other's; `behind` needs one too and holds nothing."""
    pools = "[pools.left]\nslots = 1\n[pools.right]\nslots = 1\n"
    for own, other in (("left", "right"), ("right", "left")):
        runs.write(f"{pools}[jobs.leaf]\npool = '{other}'\nshell = '''{runs.witnessed()}'''\n", f"in_{own}.toml")
        meet = f"touch met.{own}; until [ -e met.{other} ]; do sleep 0.01; done"
        body = tolerant(f"{meet}; {nested(f'in_{own}.toml', f'in-{own}')}")
        runs.write(f"{pools}[jobs.{own}]\npool = '{own}'\nshell = '''{body}'''\n", f"{own}.toml")
    runs.write(f"{pools}[jobs.last]\npool = 'left'\nshell = '''{runs.witnessed()}'''\n", "in_behind.toml")
    runs.write(f"[jobs.behind]\nshell = '''{nested('in_behind.toml', 'in-behind')}'''\n", "behind.toml")


def test_of_two_runs_that_need_each_others_pool_one_gives_up_and_all_others_finish(runs: ManyRuns) -> None:
    write_crossed_pools(runs)
    commands = [runs.begin(f"{name}.toml", name) for name in ("left", "right")]
    runs.process_of("left", "left")
    commands.append(runs.begin("behind.toml", "behind"))
    crossed = [("in-left", "leaf"), ("in-right", "leaf")]
    (victim_run, _), words = the_one_that_gives_up(runs, *crossed)
    runs.assert_all_end(commands)
    assert len(gave_up(runs, *crossed)) == 1
    assert words.startswith(f"{victim_run}/leaf waits for pool"), words
    assert "for pool right, held by right/right" in words
    assert "for pool left, held by left/left" in words
    other = "in-right" if victim_run == "in-left" else "in-left"
    assert runs.statuses(other) == {"leaf": "succeeded"}
    assert runs.statuses("left") | runs.statuses("right") == {"left": "succeeded", "right": "succeeded"}
    assert runs.statuses("in-behind") == {"last": "succeeded"}, "who merely waited behind the two"
    assert runs.acts("end") == {"leaf": 1, "last": 1}


def test_a_token_and_a_pool_make_a_cycle_too(runs: ManyRuns) -> None:
    """`left` holds the pool and needs token T; `right` has token T and needs the pool."""
    pool = "[pools.api]\nslots = 1\n"
    leaf = f"[jobs.leaf]\npool = 'api'\nshell = '''{runs.witnessed()}'''\n"
    runs.write(f"{pool}{leaf}", "in_right.toml")
    body = tolerant(f"{runs.gated()}; {nested('in_right.toml', 'in-right')}")
    right = f"[jobs.right]\ntoken = 'T'\nshell = '''{body}'''\n"
    runs.write(right, "right.toml")
    runs.write(right, "in_left.toml")
    runs.write(f"{pool}[jobs.left]\npool = 'api'\nshell = '''{tolerant(nested('in_left.toml', 'in-left'))}'''\n", "left.toml")
    commands = [runs.begin("right.toml", "right")]
    runs.process_of("right", "right")
    commands.append(runs.begin("left.toml", "left"))
    runs.wait_for_reason("in-left", "right", "right/right")
    runs.open_gate()
    crossed = [("in-left", "right"), ("in-right", "leaf")]
    _, words = the_one_that_gives_up(runs, *crossed)
    runs.assert_all_end(commands)
    assert len(gave_up(runs, *crossed)) == 1
    assert "for token 'T', held by right/right" in words
    assert "for pool api, held by left/left" in words


# A token that is kept through a backoff.


def fails_once(runs: ManyRuns) -> str:
    """Keys of a job with token W that fails once and goes well at its second attempt."""
    body = runs.witnessed("test $ORCHESTRATE_ATTEMPT = 2")
    return f"token = 'W'\nattempts = 2\nretry = {{ delay = '10ms' }}\nshell = '''{body}'''\n"


@pytest.mark.parametrize("slots", sweep([1, 0], quick=1), ids=["one slot", "inline"])
def test_a_retry_that_keeps_its_token_and_needs_the_slot_of_who_waits_for_it_is_no_end(runs: ManyRuns, slots: int) -> None:
    """`first` fails once and keeps token W for its second attempt; `then` takes the only slot, and its nested run needs W."""
    runs.write(f"[jobs.same]\n{fails_once(runs)}", "inner.toml")
    body = tolerant(nested("inner.toml", "inner"))
    runs.write(f"[run]\nslots = {slots}\n[jobs.first]\n{fails_once(runs)}[jobs.then]\nshell = '''{body}'''\n", "outer.toml")
    command = runs.begin("outer.toml", "outer")
    victim, words = the_one_that_gives_up(runs, ("inner", "same"))
    runs.assert_exit(command, 0)
    assert victim == ("inner", "same")
    assert words.startswith("inner/same waits for token 'W', held by outer/first, which waits for "), words
    assert "slot" in words
    assert "held by outer/then" in words
    assert runs.statuses("outer") == {"first": "succeeded", "then": "succeeded"}
    assert runs.acts("begin") == {"first": 2}


# What is no deadlock.


@pytest.mark.slow
def test_a_long_wait_of_a_nested_run_for_another_run_is_no_deadlock(runs: ManyRuns) -> None:
    """Both sorts of wait stand on the board for several looks, and end well when the others do."""
    pool = "[pools.api]\nslots = 1\n"
    runs.write(f"{pool}[jobs.holder]\npool = 'api'\nshell = '''{runs.gated('holder')}'''\n", "holder.toml")
    work = f"token = 'T'\nshell = '''{runs.witnessed(runs.gated('work'))}'''\n"
    runs.write(f"[jobs.work]\n{work}", "work.toml")
    runs.write(f"{pool}[jobs.pooled]\npool = 'api'\nshell = '''{runs.witnessed()}'''\n[jobs.same]\n{work}", "inner.toml")
    runs.write(f"[run]\nslots = 2\n[jobs.outer]\nshell = '''{nested('inner.toml', 'inner')}'''\n", "outer.toml")
    commands = [runs.begin("holder.toml", "holder"), runs.begin("work.toml", "work")]
    runs.process_of("holder", "holder")
    runs.process_of("work", "work")
    commands.append(runs.begin("outer.toml", "outer"))
    runs.wait_for_reason("inner", "pooled", "held by holder/holder")
    runs.wait_for_reason("inner", "same", "work/work")
    wait_for_looks(runs, {"inner.json"}, 2)
    runs.open_gate("holder")
    runs.open_gate("work")
    runs.assert_all_end(commands)
    assert runs.statuses("inner") == {"pooled": "succeeded", "same": "succeeded"}
    assert runs.results_of("inner")["same"]["deduped_from"] == "work/work"
    assert postings(runs) == {}


@pytest.mark.slow
@pytest.mark.parametrize("parents", [2, 8])
def test_in_a_busy_world_of_nested_runs_that_share_everything_nobody_gives_up(runs: ManyRuns, parents: int) -> None:
    """Two runs of several parents each, whose nested runs share tokens and a pool of one slot: all is done, and once."""
    pool = "[pools.api]\nslots = 1\n"
    work = runs.witnessed("sleep 0.02")
    runs.write(
        f"{pool}[jobs.leaf]\nfor_each = [0, 1, 2]\npool = 'api'\nshell = '''{runs.witnessed('sleep 0.02')}'''\n"
        f"[jobs.shared]\nfor_each = ['x', 'y']\ntoken = 'shared {{{{ item }}}}'\ntoken_ttl = '1h'\nattempts = 2\n"
        f"retry = {{ delay = '50ms' }}\nshell = '''test $ORCHESTRATE_ATTEMPT = 2 && {{ {work}; }}'''\n",
        "inner.toml",
    )
    for name in ("one", "two"):
        body = nested("inner.toml", f"{name}-{{{{ item }}}}")
        keys = "pool = 'api'\n" if name == "one" else ""
        text = f"[run]\nslots = 2\n{pool}[jobs.{name}]\nfor_each = {list(range(parents))}\n{keys}shell = '''{body}'''\n"
        runs.write(text, f"{name}.toml")
    runs.assert_all_end([runs.begin(f"{name}.toml", name) for name in ("one", "two")], limit=30 * parents)
    assert runs.count("end", "leaf") == 2 * parents * 3
    assert runs.acts("end")["shared:0"] == runs.acts("end")["shared:1"] == 1
    assert runs.most_at_once("leaf") == 1
    for run_id in (f"{name}-{parent}" for name in ("one", "two") for parent in range(parents)):
        assert set(runs.statuses(run_id).values()) == {"succeeded"}
    assert postings(runs) == {}
