"""The names of the library: cheap until they are used, all there, and with the fields that the commands print."""

from __future__ import annotations

import subprocess
import sys

import msgspec

import orchestrator
from orchestrator.reading.item_result import RESULT_FIELDS


def test_the_package_alone_loads_nothing() -> None:
    listed = "import sys; before = set(sys.modules); import orchestrator; print(*sorted(set(sys.modules) - before))"
    found = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True, timeout=30)
    assert {name for name in found.stdout.split() if name.split(".")[0] in ("orchestrator", "workers", "msgspec")} == {
        "orchestrator"
    }


def test_every_name_is_there_and_no_other() -> None:
    assert all(getattr(orchestrator, name) is not None for name in orchestrator.__all__)
    assert set(orchestrator.__all__) <= set(dir(orchestrator))
    assert not hasattr(orchestrator, "rnu")


def test_an_item_has_the_fields_of_results_json() -> None:
    assert tuple(field.encode_name for field in msgspec.structs.fields(orchestrator.ItemResult)) == (*RESULT_FIELDS, "reason")
