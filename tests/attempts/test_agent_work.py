"""What an attempt of an agent is told and does, rendered from its job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.attempts.agent.fallback import Choice, Choose, own_agent
from orchestrator.attempts.agent.sessions import LastEnd
from orchestrator.attempts.agent.work import NOTHING_BEFORE, AgentSurroundings, Before
from orchestrator.attempts.rendering import Prepared, Surroundings, render_attempt
from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.jobsfile.language.compiler import compile_template
from orchestrator.jobsfile.model import AgentAction, Job, PromptFile
from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.jobsfile.profiles.profile import Profile
from orchestrator.store.records import RetryAsked
from orchestrator.system.passed_variables import is_passed
from orchestrator.workers.protocol import AgentReport, AttemptClass, Limits, Outcome

CLAUDE = Profiles().get("claude")


def text(source: str) -> Any:
    return compile_template(source, "text")


def agent_job(prompt: str | None = "Port {{ item }}", agent: str = "claude", **keys: Any) -> Job:
    told = {} if prompt is None else {"prompt": text(prompt)}
    return Job(id="job", action=AgentAction(agent=text(agent)), **told, **keys)


def prepared(
    job: Job,
    before: Before = NOTHING_BEFORE,
    *,
    number: int = 1,
    check_output: str = "",
    folder: str = "/srv",
    choose: Choose = own_agent,
    left_usd: float | None = None,
    **names: Any,
) -> Prepared:
    context = {"item": "a.py", "attempt": {"number": number, "check_output": check_output}, **names}
    agents = AgentSurroundings(find=Profiles(folder).get, before=before, choose=choose, left_usd=left_usd)
    return render_attempt(job, context, Surroundings(folder=folder, temporary_suffix="run", agents=agents))


def told(ready: Prepared) -> str:
    assert ready.agent is not None
    return ready.agent.told


def ended(attempt_class: AttemptClass, agent: str = "claude", folder: str = "/srv") -> Before:
    report = AgentReport(agent=agent, session_id="s-1")
    outcome = Outcome(attempt_class=attempt_class, started_at=0, finished_at=1, duration_seconds=1, agent=report)
    return Before(LastEnd(outcome, folder))


def test_the_prompt_goes_by_stdin_and_the_model_is_a_template() -> None:
    ready = prepared(agent_job(model=text("{{ item }}-model"), args=(text("--add-dir"), text("{{ item }}"))))
    assert ready.stdin == "Port a.py"
    assert ready.argv[-2:] == ["--add-dir", "a.py"]
    assert ready.argv[ready.argv.index("--model") + 1] == "a.py-model"
    assert ready.agent is not None
    assert (ready.agent.agent, ready.agent.model, ready.agent.session) == ("claude", "a.py-model", None)


def test_an_interrupted_session_is_told_to_go_on_and_the_payload_stays() -> None:
    first = prepared(agent_job())
    again = prepared(agent_job(), ended(AttemptClass.LOST), number=2)
    assert again.argv[-2:] == ["--resume", "s-1"]
    assert "interrupted" in told(again)
    assert "Port a.py" not in told(again)
    assert again.payload == first.payload
    own = prepared(agent_job(resume_prompt=text("Go on with {{ item }}")), ended(AttemptClass.TIMEOUT), number=2)
    assert told(own) == "Go on with a.py"


def test_a_failed_check_is_told_in_the_session_and_the_payload_stays() -> None:
    failed = ended(AttemptClass.CHECK_FAILED)
    again = prepared(agent_job(), failed, number=2, check_output="1 test failed {braces}")
    assert again.argv[-2:] == ["--resume", "s-1"]
    assert "1 test failed {braces}" in told(again)
    own = agent_job(retry_prompt=text("No: {{ attempt.check_output }}"))
    assert told(prepared(own, failed, number=2, check_output="bad")) == "No: bad"
    assert again.payload == prepared(agent_job()).payload


def test_what_a_check_said_reaches_a_new_session_behind_the_prompt() -> None:
    no_session = prepared(agent_job(resume_session=False), ended(AttemptClass.CHECK_FAILED), number=2, check_output="bad")
    assert told(no_session).startswith("Port a.py\n\n")
    assert told(no_session).endswith("bad")
    own = agent_job("Port {{ item }}. {{ attempt.check_output }}", resume_session=False)
    assert told(prepared(own, ended(AttemptClass.CHECK_FAILED), number=2, check_output="bad")) == "Port a.py. bad"


@pytest.mark.parametrize("resume_session", [True, False])
def test_of_a_check_that_wrote_nothing_the_agent_is_told_how_it_ended(resume_session: bool) -> None:
    last = ended(AttemptClass.CHECK_FAILED).last
    assert last is not None
    silent = Before(LastEnd(msgspec.structs.replace(last.outcome, message="check: exit code 3"), last.folder))
    ready = prepared(agent_job(resume_session=resume_session), silent, number=2, check_output=" \n")
    assert "exit code 3, without a word" in told(ready)


@pytest.mark.parametrize("attempt_class", [AttemptClass.TIMEOUT, AttemptClass.MEMORY])
def test_an_agent_whose_check_had_to_be_ended_is_told_so_and_not_that_it_was_interrupted(attempt_class: AttemptClass) -> None:
    last = ended(attempt_class).last
    assert last is not None
    hung = Before(LastEnd(msgspec.structs.replace(last.outcome, message="check: timed out after 3s"), last.folder))
    ready = prepared(agent_job(resume_prompt=text("Go on.")), hung, number=2, check_output="test_a ...")
    assert "--resume" in ready.argv
    assert "test_a ...\n(check: timed out after 3s)" in told(ready)
    assert told(prepared(agent_job(resume_prompt=text("Go on.")), ended(attempt_class), number=2)) == "Go on."


def test_another_agent_or_folder_begins_a_session_of_its_own_with_the_whole_prompt() -> None:
    for before in (ended(AttemptClass.TIMEOUT, agent="codex"), ended(AttemptClass.TIMEOUT, folder="/elsewhere")):
        ready = prepared(agent_job(), before, number=2)
        assert "--resume" not in ready.argv
        assert told(ready) == "Port a.py"


def test_the_payload_is_of_the_work_and_not_of_how_it_is_carried_out() -> None:
    base = prepared(agent_job()).payload
    same = [
        agent_job(resume_prompt=text("x")),
        agent_job(retry_prompt=text("x")),
        agent_job(budget_usd=1.0),
        agent_job(max_turns=3),
        agent_job(attempts=4, limits=Limits(timeout_seconds=3.0), priority=2),
    ]
    other = [
        agent_job("Port {{ item }}!"),
        agent_job(agent="qwen"),
        agent_job(model=text("m")),
        agent_job(args=(text("--x"),)),
        agent_job(permissions="full"),
        agent_job(check=compile_template("true", "shell")),
        agent_job(output="json"),
        agent_job(env={"A": text("b")}),
    ]
    assert {prepared(job).payload for job in same} == {base}
    payloads = [prepared(job).payload for job in other]
    assert base not in payloads
    assert len(set(payloads)) == len(other)


def test_a_schema_goes_to_a_cli_that_knows_one_and_into_the_prompt_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "object"}')
    native = prepared(agent_job(schema=text("s.json"), output="json"), folder=str(tmp_path))
    assert native.argv[-2:] == ["--json-schema", '{"type": "object"}']
    assert told(native) == "Port a.py"
    asked = prepared(agent_job(agent="gemini", schema=text("s.json"), output="json"), folder=str(tmp_path))
    assert told(asked).startswith("Port a.py\n\n")
    assert told(asked).endswith('{"type": "object"}')
    changed = prepared(agent_job(schema=text("s.json"), output="json"), folder=str(tmp_path)).payload
    (tmp_path / "s.json").write_text('{"type": "array"}')
    assert prepared(agent_job(schema=text("s.json"), output="json"), folder=str(tmp_path)).payload != changed


def test_a_prompt_file_is_found_by_its_template_beside_the_jobs_file(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Look at {{ item }}\n")
    job = agent_job(None, prompt_file=PromptFile(path=text("{{ item | replace('.py', '.md') }}")))
    assert told(prepared(job, folder=str(tmp_path))) == "Look at a.py\n"
    with pytest.raises(ItemRefused, match=r"prompt_file: .*no\.md: No such file"):
        prepared(agent_job(None, prompt_file=PromptFile(path=text("no.md"))), folder=str(tmp_path))


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (agent_job(agent="{{ item }}"), 'agent: there is no agent "a.py"'),
        (agent_job(agent="{{ '' }}"), "agent: the name is empty"),
        (agent_job("{{ ' ' }}"), "prompt: it is empty"),
        (agent_job(agent="{{ 'aider' }}"), "agent: nobody can tell whether aider succeeded: it needs a check"),
        (agent_job(model=text("--yolo")), 'model: "--yolo" begins with a dash: its CLI would take it for an option'),
        (agent_job("x" * 200_000, agent="cursor-agent"), "the prompt is 200000 bytes; the kernel takes at most 131071"),
    ],
)
def test_an_item_that_no_agent_can_do_is_refused_in_words(job: Job, words: str) -> None:
    with pytest.raises(ItemRefused) as refused:
        prepared(job)
    assert str(refused.value).startswith(words)


def test_permissions_that_a_profile_does_not_know_are_refused_and_none_is_taken_instead(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "mine.toml").write_text('extends = "demo"\n')
    assert prepared(agent_job(agent="mine"), folder=str(tmp_path)).agent is not None
    own = 'command = ["x"]\n[permissions]\nedit = []\n[[events]]\nwhere = { type = "done" }\nmeans = "success"\n'
    (tmp_path / "agents" / "mine.toml").write_text(own)
    with pytest.raises(
        ItemRefused, match=r'permissions: the profile of mine does not say how to keep it to "read" \(only edit\)'
    ):
        prepared(agent_job(agent="mine"), folder=str(tmp_path))


def test_a_prompt_of_any_length_goes_by_stdin() -> None:
    assert prepared(agent_job("x" * 1_000_000)).stdin == "x" * 1_000_000


def test_what_the_job_says_of_the_environment_wins_over_the_profile() -> None:
    quiet = next(iter(CLAUDE.env))
    assert prepared(agent_job()).env[quiet] == CLAUDE.env[quiet]
    assert prepared(agent_job(env={quiet: text("no")})).env[quiet] == "no"


def asked(**change: Any) -> RetryAsked:
    return RetryAsked(job="job", index=0, attempts=1, **change)


def test_feedback_is_told_in_the_session_whatever_the_attempt_before_came_to() -> None:
    last = ended(AttemptClass.OK).last
    first = prepared(agent_job(), Before(last, asked(feedback="Shorter."), is_asked=True), number=2)
    assert (told(first), first.argv[-2:]) == ("Shorter.", ["--resume", "s-1"])
    fresh = prepared(agent_job(resume_session=False), Before(last, asked(feedback="Shorter."), is_asked=True), number=2)
    assert told(fresh) == "Port a.py\n\nShorter."


def test_feedback_comes_behind_what_a_check_said_that_the_session_has_not_heard() -> None:
    failed = Before(ended(AttemptClass.CHECK_FAILED).last, asked(feedback="Shorter."), is_asked=True)
    first = told(prepared(agent_job(), failed, number=2, check_output="1 failed"))
    assert "1 failed" in first
    assert first.endswith("Shorter.")
    later = Before(failed.last, failed.retry)
    assert "Shorter." not in told(prepared(agent_job(), later, number=3, check_output="1 failed")), "it has heard that"


def test_feedback_is_told_again_by_an_attempt_that_may_be_the_first_to_hear_it() -> None:
    lost = ended(AttemptClass.LOST).last
    assert told(prepared(agent_job(), Before(lost, asked(feedback="Shorter.")), number=3)).endswith("Shorter.")
    failed = ended(AttemptClass.AGENT_FAILED).last
    assert told(prepared(agent_job(), Before(failed, asked(feedback="Shorter.")), number=3)) == "Port a.py\n\nShorter."


def test_another_model_or_prompt_takes_the_place_of_the_jobs_own() -> None:
    last = ended(AttemptClass.TIMEOUT).last
    by_model = prepared(agent_job(model=text("sonnet")), Before(last, asked(model="opus"), is_asked=True), number=2)
    assert by_model.argv[by_model.argv.index("--model") + 1] == "opus"
    assert "--resume" in by_model.argv
    by_prompt = prepared(agent_job(), Before(last, asked(prompt="Do {{ this }}"), is_asked=True), number=2)
    assert (told(by_prompt), "--resume" in by_prompt.argv) == ("Do {{ this }}", False)
    later = prepared(agent_job(), Before(last, asked(prompt="Do {{ this }}")), number=3)
    assert "--resume" in later.argv, "what was interrupted since goes on in the session that began with that prompt"
    kept = Before(last, asked(prompt="Do {{ this }}", is_prompt_kept=True), is_asked=True)
    assert "--resume" in prepared(agent_job(), kept, number=3).argv, "and so does the next retry"
    fresh = Before(ended(AttemptClass.AGENT_FAILED).last, kept.retry, is_asked=True)
    assert told(prepared(agent_job(), fresh, number=3)) == "Do {{ this }}"


def test_a_change_is_part_of_what_an_item_does_and_a_retry_without_one_is_not() -> None:
    payloads = [
        prepared(agent_job(), Before(None, retry)).payload
        for retry in (None, asked(), asked(feedback="x"), asked(model="x"), asked(prompt="x"))
    ]
    assert payloads[0] == payloads[1]
    assert len(set(payloads)) == 4


def test_another_agent_does_the_same_work_with_what_means_something_to_it() -> None:
    job = agent_job(
        model=text("opus"),
        args=(text("--add-dir"), text("/data")),
        fallback=("codex", "claude"),
        max_turns=9,
        resume_prompt=text("r"),
    )
    own = prepared(job)
    other = prepared(job, ended(AttemptClass.USAGE_LIMIT), number=2, choose=lambda agents, _: Choice(agents[1], "openai-1"))
    assert other.payload == own.payload
    assert own.agent is not None
    assert other.agent is not None
    assert (other.agent.agent, other.agent.account, other.agent.model) == ("codex", "openai-1", None)
    assert other.agent.session is None, "it does not go on with the session of another"
    assert told(other) == "Port a.py"
    assert other.argv[0] == "codex"
    assert not {"opus", "--add-dir", "/data"} & set(other.argv)
    same = prepared(job, choose=lambda agents, _: Choice(agents[2], "anthropic-2"))
    assert same.argv == own.argv, "another account of the same program is asked for the same"


def test_the_one_who_chooses_sees_what_the_job_declares_of_the_environment() -> None:
    seen = []

    def choose(agents: Sequence[Profile], declared: Mapping[str, str | None]) -> Choice:
        seen.append((agents[0].name, declared["ANTHROPIC_API_KEY"]))
        return Choice(agents[0], "anthropic-1")

    ready = prepared(agent_job(env={"ANTHROPIC_API_KEY": text("key-of-{{ item }}")}), choose=choose)
    assert seen == [("claude", "key-of-a.py")]
    assert ready.agent is not None
    assert ready.agent.account == "anthropic-1"


def test_an_agent_hears_of_the_state_folder_only_where_its_job_wants_that() -> None:
    for job, is_told in ((agent_job(), False), (agent_job(pass_env=("ORCHESTRATE_*",)), True), (agent_job(control=True), True)):
        ready = prepared(job)
        assert ready.agent is not None
        assert is_passed("ORCHESTRATE_HOME", ready.agent.env_allowed) == is_told


def test_an_agent_is_bound_by_what_is_left_and_its_payload_is_not() -> None:
    whole = prepared(agent_job(budget_usd=5.0))
    rest = prepared(agent_job(budget_usd=5.0), ended(AttemptClass.TIMEOUT), number=2, left_usd=0.75)
    of_run = prepared(agent_job(), left_usd=1.5)
    told = [each.argv[each.argv.index("--max-budget-usd") + 1] for each in (whole, rest, of_run)]
    assert told == ["5", "0.75", "1.5"]
    assert whole.payload == rest.payload == of_run.payload
