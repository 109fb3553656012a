"""A turn's events: a list that grows, and readers that follow it at their own pace."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress

from .types.errors import InvalidInput
from .types.events import Event
from .types.sampling import whole


class EventLog:
    """The events of one turn, in order. The turn does not wait for readers, and does not end with them.

    A reader may be in another thread than the turn, on an event loop of its own.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._ended = False
        self._error: Exception | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._lock = threading.Lock()

    def add(self, event: Event) -> None:
        """Appends an event and wakes the readers."""
        with self._lock:
            self.events.append(event)
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """No more will come; an error is what every reader gets last."""
        with self._lock:
            self._error = self._error or error
            self._ended = True
        self._wake()

    async def follow(self, after: int = 0) -> AsyncGenerator[Event]:
        """Yields every event from number `after` on (they count from 0), as they come.

        Raises:
            InvalidInput: `after` is no number, or below 0.
            Exception: What the turn ended with.
        """
        if after != 0 and not whole(after):
            raise InvalidInput(f"Events are numbered from 0; after={after!r} is no such number.")
        position = after
        while True:
            while position < len(self.events):
                yield self.events[position]
                position += 1
            if (waiter := self._waiter(position)) is None:
                break
            await waiter
        if self._error is not None:
            raise self._error

    def _waiter(self, position: int) -> asyncio.Future[None] | None:
        """Done as soon as there is an event of that number, or will be none; None when that is known already."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if position < len(self.events):
                waiter.set_result(None)
            elif self._ended:
                return None
            else:
                self._waiting.append(waiter)
        return waiter

    def _wake(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            with suppress(RuntimeError):  # its loop has closed, and its reader is gone
                waiter.get_loop().call_soon_threadsafe(_settle, waiter)


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
