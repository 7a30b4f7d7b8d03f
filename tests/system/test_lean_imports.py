"""Libraries are loaded without what they do not need, and have all their functions."""

from __future__ import annotations

import subprocess
import sys

TOLD = """
import sys
from orchestrator.system.lean_imports import load_lean, load_lean_for_a_run
load_lean()
load_lean_for_a_run()
spared = {"platform", "urllib.parse", "decimal", "uuid", "string", "textwrap", "selectors", "msgspec.inspect"}
print(sorted(spared & set(sys.modules)))

import msgspec, pathlib, tomllib
print(pathlib.Path("/a b/%").as_uri(), msgspec.json.schema(int), msgspec.inspect.type_info(int).__class__.__name__)
print(tomllib.loads("a = [1_000, 0x1F, 1e3]\\nb = 07:32:00\\n'c d' = 2026-01-02T03:04:05Z\\n")["a"])

import decimal, platform, selectors, socket, string, tempfile, urllib.parse, uuid
print(platform.python_version(), urllib.parse.quote("a b"), decimal.Decimal("0.1"), uuid.uuid1().version, string.Template)
ours, theirs = socket.socketpair()
with tempfile.TemporaryFile() as file:
    file.write(b"sent"), file.flush(), file.seek(0)
    print(ours.family == socket.AF_UNIX, ours.sendfile(file), theirs.recv(9), selectors.PollSelector.__name__)
for unknown in (decimal.Decimal(1), uuid.uuid1()):
    try:
        msgspec.json.encode(unknown)
    except TypeError as error:
        print(error)
"""


def test_what_was_spared_is_there_when_it_is_asked_for() -> None:
    found = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True, check=True, timeout=30)
    version = ".".join(map(str, sys.version_info[:3]))
    assert found.stdout.splitlines() == [
        "[]",
        "file:///a%20b/%25 {'type': 'integer'} IntType",
        "[1000, 31, 1000.0]",
        f"{version} a%20b 0.1 1 <class 'string.Template'>",
        "True 4 b'sent' PollSelector",
        "Encoding objects of type decimal.Decimal is unsupported",
        "Encoding objects of type UUID is unsupported",
    ]
