"""The graph of jobs, drawn: every edge once, every job in full once, whatever the names and however large."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.jobsfile.diagram import Node, draw_mermaid, draw_tree, nodes_of
from orchestrator.jobsfile.load import load_text


def nodes(**after: str) -> list[Node]:
    """`nodes(a="", b="a", c="=b")`: b needs a, c follows b item by item."""
    return [
        Node(
            job=job,
            needs=tuple(word for word in words.split() if word[0] != "="),
            follows=tuple(word[1:] for word in words.split() if word[0] == "="),
        )
        for job, words in after.items()
    ]


def node_of(keys: str) -> Node:
    """The job `a` with `keys`, in a file with two other jobs."""
    jobs = f'[jobs.a]\nshell = "true"\n{keys}\n[jobs.b]\nshell = "true"\n[jobs.c]\nshell = "true"\n'
    return nodes_of(load_text(jobs, path="/project/jobs.toml", folder="/project").jobs)[0]


@pytest.mark.parametrize(
    ("graph", "lines"),
    [
        (nodes(a=""), ["a"]),
        (nodes(a="", b=""), ["a", "b"]),
        (nodes(a="", b="a", c="b"), ["a", "└── b", "    └── c"]),
        (nodes(a="", b="a", c="a"), ["a", "├── b", "└── c"]),
        (nodes(c="b", b="a", a=""), ["a", "└── b", "    └── c"]),
        (nodes(a="", b="=a", c="=a", d="=b"), ["a", "╞══ b", "│   ╘══ d", "╘══ c"]),
        (nodes(a="", b="a =a"), ["a", "└── b"]),
        (nodes(a="", b="", c="a b"), ["a", "└── c", "b", "└── c (above)"]),
        (nodes(a="", b="a", c="a", d="=b =c", e="d"), ["a", "├── b", "│   ╘══ d", "│       └── e", "└── c", "    ╘══ d (above)"]),
    ],
)
def test_a_tree_has_a_job_in_full_once_and_then_refers_to_it(graph: list[Node], lines: list[str]) -> None:
    assert draw_tree(graph) == lines


def test_a_tree_says_what_a_job_runs_for_and_when() -> None:
    graph = [
        Node(job="a"),
        Node(job="b", needs=("a",), for_each="for each of 3 values", when="when failed", repeat="again until x"),
    ]
    assert draw_tree(graph) == ["a", "└── b  for each of 3 values  when failed  again until x"]


def test_a_long_chain_stays_within_the_margin_and_loses_no_job() -> None:
    names = [f"j{number}" for number in range(3000)]
    lines = draw_tree(
        [Node(job=name, needs=(before,) if before else ()) for name, before in zip(names, [None, *names], strict=False)]
    )
    assert max(map(len, lines)) < 100
    assert lines[20:22] == [f"{' ' * 76}└── j20 (below)", "j20"]
    assert [line.split()[-1] for line in lines if "(below)" not in line] == names


def test_what_has_come_up_meanwhile_is_not_drawn_again_below() -> None:
    names = [f"j{number}" for number in range(25)]
    chain = [Node(job=name, needs=(before,) if before else ()) for name, before in zip(names, [None, *names], strict=False)]
    chain[20] = Node(job="j20", needs=("j19", "z"))
    lines = draw_tree([*chain, Node(job="z")])
    assert [line for line in lines if line.endswith(("j20", "j20 (below)"))] == [f"{' ' * 76}└── j20 (below)", "└── j20"]


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    made: list[Node] = []
    for number in range(draw(st.integers(1, 30))):
        before = st.lists(st.sampled_from(made), max_size=4, unique=True) if made else st.just([])
        parents = [node.job for node in draw(before)]
        cut = draw(st.integers(0, len(parents)))
        made.append(Node(job=f"j{number}", needs=tuple(parents[:cut]), follows=tuple(parents[cut:])))
    return draw(st.permutations(made))


@given(graphs())
def test_every_job_and_every_edge_is_drawn(graph: list[Node]) -> None:
    """A line below the margin is an edge, and each job stands in full on one line."""
    lines = draw_tree(graph)
    in_full = [line.split()[-1] for line in lines if not line.endswith(")")]
    assert sorted(in_full) == sorted(node.job for node in graph)
    edges = sum(len(node.after) for node in graph)
    assert sum(line.startswith(("│", " ", "├", "└", "╞", "╘")) for line in lines) == edges
    arrows = [line for line in draw_mermaid(graph) if "-->" in line or "==>" in line]
    assert len(set(arrows)) == edges


def test_mermaid_tells_chains_from_needs_and_fan_outs_from_jobs() -> None:
    graph = [
        Node(job="list"),
        Node(job="port", needs=("list",), for_each="for each of 3 values"),
        Node(job="fix", follows=("port",)),
    ]
    assert draw_mermaid(graph) == [
        "flowchart TD",
        '    job_list["list"]',
        '    job_port[["port<br/>for each of 3 values"]]',
        '    job_fix[["fix"]]',
        "    job_list --> job_port",
        "    job_port ==>|item by item| job_fix",
    ]


@pytest.mark.parametrize("job", ["end", "graph", "subgraph", "class", "style", "click", "default"])
def test_a_word_of_mermaids_own_may_be_a_jobs_id(job: str) -> None:
    drawn = draw_mermaid([Node(job=job), Node(job="a", needs=(job,))])
    assert drawn[1] == f'    job_{job}["{job}"]'
    assert drawn[3] == f"    job_{job} --> job_a"


@pytest.mark.parametrize("character", '"#<>&`%\\;')
def test_what_mermaid_would_obey_is_escaped(character: str) -> None:
    label = draw_mermaid([Node(job="a", when=f"when {{{{ item {character} 1 }}}}")])[1]
    assert label == f'    job_a["a<br/>when {{{{ item #{ord(character)}; 1 }}}}"]'


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("for_each = [1, 2]", "for each of 2 values"),
        ("for_each = ['x']", "for each of 1 value"),
        ("for_each = '{{ jobs.b.output }}'", "for each of {{ jobs.b.output }}"),
        ("for_each = { glob = '*.py' }", "for each file of *.py"),
        ("for_each = { lines = 'x', batch = 10 }", "for each line of x, 10 at a time"),
        ("for_each = { jsonl = 'x' }", "for each value of x"),
        ("for_each = { csv = 'x' }", "for each row of x"),
        ("for_each = { matrix = { k = [1], l = [2] } }", "for each combination of k, l"),
        ("for_each = { glob = '\\u001B[2J' }".replace("'", '"'), "for each file of \\x1b[2J"),
        (f"for_each = {{ glob = '{'x' * 99}' }}", f"for each file of {'x' * 59}…"),
        ("when = 'always'", "when always"),
        ("when = '''\n{{ inputs\n   }}'''", "when {{ inputs }}"),
        ("when = false", "when {{ false }}"),
        ("repeat = { until = '{{ exit_code == 0 }}' }", "again until {{ exit_code == 0 }}"),
        ("repeat = { while = '{{ round < 3 }}' }", "again while {{ round < 3 }}"),
    ],
)
def test_a_job_in_words(keys: str, words: str) -> None:
    assert node_of(keys).words == (words,)


@pytest.mark.parametrize(
    ("keys", "needs", "follows"),
    [
        ("needs = ['c', 'b']", ("b", "c"), ()),
        ("for_each = { job = 'b' }", (), ("b",)),
        ("for_each = { job = ['c', 'b'] }", (), ("c", "b")),
        ("for_each = { job = 'b' }\nneeds = ['b', 'c']", ("c",), ("b",)),
        ("for_each = { job = 'b' }\nlabel = '{{ jobs.b.status }}'", ("b",), ("b",)),
    ],
)
def test_a_chains_parent_is_waited_for_as_a_whole_only_where_a_template_names_it(
    keys: str, needs: tuple[str, ...], follows: tuple[str, ...]
) -> None:
    assert (node_of(keys).needs, node_of(keys).follows) == (needs, follows)
