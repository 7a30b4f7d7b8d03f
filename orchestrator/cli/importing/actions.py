"""The action of one step (command, prompt, shell, gate, fan-in, init) as the keys of a job."""

from __future__ import annotations

import re
from typing import Any

from orchestrator.cli.importing.code import Code, jobs_of, literal, quoted
from orchestrator.cli.importing.expressions import ExpressionError, Path, parse_expression
from orchestrator.cli.importing.jobs import Form, MadeJob
from orchestrator.cli.importing.printing import Placeholder, Printer
from orchestrator.cli.importing.scope import Scope
from orchestrator.cli.importing.shell_text import script_of
from orchestrator.cli.importing.workflow import Step, Workflow
from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.workers.lazy_pattern import lazy_pattern

_DEFAULT_TIMEOUT = "5m"
"""The timeout of a shell step and of a prompt step without one, as Spec Kit has it."""
_DOTTED = "amp auggie codebuddy firebender gemini generic goose kilocode kiro-cli omp opencode pi qwen shai tabnine"
_DOTTED_COMMANDS = frozenset(_DOTTED.split())
"""Agents whose commands are called /speckit.plan. All other agents have skills, which are called /speckit-plan."""
_SKILL_SIGNS = {"codex": "$", "zcode": "$", "command-code": "$", "kimi": "/skill:"}
"""What stands before the name of a skill, for agents that use no slash."""
_FALLBACK_AGENT = "claude"
_LONE_INPUT = lazy_pattern(r"\s*\{\{(.*)\}\}\s*", re.DOTALL)
_REJECTING = ("reject", "abort")


def form_of(step: Step, json_steps: frozenset[str]) -> Form:
    """The form of the output of a step's job."""
    match step.type:
        case "shell":
            return "json" if step.get("output_format") == "json" or step.id in json_steps else "shell"
        case "command" | "prompt":
            return "agent"
        case "gate":
            return "gate"
        case "fan-in":
            return "fan-in"
    return "shell"


class Actions:
    """Fills in the keys of the jobs of one workflow."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow

    def fill(self, job: MadeJob, scope: Scope) -> None:
        """Give `job` the action of its step, with all that belongs to the action."""
        step, printer = job.step, Printer(scope)
        match step.type:
            case "shell":
                self._shell(job, scope, printer)
            case "prompt" | "command":
                self._agent(job, scope, printer)
            case "gate":
                self._gate(job, scope, printer)
            case "fan-in":
                self._fan_in(job, scope, printer)
            case _:
                self._init(job, scope, printer)
        if step.get("continue_on_error") and step.type != "gate":
            job.keys["max_failures"] = "100%"  # with our own continue_on_error the run would count as failed
            job.can_be_null = True

    def _shell(self, job: MadeJob, scope: Scope, printer: Printer) -> None:
        pieces = printer.pieces(job.step.get("run"))
        self._name(job, [piece.code for piece in pieces if isinstance(piece, Placeholder)])
        job.keys["shell"] = script_of(pieces, scope.changed)
        if not job.keys["shell"].strip():
            job.keys["shell"] = "true"  # an empty command succeeds in Spec Kit
        # Spec Kit has no `-e`: what may be more than one command says so.
        if any(mark in job.keys["shell"].strip() for mark in (";", "\n", "| raw }}")):
            job.keys["shell"] = "set +e\n" + job.keys["shell"]
        if job.form == "json":
            job.keys["output"] = "json"
            if job.step.get("output_format") != "json":
                scope.changed("its output is read as JSON, because from_json is used of it")
        job.keys["timeout"] = job.step.get("timeout", _DEFAULT_TIMEOUT)

    def _agent(self, job: MadeJob, scope: Scope, printer: Printer) -> None:
        step = job.step
        # Who does it, with which model, and what it may do: Spec Kit's agents edit files.
        agent = self._agent_name(step, scope)
        job.keys["agent"] = self._computed_agent(job, printer) or agent
        model = step.get("model") or self._workflow.model
        if model:
            job.keys["model"] = self._text(job, printer, model)
        job.keys["permissions"] = "edit"
        # A prompt says all itself. A command is called by its name, in the agent's own way, with its arguments behind it.
        if step.type == "prompt":
            job.keys["prompt"] = self._text(job, printer, step.get("prompt"))
            job.keys["timeout"] = step.get("timeout", _DEFAULT_TIMEOUT)
            return
        given: dict[str, Any] = step.get("input", {})
        others = [key for key in given if key != "args"]
        if others:
            scope.lost(f"input {', '.join(others)}: Spec Kit hands over args alone, too")
        if step.get("options"):
            scope.lost("options: Spec Kit records them, and hands none of them over")
        arguments = given.get("args")
        if arguments is not None and not isinstance(arguments, str):
            arguments = str(arguments)
        prompt = _invocation(step.get("command"), agent)
        job.keys["prompt"] = f"{prompt} {self._text(job, printer, arguments)}" if arguments else prompt

    def _computed_agent(self, job: MadeJob, printer: Printer) -> str | None:
        """The template of an agent that is computed and can never be "auto"; None: the agent has to be named."""
        named = job.step.get("integration") or self._workflow.integration
        # The way in which a command is called depends on the agent, so the agent of a command has to be known now.
        if job.step.type != "prompt" or named is None or "{{" not in named or self._default_of(named) in (None, "auto"):
            return None
        return self._text(job, printer, named)

    def _agent_name(self, step: Step, scope: Scope) -> str:
        # Whatever cannot be carried gets an agent that works, and a note.
        named = step.get("integration") or self._workflow.integration
        if named is None:
            scope.lost(f"it names no integration; {_FALLBACK_AGENT} is put in")
            return _FALLBACK_AGENT
        if "{{" in named:
            default = self._default_of(named)
            chosen = default if default not in (None, "auto") else _FALLBACK_AGENT
            if step.type != "prompt" or default in (None, "auto"):
                scope.lost(f"integration {named}: how a command is called depends on it; {chosen} is put in")
            return str(chosen)
        if named == "auto":
            scope.lost(f"integration auto, which is the project's own; {_FALLBACK_AGENT} is put in")
            return _FALLBACK_AGENT
        if str(named) not in Profiles().names():
            scope.lost(f"integration {named}: nothing is known of that agent; a file agents/{named}.toml would tell")
        return str(named)

    def _default_of(self, template: str) -> str | None:
        """The default of the input that a template names, if the template is that placeholder alone; else None."""
        lone = _LONE_INPUT.fullmatch(template)
        if lone is None or "{{" in lone[1]:
            return None
        try:
            tree = parse_expression(lone[1])
        except ExpressionError:
            return None
        match tree:
            case Path(parts=("inputs", str(name))) if name in self._workflow.inputs:
                default = self._workflow.inputs[name].get("default")
                return default if isinstance(default, str) else None
        return None

    def _gate(self, job: MadeJob, scope: Scope, printer: Printer) -> None:
        step = job.step
        # Here a rejection is written in lower case.
        options: list[str] = step.get("options", ["approve", "reject"])
        kept = [each.lower() if each.lower() in _REJECTING else each for each in options]
        if kept != options:
            scope.changed("its rejecting options are in lower case now")
        # A gate needs a question, also where Spec Kit's message is empty.
        on_reject = step.get("on_reject", "abort")
        message = step.get("message")
        question = self._text(job, printer, message if isinstance(message, str) else str(message))
        job.keys["gate"] = question if question.strip() else f"{job.id}?"
        job.keys["options"] = kept
        job.keys["on_reject"] = on_reject
        if step.get("show_file"):
            job.keys["show_file"] = self._text(job, printer, step.get("show_file"))
        if step.get("verdict_input"):
            scope.lost("verdict_input: `orchestrate approve RUN GATE --choice CHOICE` answers from outside")
        job.can_be_skipped = on_reject == "skip" and any(each in _REJECTING for each in kept)

    def _fan_in(self, job: MadeJob, scope: Scope, printer: Printer) -> None:
        """A `cat` that gives back the JSON of its stdin: a job has an output only if it runs something."""
        # The outputs of the steps that it waits for, then the fields that the step adds.
        ids = [str(each) for each in job.step.get("wait_for")]
        gathered = {"results": Code(f"[{', '.join(scope.whole_output(id_).text for id_ in ids)}]")}
        for id_ in ids:
            self._name(job, [scope.whole_output(id_)])
        for key, value in job.step.get("output", {}).items():
            if isinstance(value, str):
                gathered[key] = printer.value(value)
            elif isinstance(value, bool | int | float | None):
                gathered[key] = literal(value)
            else:
                scope.lost(f"output.{key}, which is neither text nor a number")
        self._name(job, list(gathered.values()))
        members = ", ".join(f"{quoted(key)}: {code.text}" for key, code in gathered.items())
        job.keys["command"] = ["cat"]
        job.keys["stdin"] = f"{{{{ {{{members}}} | tojson }}}}"
        job.keys["output"] = "json"

    def _init(self, job: MadeJob, scope: Scope, printer: Printer) -> None:
        step = job.step
        argv = ["specify", "init"]
        argv.append("--here" if _is_on(step, "here", scope) else self._text(job, printer, step.get("project", ".")))
        for key in ("integration", "integration_options", "script", "preset"):
            value = step.get(key) or (self._workflow.integration if key == "integration" else None)
            if value:
                argv += [f"--{key.replace('_', '-')}", self._text(job, printer, value)]
        argv += ["--ignore-agent-tools"] if step.get("ignore_agent_tools") is not False else []
        argv += ["--force"] if _is_on(step, "force", scope) else []
        job.keys["command"] = argv

    def _text(self, job: MadeJob, printer: Printer, text: str) -> str:
        template, jobs = printer.text(text)
        job.named |= jobs
        return template

    def _name(self, job: MadeJob, codes: list[Code]) -> None:
        job.named |= jobs_of(codes)


def _invocation(command: str, agent: str) -> str:
    stem = command.removeprefix("speckit.")
    if agent in _DOTTED_COMMANDS:
        return f"/speckit.{stem}"
    return f"{_SKILL_SIGNS.get(agent, '/')}speckit-{stem.replace('.', '-')}"


def _is_on(step: Step, key: str, scope: Scope) -> bool:
    value = step.get(key, False)
    if isinstance(value, str) and "{{" in value:
        scope.lost(f"{key}: a flag that is computed")
        return False
    return value is True or str(value).strip().lower() in ("true", "1", "yes")
