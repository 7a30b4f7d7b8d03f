"""No secret survives redaction, however the bytes are cut into chunks, and everything else does."""

from __future__ import annotations

import io
import itertools
import json
import random
import re
import time
from pathlib import Path

import pytest
from drivers.sweeps import telling
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.system import remembered_secrets
from orchestrator.system.redaction import _ONLY_ABOUT_ONE, _TELLING, Redactor, forms_to_remember, is_telling
from orchestrator.system.remembered_secrets import remember_none
from orchestrator.views.outlet import Outlet

SAMPLES = Path(__file__).parents[1] / "agent_samples"

KEY_BODY = "".join(random.Random(7).choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", k=1600))
KEY_LINES = "\n".join(KEY_BODY[at : at + 64] for at in range(0, len(KEY_BODY), 64))

SHAPES = {
    "anthropic key": "sk-ant-api03-" + "aB3_-" * 18,
    "api key": "sk-proj-" + "a1B2" * 12,
    "github token": "ghp_" + "a1B2" * 9,
    "gitlab token": "glpat-" + "a1B2_" * 4,
    "aws key": "AKIA" + "A1B2" * 4,
    "google key": "AIza" + "a1B2-" * 7,
    "slack token": "xoxb-" + "123-abc" * 3,
    "hugging face token": "hf_" + "aB3" * 11,
    "npm token": "npm_" + "aB3" * 12,
    "stripe key": "sk_live_" + "a1B2" * 6,
    "jwt": "eyJhbGciOiJI.eyJzdWIiOiIx." + "sig_" * 8,
    "private key": f"-----BEGIN RSA PRIVATE KEY-----\n{KEY_LINES}\n-----END RSA PRIVATE KEY-----",
    "bearer": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "password in a url": "hunter2",
}
AROUND = {"bearer": "Authorization: Bearer {}", "password in a url": "https://me:{}@host/x"}

VALUES = {
    "SERVICE_API_KEY": 'a "quoted" \\ value',
    "DEPLOY_TOKEN": "plain-value-0",
    "LONGER_SECRET": "plain-value-0-and-more",
    "DB_PASSWORD": "päss wörd €",
    "SIGNING_PRIVATE_KEY": "first line\nsecond line\nthird",
}
REDACTOR = Redactor({**VALUES, "HOME": "nothing secret here", "SHORT_KEY": "abc"})

SECRETS = [*VALUES.values(), *SHAPES.values(), *(json.dumps(value)[1:-1] for value in VALUES.values())]
PIECES = [AROUND.get(name, "{}").format(shape) for name, shape in SHAPES.items()]
PIECES += [*VALUES.values(), *(json.dumps(value) for value in VALUES.values())]
ORDINARY = [
    "",
    " ",
    "\n",
    "a word ",
    '{"type":"text","n":12}\n',
    "x" * 70_000,
    "-----BEGIN CERTIFICATE-----\n",
    "sk-",
    "Bearer ",
    "://",
    "é",
]
MATERIAL = [*PIECES, *ORDINARY]


def redacted_in_chunks(data: bytes, cuts: list[int], settles: bool) -> bytes:
    """As a stream gives it that gets `data` cut at these places, and perhaps is asked in between what is certain."""
    stream = REDACTOR.stream()
    given, before = b"", 0
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        given += stream.feed(data[before:cut])
        before = cut
        if settles:
            given += stream.settle()
    return given + stream.close()


@given(
    parts=st.lists(st.tuples(st.integers(0, len(MATERIAL) - 1), st.sampled_from([" ", "\n", '"', ", "])), max_size=8),
    cuts=st.lists(st.integers(0, 4000) | st.integers(0, 200_000), max_size=12),
    settles=st.booleans(),
)
def test_no_secret_survives_and_the_cuts_make_no_difference(parts: list[tuple[str, str]], cuts: list[int], settles: bool) -> None:
    text = "".join(MATERIAL[piece] + separator for piece, separator in parts)
    whole = REDACTOR.redact(text.encode())
    assert not [secret for secret in SECRETS if secret.encode() in whole]
    assert redacted_in_chunks(text.encode(), cuts, settles) == whole


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6), st.booleans())
def test_bytes_without_secrets_stay_as_they_are(data: bytes, cuts: list[int], settles: bool) -> None:
    assert redacted_in_chunks(data, cuts, settles) == REDACTOR.redact(data)
    if not any(hint in data.lower() for hint in (b"-", b"_", b"://", b"earer", b"eyj", b"akia", b"asia", b"aiza", b"ya29")):
        assert REDACTOR.redact(data) == data


def test_each_shape_is_told_by_its_name() -> None:
    for name in SHAPES:
        with telling(name):
            around = AROUND.get(name, "key={}")
            assert REDACTOR.redact_text(around.format(SHAPES[name])) == around.format(f"[redacted:{name}]")


def test_a_value_is_told_by_the_name_of_its_variable_and_the_longer_one_wins() -> None:
    assert REDACTOR.redact_text("plain-value-0-and-more, plain-value-0") == "[redacted:LONGER_SECRET], [redacted:DEPLOY_TOKEN]"


def test_json_stays_json() -> None:
    value = {"said": [VALUES["SERVICE_API_KEY"], VALUES["SIGNING_PRIVATE_KEY"], SHAPES["private key"]]}
    redacted = json.loads(REDACTOR.redact_text(json.dumps(value)))
    assert redacted == {"said": ["[redacted:SERVICE_API_KEY]", "[redacted:SIGNING_PRIVATE_KEY]", "[redacted:private key]"]}


def test_a_key_that_begins_in_one_text_of_json_takes_nothing_of_the_next() -> None:
    value = [SHAPES["private key"][:400], "kept", "-----END RSA PRIVATE KEY-----"]
    assert json.loads(REDACTOR.redact_text(json.dumps(value))) == [
        "[redacted:private key]",
        "kept",
        "-----END RSA PRIVATE KEY-----",
    ]


def test_a_private_key_that_was_cut_off_is_redacted_as_far_as_it_goes() -> None:
    cut = SHAPES["private key"][:500]
    assert REDACTOR.redact_text(f"{cut}\n\nand then it ended here") == "[redacted:private key]\n\nand then it ended here"


@pytest.mark.parametrize(
    "text",
    [
        "task-list-of-the-2nd-of-may-with-a-long-name",
        "sk-learn-is-a-library-of-many-words",
        "the bearer of authentication-and-authorisation",
        "https://host:8080/path@v2, mailto:me@host",
        "MYAKIAIOSFODNN7EXAMPLE and AKIAIOSFODNN7EXAMPLEandmore",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "abc nothing secret here",
        "ghp_short hf_short npm_install eyJ.eyJ.x",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert REDACTOR.redact_text(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "ANTHROPIC_API_KEY",
        "OPENAI_APIKEY",
        "GH_TOKEN",
        "npm_config__authToken",
        "AWS_SECRET_ACCESS_KEY",
        "DB_PASSWORD",
        "PGPASSWORD",
        "SSHPASS",
        "MYSQL_PWD",
        "APPSECRET",
    ],
)
def test_these_names_tell_of_a_secret(name: str) -> None:
    assert is_telling(name)


@pytest.mark.parametrize(
    "name",
    ["PATH", "PWD", "OLDPWD", "MAX_TOKENS", "SSH_AUTH_SOCK", "KEYBOARD", "TOKEN_FILE", "AWS_ACCESS_KEY_ID", "MONKEY", "BYPASS"],
)
def test_these_names_do_not(name: str) -> None:
    assert not is_telling(name)


PARTS_OF_NAMES = (
    "API key KEYS token \u017fecret SECRETS passwd PASS COMPASS PWD OLD"
    " CREDENT\u0131ALS AUTHORIZATION PAT PATH DSN \u212aEY _ __ x ID 2"
)


@given(st.lists(st.sampled_from(PARTS_OF_NAMES.split())).map("".join))
def test_a_name_that_is_passed_over_quickly_has_no_pattern_of_a_secret(name: str) -> None:
    by_patterns = re.search(_TELLING, name) is not None and re.search(_ONLY_ABOUT_ONE, name) is None
    assert is_telling(name) == (name.isidentifier() and by_patterns)


def test_a_line_that_never_ends_is_given_out_while_it_comes() -> None:
    stream = REDACTOR.stream()
    given = [len(stream.feed(b"x" * 65_536)) for _ in range(16)]
    assert sum(given) >= 14 * 65_536
    assert stream.close() == b"x" * (16 * 65_536 - sum(given))


def test_a_prompt_without_newline_is_seen_when_nothing_more_comes() -> None:
    stream = REDACTOR.stream()
    assert stream.feed(b"go on? [y/n] ") + stream.settle() == b"go on? [y/n] "
    assert stream.feed(b"plain-va") + stream.settle() == b""
    assert stream.feed(b"lue-0\n") == b"[redacted:DEPLOY_TOKEN]\n"


def test_without_a_secret_in_the_environment_shapes_are_still_known() -> None:
    stream = Redactor({}).stream()
    assert stream.feed(SHAPES["aws key"].encode() + b"\nok\n") == b"[redacted:aws key]\nok\n"


def test_what_failed_is_told_without_secrets() -> None:
    told = io.StringIO()
    Outlet(told).line(f"FAILED go:1: exit code 1: refused {SHAPES['anthropic key']}")
    assert told.getvalue() == "FAILED go:1: exit code 1: refused [redacted:anthropic key]\n"


def test_what_real_agents_wrote_is_left_alone() -> None:
    for sample in SAMPLES.rglob("stdout"):
        with telling(sample):
            written = sample.read_bytes()
            assert REDACTOR.redact(written) == written


# Secrets of an environment that this process does not have.

REMEMBERED = remember_none().with_more(forms_to_remember(VALUES))
STRANGER = Redactor(remembered=[REMEMBERED])


def test_what_is_remembered_of_a_secret_is_not_the_secret() -> None:
    kept = repr(REMEMBERED).encode()
    words = [word for value in VALUES.values() for word in value.encode().split() if len(word) >= 4]
    assert [word for word in words if word in kept] == []
    assert REMEMBERED.with_more(forms_to_remember(VALUES)) == REMEMBERED


def test_a_remembered_secret_is_found_however_the_bytes_are_cut() -> None:
    for name, size in itertools.product(VALUES, [1, 3, 7, 1000]):
        with telling((name, size)):
            value = VALUES[name]
            quoted = value.replace(chr(34), chr(34) * 2)
            written = f'<{value}> {json.dumps(value)} "{quoted}"\nplain-value- ordinary text{value}'.encode()
            stream = STRANGER.stream()
            given = b""
            for at in range(0, len(written), size):
                given += stream.feed(written[at : at + size]) + stream.settle()
            given += stream.close()
            assert [line for line in value.splitlines() if len(line) >= 8 and line.encode() in given] == []
            assert given.count(f"[redacted:{name}]".encode()) >= 4
            assert b"plain-value- ordinary text" in given
            if "\n" not in value:
                assert given == STRANGER.redact(written) == REDACTOR.redact(written)


def test_a_remembered_secret_costs_a_hash_only_where_its_sketch_is(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []
    redactor = Redactor(remembered=[remember_none().with_more({b"0123456789abcdefghij": "A_KEY"})])
    digest = remembered_secrets._digest
    monkeypatch.setattr(remembered_secrets, "_digest", lambda key, data: (hashed.append(1), digest(key, data))[1])
    text = random.Random(3).randbytes(1_000_000)
    assert redactor.redact(text + b"0123456789abcdefghij") == text + b"[redacted:A_KEY]"
    assert len(hashed) < 2_000


def test_a_text_of_nothing_but_beginnings_costs_what_one_with_ends_does() -> None:
    """An agent may write it, and whoever looks at its log waits: each beginning was followed by a search of 16 KiB."""
    begin, end = b"-----BEGIN PRIVATE KEY-----\n", b"-----END PRIVATE KEY-----\n"
    closed = seconds_for((begin + end) * 1000)
    assert seconds_for(begin * 2000) < 40 * max(closed, 0.001)


def test_beginnings_that_are_none_cost_no_turn_each_and_no_search_of_what_follows() -> None:
    """Each was followed by a search of 2 KiB, and each took a turn of its own through all that is looked for."""
    ordinary = seconds_for(b"word eyI " * 10_000 + SHAPES["jwt"].encode())
    for beginning in (b"-eyJ", b"eyJ.", b"://"):
        with telling(beginning):
            assert seconds_for(beginning * (90_000 // len(beginning))) < 10 * max(ordinary, 0.001)
    assert REDACTOR.redact_text(f"a-{SHAPES['jwt']}, eyJ-eyJ.{SHAPES['jwt']}") == "a-[redacted:jwt], eyJ-eyJ.[redacted:jwt]"


def test_a_key_that_is_cut_off_where_the_next_begins_is_hidden_as_that_is() -> None:
    begin, end = b"-----BEGIN PRIVATE KEY-----\n", b"\n-----END PRIVATE KEY-----\n"
    cut = begin + b"A" * 64 + b"\n" + b"B" * 64 + b"\n"
    assert Redactor({}).redact(cut + begin + b"C" * 64 + end) == b"[redacted:private key]\n[redacted:private key]\n"


def seconds_for(data: bytes) -> float:
    """The CPU time of the quickest of three."""
    times = []
    for _ in range(3):
        before = time.process_time()
        Redactor({}).redact(data)
        times.append(time.process_time() - before)
    return min(times)
