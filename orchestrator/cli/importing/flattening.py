"""Nested steps become flat jobs: order by `needs`, branches by `when`, loops by `repeat` or written out, fan-outs by `for_each`.

Order: Spec Kit runs one step after the other, so each job needs the job before it.
Branches: a job in a branch has the condition of the branch as its `when`, unless the jobs that it needs are skipped in exactly
the same cases. A job behind a branch has `when = true`: a skipped need would skip it, too.
Loops: a loop of one command is that job with `repeat`. A loop of several steps is written out, round by round; the jobs of later
rounds have the condition of the loop as their `when`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.cli.importing.actions import Actions, form_of
from orchestrator.cli.importing.code import Code, join_codes, literal, negated, plain_text, quoted
from orchestrator.cli.importing.jobs import Guard, Guards, JobIds, MadeJob
from orchestrator.cli.importing.printing import Printer
from orchestrator.cli.importing.scope import Branching, Known, Scope
from orchestrator.cli.importing.workflow import Step, Workflow

_MOST_JOBS = 300
_DEFAULT_ROUNDS = 10
_REPEATABLE = frozenset({"command", "prompt", "shell"})


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a step stands: in which branches (`guards`), loop and fan-out.

    `items`: the `for_each` of the fan-out, which names `item_jobs`; `chain`: the job before this one inside of the fan-out.
    `loop`: the ids of all steps of the loop.
    """

    guards: Guards = ()
    items: str | list[object] | None = None
    item_jobs: frozenset[str] = frozenset()
    fan_out: Step | None = None
    chain: MadeJob | None = None
    loop: frozenset[str] = frozenset()


class Flattening:
    """One workflow as flat jobs: `jobs` has them in the order in which Spec Kit would run the steps."""

    def __init__(self, workflow: Workflow, known: Known) -> None:
        self.jobs: list[MadeJob] = []
        self.left_over: list[str] = []
        """Ids of steps whose notes have no job below which they could stand: the next job takes them."""
        self._known = known
        self._actions = Actions(workflow)
        self._ids = JobIds()
        self._by_id: dict[str, MadeJob] = {}
        self._walk(workflow.steps, _Place(), [])
        for job in self.jobs:
            self._settle(job)

    def _walk(self, steps: Sequence[Step], place: _Place, after: list[MadeJob]) -> list[MadeJob]:
        """Make the jobs of `steps`, which wait for `after`; the jobs that whatever follows has to wait for."""
        for step in steps:
            first = len(self.jobs)
            after = self._make(step, place, after)
            made = self.jobs[first:]
            if place.items is not None and made and made[-1].guards == place.guards and not made[-1].can_be_skipped:
                place = replace(place, chain=made[-1])
        return after

    def _make(self, step: Step, place: _Place, after: list[MadeJob]) -> list[MadeJob]:
        if step.type not in ("command", "prompt", "shell", "gate", "fan-in", "init"):
            self.left_over.append(step.id)
        match step.type:
            case "if":
                return self._if(step, place, after)
            case "switch":
                return self._switch(step, place, after)
            case "while" | "do-while":
                return self._loop(step, place, after)
            case "fan-out":
                return self._fan_out(step, place, after)
            case _:
                return [self._action(step, place, after)]

    def _scope(self, step: Step, place: _Place) -> Scope:
        return Scope(self._known, step, place.guards, place.items is not None, place.chain, loop=place.loop)

    # Steps that do something.

    def _action(
        self, step: Step, place: _Place, after: list[MadeJob], *, round_of: str = "", fan_out: Step | None = None
    ) -> MadeJob:
        """Make the job of a step that does something. `fan_out`: the step is its whole template, and other steps name it so."""
        # The job takes the notes of steps before it that became no jobs.
        known_as = fan_out or step
        job = MadeJob(self._ids.make(known_as.id), step, place.guards, list(after), form_of(step, self._known.json_steps))
        job.is_whole_fan_out = fan_out is not None
        job.places = [*self.left_over, step.id]
        self.left_over.clear()
        scope = replace(self._scope(step, place), round_of=round_of)
        if step.type == "fan-in":
            scope = replace(scope, waits_for=tuple(map(str, step.get("wait_for"))))
        if place.items is not None:
            self._give_items(job, place)
        # Known to the steps behind it only once it is whole: a step cannot name itself.
        self._actions.fill(job, scope)
        self.jobs.append(job)
        self._by_id[job.id] = job
        self._known.ran.setdefault(known_as.id, []).append(job)
        return job

    def _give_items(self, job: MadeJob, place: _Place) -> None:
        job.is_fan_out = True
        job.chain = place.chain
        if place.chain is not None:
            job.keys["for_each"] = {"job": place.chain.id}
        else:
            job.keys["for_each"] = place.items
            job.named |= place.item_jobs
        if place.fan_out is not None:
            job.keys["max_concurrency"] = _concurrency(place.fan_out)

    # Branches.

    def _if(self, step: Step, place: _Place, after: list[MadeJob]) -> list[MadeJob]:
        holds = Printer(self._scope(step, place)).truth(step.get("condition", False))
        self._remember(step, {"condition_result": holds}, place)
        ends: list[MadeJob] = []
        for name, code in (("then", holds), ("else", negated(holds))):
            ends += self._branch(step.branches[name], code, place, after)
        return _once(ends)

    def _switch(self, step: Step, place: _Place, after: list[MadeJob]) -> list[MadeJob]:
        expression = step.get("expression")
        printer = Printer(self._scope(step, place))
        value = printer.value(expression) if isinstance(expression, str) else literal(expression)
        self._remember(step, {"expression_value": value}, place)
        shown = value.without_null()
        shown = shown.filtered("trim", "text") if shown.kind == "text" else shown.filtered("string | trim", "text")
        ends: list[MadeJob] = []
        keys = [name.removeprefix("case ") for name in step.branches if name.startswith("case ")]
        for key in keys:
            code = Code(f"{shown.text} == {quoted(key)}", "boolean", False, 3, value.jobs)
            ends += self._branch(step.branches[f"case {key}"], code, place, after)
        code = Code(f"{shown.text} not in [{', '.join(map(quoted, keys))}]", "boolean", False, 3, value.jobs)
        ends += self._branch(step.branches["default"], code, place, after)
        return _once(ends)

    def _branch(self, steps: Sequence[Step], code: Code, place: _Place, after: list[MadeJob]) -> list[MadeJob]:
        return self._walk(steps, replace(place, guards=(*place.guards, Guard(code))), after)

    def _remember(self, step: Step, outputs: dict[str, Code], place: _Place) -> None:
        self._known.ran.setdefault(step.id, []).append(Branching(step, outputs, place.guards))

    # Loops.

    def _loop(self, step: Step, place: _Place, after: list[MadeJob]) -> list[MadeJob]:
        body = step.branches["steps"]
        if not body:
            return after
        self._remember(step, {}, place)
        if len(body) == 1 and body[0].type in _REPEATABLE:
            return [self._repeated(step, body[0], place, after)]
        if place.items is not None:
            self._scope(step, place).lost("a loop of several steps for each item: put them into a file of their own")
            return after
        return self._written_out(step, body, place, after)

    def _repeated(self, loop: Step, step: Step, place: _Place, after: list[MadeJob], fan_out: Step | None = None) -> MadeJob:
        job = self._action(step, place, after, round_of=step.id, fan_out=fan_out)
        scope = replace(self._scope(loop, place), round_of=step.id)
        goes_on = Printer(scope).truth(loop.get("condition", False))
        job.named |= goes_on.jobs
        rounds = loop.get("max_iterations", _DEFAULT_ROUNDS)
        if loop.type == "while":
            job.keys["repeat"] = {"while": f"{{{{ {goes_on.text} }}}}", "max": rounds}
            job.can_be_null = True
        else:
            job.keys["repeat"] = {"until": f"{{{{ {negated(goes_on).text} }}}}", "max": rounds}
        if "exit_code" in goes_on.text and not step.get("continue_on_error"):
            scope.changed("a round that fails is asked about, and does not fail the run as in Spec Kit")
        return job

    def _written_out(self, loop: Step, body: Sequence[Step], place: _Place, after: list[MadeJob]) -> list[MadeJob]:
        # A file that nobody could read helps nobody.
        rounds = loop.get("max_iterations", _DEFAULT_ROUNDS)
        size = sum(1 for step in body for _ in step.within())
        scope = self._scope(loop, place)
        if len(self.jobs) + size * rounds > _MOST_JOBS:
            scope.lost(f"{rounds} rounds of {size} steps, too many to write out: put them into a file of their own")
            return after
        scope.changed(f"a loop of several steps is written out, {rounds} rounds of it; `repeat` is for a single one")
        condition = loop.get("condition", False)
        ids = frozenset(inner.id for step in body for inner in step.within())
        guards = place.guards
        ends: list[MadeJob] = []
        for number in range(1, rounds + 1):
            # A round runs if the one before has run and the condition still holds; `do-while` asks only from the second round on.
            if number > 1 or loop.type == "while":
                asking = replace(scope, guards=guards, loop=place.loop | ids)
                holds = Printer(asking).truth(condition)
                guards = (*guards, self._round_guard(holds, guards, number, len(self.jobs) - len(ends)))
            first = len(self.jobs)
            after = self._walk(body, replace(place, guards=guards, loop=place.loop | ids), after)
            ends = self.jobs[first:]
        return after

    def _round_guard(self, holds: Code, before: Guards, number: int, first: int) -> Guard:
        """The condition of a round: the round before has run, and the loop goes on."""
        if number == 1:
            return Guard(holds)
        anchor = next((job for job in self.jobs[first:] if job.guards == before and not job.can_be_skipped), None)
        if anchor is None:
            return Guard(join_codes("and", [guard.code for guard in (*before, Guard(holds))]), is_all=True)
        ran = Code(f"jobs.{anchor.id}.status != 'skipped'", "boolean", False, 3, frozenset({anchor.id}))
        return Guard(join_codes("and", [ran, holds]), is_all=True)

    # Fan-outs.

    def _fan_out(self, step: Step, place: _Place, after: list[MadeJob]) -> list[MadeJob]:
        scope = self._scope(step, place)
        template = step.template
        assert template is not None
        if place.items is not None or template.type == "fan-out":
            scope.lost("a fan-out inside a fan-out: put the inner one into a file of its own")
            return after
        items, named = self._items(step, scope)
        inner = replace(place, items=items, item_jobs=named, fan_out=step)
        if self._is_single_loop(template):
            self.left_over.append(template.id)
            return [self._repeated(template, template.branches["steps"][0], inner, after, step)]
        if template.type not in ("if", "switch", "while", "do-while"):
            return [self._action(template, inner, after, fan_out=step)]
        self._remember(step, {}, place)
        return self._walk([template], inner, after)

    def _is_single_loop(self, template: Step) -> bool:
        body = template.branches.get("steps", ())
        return template.type in ("while", "do-while") and len(body) == 1 and body[0].type in _REPEATABLE

    def _items(self, step: Step, scope: Scope) -> tuple[str | list[object], frozenset[str]]:
        items = step.get("items")
        if isinstance(items, list):
            return [plain_text(each) if isinstance(each, str) else _plain(each, scope) for each in items], frozenset()
        code = Printer(scope).value(items)
        if code.kind == "text" or code.text == "none":
            scope.lost(f'items {items}: text or null, no list; a job with output = "lines" or "json" gives one')
        return f"{{{{ {code.text} }}}}", code.jobs

    # Order and conditions.

    def _settle(self, job: MadeJob) -> None:
        """Give the job its `when`: the conditions of its guards, unless its needs are skipped wherever these do not hold."""
        # Nothing is to be said if the needs run in exactly the same cases.
        needs = [*job.after, *(self._by_id[id_] for id_ in sorted(job.named)), *([job.chain] if job.chain else [])]
        is_sure = all(need.runs_where(job.guards) and not need.can_be_skipped for need in needs)
        if is_sure and (not job.guards or any(need.guards == job.guards for need in needs)):
            return
        # The innermost guard that holds only where the others hold says everything before it, too.
        guards = job.guards
        last = max((place for place, guard in enumerate(guards) if guard.is_all), default=0)
        codes = [guard.code for guard in guards[last:]]
        job.when = f"{{{{ {join_codes('and', codes).text} }}}}" if codes else True
        for_each = job.keys.get("for_each")
        if isinstance(for_each, str) and job.named:
            # The list is made before `when` is asked: a job that it names may have been skipped, and have no output.
            job.keys["for_each"] = f"{{{{ {for_each[3:-3].strip()} | default([], true) }}}}"


def _concurrency(fan_out: Step) -> int:
    """How many items run at once, as in Spec Kit: one, unless a number says otherwise."""
    try:
        return max(1, int(fan_out.get("max_concurrency", 1)))
    except (ValueError, OverflowError):
        return 1


def _plain(value: object, scope: Scope) -> object:
    """An item in a form that TOML has. Raises nothing: what TOML has no form for becomes empty text, and is told."""
    match value:
        case dict():
            return {key: _plain(each, scope) for key, each in value.items()}
        case list():
            return [_plain(each, scope) for each in value]
        case None | bytes() | set():
            scope.lost("an item that TOML has no form for, such as null; it is an empty text now")
            return ""
    return value


def _once(jobs: list[MadeJob]) -> list[MadeJob]:
    return list(dict.fromkeys(jobs))
