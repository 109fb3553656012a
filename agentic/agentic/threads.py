"""Blocking functions beside an event loop, and work that a cancelled caller must not leave half done."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def carried_through(work: Awaitable[T]) -> T:
    """Waits for some work to its end, however often the waiter is cancelled meanwhile; then the cancellation goes on.

    Raises:
        Exception: What the work ended with, even when the waiter was cancelled.
    """
    task, cancelled = asyncio.ensure_future(work), None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result


async def run_in_thread(function: Callable[[], T], name: str = "agentic-worker") -> T:
    """Runs a blocking function in a thread of its own.

    A daemon thread and no pool: a function that never returns may be abandoned without starving others or keeping
    the interpreter from exiting.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = context.run(function)
        except (StopIteration, KeyboardInterrupt) as stop:  # a future cannot carry the one, a loop dies of the other
            error = RuntimeError(f"{type(stop).__name__}: {stop}")
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return await future
