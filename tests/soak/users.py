"""Users of the soaked agents: they run, stream, leave, come back, cancel, answer, fork, and collide."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from agentic import Agent, Session, StepCompleted, Turn
from agentic.types.errors import IllegalStep, InferenceError, InvalidInput, StoreError, TurnPending
from agentic.types.events import Event
from soak.world import Ledger

# Another user may have answered first; the bank's own error is a ConnectionError.
EXPECTED = (InferenceError, StoreError, TurnPending, InvalidInput, ConnectionError)
BUSY_SECONDS = 60.0


class Users:
    """Some users who share an agent's sessions.

    Attributes:
        done: How often what was done, by name.
        surprises: Errors that nobody should ever get, with their traceback.
    """

    def __init__(self, agent: Agent, names: list[str], ledger: Ledger, seed: str) -> None:
        self.agent = agent
        self.names = names
        self.ledger = ledger
        self.dice = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.surprises: list[str] = []

    async def work(self, ended: asyncio.Event, count: int) -> None:
        """Lets `count` users work until the event is set."""
        await asyncio.gather(*(self._user(ended) for _ in range(count)))

    async def _user(self, ended: asyncio.Event) -> None:
        acts = {
            self._run: 6,
            self._stream: 4,
            self._leave_and_come_back: 3,
            self._cancel_the_task: 2,
            self._cancel_the_turn: 1,
            self._fork: 1,
        }
        while not ended.is_set():
            act = self.dice.choices(list(acts), list(acts.values()))[0]
            session = self.agent.session(self.dice.choice(self.names))
            self.done[act.__name__.strip("_")] += 1
            try:
                async with asyncio.timeout(BUSY_SECONDS):
                    await self._ready(session)
                    await act(session)
            except EXPECTED as error:
                self.done[type(error).__name__] += 1
                await asyncio.sleep(0.002)
            except (Exception, IllegalStep):
                self.surprises.append(traceback.format_exc())

    async def _ready(self, session: Session) -> None:
        """Answers what the session waits for, or takes up what was left."""
        await session.aload()
        turns = session.turns
        if not turns:
            return
        if session.pending:
            waiting = {item.call.call_id: item for item in session.pending}
            some = [call_id for call_id in waiting if self.dice.random() < 0.9]
            answers = {one: self.dice.random() < 0.8 if waiting[one].why == "approval" else "42" for one in some}
            if answers:
                self._returned(session, await session.aresume(answers))
        elif session.interrupted and self.dice.random() < 0.5:
            self._returned(session, await session.aresume())

    def _returned(self, session: Session, turn: Turn) -> None:
        """What was returned must be in the log for good."""
        self.done[str(turn.reason or turn.status)] += 1
        self.ledger.note(session=session.session_id, turn=turn.turn_id, reason=turn.reason, text=turn.text)

    async def _run(self, session: Session) -> None:
        self._returned(session, await session.arun("Go on."))

    async def _stream(self, session: Session) -> None:
        await self._listen(session, session.astream("Go on."), 10**9)

    async def _listen(self, session: Session, events: AsyncIterator[Event], most: int) -> list[Event]:
        seen: list[Event] = []
        async with aclosing(events) as stream:  # type: ignore[type-var]
            async for event in stream:
                seen.append(event)
                if isinstance(event, StepCompleted):
                    self.ledger.note(session=session.session_id, step=event.step.step_id)
                if len(seen) >= most:
                    break
        return seen

    async def _leave_and_come_back(self, session: Session) -> None:
        seen = await self._listen(session, session.astream("Go on."), self.dice.randint(1, 12))
        middle = await self._listen(session, session.afollow(len(seen)), self.dice.randint(1, 12))
        rest = await self._listen(session, session.afollow(len(seen) + len(middle)), 10**9)
        whole = [event async for event in session.afollow()]
        assert [*seen, *middle, *rest] == whole, "a reader missed an event, or saw one twice"

    async def _cancel_the_task(self, session: Session) -> None:
        task: asyncio.Task[Any] = asyncio.create_task(session.arun("Go on."))
        await asyncio.sleep(self.dice.random() * 0.2)
        task.cancel()
        try:
            self._returned(session, await task)
        except asyncio.CancelledError:
            self.done["cancelled by the reader"] += 1

    async def _cancel_the_turn(self, session: Session) -> None:
        task = asyncio.create_task(session.arun("Go on."))
        await asyncio.sleep(self.dice.random() * 0.2)
        try:
            await session.acancel()
        finally:
            self._returned(session, await task)

    async def _fork(self, session: Session) -> None:
        closed = [turn for turn in session.turns if turn.reason]
        if closed:
            fork = await session.afork(at=self.dice.choice(closed))
            self.names.append(fork.session_id)
