"""A turn is cancelled at every boundary, and its readers leave at every event: nothing is lost, nothing is left."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, closing
from pathlib import Path

import anyio
import pytest

from agentic import Agent, EndReason, Session, ToolCall, Turn
from agentic.store import Lease
from agentic.store.sql import SqlStore
from agentic.testing import ScriptedModel
from agentic.types import ServerFailed, StoreError, TurnPending, TurnStatus
from agentic.types.events import Event, TurnCompleted
from agentic.types.records import Record
from crash.scenario import Facts, Scenario, answers
from crash.test_crash_matrix import go_on
from servers.base import StallAfter
from servers.brain import Reply
from servers.openai import OpenAIServer

ENDED = {EndReason.CANCELLED, EndReason.END_OF_TURN}


class Canceller:
    """Cancels at a boundary, whichever way."""

    def __init__(self, place: int, how: str) -> None:
        self.place = place
        self.how = how
        self.passed: list[str] = []
        self.playing: asyncio.Task[None] | None = None
        self.session: Session | None = None
        self.cancelling: asyncio.Task[object] | None = None

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) != self.place:
            return
        assert self.playing is not None
        if self.how == "the reader's task":
            self.playing.cancel()
        elif self.session is not None:
            self.cancelling = asyncio.ensure_future(self.session.acancel())


async def cancelled_at(place: int, how: str, folder: Path) -> list[str]:
    """Plays the scenario until it is cancelled there, checks, and returns the boundaries that it passed."""
    file, facts = folder / "s.db", Facts(folder / f"facts-{how}-{place}")
    name, point = f"{how} {place}", Canceller(place, how)
    scenario = Scenario(file, facts, point)
    async with scenario.agent as agent:
        point.session = agent.session(name)
        point.playing = asyncio.create_task(scenario.play_in(point.session))
        (ended,) = await asyncio.gather(point.playing, return_exceptions=True)
        assert ended is None or isinstance(ended, asyncio.CancelledError | StoreError | TurnPending), repr(ended)
        if point.cancelling is not None:
            await asyncio.gather(point.cancelling, return_exceptions=True)
        point.place = 0
        session = await agent.session(name).aload()
        for turn in session.turns:
            assert turn.reason in ENDED or turn.status is TurnStatus.AWAITING_INPUT, turn
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await go_on(str(file), facts, name, "run")
    return point.passed


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the reader's task", "the session"])
def test_a_turn_may_be_cancelled_anywhere(tmp_path: Path, how: str) -> None:
    points = asyncio.run(cancelled_at(0, how, tmp_path))
    for place, name in enumerate(points, 1):
        try:
            asyncio.run(cancelled_at(place, how, tmp_path))
        except Exception as error:
            error.add_note(f"Cancelled by {how} at boundary {place}: {name}.")
            raise


@pytest.mark.anyio
@pytest.mark.parametrize("chunks", [0, 1, 3])
async def test_the_models_server_sees_that_its_connection_is_closed(chunks: int) -> None:
    with OpenAIServer(lambda _seen: Reply("one two three four five")) as server:
        server.faults.append(StallAfter(chunks))
        async with Agent("openai/test", endpoint=server.url, store=None) as agent:
            session = agent.session()
            running = asyncio.create_task(session.arun("Go."))
            await asyncio.to_thread(server.wait_for, 1)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await asyncio.to_thread(server.requests[0].gone.wait, 5)
            (turn,) = session.turns
            assert turn.reason is EndReason.CANCELLED


@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_scope_that_cancels_again_and_again_waits_for_the_end(streamed: bool) -> None:
    """As anyio's do, and so the servers that are made with it."""
    cleaned: list[str] = []

    async def slow(name: str) -> str:
        """Takes long, and has to clean up."""
        scope.cancel()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            cleaned.append(name)
        return name

    calls = [ToolCall("slow", {"name": name}) for name in "ab"]
    before = asyncio.all_tasks()
    async with Agent(ScriptedModel([calls, "Fine."]), tools=[slow], store=None) as agent:
        session = agent.session()
        with anyio.CancelScope() as scope:
            if streamed:
                await take(session.astream("Go."), 10**6)
            else:
                await session.arun("Go.")
        assert scope.cancelled_caught
        assert asyncio.all_tasks() == before
        assert sorted(cleaned) == ["a", "b"]
        (turn,) = session.turns
        assert turn.reason is EndReason.CANCELLED
        assert (await session.arun("Again.")).text == "Fine."


@pytest.mark.anyio
async def test_a_cancel_that_is_cancelled_ends_the_turn_nonetheless() -> None:
    started, go_on_now = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        """Takes its time to clean up."""
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await go_on_now.wait()
        return "never"

    async with Agent(ScriptedModel([ToolCall("slow")]), tools=[slow], store=None) as agent:
        session = agent.session()
        running = asyncio.create_task(session.arun("Go."))
        await started.wait()
        cancelling = [asyncio.create_task(session.acancel()) for _ in range(3)]
        await asyncio.sleep(0)
        cancelling[0].cancel()
        go_on_now.set()
        turn, *ended = await asyncio.gather(running, *cancelling, return_exceptions=True)
        assert isinstance(turn, Turn)
        assert turn.reason is EndReason.CANCELLED
        assert isinstance(ended[0], asyncio.CancelledError)
        assert ended[1:] == [turn, turn]


# -- readers ----------------------------------------------------------------------------------------------------------


async def take(events: AsyncIterator[Event], most: int) -> list[Event]:
    seen: list[Event] = []
    async with aclosing(events) as stream:  # type: ignore[type-var]
        async for event in stream:
            seen.append(event)
            if len(seen) == most:
                break
    return seen


@pytest.mark.anyio
async def test_a_reader_may_leave_at_any_event_and_the_next_goes_on_from_there(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    scenario = Scenario(tmp_path / "s.db", Facts(tmp_path / "facts"))
    async with scenario.agent as agent:

        async def both(name: str, leave: int) -> list[str]:
            session, kinds = agent.session(name), []
            for resumed in (False, True):
                stream = session.aresume_stream(answers(session)) if resumed else session.astream("Go.")
                first = await take(stream, leave)
                rest = [event async for event in session.afollow(len(first))]
                whole = [event async for event in session.afollow()]
                assert [*first, *rest] == whole
                kinds += [type(event).__name__ for event in whole]
            assert isinstance(whole[-1], TurnCompleted)
            return kinds

        expected = await both("whole", 10**6)
        assert len(expected) > 20
        for leave in range(1, len(expected)):
            assert await both(f"left at {leave}", leave) == expected
    assert asyncio.all_tasks() == before


@pytest.mark.anyio
async def test_whoever_follows_gets_the_error_that_the_turn_ended_with() -> None:
    async with Agent(ScriptedModel([["a ", "b ", ServerFailed("cut")]]), store=None) as agent:
        session = agent.session()
        first = await take(session.astream("Go."), 1)
        rest: list[Event] = []

        async def follow() -> None:
            async for event in session.afollow(len(first)):
                rest.append(event)  # noqa: PERF401

        with pytest.raises(ServerFailed, match="cut"):
            await follow()
        assert isinstance(rest[-1], TurnCompleted)
        assert rest[-1].turn.reason is EndReason.ERROR


@pytest.mark.anyio
async def test_a_cancel_while_the_end_is_written_leaves_the_session_free(tmp_path: Path) -> None:
    """The lease goes with the turn's last records, which another process holds up."""
    file, writing = tmp_path / "sessions.db", asyncio.Event()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:

        class Held(SqlStore):
            async def append(self, lease: Lease, records: Sequence[Record], *, release: bool = False) -> None:
                if release and not writing.is_set():
                    other.execute("BEGIN IMMEDIATE")
                    writing.set()
                await super().append(lease, records, release=release)

        async with Agent(ScriptedModel(["one", "two"]), store=(store := Held(file))) as agent:
            session = agent.session("s")
            running = asyncio.create_task(session.arun("Go."))
            await writing.wait()
            running.cancel()
            await asyncio.sleep(0)
            other.execute("COMMIT")
            with pytest.raises(asyncio.CancelledError):
                await running
            assert (await agent.session("s").arun("Again.")).text == "two"
            assert [turn.text for turn in session.load().turns] == ["one", "two"]
        await store.aclose()
