"""`orchestrate plan FILE`: what a run would do, as far as that can be said before anything has run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from msgspec.structs import asdict

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import folder_option, inputs_options, json_option, selection_options
from orchestrator.cli.output import write_json, write_line, write_lines
from orchestrator.cli.prompting import input_asker

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.attempts.agent.fallback import FindProfile
    from orchestrator.attempts.items.foreseen import Values
    from orchestrator.attempts.items.patterns import Later
    from orchestrator.attempts.items.selection import Selector
    from orchestrator.attempts.rendering import Prepared
    from orchestrator.attempts.renewal import Renewals
    from orchestrator.jobsfile.model import Job, JobsFile

    LabelBefore = Callable[[dict[str, Any], str, int], str | Later | None]
    """`foreseen.LabelsBefore.label` of one file: (context, id of the job, index of the item)."""


_LONGEST_PROMPT = 200
"""Characters of a prompt that are shown; --json has all of it."""

_WORKSPACES = {"worktree": "worktree", "copy": "copy of the folder", "temp": "folder of its own"}

_DRAWINGS = ["all", "tree", "mermaid"]


class _PlanCommand(click.Command):
    """`--graph` alone means `--graph all`. The next word belongs to it only if it names a drawing; any other word is FILE."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with `=all` added to a `--graph` that has no word."""
        end = args.index("--") if "--" in args else len(args)
        for place in range(end - 1, -1, -1):
            if args[place] == "--graph" and (place + 1 == len(args) or args[place + 1] not in _DRAWINGS):
                args[place] = "--graph=all"
        return super().parse_args(ctx, args)


@click.command("plan", cls=_PlanCommand)
@click.argument("file")
@inputs_options
@selection_options
@folder_option
@click.option(
    "--graph", type=click.Choice(_DRAWINGS), help="Show which job waits for which instead: a tree, Mermaid, or (all) both."
)
@click.option(
    "--forecast",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run the first N items of each job (really: they cost what they cost), and say what the rest will cost and take.",
)
@json_option
@pass_invocation
def command(
    invocation: Invocation,
    *,
    file: str,
    inputs: tuple[str, ...],
    inputs_file: str | None,
    only: tuple[str, ...],
    limit: int | None,
    folder: str | None,
    graph: str | None,
    forecast: int | None,
    as_json: bool,
) -> int:
    """Show the items of each job and the command of each item; run nothing. A command that needs another job's output says so.

    Only --forecast runs something: it begins a normal run, and `orchestrate resume RUN --all` runs the rest of that.
    """
    if forecast is not None and (graph is not None or only or limit is not None):
        raise click.UsageError("--forecast cannot be given with --graph, --only or --limit")
    from orchestrator.attempts.items.selection import Selector, check_patterns
    from orchestrator.jobsfile.input_values import resolve_inputs
    from orchestrator.jobsfile.load import load, user_config
    from orchestrator.runs.selection_check import check_selection
    from orchestrator.store.settings_records import Selection

    # A drawing needs the file alone, neither inputs nor items.
    jobs_file = load(file, folder=folder, user_config=user_config())
    if graph is not None:
        _print_graph(jobs_file, graph, as_json=as_json)
        return 0
    # A forecast is a run: it takes the options of one, and its exit code.
    if forecast is not None:
        from orchestrator.cli.forecast import forecast_run
        from orchestrator.runs.commands import RunRequest
        from orchestrator.store.settings_records import RunOptions

        request = RunRequest(
            jobs_file=file, inputs=inputs, inputs_file=inputs_file, ask_input=input_asker(), options=RunOptions(), folder=folder
        )
        return forecast_run(invocation, request, jobs_file, forecast, as_json=as_json)
    # All else is worked out job by job, so that of millions of items only one is in memory.
    check_patterns(only, [job.id for job in jobs_file.jobs])
    values = resolve_inputs(jobs_file.inputs, inputs, file=inputs_file, environment=os.environ, ask=input_asker())
    check_selection(Selection(only=only), jobs_file, values)
    plan = _plan(jobs_file, values, Selector(Selection(only=only, limit=limit), jobs_file.jobs), invocation.home())
    if as_json:
        write_json([{**job, "items": list(job["items"])} for job in plan])
        return 0
    for job in plan:
        _print_job(job)
        _print_child_jobs(next(each for each in jobs_file.jobs if each.id == job["job"]), jobs_file.folder)
    return 0


def _print_child_jobs(job: Job, folder: str) -> None:
    """Write the jobs of a job's child file, a line each. `plan` of the child file tells more."""
    from orchestrator.jobsfile.diagram import draw_tree, nodes_of
    from orchestrator.jobsfile.load import load, user_config
    from orchestrator.jobsfile.model import WorkflowAction

    if not isinstance(job.action, WorkflowAction) or not job.action.path.is_static:
        return
    child = load(os.path.join(folder, job.action.path.source), user_config=user_config())
    write_line(f"  each run of {job.action.path.source}:")
    write_lines(f"    {line}" for line in draw_tree(nodes_of(child.jobs)))


def _print_graph(jobs_file: JobsFile, graph: str, *, as_json: bool) -> None:
    from orchestrator.jobsfile.diagram import draw_mermaid, draw_tree, nodes_of

    nodes = nodes_of(jobs_file.jobs)
    if as_json:
        write_json([asdict(node) for node in nodes])
        return
    if graph != "mermaid":
        write_lines(draw_tree(nodes))
    if graph == "all":
        write_line("")
    if graph != "tree":
        write_lines(draw_mermaid(nodes))


def _plan(jobs_file: JobsFile, inputs: dict[str, Any], selector: Selector, home: Path) -> Iterator[dict[str, Any]]:
    """One object a job: its `Node`, `lane`, `pool`, `devices`, `after`, `error`, `items`, `unselected`, `is_left_out`.

    `after` is the job that must have run before the items are known, else null; `items` are the selected items, `unselected`
    the number of the others; with `is_left_out` no item of the job is selected.
    """
    from orchestrator.attempts.agent.work import finder
    from orchestrator.attempts.items.foreseen import LabelsBefore, NotYetKnown, context_before, values_of
    from orchestrator.attempts.renewal import Renewals
    from orchestrator.errors import UserError
    from orchestrator.jobsfile.created_files import SameFile
    from orchestrator.jobsfile.diagram import nodes_of
    from orchestrator.jobsfile.sources import SourceError

    around = _Around(jobs_file, finder(jobs_file), Renewals(home, is_told_only=True))
    context = context_before(jobs_file, inputs)
    values: dict[str, Values | None] = {}
    label = LabelsBefore(jobs_file.jobs, values).label
    with TemporaryDirectory(prefix="orchestrate-plan-") as scratch:
        for job, node in zip(jobs_file.jobs, nodes_of(jobs_file.jobs), strict=True):
            # Which items there are: known, known only after another job, or a mistake in the source.
            after, error = None, None
            try:
                values[job.id] = values_of(job, values, context, jobs_file.folder, scratch)
            except NotYetKnown as unknown:
                values[job.id], after = None, unknown.args[0]
            except SourceError as wrong:
                values[job.id], error = None, str(wrong)
            except SameFile as same:
                raise UserError(f"jobs.{job.id}.creates: {same.in_words(job.id)}") from same
            # Which of them a run with these --only and --limit would run.
            known = values[job.id] or []
            chosen = selector.select_items(job.id, len(known), partial(label, context))
            indices = range(len(known)) if chosen is None else sorted(chosen)
            plan = {**asdict(node), "lane": job.lane, "pool": job.pool, "devices": job.devices, "after": after, "error": error}
            plan.update(workspace=job.workspace.kind if not job.is_gate else None)
            plan.update(is_left_out=job.id in selector.left_out, unselected=len(known) - len(indices))
            yield {**plan, "items": map(partial(_item, around, job, known, context, label), indices)}


class _Around(NamedTuple):
    """What all items of a plan have around them."""

    jobs_file: JobsFile
    find: FindProfile
    renewals: Renewals


def _item(around: _Around, job: Job, values: Values, base: dict[str, Any], label: LabelBefore, index: int) -> dict[str, Any]:
    from orchestrator.attempts.agent.work import AgentSurroundings
    from orchestrator.attempts.items.foreseen import LaterJob, NotYetKnown
    from orchestrator.attempts.rendering import Surroundings, is_wanted, question_of, render_attempt
    from orchestrator.attempts.template_texts import ItemRefused
    from orchestrator.jobsfile.model import ChainSource
    from orchestrator.reading.run_records import item_id

    jobs_file = around.jobs_file
    item: dict[str, Any] = {"item": item_id(job.id, index, is_fan_out=job.for_each is not None)}
    item.update(label=None, argv=None, cwd=None, told=None, check=None, child=None, token=None, asks=None, after=None, note=None)
    # What templates of this item see. A gate that may send the item back has not been answered yet; a chain's parent comes later.
    if job.sent_back_by:
        said = {gate: {"message": "", "output": None} for gate in job.sent_back_by}
        base = {**base, "jobs": {**base["jobs"], **said}}
    context = {**base, "index": index, "attempt": {"number": 1, "check_output": ""}, "slot": 0}
    if job.devices:
        context["device"] = job.devices[0]
    if job.for_each is not None:
        context["item"] = values[index]
    if isinstance(job.for_each, ChainSource):
        later = {parent: LaterJob(parent) for parent in job.for_each.jobs}
        context["parent"] = later if len(later) > 1 else later[job.for_each.jobs[0]]
    # Rendered as a start would render it, up to the first template that asks for something later.
    try:
        item["label"] = context["label"] = _item_label(job, context, label, index)
        if job.when is not None and not is_wanted(job, context):
            item["note"] = "skipped: its `when` is false"
        if job.is_gate:
            item["asks"] = question_of(job, context, jobs_file.folder).text
            return item
        surroundings = Surroundings(
            folder=jobs_file.folder,
            temporary_suffix="plan",
            run_env=jobs_file.run.env,
            agents=AgentSurroundings(find=around.find),
            files=jobs_file.files,
        )
        prepared = render_attempt(job, context, surroundings)
    except NotYetKnown as unknown:
        item["after"] = unknown.args[0]
    except ItemRefused as refused:
        item["note"] = f"refused: {refused}"
    else:
        # Everything is known: the command (or child run) itself, and whether its file is there already.
        if prepared.child is None:
            item.update(argv=prepared.argv, cwd=prepared.cwd)
        else:
            item["child"] = {"jobs_file": prepared.child.path, "inputs": prepared.child.given}
        item.update(token=prepared.token, check=prepared.check, told=prepared.agent.told if prepared.agent is not None else None)
        if prepared.creates:
            item["note"] = _why(prepared, around.renewals)
    return item


def _why(prepared: Prepared, renewals: Renewals) -> str:
    """What is said of an item with `creates`: why it would run, or that it is done."""
    from orchestrator.attempts.promises import existing_in_words
    from orchestrator.attempts.template_texts import ItemRefused

    try:
        because = renewals.look(prepared).because
    except ItemRefused as refused:
        return f"refused: {refused}"
    return f"runs: {because}" if because else f"done already: {existing_in_words(prepared.creates)}"


def _item_label(job: Job, context: dict[str, Any], label: LabelBefore, index: int) -> str | None:
    """The label that an item will have; None also for one that is known later. Raises NotYetKnown, ItemRefused."""
    from orchestrator.attempts.items.labels import item_label
    from orchestrator.jobsfile.model import chain_of

    if job.label is not None or not chain_of(job):
        return item_label(job, context)
    # That of the item which it follows.
    base = {name: value for name, value in context.items() if name != "parent"}
    found = label(base, job.id, index)
    return found if isinstance(found, str) else None


def _print_job(job: dict[str, Any]) -> None:
    from orchestrator.system.wording import shown

    # A job whose items are not shown says in one line why not.
    write_line(_job_line(job))
    if job["is_left_out"]:
        write_line("  not selected")
        return
    if job["after"] is not None:
        write_line(f"  items known after {job['after']}")
        return
    if job["error"] is not None:
        write_line(f"  for_each: {shown(job['error'])}")
        return
    # The items come one by one, so only the end tells how many there were.
    count = 0
    for item in job["items"]:
        count += 1
        for line in _item_lines(item, is_gate=job["gate"] is not None):
            write_line(line)
    if job["unselected"]:
        write_line(f"  {job['unselected']} more, not selected")
    elif count == 0:
        write_line("  no items")


def _job_line(job: dict[str, Any]) -> str:
    needs = f"  needs {', '.join(job['needs'])}" if job["needs"] else ""
    follows = f"  follows {', '.join(job['follows'])} item by item" if job["follows"] else ""
    words = "".join(f"  {job[key]}" for key in ("workflow", "for_each", "when", "repeat", "gate") if job[key] is not None)
    lane = "  in the fast lane" if job["lane"] == "fast" else ""
    pool = f"  in pool {job['pool']}" if job["pool"] is not None else ""
    devices = f"  on one of {', '.join(job['devices'])}" if job["devices"] else ""
    workspace = f"  in a {_WORKSPACES[job['workspace']]}" if job["workspace"] in _WORKSPACES else ""
    return f"{job['job']}{needs}{follows}{words}{lane}{pool}{devices}{workspace}"


def _item_lines(item: dict[str, Any], *, is_gate: bool) -> Iterable[str]:
    from orchestrator.jobsfile.language.values import json_text
    from orchestrator.system.wording import title
    from orchestrator.workers.shell import is_script

    # First what the item is, then the one thing that it does, then what goes with that.
    yield f"  {title(item['item'], item['label'])}" + (f"  ({_shown(item['note'])})" if item["note"] else "")
    if item["after"] is not None:
        yield f"    {'question' if is_gate else 'command'} known after {item['after']}"
    elif item["asks"] is not None:
        yield f"    asks: {_shown(item['asks'], 2000)}"
    elif item["child"] is not None:
        given = " ".join(f"{name}={json_text(value)}" for name, value in item["child"]["inputs"].items())
        yield f"    run {_shown(os.path.relpath(item['child']['jobs_file']), 200)}{f': {_shown(given, 2000)}' if given else ''}"
    elif item["argv"] is not None:
        argv = item["argv"]
        # A script as it was written: quoted once more it would be hard to read.
        yield f"    shell: {_shown(argv[2], 2000)}" if is_script(argv) else f"    {_shown(shlex.join(argv), 2000)}"
    if item["told"] is not None:
        yield f"    told: {_shown(item['told'].strip(), _LONGEST_PROMPT)}"
    if item["check"] is not None:
        yield f"    check: {_shown(item['check'].strip(), 2000)}"
    if item["token"] is not None:
        yield f"    token: {_shown(item['token'])}"


def _shown(text: str, width: int | None = None) -> str:
    """As `wording.shown`, without secrets: half of one that is cut would not be found any more."""
    from orchestrator.system.redaction import of_this_process
    from orchestrator.system.wording import shown

    return shown(of_this_process().redact_text(text), width)
