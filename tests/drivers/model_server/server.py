"""The server: which step a request gets, what it is charged, how the answer goes out.

Promise: what a client can have been charged for is in `exchanges` (and in the log file) before the first byte of its answer
leaves, so that no kill of a client, at any instant, hides a prompt that was paid.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, BinaryIO

import msgspec

from drivers.model_server import messages, responses
from drivers.model_server.exchange import ANSWER, Asked, Exchange, Usage
from drivers.model_server.reply import Event, Refusal
from drivers.model_server.scenario import Step, in_prompt, steps_of

API = {"/v1/messages": messages, "/v1/responses": responses}
CLIENT_GONE = 499


class ModelServer(ThreadingHTTPServer):
    """Serves from its construction to the end of the `with` block, on a free port of the loopback unless `port` says which.

    `scenario`: for requests that name none. `log`: gets each exchange as a line of JSON, once its outcome is certain.
    """

    daemon_threads = False
    """Closing waits for all of them: none may write to a log that is closed."""
    request_queue_size = 512

    def __init__(self, scenario: str = "ok", *, port: int = 0, log: Path | None = None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.default_scenario = scenario
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []
        self._steps: Counter[tuple[str, str, str]] = Counter()  # how many steps of its scenario a conversation has had
        self._limited: dict[str, float] = {}  # until when each account is, or was
        self._held = 0
        self.released, self._release = Latch.pair()
        self.stopping, self._stop = Latch.pair()
        self._log: BinaryIO | None = log.open("ab", buffering=0) if log else None
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="model server")
        self._thread.start()

    def __enter__(self) -> ModelServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """All that hangs or is held ends without an answer."""
        self._stop.open()
        self.shutdown()
        self._thread.join()
        self.server_close()
        for latch in (self.released, self._release, self.stopping, self._stop):
            latch.close()
        if self._log:
            self._log.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what half of the scenarios are about; anything else is a bug and is told on stderr."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    # What tests ask.

    def url(self, scenario: str = "") -> str:
        """Without `/v1`, as Anthropic's clients want it."""
        return f"http://127.0.0.1:{self.server_port}" + (f"/s/{scenario}" if scenario else "")

    def exchanges(self) -> list[Exchange]:
        with self._lock:
            return list(self._exchanges)

    def paid(self) -> Counter[str]:
        """How many answers were charged for each conversation."""
        return Counter(exchange.conversation for exchange in self.exchanges() if exchange.is_paid)

    def cost_usd(self) -> float:
        return sum(exchange.cost_usd for exchange in self.exchanges())

    @property
    def held(self) -> int:
        """How many requests wait for `release`."""
        with self._lock:
            return self._held

    def release(self) -> None:
        """Answer all that are held, and hold none from now on."""
        self._release.open()

    # What its threads ask.

    def begin(self, api: str, account: str, asked: Asked, scenario: str | None) -> tuple[Exchange, Step, float | None]:
        """The step that this request gets; for `limit` also when the account will be free again (seconds since the epoch)."""
        scenario = scenario or next(filter(None, map(in_prompt, asked.prompts)), None) or self.default_scenario
        with self._lock:
            step, resets_at = self._step(account, scenario, asked.conversation)
            prompt = asked.prompts[-1] if asked.prompts else ""
            exchange = Exchange(time.time(), api, account, asked.model, asked.conversation, prompt, scenario, step.name)
            self._exchanges.append(exchange)
        return exchange, step, resets_at

    def _step(self, account: str, scenario: str, conversation: str) -> tuple[Step, float | None]:
        if time.time() < self._limited.get(account, 0):
            return Step("limit"), self._limited[account]
        steps = steps_of(scenario)
        key = account, scenario, conversation
        step = steps[min(self._steps[key], len(steps) - 1)]
        if step.name == "limit":
            if account not in self._limited:
                # Whole seconds, as both protocols tell it: nobody who waits for what it was told comes too early.
                self._limited[account] = float(int(time.time() + step.number))
                return step, self._limited[account]
            self._steps[key] += 1
            step = steps[self._steps[key]] if self._steps[key] < len(steps) else Step("ok")
        self._steps[key] += 1
        return step, None

    def hold(self, change: int) -> None:
        with self._lock:
            self._held += change

    def end(self, exchange: Exchange, status: int, charged: Usage = Usage()) -> None:  # noqa: B008 (frozen)
        """Its outcome is certain: charged, refused, or never answered."""
        with self._lock:
            exchange.status, exchange.charged = status, charged
            if self._log:
                self._log.write(msgspec.json.encode(exchange) + b"\n")


class Latch:
    """One end of a socket pair: once the other end is open, this one is readable for ever, for any number of waiting threads."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Latch, Latch]:
        one, other = socket.socketpair()
        return cls(one), cls(other)

    def fileno(self) -> int:
        return self._end.fileno()

    def open(self) -> None:
        with contextlib.suppress(OSError):  # open already
            self._end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._end.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelServer

    def log_message(self, *_: object) -> None:
        """Nothing on stderr: the exchanges are the log."""

    def do_HEAD(self) -> None:
        self._say(200, {}, b"")

    def do_GET(self) -> None:
        self._say(200, {}, b'{"object":"list","data":[]}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        scenario, path = self._path()
        if path not in API:
            known = path == "/v1/messages/count_tokens"
            exchange, _, _ = self.server.begin(path, self._account(), Asked("", [], False, []), scenario)
            self.server.end(exchange, 200 if known else 404)
            self._say(exchange.status, {}, b'{"input_tokens":100}' if known else b'{"error":{"message":"no such path"}}')
            return
        api = API[path]
        asked: Asked = api.asked(json.loads(body))
        exchange, step, resets_at = self.server.begin(path.rpartition("/")[2], self._account(), asked, scenario)
        if self._waits_in_vain(step):
            self.server.end(exchange, CLIENT_GONE)
            self.close_connection = True
        elif step.status or step.name in ("quota", "context", "limit"):
            refusal: Refusal = api.refusal(step, resets_at)
            self.server.end(exchange, refusal.status)
            self._say(refusal.status, refusal.headers, json.dumps(refusal.body).encode())
        else:
            charged = ANSWER.times(int(step.value or 1)) if step.name == "ok" else ANSWER
            self.server.end(exchange, 200, charged)
            self._answer(api, asked, step, charged)

    def _path(self) -> tuple[str | None, str]:
        """The scenario that it names, and the path without it."""
        path = self.path.partition("?")[0]
        if path.startswith("/s/"):
            scenario, slash, rest = path.removeprefix("/s/").partition("/")
            return scenario, slash + rest
        return None, path

    def _account(self) -> str:
        return str(self.headers.get("x-api-key") or self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _waits_in_vain(self, step: Step) -> bool:
        """Wait as the step says. Is there nobody to answer in the end?"""
        if step.name not in ("hold", "slow", "hang"):
            return False
        # A request is read whole before this: whatever can be read of the connection now is its end.
        waits: list[Any] = [self.connection, self.server.stopping]
        if step.name == "hold":
            waits.append(self.server.released)
            self.server.hold(+1)
        ready, _, _ = select.select(waits, [], [], step.number if step.name == "slow" else None)
        if step.name == "hold":
            self.server.hold(-1)
        return self.connection in ready or self.server.stopping in ready

    def _answer(self, api: ModuleType, asked: Asked, step: Step, charged: Usage) -> None:
        message = api.message(asked, charged, step, f"answer to {asked.prompts[-1] if asked.prompts else ''}"[:200])
        if asked.is_streaming:
            self._stream(api.stream(message), is_cut=step.name == "cut")
        else:
            self._say(200, {}, json.dumps(message).encode(), is_cut=step.name == "cut")

    def _say(self, status: int, headers: dict[str, str], body: bytes, *, is_cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Connection": "close"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if is_cut else body)

    def _stream(self, events: list[Event], *, is_cut: bool) -> None:
        self.send_response(200)
        for name, value in {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked", "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        for name, data in events[: len(events) // 2] if is_cut else events:
            text = f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(text), text))
        if not is_cut:
            self.wfile.write(b"0\r\n\r\n")
