"""The turns that run: each in a task of its own, with its frames kept for whoever comes late or comes back.

The server owns the turn. A request that starts one only follows it; when the client goes away the turn goes on.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from ..session import Session
from ..types.errors import SessionBusy
from ..types.events import Event, TurnStarted
from . import failures
from .sse import frame
from .watch import Watch

KEPT = 256
"""How many turns' frames are kept after their end, at most."""
KEPT_BYTES = 32 * 1024 * 1024
"""And how large they may be together."""

Present = Callable[[Event], Iterable[dict[str, Any]]]
"""What an event becomes on the wire: no payload, one or several."""


class Live:
    """A turn on its way, or just ended.

    Attributes:
        session: The session it runs in.
        turn_id: Its id, once it has one.
        frames: What its stream has shown so far.
        size: How many bytes those are.
        last: The payload of its end or pause, or None.
        error: What ended it before its time, or None.
    """

    def __init__(self, session: Session, turn_id: str | None) -> None:
        self.session = session
        self.turn_id = turn_id
        self.frames: list[bytes] = []
        self.size = 0
        self.last: dict[str, Any] | None = None
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None
        self._ended = False
        self._news = asyncio.Event()

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return not self._ended

    def add(self, new: bytes) -> None:
        """Appends a frame and wakes the readers."""
        self.frames.append(new)
        self.size += len(new)
        self._wake()

    def end(self) -> None:
        """No more frames will come."""
        self._ended = True
        self._wake()

    async def follow(self, after: int = 0) -> AsyncIterator[bytes]:
        """Yields every frame behind the first `after` ones, as they come."""
        async for new in self.batches(after):
            for one in new:
                yield one

    async def batches(self, after: int = 0) -> AsyncIterator[list[bytes]]:
        """Yields the frames behind the first `after` ones as they come, those together that are there already."""
        position = after
        while True:
            news = self._news
            if position < len(self.frames):
                new = self.frames[position:]
                position += len(new)
                yield new
            elif self._ended:
                return
            else:
                await news.wait()

    async def started(self) -> None:
        """Returns when the turn has an id, or has ended without one."""
        while self.turn_id is None and not self._ended:
            await self._news.wait()

    async def ended(self) -> None:
        """Returns when it has ended."""
        while not self._ended:
            await self._news.wait()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class Turns:
    """All turns that run here, and the last ones that ran.

    Args:
        watch: What is told of their events.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._kept: OrderedDict[str, Live] = OrderedDict()
        self._running: dict[str, Live] = {}
        self._closing = False

    def start(
        self,
        session: Session,
        events: Callable[[], AsyncIterator[Event]],
        present: Present,
        *,
        turn_id: str | None = None,
        earlier: Live | None = None,
    ) -> Live:
        """Drives a turn in a task of its own, which knows what came with the request (see `provider_data`).

        Args:
            session: Where it runs.
            events: Starts it.
            present: Makes the frames' payloads.
            turn_id: The id under which it is found again, when it has one already.
            earlier: The same turn before it paused; its frames stand before the new ones.

        Raises:
            SessionBusy: A turn runs in that session, or the server is about to end.
        """
        if self._closing:
            raise SessionBusy("The server is about to end; it takes no new turns.")
        running = self._running.get(session.session_id)
        if running is not None and running.running:
            raise SessionBusy(
                f"A turn runs in session {session.session_id}.", hint="Wait until it has ended, or cancel it."
            )
        live = Live(session, turn_id)
        if earlier is not None:
            live.frames, live.size = list(earlier.frames), earlier.size
        self._running[session.session_id] = live
        if turn_id is not None:
            self._keep(live)

        async def drive() -> None:
            watch = self._watch.turn(session)
            failure: BaseException | None = None
            try:
                async for event in events():
                    watch.see(event)
                    if isinstance(event, TurnStarted) and live.turn_id is None:
                        live.turn_id = event.turn_id
                        self._keep(live)
                    for payload in present(event):
                        live.last = payload
                        live.add(frame({"event": {"payload": payload}}))
            except Exception as error:
                live.error = failure = error
                live.add(frame(failures.frame_of(error)))
            except BaseException as error:
                failure = error
                raise
            finally:
                watch.close(failure)
                if self._running.get(session.session_id) is live:
                    del self._running[session.session_id]
                live.end()
                self._trim()

        live.task = asyncio.create_task(drive())
        return live

    def find(self, turn_id: str) -> Live | None:
        """A turn whose frames are still known here."""
        return self._kept.get(turn_id)

    def running_in(self, session_id: str) -> Live | None:
        """The turn that runs in a session, or None."""
        live = self._running.get(session_id)
        return live if live is not None and live.running else None

    @property
    def count(self) -> int:
        """How many turns run."""
        return len(self._running)

    async def drain(self, seconds: float) -> None:
        """Takes no new turns, waits for those that run, and cancels those that are not done in time."""
        self._closing = True
        tasks = [live.task for live in self._running.values() if live.task]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _keep(self, live: Live) -> None:
        if live.turn_id is None:
            return
        self._kept[live.turn_id] = live
        self._kept.move_to_end(live.turn_id)
        self._trim()

    def _trim(self) -> None:
        """Forgets the frames of those that ended first where there are too many."""
        ended = {turn_id: live for turn_id, live in self._kept.items() if not live.running}
        size = sum(live.size for live in ended.values())
        for turn_id, live in ended.items():
            if len(self._kept) <= KEPT and size <= KEPT_BYTES:
                return
            del self._kept[turn_id]
            size -= live.size
