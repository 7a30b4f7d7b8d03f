"""What an item costs its worker, counted in calls: a quarter of the speed was lost once, a call here and a call there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from orchestrator.workers import channel
from orchestrator.workers.byte_text import encode_message
from orchestrator.workers.loop import serve
from orchestrator.workers.protocol import Holding, Start

MOST_CALLS_OF_OURS = 98
"""Calls of Python functions an item: 89 on 2026-12-01, and a tenth of room.

When this fails: write `frame.f_code` to standard error in `count`, and compare one item before and after your change. What most
items do not need is not called for them: ask `start` first. Raise the bound only for what each item must pay, and say so here.
"""
FEW, MANY = 5, 25
"""The difference of two runs is what items cost, without the start of the worker."""


def calls_for(items: int, folder: Path) -> int:
    """Calls of Python functions in a worker that runs so many plain items, one after another."""
    (folder / "worker").mkdir(parents=True)
    ours, theirs = channel.socket_pair()
    told, tell = os.pipe()
    if (pid := os.fork()) == 0:
        code = 1
        try:
            ours.close()
            calls = 0

            def count(_frame: object, event: str, _argument: object) -> None:
                nonlocal calls
                calls += event == "call"

            sys.setprofile(count)
            serve(theirs, str(folder / "worker"))
            sys.setprofile(None)
            os.write(tell, str(calls).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(tell)
    theirs.close()
    with ours:
        for number in range(items):
            channel.send(ours, encode_message(start_of(number, folder)), [told], folder=str(folder))
            assert channel.receive(ours) is not None
    with open(told, "rb") as file:
        calls = int(file.read())
    assert os.waitpid(pid, 0)[1] == 0
    return calls


def start_of(number: int, folder: Path) -> Start:
    """As a run sends it for `command = ["true", "{{ item }}"]`."""
    item = f"job:{number}"
    return Start(
        sequence=number,
        item=item,
        attempt=1,
        mark=f"mark/{item}/1",
        argv=["/bin/true", str(number)],
        cwd="/",
        stdout_path=f"{folder}/outputs/{number}.stdout",
        stderr_path=f"{folder}/outputs/{number}.stderr",
        env={"ORCHESTRATE_RUN": "run", "ORCHESTRATE_ITEM": item, "ORCHESTRATE_ATTEMPT": "1"},
        kept_locks=1,
        holding=Holding(run=str(folder), root=str(folder), item=item),
        recorded_through=number - 1,
    )


def test_an_item_costs_its_worker_no_more_calls_than_it_did(tmp_path: Path) -> None:
    few, many = calls_for(FEW, tmp_path / "few"), calls_for(MANY, tmp_path / "many")
    assert (many - few) / (MANY - FEW) <= MOST_CALLS_OF_OURS
