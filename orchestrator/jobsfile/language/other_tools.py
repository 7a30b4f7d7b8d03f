"""Words for which other tools have what a key of ours does, so that who comes from them is told the key.

From GitHub Actions, GitLab CI, make, Snakemake, xargs and GNU parallel, Taskfile, just, compose, Airflow and Ansible. A word may
mean several keys: the first that the table has, in which it was written, is meant. `[run] slots` is a key of another table.
"""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.jobsfile.language.suggestions import did_you_mean

_WORDS = {
    # What is done.
    "shell": "run script bash sh recipe steps step cmds commands before_script",
    "command": "cmd exec argv program entrypoint executable arguments",
    "workflow": "uses include call subworkflow trigger import child",
    "gate": "approve approval manual confirm input_required",
    "prompt": "instruction instructions prompt_text system_prompt task_prompt",
    "model": "llm model_name",
    "agent": "provider cli",
    "permissions": "allowed_tools allow_tools tools sandbox permission permission_mode",
    "inputs": "with params parameters arguments_from vars variables",
    # Over what, when, in which order.
    "for_each": "items foreach for each over loop with_items matrix strategy wildcards expand values",
    "needs": "depends_on deps dependencies depends dependency requires require after prerequisites prereqs upstream need",
    "when": "if condition only_if unless rules only except on_failure always",
    "repeat": "until while loop_until",
    "label": "title display_name desc description alias",
    "priority": "nice weight order rank",
    # How many at once.
    "max_concurrency": "parallel parallelism concurrency max_parallel max_procs procs threads workers max_workers cores replicas "
    "jobs slots pool_size",
    "pool": "group mutex lock semaphore queue resource resources resource_group concurrency_group",
    "[run] slots": "slots jobs parallel parallelism concurrency max_parallel max_procs procs threads workers max_workers cores",
    "slots": "jobs parallel parallelism concurrency max_parallel max_procs procs threads workers max_workers cores size limit",
    "devices": "gpu gpus device cuda cuda_visible_devices accelerators",
    "rate": "per_minute qps rpm rate_limit limit_per_minute",
    # An attempt and its bounds.
    "attempts": "retries retry_count max_retries max_attempts tries max_tries restart restart_times restarts attempt num_retries",
    "retry": "retry_delay retry_interval retry_backoff delay backoff interval",
    "timeout": "timeout_minutes timeout_seconds timeout_in_minutes time_limit max_time deadline timelimit walltime runtime "
    "execution_timeout stop_after",
    "stall_timeout": "idle_timeout no_output_timeout silence_timeout",
    "grace": "kill_after grace_period stop_grace_period",
    "memory": "mem mem_mb mem_limit memory_limit max_memory ram memory_mb",
    "continue_on_error": "ignore_error ignore_errors allow_failure fail_fast keep_going ignore_failure continue_on_failure",
    "max_failures": "max_fail max_errors max_fail_percentage",
    "budget_usd": "budget cost max_cost max_budget max_budget_usd cost_limit",
    # What surrounds it.
    "env": "environment envs vars variables env_vars",
    "cwd": "dir directory working_directory workdir working_dir chdir cd folder path wd",
    "stdin": "input arg_file input_file",
    "creates": "generates produces target targets outputs output_file makes product",
    "check": "verify test validate assert healthcheck post_check success_criteria",
    "artifacts": "artifact upload save files keep_files",
    "token": "id idempotency_key dedupe key dedup_key unique",
    "token_ttl": "ttl cache cache_ttl",
    "output": "output_format register capture",
    "schema": "json_schema output_schema response_format",
    "workspace": "worktree isolation sandbox_dir checkout",
    "pass_env": "envfrom inherit_env secrets env_file",
    # Of a run, and of the file as a whole.
    "[run] env": "env environment variables",
    "[run] timeout": "timeout time_limit max_time deadline timeout_minutes",
    "[run] budget_usd": "budget_usd budget max_cost",
    "[run] drain_timeout": "drain_timeout",
    "[run] max_depth": "max_depth",
    "[run] fast_slots": "fast_slots",
    "jobs": "job tasks task targets target rules rule recipes recipe stages stage steps step services nodes",
    "defaults": "default globals common options settings",
    "name": "title description desc workflow_name project",
    "pools": "pool groups resources semaphores limits",
    "run": "config execution runner",
}

_LIKENESS_OF_A_SLIP = 0.75

_KEYS_FOR: dict[str, list[str]] = {}
for _key, _words in _WORDS.items():
    for _word in _words.split():
        _KEYS_FOR.setdefault(_word, []).append(_key)


def meant_key(word: str, known: Collection[str], *, is_file: bool = False) -> str:
    """`"; did you mean X?"` for the key of `known` that `word` was meant for, "" if none is. To be put behind a message.

    `is_file`: `known` are the tables of a whole file, where a key of [run] may have been put.
    """
    plain = word.lower().replace("-", "_").replace(" ", "_")
    if plain in known:
        return f"; did you mean {plain}?"
    meant = _KEYS_FOR.get(plain, [])
    found = next((key for key in meant if key in known or (is_file and key.startswith("["))), None)
    if found is not None:
        return f"; did you mean {found}?"
    # What looks like it is another thing: `retries` looks like `creates`. A slip is small, and not in the first letter: `then`
    # looks like `when`, `image` like `agent`, and neither is one.
    return "" if meant else did_you_mean(plain, [key for key in known if key[:1] == plain[:1]], _LIKENESS_OF_A_SLIP)
