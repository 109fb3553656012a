"""Blocking functions beside an event loop, and work that a cancelled caller must not leave half done."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

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


async def cancelled_once(work: Coroutine[Any, Any, T]) -> T:
    """Waits for some work, which is cancelled with the waiter, but once, and then waited for to its end.

    A scope of anyio, and so a server, cancels again in each round of the loop for as long as anything waits in it; a
    task that is awaited as such would get all of these cancels, and could not clean up.

    Raises:
        Exception: What the work ended with, even when the waiter was cancelled.
    """
    ended = asyncio.get_running_loop().create_future()

    async def do() -> T:
        try:
            return await work
        finally:
            if not ended.done():
                ended.set_result(None)

    task = asyncio.create_task(do())
    try:
        await ended  # as `asyncio.shield` would, and a round of the loop shorter
    except asyncio.CancelledError:
        cancel_once(task)
        await carried_through(task)
        raise
    return task.result()


def cancel_once(task: asyncio.Task[Any]) -> None:
    """Cancels a task, unless it is already ending: a second cancel would cut its cleaning up short."""
    if not task.cancelling():
        task.cancel()


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
