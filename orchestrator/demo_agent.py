"""An agent CLI for trying things out: no key, no network, no model, the same answer to the same prompt (`agent = "demo"`).

It follows the lines of its prompt that it understands, and answers what it did:

    write FILE: TEXT         append FILE: TEXT        replace FILE: OLD -> NEW        read FILE
    say TEXT                 sleep SECONDS            fail [REASON]

It fails as real agents do: a REASON may be `auth`, `rate_limit`, `overloaded`, `network`, `context`, or `usage_limit SECONDS`, a
limit that is over after so long. A line that it has failed at is done: resumed, it goes on behind it.

To the rest it answers how much it was told. It speaks as claude does with `--output-format stream-json`. A session is a file
in $XDG_STATE_HOME/orchestrate-demo: what was told in it, and how far it came; resumed, it first does what it had not done.

Promise: small and quick (it stands for programs that run in hundreds), so it imports nothing but a little of the standard
library. Its prices are made up. It exits with 0 after a success, 1 after a failure that it told of, 2 if it was called wrongly.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

VERSION = "1.0.0"
MODEL = "demo-1"

INPUT_USD_PER_TOKEN = 3e-6
CACHED_USD_PER_TOKEN = 0.3e-6
OUTPUT_USD_PER_TOKEN = 15e-6

_LINE = re.compile(
    r"""\s*(?:[-*]\s+)?(?:
        (?P<edit>write|append)\s+(?P<file>[^:\n]+?):\s?(?P<text>.*)
      | replace\s+(?P<in>[^:\n]+?):\s*(?P<old>.+?)\s+->\s+(?P<new>.*)
      | read\s+(?P<read>\S.*?)
      | say\s+(?P<say>\S.*?)
      | sleep\s+(?P<sleep>\d+(?:\.\d+)?)
      | fail(?P<fail>\s+\S.*?)?
    )\s*""",
    re.VERBOSE,
)


_STATUSES = {"auth": 401, "rate_limit": 429, "usage_limit": 429, "overloaded": 529}
"""What a provider's server answers."""


class Failure(Exception):
    """The agent says that it failed, for this reason."""


class Denial(Exception):
    """Its permissions do not allow this."""


class Call(NamedTuple):
    """A line of the prompt as the tool call that it asks for. `say` and `fail` are no tools: they are done without a call."""

    tool: str
    given: dict[str, Any]


def main() -> int:
    """The exit code."""
    options = _options()
    prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not prompt.strip():
        return _refused("no prompt on stdin")
    try:
        schema = json.loads(Path(options.json_schema).read_bytes()) if options.json_schema else None
    except (OSError, ValueError) as error:
        return _refused(f"{options.json_schema}: {error}")
    session = Session.resumed(options.resume) if options.resume else Session.begun()
    if session is None:
        return _refused(f"no session {options.resume} in this folder")
    return Reply(options, session, schema).run(prompt)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo-agent", description="Follows the simple lines of the prompt on its stdin.")
    parser.add_argument("--version", action="version", version=f"{VERSION} (demo agent)")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--resume", metavar="SESSION")
    parser.add_argument("--permissions", choices=("read", "edit", "full"), default="read")
    parser.add_argument("--json-schema", metavar="FILE")
    parser.add_argument("--max-turns", type=int, metavar="N")
    return parser.parse_args()


def _refused(why: str) -> int:
    sys.stderr.write(f"demo-agent: {why}\n")
    return 2


def calls_of(prompt: str) -> list[Call]:
    """What the lines of a prompt ask for, in order; lines that ask for nothing are left out."""
    matches = (_LINE.fullmatch(line) for line in prompt.splitlines())
    return [_call(match.groupdict()) for match in matches if match]


def _call(found: dict[str, str | None]) -> Call:
    if found["edit"]:
        return Call(found["edit"].capitalize(), {"file": found["file"], "text": found["text"]})
    if found["in"]:
        return Call("Replace", {"file": found["in"], "old": found["old"], "new": found["new"]})
    if found["read"]:
        return Call("Read", {"file": found["read"]})
    if found["say"]:
        return Call("say", {"text": found["say"]})
    if found["sleep"]:
        return Call("Sleep", {"seconds": float(found["sleep"])})
    return Call("fail", {"text": (found["fail"] or "it was told to fail").strip()})


class Session:
    """What was told in a session and what it still has to do. Saved whole after each step: survives SIGKILL, not power loss."""

    def __init__(self, name: str, state: dict[str, Any]) -> None:
        self.name = name
        self._state = state

    @staticmethod
    def begun() -> Session:
        """A new one, in this folder."""
        return Session(f"demo-{os.urandom(8).hex()}", {"cwd": os.getcwd(), "told": [], "left": [], "tokens": 0})

    @staticmethod
    def resumed(name: str) -> Session | None:
        """The one of that name, if there is one and it belongs to this folder."""
        try:
            state = json.loads(Session(name, {}).path.read_bytes())
        except (OSError, ValueError):
            return None
        return Session(name, state) if state["cwd"] == os.getcwd() else None

    @property
    def path(self) -> Path:
        """Where it is kept."""
        state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
        return Path(state, "orchestrate-demo", f"{os.path.basename(self.name)}.json")

    @property
    def tokens(self) -> int:
        """Of all that was said in it so far."""
        return int(self._state["tokens"])

    @property
    def left(self) -> list[Call]:
        """What it has been told to do and has not done yet."""
        return [Call(*each) for each in self._state["left"]]

    def take_in(self, prompt: str) -> None:
        """It is told `prompt`."""
        self._state["told"].append(prompt)
        self._state["left"] += calls_of(prompt)
        self._save()

    def did_first(self) -> None:
        """The first of what is left is done."""
        del self._state["left"][0]
        self._save()

    def ended(self, tokens: int) -> None:
        """So much was said in it by now."""
        self._state["tokens"] = tokens
        self._save()

    def _save(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path.with_suffix(f".{os.getpid()}")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(json.dumps(self._state))
        os.replace(fresh, self.path)


class Reply:
    """What one call of the CLI comes to: each line that it follows is a turn, and the answer is the last."""

    def __init__(self, options: argparse.Namespace, session: Session, schema: Any) -> None:
        self._options = options
        self._session = session
        self._schema = schema
        self._denials: list[dict[str, Any]] = []
        self._turns = 0

    def run(self, prompt: str) -> int:
        """Do what `prompt` says. The exit code."""
        told = _tokens(prompt)
        self._emit(
            {
                "type": "system",
                "subtype": "init",
                "cwd": os.getcwd(),
                "model": self._options.model,
                "permissionMode": self._options.permissions,
                "tools": ["Append", "Read", "Replace", "Sleep", "Write"],
            }
        )
        self._session.take_in(prompt)
        done, said, subtype, failure = [], [], "success", None
        try:
            for call in self._session.left:
                self._take_turn()
                if call.tool == "say":
                    said.append(call.given["text"])
                elif call.tool != "fail":
                    done.append(self._carry_out(call))
                self._session.did_first()
                if call.tool == "fail":
                    raise Failure(call.given["text"])
            self._take_turn()
        except TurnsUsedUp as error:
            subtype, failure = "error_max_turns", str(error)
        except Failure as error:
            subtype, failure = "error_during_execution", str(error)
        status = _STATUSES.get(failure.split()[0]) if failure else None
        if failure and failure.split()[0] == "usage_limit":
            self._tell_limit(failure)
        answer = failure or "\n".join(said or done) or _retold(prompt)
        structured = None
        if failure is None and self._schema is not None:
            structured = _structured(said, self._schema, answer)
            answer = json.dumps(structured)
        if failure is None:
            self._say({"type": "text", "text": answer})
        self._end(subtype, answer, structured, told, status)
        return 0 if failure is None else 1

    def _take_turn(self) -> None:
        most = self._options.max_turns
        if most is not None and self._turns >= most:
            raise TurnsUsedUp(f"Reached maximum number of turns ({most})")
        self._turns += 1

    def _carry_out(self, call: Call) -> str:
        identity = f"toolu_{self._session.name}_{self._turns}"
        self._say({"type": "tool_use", "id": identity, "name": call.tool, "input": call.given})
        is_error = True
        try:
            told = carry_out(call, self._options.permissions)
            is_error = False
        except Denial as denial:
            self._denials.append({"tool_name": call.tool, "tool_use_id": identity, "tool_input": call.given})
            told = str(denial)
        except (OSError, ValueError) as error:
            told = f"{call.tool} failed: {error}"
        result = {"type": "tool_result", "tool_use_id": identity, "content": told, "is_error": is_error}
        self._emit({"type": "user", "message": {"role": "user", "content": [result]}})
        return told

    def _say(self, content: dict[str, Any]) -> None:
        self._emit({"type": "assistant", "message": {"role": "assistant", "model": self._options.model, "content": [content]}})

    def _tell_limit(self, failure: str) -> None:
        seconds = re.search(r"\d+", failure)
        resets_at = int(time.time()) + (int(seconds.group()) if seconds else 0)
        info = {"status": "rejected", **({"resetsAt": resets_at} if seconds else {})}
        self._emit({"type": "rate_limit_event", "rate_limit_info": info})

    def _end(self, subtype: str, answer: str, structured: Any, told: int, status: int | None) -> None:
        known, answered = self._session.tokens, _tokens(answer)
        cost = told * INPUT_USD_PER_TOKEN + known * CACHED_USD_PER_TOKEN + answered * OUTPUT_USD_PER_TOKEN
        self._session.ended(known + told + answered)
        self._emit(
            {
                "type": "result",
                "subtype": subtype,
                "is_error": subtype != "success",
                "api_error_status": status,
                "num_turns": self._turns,
                "result": answer,
                "total_cost_usd": round(cost, 9),
                "usage": {
                    "input_tokens": told,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": known,
                    "output_tokens": answered,
                },
                "permission_denials": self._denials,
                **({} if structured is None else {"structured_output": structured}),
            }
        )

    def _emit(self, event: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps({**event, "session_id": self._session.name}) + "\n")
        sys.stdout.flush()


class TurnsUsedUp(Exception):
    """More turns would be needed than --max-turns allows."""


def carry_out(call: Call, permissions: str) -> str:
    """Do what one line asks for, and say so. Raises Denial, OSError, ValueError."""
    if call.tool == "Sleep":
        time.sleep(call.given["seconds"])
        return f"slept {call.given['seconds']:g} s"
    name = call.given["file"]
    path = Path(name).expanduser()
    if call.tool == "Read":
        return f"{name}: {_retold(path.read_text('utf-8', 'replace'))}"
    _allow(path, permissions)
    path.parent.mkdir(parents=True, exist_ok=True)
    match call.tool:
        case "Write":
            path.write_text(call.given["text"] + "\n", "utf-8")
            return f"wrote {name}"
        case "Append":
            with path.open("a", encoding="utf-8") as file:
                file.write(call.given["text"] + "\n")
            return f"appended a line to {name}"
        case _:
            before, old = path.read_text("utf-8"), call.given["old"]
            if old not in before:
                raise ValueError(f"{name} does not contain {old!r}")
            path.write_text(before.replace(old, call.given["new"]), "utf-8")
            return f"replaced {old!r} in {name}"


def _allow(path: Path, permissions: str) -> None:
    """Raises Denial."""
    if permissions == "read":
        raise Denial(f"{path} was not changed: this agent may only read")
    if permissions == "edit" and not path.resolve().is_relative_to(Path.cwd().resolve()):
        raise Denial(f"{path} was not changed: it lies outside of the folder that this agent works in")


def _retold(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = sum(len(line.split()) for line in lines)
    begins = next((line.lstrip("#/*-:; ") for line in lines if re.search(r"\w+ \w+ \w+", line)), lines[0] if lines else "")
    return f"{len(text.splitlines())} lines, {words} words: {begins[:100]}"


def _structured(said: list[str], schema: Any, answer: str) -> Any:
    """What was to be said, if that is JSON; else something that fits `schema`."""
    try:
        return json.loads("\n".join(said))
    except ValueError:
        return _fitting(schema, answer, schema)


def _fitting(schema: Any, answer: str, root: Any) -> Any:
    """A value for a simple schema: the answer where text goes, the number of its words where a number goes."""
    while "$ref" in schema or "anyOf" in schema or "oneOf" in schema:
        schema = _followed(schema, root)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {name: _fitting(each, answer, root) for name, each in schema.get("properties", {}).items()}
        case "array":
            return [_fitting(schema.get("items", {}), answer, root) for _ in range(max(schema.get("minItems", 0), 1))]
        case "integer" | "number":
            return min(max(len(answer.split()), schema.get("minimum", 0)), schema.get("maximum", sys.maxsize))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return answer


def _followed(schema: Any, root: Any) -> Any:
    """What a schema that only points at others points at: the first, of several."""
    if "$ref" not in schema:
        return (schema.get("anyOf") or schema["oneOf"])[0]
    target = root
    for name in schema["$ref"].removeprefix("#/").split("/"):
        target = target[name]
    return target


def _tokens(text: str) -> int:
    """Four bytes are a token."""
    return (len(text.encode()) + 3) // 4


if __name__ == "__main__":
    sys.exit(main())
