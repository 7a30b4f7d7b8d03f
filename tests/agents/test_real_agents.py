"""The real claude and codex, run by `orchestrate` against the model server: each failure told as what it is, and paid once.

They run in a network that has nothing but the loopback, where the machine permits one. `make test-agents` runs them.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import loopback
import packages
import psutil
import pytest
from drivers.model_server import ModelServer
from drivers.model_server.scenario import shell_call, step
from drivers.processes import processes_of, wait_until
from drivers.run_driver import RunDriver
from real_agents import CLIENTS, RealAgents

pytestmark = pytest.mark.agents

"""Far below what the CLIs take for their own retries: claude more than 100 s."""

LONG_SECONDS = 150.0
"""codex tells the minute of a reset, so up to a minute more is waited than has to be."""


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Path:
    """The folder of the CLIs. Whoever runs all tests has not asked for these: they need half a gigabyte of packages."""
    if "agents" not in str(request.config.getoption("markexpr")):
        pytest.skip("real agent CLIs: make test-agents")
    if names := packages.missing():
        pytest.skip(f"not installed: {', '.join(names)} (make test-agents installs them if npm is there)")
    return packages.programs()


@pytest.fixture(scope="session")
def network(programs: Path) -> Iterator[loopback.Loopback | str]:
    """The network that these tests run in, or why it is the machine's own. The tests of one process share it."""
    assert programs.exists()
    entered = loopback.enter()
    yield entered
    if not isinstance(entered, str):
        entered.close()


@pytest.fixture
def server(network: loopback.Loopback | str) -> Iterator[ModelServer]:
    """Nothing tries to reach anything but the loopback while it serves."""
    before = None if isinstance(network, str) else network.attempts_to_leave()
    with ModelServer() as server:
        yield server
    if not isinstance(network, str):
        assert network.attempts_to_leave() == before, "somebody tried to leave the loopback"


@pytest.fixture(params=sorted(CLIENTS))
def agents(
    request: pytest.FixtureRequest, server: ModelServer, programs: Path, home: Path, tmp_path: Path
) -> Iterator[RealAgents]:
    driver = RunDriver(tmp_path, home, "real")
    yield RealAgents(CLIENTS[request.param], driver, server, programs)
    driver.close()


def test_an_answer_is_the_items_output_and_its_usage_and_cost_are_the_servers(agents: RealAgents) -> None:
    agents.driver.assert_exit(agents.run("Say hello."), 0)
    (result,) = agents.driver.results()
    assert (result["status"], result["output"]) == ("succeeded", "answer to Say hello.")
    assert agents.server.paid() == {"Say hello.": 1}
    charged = agents.server.exchanges()[-1].charged
    told = [result["usage"][name] for name in ("input_tokens", "cache_read_tokens", "output_tokens")]
    assert told == [charged.input_tokens, charged.cached_tokens, charged.output_tokens]
    assert result["cost_usd"] == (pytest.approx(agents.server.cost_usd()) if agents.client.tells_cost else None)


def test_a_refused_key_is_known_at_once_and_not_tried_again(agents: RealAgents) -> None:
    agents.driver.assert_exit(agents.run("scenario:401 Say hello.", keys="attempts = 3"), 1)
    (result,) = agents.driver.results()
    assert (result["status"], result["class"], result["attempts"]) == ("failed", "auth", 1)
    assert len(agents.asked()) <= 2, "its own retries were not waited for"


def test_a_rate_limit_uses_no_attempt_up(agents: RealAgents) -> None:
    agents.driver.assert_exit(agents.run("scenario:429=1,429=1,429=1,429=1,ok Say hello.", keys="attempts = 1"), 0)
    assert [exchange.status for exchange in agents.asked()] == [429] * 4 + [200]
    assert agents.server.paid().total() == 1


def test_a_usage_limit_is_waited_out_and_one_attempt_tries_first(agents: RealAgents) -> None:
    """The model takes two seconds for its answer: whoever comes with the probe, or before it has an answer, is seen."""
    prompts = [f"scenario:limit=20,slow=2 say {number}" for number in range(3)]
    agents.driver.assert_exit(agents.run(*prompts, keys="attempts = 1"), 0, LONG_SECONDS)
    asked = agents.asked()
    refused = len(asked) - 3
    assert 1 <= refused <= 3, "those that were at work when the first was refused"
    assert [exchange.status for exchange in asked] == [429] * refused + [200] * 3
    probe, *others = asked[refused:]
    assert probe.at >= asked[0].at + 19, "nobody asked before the reset"
    assert min(other.at for other in others) >= probe.at + 2, "the others waited for the probe"
    assert agents.server.paid() == dict.fromkeys(prompts, 1)


def test_a_cut_answer_goes_on_in_its_session(agents: RealAgents) -> None:
    agents.driver.assert_exit(agents.run("scenario:cut,cut,ok Say hello.", keys="attempts = 1"), 0)
    assert [exchange.step for exchange in agents.asked()] == ["cut", "cut", "ok"]
    assert len(agents.server.paid()) == 1, "one conversation"


def test_one_that_hangs_is_ended_and_goes_on_in_its_session(agents: RealAgents) -> None:
    prompt = "scenario:hang,ok Say hello."
    agents.driver.assert_exit(agents.run(prompt, keys='attempts = 2\nstall_timeout = "4s"'), 0)
    first, second = agents.asked()
    assert (first.status, second.status) == (499, 200)
    assert (second.conversation, second.prompt == prompt) == (prompt, False), "it was told to go on, not all from the start"


def test_a_daemon_that_a_tool_left_is_ended(agents: RealAgents) -> None:
    mark = agents.driver.folder / "daemon"
    call = shell_call(f"setsid -f sh -c 'echo $$ > {mark}; exec sleep 98765' >/dev/null 2>&1")
    command = agents.run(f"scenario:{call},ok go", keys='permissions = "full"\npass_env = ["IS_SANDBOX"]')
    agents.driver.assert_exit(command, 0)
    assert not psutil.pid_exists(int(mark.read_text()))


def test_a_tool_that_hangs_is_ended_with_its_agent(agents: RealAgents) -> None:
    """Both CLIs run it in a session of its own: a signal to the process group does not reach it."""
    mark = agents.driver.folder / "tool"
    call = shell_call(f"echo $$ > {mark}; exec sleep 98765")
    keys = 'attempts = 2\nstall_timeout = "4s"\npermissions = "full"\npass_env = ["IS_SANDBOX"]'
    agents.driver.assert_exit(agents.run(f"scenario:{call},ok go", keys=keys), 0)
    assert not psutil.pid_exists(int(mark.read_text()))
    assert agents.driver.result("ask:0")["attempts"] == 2


def test_one_that_may_only_read_writes_nothing(agents: RealAgents) -> None:
    call = shell_call("touch written; echo > ./written")
    agents.driver.assert_exit(agents.run(f"scenario:{call},ok go", keys='permissions = "read"'), 0)
    assert not (agents.driver.folder / "written").exists()
    assert agents.driver.result("ask:0")["status"] == "succeeded"


@pytest.mark.parametrize("agents", ["claude"], indirect=True)
def test_what_was_denied_is_told_with_the_success(agents: RealAgents) -> None:
    """Of codex nothing is denied: what its sandbox does not allow fails."""
    call = shell_call("python3 -c 1")
    agents.driver.assert_exit(agents.run(f"scenario:{call},ok go", keys='permissions = "edit"'), 0)
    assert agents.driver.result("ask:0")["denials"] == ["Bash"]


def test_a_schema_is_kept_by_the_clis_own_means(agents: RealAgents) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    (agents.driver.folder / "answer.schema.json").write_text(json.dumps(schema))
    answer = step("json", '{"n": 42}')
    agents.driver.assert_exit(agents.run(f"scenario:{answer} go", keys='schema = "answer.schema.json"'), 0)
    (result,) = agents.driver.results()
    assert result["output"] == {"n": 42}


def test_a_long_prompt_that_looks_like_an_option_arrives_whole(agents: RealAgents) -> None:
    """Longer than an argument may be, and the first thing that a careless command line would take for one of its own."""
    prompt = "--help -p --version " + 'ü€ \\ "quoted" $HOME `id`\n' * 8000 + "the end"
    agents.driver.assert_exit(agents.run(prompt), 0)
    assert [exchange.prompt for exchange in agents.asked()] == [prompt]


def test_what_a_stop_interrupts_goes_on_in_its_session(agents: RealAgents) -> None:
    command = agents.run("scenario:hold say hello")
    wait_until(lambda: agents.server.held == 1, "it asks")
    assert agents.driver.launch("stop", agents.driver.run_id, "--now").exit_code() == 0
    command.exit_code()
    agents.server.release()
    agents.driver.assert_exit(agents.resume(), 0)
    first, second = agents.asked()
    assert (first.status, second.status, second.conversation) == (499, 200, first.conversation)


@pytest.mark.parametrize("agents", ["claude"], indirect=True)
def test_another_agent_takes_over_while_the_limit_lasts(agents: RealAgents) -> None:
    keys = 'on_usage_limit = "fallback"\nfallback = ["codex"]'
    agents.env["ANTHROPIC_BASE_URL"] = agents.server.url("limit=3600")
    agents.driver.assert_exit(agents.run("a", "b", concurrency=1, keys=keys), 0)
    assert [(exchange.api, exchange.status) for exchange in agents.asked()] == [
        ("messages", 429),
        ("responses", 200),
        ("responses", 200),
    ]
    assert [(result["agent"], result["output"]) for result in agents.driver.results()] == [
        ("codex", "answer to a"),
        ("codex", "answer to b"),
    ]


def test_a_session_in_a_worktree_goes_on_there_and_what_it_made_is_landed(agents: RealAgents) -> None:
    """claude finds a session only in the folder that it began in."""
    git = ["git", "-C", str(agents.driver.folder), "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run([*git, "init", "-q"], check=True, timeout=30)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "begin"], check=True, timeout=30)
    call = shell_call("echo of an agent > made")
    keys = """
attempts = 2
stall_timeout = "4s"
permissions = "full"
pass_env = ["IS_SANDBOX"]
workspace = "worktree"
check = "test -s made"
[jobs.land]
needs = ["ask"]
land = "ask"
"""
    agents.driver.assert_exit(agents.run(f"scenario:{call},hang,ok go", keys=keys), 0)
    assert [exchange.step for exchange in agents.asked()] == ["bash", "hang", "ok"]
    assert len(agents.server.paid()) == 1, "one conversation"
    assert (agents.driver.folder / "made").read_text() == "of an agent\n"


def test_four_in_flight_outlive_a_killed_supervisor_and_none_is_paid_twice(agents: RealAgents) -> None:
    prompts = [f"scenario:hold say {number}" for number in range(4)]
    command = agents.run(*prompts)
    wait_until(lambda: agents.server.held == 4, "four ask")
    command.kill()
    command = agents.resume()
    wait_until(lambda: command.stderr.count("adopted ask:") == 4 or not command.is_running, "all are adopted")
    agents.server.release()
    agents.driver.assert_exit(command, 0)
    assert [exchange.status for exchange in agents.asked()] == [200] * 4
    assert agents.server.paid() == dict.fromkeys(prompts, 1)


def test_with_a_config_folder_of_its_own_each_still_knows_the_users_settings_and_its_session(agents: RealAgents) -> None:
    own = agents.driver.folder / "agents" / f"{agents.client.name}.toml"
    own.parent.mkdir()
    own.write_text(f'extends = "{agents.client.name}"\n[config_dir]\nper_slot = true\n')
    prompts = [f"scenario:{steps} say {number}" for number, steps in enumerate(["hold", "hold", "hang,ok"])]
    command = agents.run(*prompts, keys='attempts = 2\nstall_timeout = "8s"')
    wait_until(lambda: agents.server.held == 2, "two ask at the same time")
    agents.server.release()
    agents.driver.assert_exit(command, 0)
    assert agents.server.paid() == dict.fromkeys(prompts, 1)
    assert agents.asked()[-1].prompt not in prompts, "it was told to go on"
    own_folders = [path for path in (agents.driver.home / "agents" / agents.client.name).glob("[0-9]") if any(path.iterdir())]
    assert len(own_folders) == 3


def test_eight_at_once_each_get_their_own_answer(agents: RealAgents) -> None:
    prompts = [f"scenario:hold say {number}" for number in range(8)]
    command = agents.run(*prompts)
    wait_until(lambda: agents.server.held == 8, "eight ask at the same time")
    agents.server.release()
    agents.driver.assert_exit(command, 0)
    assert [result["output"] for result in agents.driver.results()] == [f"answer to {prompt}" for prompt in prompts]
    assert agents.server.paid() == dict.fromkeys(prompts, 1)
    assert not processes_of(agents.driver.home)


def test_who_tries_to_leave_the_loopback_would_be_seen(network: loopback.Loopback | str) -> None:
    if isinstance(network, str):
        pytest.skip(network)
    before, named = network.attempts_to_leave()
    with socket.socket() as somebody, pytest.raises(OSError, match="unreachable"):
        somebody.connect(("192.0.2.1", 443))  # of the addresses that documentation may use: nobody has it
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody:
        somebody.sendto(b"who is it?", ("127.0.0.53", loopback.DNS_PORT))
    assert network.attempts_to_leave() == (before + 1, [*named, b"who is it?"])
