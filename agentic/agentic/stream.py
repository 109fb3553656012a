"""A turn's events: a list that grows, and readers that follow it at their own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from .types.events import Event


class EventLog:
    """The events of one turn, in order. The turn does not wait for readers, and does not end with them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._ended = False
        self._error: Exception | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, event: Event) -> None:
        """Appends an event and wakes the readers."""
        self.events.append(event)
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """No more will come; an error is what every reader gets last."""
        self._error = self._error or error
        self._ended = True
        self._wake()

    async def follow(self, after: int = 0) -> AsyncIterator[Event]:
        """Yields every event from number `after` on (they count from 0), as they come.

        Raises:
            Exception: What the turn ended with.
        """
        position = after
        while True:
            while position < len(self.events):
                yield self.events[position]
                position += 1
            if self._ended:
                if self._error is not None:
                    raise self._error
                return
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
