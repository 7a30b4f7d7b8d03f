"""The model server of the tests itself: what each scenario answers, over plain HTTP, and what it remembers."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from drivers.model_server import ModelServer, Usage, small_claude
from drivers.model_server.scenario import Step, shell_call, step, steps_of
from drivers.processes import wait_until

LIMIT_SECONDS = 20.0


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers = response.status, response.headers
        self.was_cut = False
        try:
            self.body = response.read()
        except http.client.IncompleteRead as cut:
            self.was_cut, self.body = True, cut.partial

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        pairs = [block.split("\ndata: ", 1) for block in self.body.decode().split("\n\n") if block]
        return [(name.removeprefix("event: "), json.loads(data)) for name, data in pairs]


def connect(server: ModelServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=LIMIT_SECONDS)


def post(server: ModelServer, path: str, body: dict[str, Any], key: str = "key-a") -> Answer:
    connection = connect(server)
    try:
        connection.request("POST", path, json.dumps(body), {"x-api-key": key})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def messages(prompt: str, *, stream: bool = False) -> dict[str, Any]:
    reminder = {"type": "text", "text": "<system-reminder>\nnot the user\n</system-reminder>"}
    content = [reminder, {"type": "text", "text": prompt}]
    return {"model": "claude-sonnet-4-5", "stream": stream, "messages": [{"role": "user", "content": content}]}


def responses(prompt: str, *, stream: bool = False, tools: tuple[str, ...] = ()) -> dict[str, Any]:
    said = [{"type": "input_text", "text": "<environment_context>…"}, {"type": "input_text", "text": prompt}]
    items = [{"type": "message", "role": "user", "content": said}]
    return {"model": "gpt-5.1", "stream": stream, "input": items, "tools": [{"type": "function", "name": name} for name in tools]}


def test_an_answer_of_messages_is_charged_and_remembered_with_the_users_words(server: ModelServer) -> None:
    answer = post(server, "/v1/messages?beta=true", messages("Say hello."))
    assert answer.json["content"] == [{"type": "text", "text": "answer to Say hello."}]
    assert answer.json["usage"]["cache_read_input_tokens"] == 30
    (exchange,) = server.exchanges()
    assert (exchange.api, exchange.account, exchange.prompt, exchange.status) == ("messages", "key-a", "Say hello.", 200)
    assert exchange.charged == Usage(100, 30, 20)
    assert exchange.cost_usd == pytest.approx(0.000609)
    assert server.paid() == {"Say hello.": 1}


def test_a_streamed_answer_of_messages_ends_with_message_stop(server: ModelServer) -> None:
    events = post(server, "/v1/messages", messages("Hi", stream=True)).events
    assert [name for name, _ in events] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[3][1]["delta"]["text"] == "answer to Hi"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_of_responses_tells_its_usage(server: ModelServer, stream: bool) -> None:
    answer = post(server, "/v1/responses", responses("Hi", stream=stream))
    body = answer.events[-1][1]["response"] if stream else answer.json
    assert body["output"][0]["content"][0]["text"] == "answer to Hi"
    assert (body["usage"]["input_tokens"], body["usage"]["input_tokens_details"]["cached_tokens"]) == (130, 30)
    assert server.paid() == {"Hi": 1}


@pytest.mark.parametrize(
    ("scenario", "status", "kind"),
    [
        ("401", 401, "authentication_error"),
        ("429=7", 429, "rate_limit_error"),
        ("500", 500, "api_error"),
        ("529", 529, "overloaded_error"),
        ("quota", 400, "invalid_request_error"),
        ("context", 400, "invalid_request_error"),
        ("limit=60", 429, "rate_limit_error"),
    ],
)
def test_a_refusal_of_messages_is_charged_nothing(server: ModelServer, scenario: str, status: int, kind: str) -> None:
    answer = post(server, f"/s/{scenario}/v1/messages", messages("Hi"))
    assert (answer.status, answer.json["error"]["type"]) == (status, kind)
    assert answer.headers["Retry-After"] == ("7" if scenario == "429=7" else None)
    assert (server.exchanges()[0].status, server.paid()) == (status, {})


@pytest.mark.parametrize(
    ("scenario", "status", "kind"),
    [
        ("401", 401, "invalid_request_error"),
        ("429=7", 429, "requests"),
        ("500", 500, "server_error"),
        ("quota", 429, "insufficient_quota"),
        ("context", 400, "invalid_request_error"),
        ("limit=60", 429, "usage_limit_reached"),
    ],
)
def test_a_refusal_of_responses_is_charged_nothing(server: ModelServer, scenario: str, status: int, kind: str) -> None:
    answer = post(server, f"/s/{scenario}/v1/responses", responses("Hi"))
    assert (answer.status, answer.json["error"]["type"]) == (status, kind)
    assert server.paid() == {}


def test_each_request_of_a_conversation_gets_the_next_step_and_the_last_one_stays(server: ModelServer) -> None:
    found = [post(server, "/v1/messages", messages("scenario:429=1,500,ok one")).status for _ in range(4)]
    other = post(server, "/v1/messages", messages("scenario:429=1,500,ok two")).status
    assert (found, other) == ([429, 500, 200, 200], 429)


def test_a_resumed_session_is_the_conversation_that_it_goes_on_with(server: ModelServer) -> None:
    first = messages("scenario:500,ok do it")
    resumed = {**first, "messages": [*first["messages"], {"role": "user", "content": "Go on."}]}
    assert [post(server, "/v1/messages", body).status for body in (first, resumed)] == [500, 200]
    assert server.paid() == {"scenario:500,ok do it": 1}
    assert server.exchanges()[1].prompt == "Go on."


def test_a_usage_limit_stops_the_whole_account_until_its_reset_and_comes_once(server: ModelServer) -> None:
    limited = post(server, "/v1/messages", messages("scenario:limit=2,ok a"))
    resets_at = int(limited.headers["anthropic-ratelimit-unified-reset"])
    assert post(server, "/v1/messages", messages("b")).status == 429
    told = post(server, "/v1/responses", responses("c")).json["error"]
    assert told["resets_at"] == resets_at
    assert post(server, "/v1/messages", messages("d"), key="key-b").status == 200, "another account"
    wait_until(lambda: post(server, "/v1/messages", messages("b")).status == 200, "the reset")
    found = [post(server, "/v1/messages", messages(f"scenario:limit=2,ok {name}")).status for name in "ae"]
    assert found == [200, 200]
    passed = [exchange for exchange in server.exchanges() if exchange.account == "key-a" and exchange.status == 200]
    assert all(exchange.at >= resets_at for exchange in passed)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", ["messages", "responses"])
def test_a_cut_answer_is_charged_and_never_whole(server: ModelServer, api: str, stream: bool) -> None:
    body = messages("Hi", stream=stream) if api == "messages" else responses("Hi", stream=stream)
    answer = post(server, f"/s/cut/v1/{api}", body)
    assert answer.was_cut
    assert b"message_stop" not in answer.body
    assert b"response.completed" not in answer.body
    assert server.paid() == {"Hi": 1}


@pytest.mark.parametrize("tool", ["exec_command", "shell_command", "shell"])
def test_a_tool_call_uses_the_shell_tool_that_the_client_has(server: ModelServer, tool: str) -> None:
    answer = post(server, f"/s/{shell_call('echo a b/c')},ok/v1/responses", responses("Hi", tools=("view_image", tool)))
    (call,) = answer.json["output"]
    assert call["name"] == tool
    assert "echo a b/c" in call["arguments"]


def test_a_tool_call_of_messages_is_followed_by_the_next_step(server: ModelServer) -> None:
    prompt = f"scenario:{shell_call('setsid sleep 60 &')},ok go"
    first, second = (post(server, "/v1/messages", messages(prompt)).json for _ in range(2))
    assert first["content"][0]["input"]["command"] == "setsid sleep 60 &"
    assert (first["stop_reason"], second["stop_reason"]) == ("tool_use", "end_turn")


def test_structured_output_comes_as_the_client_wants_it(server: ModelServer) -> None:
    answer = step("json", '{"n": 1}')
    prompt = f"scenario:{answer} go"
    with_tool = {**messages(prompt), "tools": [{"name": "StructuredOutput"}]}
    assert post(server, "/v1/messages", with_tool).json["content"][0]["input"] == {"n": 1}
    assert post(server, "/v1/messages", messages(prompt)).json["content"][0]["text"] == '{"n": 1}'
    assert post(server, "/v1/responses", responses(prompt)).json["output"][0]["content"][0]["text"] == '{"n": 1}'


def test_what_is_held_is_answered_when_it_is_released(server: ModelServer) -> None:
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(post(server, "/s/hold/v1/messages", messages(f"Hi {n}"))))
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.held == 3, "all are held")
    assert (answers, server.paid()) == ([], {})
    server.release()
    for thread in threads:
        thread.join(LIMIT_SECONDS)
    assert [answer.status for answer in answers] == [200] * 3
    assert post(server, "/s/hold/v1/messages", messages("late")).status == 200, "nothing is held any more"


def test_a_client_that_goes_away_before_its_answer_is_charged_nothing(server: ModelServer) -> None:
    connection = connect(server)
    connection.request("POST", "/s/hang/v1/messages", json.dumps(messages("Hi")), {})
    wait_until(server.exchanges, "the request came")
    connection.close()
    wait_until(lambda: server.exchanges()[0].status == 499, "the server knows")
    assert server.paid() == {}


def test_closing_ends_what_hangs() -> None:
    with ModelServer("hang") as server:
        connection = connect(server)
        connection.request("POST", "/v1/messages", json.dumps(messages("Hi")), {})
        wait_until(server.exchanges, "the request came")
    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()
    connection.close()


def test_the_log_has_each_exchange_when_its_outcome_is_certain(tmp_path: Path) -> None:
    with ModelServer(log=tmp_path / "log") as server:
        post(server, "/s/429,ok=3/v1/messages", messages("Hi"))
        post(server, "/s/429,ok=3/v1/messages", messages("Hi"))
        post(server, "/v1/messages/count_tokens", messages("Hi"))
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["step"], line["status"], line["charged"]["output_tokens"]) for line in lines] == [
        ("429", 429, 0),
        ("ok", 200, 60),
        ("ok", 200, 0),
    ]


def test_a_word_that_is_no_step_is_refused() -> None:
    assert steps_of("limit=20,ok") == [Step("limit", "20"), Step("ok")]
    with pytest.raises(ValueError, match="no step of a scenario: 'okay'"):
        steps_of("ok,okay")


# The small claude, which speaks to it in other tests.


def say(server: ModelServer, folder: Path, prompt: str, *flags: str) -> tuple[int, list[dict[str, Any]]]:
    """Its exit code and its events."""
    argv = [str(small_claude.install(folder) / "claude"), "-p", "--output-format", "stream-json", "--verbose", *flags]
    env = {"ANTHROPIC_BASE_URL": server.url(), "ANTHROPIC_API_KEY": "key-a"}
    done = subprocess.run(
        argv, input=prompt, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_the_small_claude_tells_the_cost_that_the_server_charged(server: ModelServer, tmp_path: Path) -> None:
    code, events = say(server, tmp_path, "scenario:ok=7 hello")
    assert (code, [event["type"] for event in events]) == (0, ["system", "assistant", "result"])
    assert events[-1]["total_cost_usd"] == pytest.approx(server.cost_usd()) == pytest.approx(7 * 0.000609)


def test_the_small_claude_goes_on_with_its_session(server: ModelServer, tmp_path: Path) -> None:
    prompt = "scenario:limit=1,ok do it"
    code, events = say(server, tmp_path, prompt)
    assert (code, events[-1]["api_error_status"]) == (1, 429)
    (limit,) = [event["rate_limit_info"] for event in events if event["type"] == "rate_limit_event"]
    wait_until(lambda: time.time() >= limit["resetsAt"], "the reset")
    code, _ = say(server, tmp_path, "Go on.", "--resume", events[0]["session_id"])
    assert (code, server.paid()) == (0, {prompt: 1})


def test_the_small_claude_dies_of_a_cut_answer_that_was_paid(server: ModelServer, tmp_path: Path) -> None:
    code, events = say(server, tmp_path, "scenario:cut,ok hello")
    assert (code, [event["type"] for event in events]) == (-signal.SIGKILL, ["system"])
    assert server.paid().total() == 1
