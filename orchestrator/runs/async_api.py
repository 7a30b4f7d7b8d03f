"""The library for asyncio: a run in a thread of its own, its events in the loop's thread.

A module of its own, because asyncio is dear to import.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, cast

from orchestrator.reading.run_result import RunResult
from orchestrator.runs.api import resume, run
from orchestrator.runs.callback_listener import CallbackListener, OnEvent
from orchestrator.system.stop_signals import Stopper

P = ParamSpec("P")


def _beside_the_loop(call: Callable[P, RunResult]) -> Callable[P, Coroutine[Any, Any, RunResult]]:
    """`call` as a coroutine function with the same arguments. `on_event` is called in the loop's thread.

    Cancelling the task drains the run, cancelling it once more ends what runs; CancelledError comes when the run has ended.
    """
    plain = cast(Callable[..., RunResult], call)

    @functools.wraps(call)
    async def beside(*args: P.args, **kwargs: P.kwargs) -> RunResult:
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = dict(kwargs)
        on_event: OnEvent | None = options.get("on_event")
        given: Stopper | None = options.get("stopper")
        with CallbackListener(on_event, given) as listener:
            options["stopper"] = listener.stopper
            if on_event is not None:
                options["on_event"] = lambda happening: loop.call_soon_threadsafe(listener.hear, happening)
            # A pool of its own: a run may take hours, and the loop's default pool has few threads for everybody.
            pool = ThreadPoolExecutor(1, thread_name_prefix="orchestrate")
            future = loop.run_in_executor(pool, functools.partial(plain, *args, **options))
            pool.shutdown(wait=False)
            return await _ended(future, listener.stopper)

    return beside


async def _ended(future: asyncio.Future[RunResult], stopper: Stopper) -> RunResult:
    """The result, once the run has ended. Raises CancelledError then if the task was cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            stopper.stop(now=cancelled is not None)
            cancelled = error
        except BaseException:
            # The loop itself is given up: nobody will wait for the run.
            stopper.stop()
            raise
    result = future.result()
    if cancelled is not None:
        raise cancelled
    return result


run_async = _beside_the_loop(run)
resume_async = _beside_the_loop(resume)
