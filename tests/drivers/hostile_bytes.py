"""Bytes that items and agents may write: a table of what has ended runs, and endless mutations of what is real."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from drivers.recorded_agents import SAMPLES, sample
from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.workers.agents.formats import reader_of
from orchestrator.workers.protocol import AttemptClass

HUGE = "9" * 400

OUTPUTS: dict[str, bytes] = {
    "open brackets": b"[" * 1100,
    "990 levels": b"[" * 990 + b"]" * 990,
    "200 levels": b"[" * 200 + b"]" * 200,
    "tables in tables": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "400 digits": HUGE.encode(),
    "digits in a list": f"[1, -{HUGE}, 1e308]".encode(),
    "5000 digits": b"9" * 5000,
    "1e400": b"[1e400]",
    "nan": b'{"a": NaN, "b": -Infinity}',
    "half a character": b'["half \\ud83d", "\\udead"]',
    "bytes in json": b'["caf\\udce9", {"\\udcff": 1e300}]',
    "not utf-8": b'"caf\xe9"\n\xff\xfe\n',
    "nul": b'["a\\u0000b"]\n',
    "nul bytes": b"a\0b\n\0\n",
    "escapes": b'"\\u001b[2J\\u202e\\u2028"\n',
    "nothing": b"",
    "line ends": b"\n\n\r\n",
    "null": b"null",
    "keys that are methods": b'{"items": 1, "keys": {"__class__": []}, "": 0, "a.b": "c"}',
    "false": b"false",
    "a mark of byte order": b'\xef\xbb\xbf{"a": 1}',
    "two documents": b"{}{}",
    "fences": b"```json\n" * 1000,
    "many values": b"[" + b"0," * 3000 + b"0]",
    "a long line": b"x" * 300_000,
    "shell": b"$(touch /nowhere/x); `id` '\"\\ {{ item }} {% raw %}",
}
"""What a command may write."""

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 2**63, 2**64, 10**20, 0.1, -1e308),
    *("", "0", "1e400", "a\0b", "\x1b[2J", "\u202e", "x" * 5000),
    *([], {}, [[]], [{}], {"": None}, [None], ["a", 1, {}], {"a": {"b": {"c": []}}}, "{", "[" * 300, '{"a":' + "[" * 990, "NaN"),
]
"""What may stand at any place of an event."""

RAW_VALUES = [
    HUGE,
    f"-{HUGE}",
    "1e400",
    "NaN",
    "Infinity",
    '"\\ud83d"',
    '"caf\\udce9"',
    "[" * 300 + "]" * 300,
    "9" * 5000,
    '{"a":1,"a":2}',
]
"""The same, of what `json` would not write."""

_PLACE = "a value stands here"

_STREAMS = {name: sample(name).stdout for name in SAMPLES}


def agents() -> list[str]:
    """The agents of which there are samples."""
    return sorted({name.partition("/")[0] for name in SAMPLES})


def hostile_output(rng: random.Random) -> bytes:
    """One of the table, or JSON that somebody has been at."""
    if rng.random() < 0.3:
        return mutated(rng, rng.choice(list(OUTPUTS.values())))
    value = json.dumps(_some_value(rng, 4))
    return mutated(rng, value.replace(json.dumps(_PLACE), rng.choice(RAW_VALUES)).encode())


def hostile_stream(rng: random.Random, agent: str) -> bytes:
    """A stream of that agent in which events have other values, are doubled, moved, torn, or are none."""
    name = rng.choice([name for name in SAMPLES if name.startswith(f"{agent}/")])
    lines = [_hostile_event(rng, line) if rng.random() < 0.5 else line for line in _STREAMS[name].split(b"\n")[:200]]
    if rng.random() < 0.3:
        rng.shuffle(lines)
    stream = b"\n".join(lines)
    return mutated(rng, stream) if rng.random() < 0.3 else stream


def is_waited_for(agent: str, stream: bytes, exit_code: int) -> bool:
    """Whether an agent that writes that, to both of its streams, is one whose account is spared: a run would wait for minutes."""
    reader = reader_of(Profiles().get(agent).reading, lambda: 0.0)
    reader.feed(stream)
    reader.feed_stderr(stream)
    told = reader.classify(exit_code=exit_code, signal=None, ended_by=None, stderr=stream)
    return reader.finding is not None or told.attempt_class in _OF_ACCOUNTS


_OF_ACCOUNTS = (AttemptClass.RATE_LIMIT, AttemptClass.OVERLOADED, AttemptClass.NETWORK, AttemptClass.USAGE_LIMIT)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The bytes with a few changes: cut, doubled, lost, or replaced."""
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        begin = rng.randrange(len(data) + 1)
        end = min(len(data), begin + rng.choice((1, 2, 10, 1000)))
        match rng.randrange(6):
            case 0:
                data = data[:begin]
            case 1:
                data = data[:begin] + data[begin:end] * rng.choice((2, 3, 300)) + data[end:]
            case 2:
                data = data[:begin] + data[end:]
            case 3:
                data = data[:begin] + rng.randbytes(end - begin) + data[end:]
            case 4:
                data = data[:begin] + rng.choice(RAW_VALUES).encode() + data[end:]
            case _:
                depth = rng.choice((1, 150, 199, 200, 201, 990, 5000))
                data = b"[" * depth + data + b"]" * rng.choice((0, depth, depth - 1))
    return data[:400_000]


def _hostile_event(rng: random.Random, line: bytes) -> bytes:
    """The event with other values in one to three places."""
    try:
        event = json.loads(line)
    except ValueError:
        return mutated(rng, line)
    for _ in range(rng.randint(1, 3)):
        places = list(_places_in(event))
        if not places:
            return line
        container, key = rng.choice(places)
        container[key] = _PLACE if rng.random() < 0.3 else deepcopy(rng.choice(VALUES))
    return json.dumps(event).replace(json.dumps(_PLACE), rng.choice(RAW_VALUES)).encode()


def _places_in(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    if depth > 20 or not isinstance(value, dict | list):
        return
    for key, below in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        yield from _places_in(below, depth + 1)


def _some_value(rng: random.Random, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.3:
        return _PLACE if rng.random() < 0.2 else deepcopy(rng.choice(VALUES))
    if rng.random() < 0.5:
        return [_some_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(("a", "b", "items", "", "1", "é")): _some_value(rng, depth - 1) for _ in range(rng.randrange(4))}
