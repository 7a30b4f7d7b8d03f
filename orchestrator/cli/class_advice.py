"""What the class of an agent's attempt means, and what to do about it, for `why`."""

from __future__ import annotations

from orchestrator.workers.protocol import AttemptClass

_ADVICE: dict[AttemptClass, str] = {
    AttemptClass.CHECK_FAILED: "the agent says that it succeeded, and the check (or the schema of its answer) says otherwise",
    AttemptClass.BAD_OUTPUT: "the agent says that it succeeded, and its answer is not the JSON that was asked for",
    AttemptClass.AGENT_FAILED: "the agent failed for no reason that is known, or its success lacks what is expected; see its log",
    AttemptClass.AUTH: "the agent is not logged in, or its key is wrong; log in: run `{program}` once, or set its key (pass_env)",
    AttemptClass.BILLING: "the account cannot pay: see to it at the provider",
    AttemptClass.USAGE_LIMIT: "the account has used up what it may in a time, and goes on when that is over",
    AttemptClass.RATE_LIMIT: "the provider takes no more just now; it is asked again, less at once",
    AttemptClass.OVERLOADED: "the provider has too much to do, or failed; it is asked again, less at once",
    AttemptClass.NETWORK: "the provider could not be reached; it is asked again",
    AttemptClass.CONTEXT: "the prompt, or what came of it, is longer than the model takes: give it less, or split the item",
    AttemptClass.BUDGET: "the agent stopped at its own bound of costs: raise budget_usd",
    AttemptClass.TURNS: "the agent stopped at max_turns: raise it, or have it do less at once",
    AttemptClass.TIMEOUT: "it ran longer than `timeout`",
    AttemptClass.STALLED: "it wrote nothing for `stall_timeout`, or the same over and over: it was hanging",
    AttemptClass.DENIED: 'it was not allowed to do what it had to: see its denials, and `permissions` ("read", "edit", "full")',
    AttemptClass.PROTOCOL_ERROR: "it exited as after a success and never said that it had one: that counts as none",
    AttemptClass.NOT_BEGUN: "no worker came up to begin it: the machine lacks memory or processes, or this Python is broken",
    AttemptClass.LOST: "its worker was killed",
}


def advice_on(attempt_class: str | None, program: str) -> str:
    """One line; empty where there is nothing to say. `program`: how the agent's CLI is called."""
    if attempt_class is None:
        return ""
    return _ADVICE.get(AttemptClass(attempt_class), "").replace("{program}", program)
