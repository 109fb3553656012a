"""The sync face of async code: one event loop in one thread of its own, so that it works inside a running loop too.

Everything sync in this package goes through `run_sync` and `iterate_sync`; nothing is written twice.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from .types.errors import UsageError

T = TypeVar("T")

WIND_DOWN = 10.0
"""Seconds that a cancelled call may take to close what it holds."""


class _Portal:
    """The loop and its thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._serve, name="agentic-portal", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        """Runs the loop for ever: a task that raises KeyboardInterrupt or SystemExit stops a loop, but not this one."""
        while True:
            try:
                self.loop.run_forever()
            except (KeyboardInterrupt, SystemExit):
                continue  # whoever waits for the task gets it
            return

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Runs a coroutine as a task with the caller's context variables: nested limits reach through."""
        if threading.current_thread() is self.thread:
            coroutine.close()
            raise UsageError(
                "A sync method was called from async code that itself runs under one.",
                hint="Use its async form there: arun for run, astream for stream.",
            )
        future: Future[T] = Future()
        context = contextvars.copy_context()

        def begin() -> None:
            task = self.loop.create_task(coroutine, context=context)
            task.add_done_callback(lambda done: _pass_on(done, future))
            future.add_done_callback(lambda done: self._stop(done, task))

        self.loop.call_soon_threadsafe(begin)
        return future

    def _stop(self, future: Future[T], task: asyncio.Task[T]) -> None:
        if future.cancelled():
            self.loop.call_soon_threadsafe(task.cancel)


def _pass_on(task: asyncio.Task[T], future: Future[T]) -> None:
    if task.cancelled():
        future.cancel()
    elif (error := task.exception()) is not None:
        if not future.cancelled():
            future.set_exception(error)
    elif not future.cancelled():
        future.set_result(task.result())


_lock = threading.Lock()
_portal: _Portal | None = None


def _get() -> _Portal:
    global _portal  # noqa: PLW0603 - one loop for the whole process is the point
    with _lock:
        if _portal is None:
            _portal = _Portal()
        return _portal


def _forget() -> None:
    """A forked child has the loop's memory but not its thread."""
    global _portal  # noqa: PLW0603
    _portal = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end and returns its result; Ctrl-C cancels it and waits until it has cleaned up."""
    ended = threading.Event()

    async def tracked() -> T:
        try:
            return await coroutine
        finally:
            ended.set()

    try:
        future = _get().start(tracked())
    except UsageError:
        coroutine.close()
        raise
    try:
        return future.result()
    except KeyboardInterrupt:
        future.cancel()
        ended.wait(WIND_DOWN)
        raise


async def run_in_portal(coroutine: Coroutine[Any, Any, T]) -> T:
    """Awaits a coroutine that runs on the one loop of sync calls: for what outlives the loop that it is used from."""
    portal = _get()
    if threading.current_thread() is portal.thread:
        return await coroutine
    return await asyncio.wrap_future(portal.start(coroutine))


def iterate_sync(make: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """Iterates over what an async iterator yields. A reader that stops early leaves it running to its end.

    Ctrl-C cancels the iteration and waits until it has cleaned up.
    """
    items: queue.SimpleQueue[tuple[T] | None] = queue.SimpleQueue()
    ended = threading.Event()

    async def pump() -> None:
        try:
            async for item in make():
                items.put((item,))
        finally:
            ended.set()
            items.put(None)

    future = _get().start(pump())
    try:
        while (entry := items.get()) is not None:
            yield entry[0]
        future.result()
    except KeyboardInterrupt:
        future.cancel()
        ended.wait(WIND_DOWN)
        raise
