"""Which work a result says that its item was: token, whose outcome it shares, promotion, payload, who replaced it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from drivers.store_samples import LISTED, ended, new_run, settled, started

from orchestrator.reading.item_result import RESULT_FIELDS, item_result
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.records import Record, Status
from orchestrator.store.run_store import RunStore

IDENTITY = ("token", "deduped_from", "promoted", "payload_hash", "replaced_by")
START = msgspec.structs.replace(started(0), token="work", payload="hash", promotions=1)
END = msgspec.structs.replace(ended(0), token="work", payload="hash")
NOTHING = dict.fromkeys(IDENTITY)


def identity_after(tmp_path: Path, *records: Record, has_checkpoint: bool) -> dict[str, Any]:
    run_dir = new_run(tmp_path, text='[jobs.port]\nshell = "true"\n')
    store = RunStore.open(run_dir)
    store.append([LISTED, *records])
    if has_checkpoint:
        store.take_checkpoint()
    store.close()
    reader = RunReader.read(run_dir)
    reader.history.header.jobs["port"] = False  # a job without for_each: its value is not looked up
    result = item_result(reader, "port", 0)
    return {field: result[field] for field in IDENTITY}


@pytest.mark.parametrize("has_checkpoint", [False, True])
@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([], {}),
        ([started(0), ended(0)], {}),
        ([START], {"token": "work", "promoted": True, "payload_hash": "hash"}),
        ([START, END], {"token": "work", "promoted": False, "payload_hash": "hash"}),
        ([START, msgspec.structs.replace(END, promotions=1)], {"token": "work", "promoted": True, "payload_hash": "hash"}),
        (
            [msgspec.structs.replace(END, attempt=0, deduped_from="r0/port:3")],
            {"token": "work", "deduped_from": "r0/port:3", "promoted": False, "payload_hash": "hash"},
        ),
        (
            [msgspec.structs.replace(settled(0, Status.WAITING), token="work")],
            {"token": "work", "promoted": False},
        ),
        (
            [msgspec.structs.replace(settled(0, Status.FAILED), token="work", payload="hash")],
            {"token": "work", "promoted": False, "payload_hash": "hash"},
        ),
        (
            [
                START,
                msgspec.structs.replace(END, status=Status.CANCELLED),
                msgspec.structs.replace(settled(0, Status.CANCELLED), replaced_by="r2/port"),
            ],
            {"token": "work", "promoted": False, "payload_hash": "hash", "replaced_by": "r2/port"},
        ),
        (
            [START, END, msgspec.structs.replace(settled(0, Status.SUCCEEDED), stale=True)],
            {"token": "work", "promoted": False, "payload_hash": "hash"},
        ),
        (
            [msgspec.structs.replace(END, deduped_from="r0/port:3"), started(0, attempt=1)],
            {"token": "work", "promoted": False},
        ),
    ],
)
def test_what_is_recorded_of_an_items_identity(
    tmp_path: Path, records: list[Record], told: dict[str, Any], has_checkpoint: bool
) -> None:
    assert identity_after(tmp_path, *records, has_checkpoint=has_checkpoint) == NOTHING | told


def test_the_fields_stand_where_the_contract_puts_them() -> None:
    order = list(RESULT_FIELDS)
    place = order.index("token")
    assert tuple(order[place : place + 5]) == IDENTITY
    assert order[place - 1] == "output"
    assert order[place + 5 : place + 7] == ["child", "cost_usd"]
