"""Libraries are loaded without what they do not need, and have all their functions."""

from __future__ import annotations

import subprocess
import sys

TOLD = """
import sys
from orchestrator.system.lean_imports import load_lean
load_lean()
import pathlib, uuid, msgspec
print(sorted({"platform", "urllib.parse", "typing_extensions"} & set(sys.modules)))
print(pathlib.Path("/a b/%").as_uri(), uuid.uuid1().version, msgspec.json.decode(b"[1]"))
import platform, urllib.parse
print(platform.python_version(), urllib.parse.quote("a b"))
"""


def test_what_was_spared_is_there_when_it_is_asked_for() -> None:
    found = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True, check=True, timeout=30)
    version = ".".join(map(str, sys.version_info[:3]))
    assert found.stdout.splitlines() == ["[]", "file:///a%20b/%25 1 [1]", f"{version} a%20b"]
