"""An agent CLI that the tests own: it speaks the stream-json of claude, and does what its prompt says.

    python fake_agent.py [--model M] [--resume ID] [--permissions P] [--schema TEXT] [--max-turns N] [--sums] [-p PROMPT]

The prompt comes by stdin, unless `-p` or `--prompt-file FILE` gives it. A line of it that begins with `fake:` is the script;
without one the session's script goes on (`--resume`), else $FAKE_AGENT_SCRIPT counts, else it is `ok`. Steps are separated by
`|`: the first call plays the first, and so on, and the last plays for ever. What counts as the same call: the session that is
resumed, else the word `key=NAME` of the script, else the whole prompt. Words are split as a shell does.

    fake: rate_limit | usage_limit=3 | ok text='all done' cost=0.25

Words of a step, in any order:
    ok                          success (what it does without any word)
    text=T                      its answer; by default `answer to ` and the first line of the prompt that is no script
    structured=JSON             structured output beside it
    cost=USD in=N out=N cached=N cache_write=N turns=N        what it tells (defaults 0.01 100 20 30 0 1)
    no_cost no_usage            it does not tell
    deny=TOOL                   was not allowed to (several times: several)
    write=FILE:TEXT             writes the file (relative to its folder), before it answers
    pid=FILE                    appends its pid to the file
    say_env=NAME                the answer is the variable's value, or `-`
    stderr=TEXT                 writes a line to stderr
    sleep=SECONDS  wait=FILE    after its first event, before all else; until FILE exists
    mute                        no event at all, for ever
    hang                        nothing after the first event, for ever
    linger[=SECONDS]            stays after its result (for ever)
    loop                        events without end
    long_line=BYTES             an event of that size before the result
    partial                     its result breaks off in the middle; exit 0
    no_result                   exit 0 without a result
    fail[=MESSAGE]              exit 0 with an error result for no known reason
    capped=turns | capped=budget     an error result: its own bound was reached; exit 1
    exit=N  kill=SIGNAL         exit code; ends itself by a signal (`kill=KILL`) in place of the result
    daemon                      leaves a process in a session of its own; its pid is appended to STATE/daemons
    ignore_term                 ignores SIGTERM
    succeed_on_term             at SIGTERM it tells success and exits with 0
    auth billing rate_limit overloaded context network        an error result of that class, exit 1
    usage_limit=SECONDS         an error result, with the time of the reset, which is so far away
    usage_limit_text=TEXT       the same with the reset in words only
    limit_all=SECONDS           as usage_limit, and every call of anybody is told the same until then (STATE/limited_until)
    retry=STATUS[:N]            N (for ever) events of a retry after that HTTP status, ten a second; then goes on

STATE is $FAKE_AGENT_STATE, a folder (made if missing; without the variable nothing is kept). STATE/witness.jsonl has a line for
each prompt that came in, before anything is done with it, one for each that was answered, and one for each exit that it lived to
see:
    {"event": "prompt", "call": ID, "at": T, "pid": P, "session": S, "resumed": bool, "key": K, "step": N, "prompt": …, "cwd": …,
     "model": …, "permissions": …, "argv": […], "env": [names]}
    {"event": "answer", "call": ID, "at": T, "class": "ok"|…, "cost": USD|null, "usage": {…}|null}
    {"event": "exit", "call": ID, "at": T}
`cost` there is of that call alone; with `--sums` what is told is the sum over the session.

Only what it needs is imported: a call takes some 30 ms with `python -I -S`.
"""

from __future__ import annotations

import json
import os
import sys
import time

_STATE = os.environ.get("FAKE_AGENT_STATE")
_ERRORS: dict[str, tuple[int | None, str, str]] = {
    "auth": (401, "authentication_failed", "Invalid API key · Fix external API key"),
    "billing": (400, "billing_error", "Credit balance is too low"),
    "rate_limit": (429, "rate_limit", "API Error: Request rejected (429) · This would exceed your account's rate limit."),
    "overloaded": (
        529,
        "overloaded",
        'API Error: 529 {"error":{"type":"overloaded_error","message":"Overloaded"}}',
    ),
    "context": (400, "invalid_request", "Prompt is too long"),
    "network": (None, "unknown", "API Error: Unable to connect to API (ECONNREFUSED)"),
}
_STATUS_ERRORS = {401: "authentication_failed", 429: "rate_limit", 529: "overloaded"}


class Call:
    """One call: what it was asked, and how far its session has come."""

    def __init__(self, options: dict[str, str], prompt: str) -> None:
        from shlex import split

        self.options = options
        self.prompt = prompt
        self.resumed = "resume" in options
        self.session = options.get("resume") or f"{os.urandom(4).hex()}-fake-{os.getpid()}"
        lines = [line.removeprefix("fake:") for line in prompt.splitlines() if line.startswith("fake:")]
        kept = _read_state(f"session-{self.session}")
        script = lines[0] if lines else kept if kept is not None and self.resumed else os.environ.get("FAKE_AGENT_SCRIPT", "ok")
        steps = [split(step) for step in _steps(script)]
        named = [word.partition("=")[2] for step in steps for word in step if word.startswith("key=")]
        # A session goes on with the steps that its first prompt began: that key stands in its own file.
        told = _read_state(f"key-{self.session}") if self.resumed else None
        self.key = (named[0] if named else prompt) if told is None else told
        self.step = _count(f"calls-{_name(self.key)}")
        self.words = steps[min(self.step, len(steps) - 1)]
        _write_state(f"session-{self.session}", script)
        _write_state(f"key-{self.session}", self.key)
        self.id = f"{os.getpid()}-{time.time_ns()}"

    def has(self, word: str) -> bool:
        return any(each.partition("=")[0] == word for each in self.words)

    def values(self, word: str) -> list[str]:
        return [value for each in self.words for name, _, value in [each.partition("=")] if name == word]

    def value(self, word: str, default: str) -> str:
        return next((value for value in self.values(word) if value), default)

    def witness(self, event: str, **fields: object) -> None:
        if _STATE:
            line = json.dumps({"event": event, "call": self.id, "at": time.time(), **fields})
            _append(f"{_STATE}/witness.jsonl", line + "\n")


def main(argv: list[str]) -> int:
    options, prompt = _arguments(argv)
    if "version" in options:
        sys.stdout.write("1.0.0 (fake agent)\n")
        return 0
    if _STATE:
        os.makedirs(_STATE, exist_ok=True)
    call = Call(options, prompt if prompt is not None else sys.stdin.buffer.read().decode("utf-8", "replace"))
    call.witness(
        "prompt",
        pid=os.getpid(),
        session=call.session,
        resumed=call.resumed,
        key=call.key,
        step=call.step,
        prompt=call.prompt,
        cwd=os.getcwd(),
        model=options.get("model"),
        permissions=options.get("permissions"),
        argv=argv,
        env=sorted(os.environ),
    )
    try:
        return _play(call)
    finally:
        call.witness("exit")


def _play(call: Call) -> int:
    _prepare(call)
    if call.has("mute"):
        _wait_for_ever()
    _tell(type="system", subtype="init", cwd=os.getcwd(), session_id=call.session, model=_model(call), tools=["Bash", "Edit"])
    _work(call)
    for each in _ERRORS:
        if call.has(each):
            return _error(call, each)
    if call.has("usage_limit_text"):
        return _error_result(call, "usage_limit", 429, "rate_limit", call.value("usage_limit_text", ""))
    if (resets_at := _limit(call)) is not None:
        return _usage_limit(call, resets_at)
    if call.has("kill"):
        import signal

        sys.stdout.flush()
        os.kill(os.getpid(), signal.Signals[f"SIG{call.value('kill', 'KILL')}"])
        _wait_for_ever()
    if call.has("fail"):
        _error_result(call, "fail", None, None, call.value("fail", "it did not work"))
        return int(call.value("exit", "0"))
    if call.has("capped"):
        return _capped(call, call.value("capped", "turns"))
    if call.has("no_result"):
        call.witness("answer", **{"class": "no_result"}, cost=None, usage=None)
        return int(call.value("exit", "0"))
    _succeed(call)
    if call.has("linger"):
        time.sleep(float(call.value("linger", "1e6")))
    return int(call.value("exit", "0"))


def _prepare(call: Call) -> None:
    """What comes before the first event."""
    import signal

    for path in call.values("pid"):
        _append(path, f"{os.getpid()}\n")
    if call.has("ignore_term"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if call.has("succeed_on_term"):

        def end(*_: object) -> None:
            _succeed(call)
            os._exit(0)

        signal.signal(signal.SIGTERM, end)
    if call.has("daemon"):
        _leave_daemon()


def _work(call: Call) -> None:
    """What comes between the first event and the end."""
    for path in call.values("wait"):
        deadline = time.monotonic() + 60
        while not os.path.exists(path):
            if time.monotonic() > deadline:
                sys.exit(f"{path} did not come")
            time.sleep(0.01)
    time.sleep(float(call.value("sleep", "0")))
    for told in call.values("stderr"):
        sys.stderr.write(told + "\n")
        sys.stderr.flush()
    for assignment in call.values("write"):
        path, _, text = assignment.partition(":")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    _retry(call)
    if call.has("long_line"):
        _say(call, "x" * int(call.value("long_line", "10000000")))
    if call.has("loop"):
        while True:
            _say(call, "again")
    if call.has("hang"):
        _wait_for_ever()


def _retry(call: Call) -> None:
    for told in call.values("retry"):
        status, _, count = told.partition(":")
        error = _STATUS_ERRORS.get(int(status), "server_error")
        place = 0
        while not count or place < int(count):
            place += 1
            fields = {"attempt": place, "max_retries": 10, "retry_delay_ms": 100.0, "error_status": int(status), "error": error}
            _tell(type="system", subtype="api_retry", session_id=call.session, **fields)
            time.sleep(0.1)


def _limit(call: Call) -> float | None:
    """When the usage limit ends that this call runs into."""
    now = time.time()
    if call.has("usage_limit"):
        return now + float(call.value("usage_limit", "3600"))
    told = _read_state("limited_until")
    if told is not None and now < float(told):
        return float(told)
    if call.has("limit_all"):
        until = now + float(call.value("limit_all", "3"))
        _write_state("limited_until", repr(until))
        return until
    return None


def _usage_limit(call: Call, resets_at: float) -> int:
    import math

    # As the real ones do: whole seconds. Rounded up, or the reset would come too early.
    info = {"status": "rejected", "resetsAt": math.ceil(resets_at), "rateLimitType": "five_hour", "isUsingOverage": False}
    _tell(type="rate_limit_event", rate_limit_info=info, session_id=call.session)
    words = time.strftime("%I:%M%p", time.gmtime(resets_at)).lstrip("0").lower()
    return _error_result(call, "usage_limit", 429, "rate_limit", f"You've hit your session limit · resets {words} (UTC)")


def _error(call: Call, name: str) -> int:
    status, error, message = _ERRORS[name]
    return _error_result(call, name, status, error, message)


def _error_result(call: Call, name: str, status: int | None, error: str | None, message: str) -> int:
    """As claude tells it: an assistant that speaks for the client, then a `result` of the subtype "success"."""
    cost = float(call.value("cost", "0"))
    call.witness("answer", **{"class": name}, cost=cost, usage=None)
    if error is not None:
        content = {"model": "<synthetic>", "role": "assistant", "content": [{"type": "text", "text": message}]}
        _tell(type="assistant", message=content, session_id=call.session, error=error)
    fields = {"subtype": "success", "is_error": True, "api_error_status": status, "num_turns": 1, "result": message}
    _tell(type="result", session_id=call.session, total_cost_usd=_told_cost(call, cost), permission_denials=[], **fields)
    return int(call.value("exit", "1"))


def _capped(call: Call, bound: str) -> int:
    cost = float(call.value("cost", "0.01"))
    call.witness("answer", **{"class": bound}, cost=cost, usage=None)
    subtype = {"turns": "error_max_turns", "budget": "error_max_budget_usd"}[bound]
    fields = {"subtype": subtype, "is_error": True, "num_turns": 3, "errors": [f"Reached the maximum of {bound}"]}
    _tell(type="result", session_id=call.session, total_cost_usd=_told_cost(call, cost), permission_denials=[], **fields)
    return 1


def _succeed(call: Call) -> None:
    words = [line for line in call.prompt.splitlines() if line.strip() and not line.startswith("fake:")]
    text = call.value("text", f"answer to {words[0] if words else 'nothing'}")
    for name in call.values("say_env"):
        text = os.environ.get(name, "-")
    if call.has("structured"):
        text = call.value("structured", "null")
    cost = None if call.has("no_cost") else float(call.value("cost", "0.01"))
    usage = None if call.has("no_usage") else _usage(call)
    _say(call, text)
    call.witness("answer", **{"class": "ok"}, cost=cost, usage=usage)
    result: dict[str, object] = {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "num_turns": int(call.value("turns", "1")),
        "result": text,
        "session_id": call.session,
        "permission_denials": [{"tool_name": tool, "tool_input": {"command": "touch x"}} for tool in call.values("deny")],
    }
    if cost is not None:
        result["total_cost_usd"] = _told_cost(call, cost)
    if usage is not None:
        result["usage"] = {name: _sum(call, name, number) for name, number in usage.items()}
    if call.has("structured"):
        result["structured_output"] = json.loads(text)
    line = json.dumps(result, ensure_ascii=False)
    if call.has("partial"):
        sys.stdout.write(line[: len(line) // 2])
        sys.stdout.flush()
        return
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _usage(call: Call) -> dict[str, int]:
    return {
        "input_tokens": int(call.value("in", "100")),
        "output_tokens": int(call.value("out", "20")),
        "cache_read_input_tokens": int(call.value("cached", "30")),
        "cache_creation_input_tokens": int(call.value("cache_write", "0")),
    }


def _told_cost(call: Call, cost: float) -> float:
    return _sum(call, "cost", cost)


def _sum(call: Call, name: str, number: float) -> float:
    """With `--sums`: the sum over the session so far, this call with it."""
    if "sums" not in call.options:
        return number
    told = _read_state(f"sum-{name}-{call.session}")
    total = number + (json.loads(told) if told is not None else 0)
    _write_state(f"sum-{name}-{call.session}", json.dumps(total))
    return total


def _say(call: Call, text: str) -> None:
    message = {"model": _model(call), "role": "assistant", "content": [{"type": "text", "text": text}]}
    _tell(type="assistant", message=message, session_id=call.session)


def _tell(**event: object) -> None:
    sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _model(call: Call) -> str:
    return call.options.get("model", "fake-model")


def _leave_daemon() -> None:
    """A process in a session of its own that nobody waits for, as the tools of agents leave them."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    if _STATE:
        _append(f"{_STATE}/daemons", f"{os.getpid()}\n")
    _wait_for_ever()


def _wait_for_ever() -> None:
    sys.stdout.flush()
    while True:
        time.sleep(1000)


def _arguments(argv: list[str]) -> tuple[dict[str, str], str | None]:
    """`--name VALUE` (and `--sums`, `--version`) as a table; the prompt, if it is among them."""
    options: dict[str, str] = {}
    prompt: str | None = None
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word in ("--sums", "--version"):
            options[word[2:]] = "yes"
        elif word == "-p":
            prompt = rest.pop(0)
        elif word == "--prompt-file":
            with open(rest.pop(0), encoding="utf-8") as file:
                prompt = file.read()
        elif word.startswith("--") and rest:
            options[word[2:]] = rest.pop(0)
        else:
            sys.exit(f"fake agent: unknown argument {word}")
    return options, prompt


def _steps(script: str) -> list[str]:
    """Split at `|` outside quotes."""
    steps = [""]
    quote = ""
    for letter in script:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        if letter == "|" and not quote:
            steps.append("")
        else:
            steps[-1] += letter
    return steps


def _name(key: str) -> str:
    import hashlib

    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _count(name: str) -> int:
    """How often it was asked before, by whomever: one byte is appended each time."""
    if not _STATE:
        return 0
    return _append(f"{_STATE}/{name}", ".") - 1


def _append(path: str, text: str) -> int:
    """One write, appended; where it ended."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, text.encode())
        return os.lseek(descriptor, 0, os.SEEK_CUR)
    finally:
        os.close(descriptor)


def _read_state(name: str) -> str | None:
    try:
        with open(f"{_STATE}/{name}", encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _write_state(name: str, text: str) -> None:
    if _STATE:
        temporary = f"{_STATE}/{name}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, f"{_STATE}/{name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
