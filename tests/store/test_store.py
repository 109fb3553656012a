"""What every store promises, on every kind of store."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from agentic.store import Lease, MemoryStore, Store, open_store
from agentic.types.errors import ConfigError, InvalidInput, NotFound, SessionBusy, StoreError
from agentic.types.records import CallClosed, Record, StepClosed
from agentic.types.steps import Hit, Retrieval
from agentic.types.tools import ToolResponse

OpenStore = Callable[[], Store]
MakeTurn = Callable[[str], list[Record]]


async def write(store: Store, session_id: str, *turns: list[Record]) -> None:
    await store.create(session_id)
    lease = await store.acquire(session_id)
    for records in turns:
        await store.append(lease, records)
    await store.release(lease)


@pytest.mark.anyio
async def test_what_was_appended_is_read_back(open_any: OpenStore, turn: MakeTurn) -> None:
    store, one, two = open_any(), turn("one"), turn("two")
    await write(store, "s", one, two)
    assert await store.read("s") == one + two
    assert await store.read("s", after=3) == [one[3], *two]
    assert await store.read("s", after=8) == []
    assert await store.read("s", after=99) == []
    assert await store.verify("s") == 8
    await store.aclose()


@pytest.mark.anyio
async def test_the_last_append_gives_the_session_back(open_any: OpenStore, turn: MakeTurn) -> None:
    store = open_any()
    await store.create("s")
    lease = await store.acquire("s")
    await store.append(lease, turn("one"), release=True)
    with pytest.raises(SessionBusy):
        await store.append(lease, turn("late"))
    await store.append(await store.acquire("s"), [], release=True)
    await store.append(await store.acquire("s"), turn("two"), release=True)
    await store.release(await store.acquire("s"))
    assert await store.verify("s") == 8
    await store.aclose()


@pytest.mark.anyio
async def test_create_returns_the_session_that_exists(open_any: OpenStore, turn: MakeTurn) -> None:
    store = open_any()
    first = await store.create("s", agent="clerk", model="scripted/one")
    await write(store, "s", turn("one"))
    again = await store.create("s", agent="other")
    assert (again.agent, again.model, again.records, again.parent) == ("clerk", "scripted/one", 4, None)
    assert again.started_at == first.started_at <= again.updated_at
    assert await store.get("s") == again
    await store.aclose()


@pytest.mark.anyio
async def test_sessions_come_newest_first(open_any: OpenStore, turn: MakeTurn) -> None:
    store = open_any()
    assert await store.sessions() == []
    for name in ("a", "b", "c"):
        await store.create(name)
    await write(store, "a", turn("one"))
    assert [session.session_id for session in await store.sessions()] == ["a", "c", "b"]
    await store.aclose()


@pytest.mark.anyio
async def test_a_session_has_one_writer(open_any: OpenStore, turn: MakeTurn) -> None:
    store = open_any()
    await store.create("s")
    lease = await store.acquire("s")
    with pytest.raises(SessionBusy, match="'s'"):
        await store.acquire("s")
    await store.append(lease, turn("one"))
    await store.release(lease)
    await store.release(lease)
    with pytest.raises(SessionBusy):
        await store.append(lease, turn("late"))
    next_lease = await store.acquire("s")
    assert (next_lease.seq, next_lease.head) == (lease.seq, lease.head) == (4, lease.head)
    assert next_lease.token != lease.token
    assert lease.token not in repr(lease)
    assert len(await store.read("s")) == 4
    await store.aclose()


@pytest.mark.anyio
async def test_only_one_of_many_acquires(open_any: OpenStore) -> None:
    store = open_any()
    await store.create("s")
    found = await asyncio.gather(*(store.acquire("s") for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(one, SessionBusy) for one in found) == 19
    await store.aclose()


@pytest.mark.anyio
async def test_concurrent_appends_of_one_writer_are_all_kept(open_any: OpenStore, turn: MakeTurn) -> None:
    store = open_any()
    await store.create("s")
    lease = await store.acquire("s")
    await asyncio.gather(*(store.append(lease, turn(f"t{number}")) for number in range(20)))
    assert await store.verify("s") == lease.seq == 80
    await store.aclose()


@pytest.mark.anyio
async def test_a_fork_shares_history_and_goes_its_own_way(open_any: OpenStore, turn: MakeTurn) -> None:
    store, one, two, three = open_any(), turn("one"), turn("two"), turn("three")
    await write(store, "trunk", one, two)
    at_step = await store.fork("trunk", "at step", at="two-step")
    at_turn = await store.fork("trunk", "at turn", at="one")
    now = await store.fork("trunk", "now")
    assert (at_step.parent, at_step.records) == ("trunk", 0) == (at_turn.parent, at_turn.records)
    assert await store.read("at step") == one + two[:3]
    assert await store.read("at turn") == one
    assert await store.read(now.session_id) == one + two
    await write(store, "at turn", three)
    await write(store, "trunk", three)
    assert await store.read("at turn") == one + three
    assert await store.read("trunk") == one + two + three
    assert [await store.verify(name) for name in ("at step", "at turn", "now")] == [7, 8, 8]
    assert (await store.get("at turn")).records == 4
    await store.aclose()


@pytest.mark.anyio
async def test_forks_of_forks(open_any: OpenStore, turn: MakeTurn) -> None:
    store, one, two, three = open_any(), turn("one"), turn("two"), turn("three")
    await write(store, "a", one, two)
    await store.fork("a", "b", at="two")
    await write(store, "b", three)
    await store.fork("b", "c", at="one-step")
    await store.fork("c", "d")
    await write(store, "d", three)
    await store.fork("d", "e", at="three-step")
    assert await store.read("c") == one[:3]
    assert await store.read("e") == one[:3] + three[:3]
    assert await store.read("e", after=2) == [one[2], *three[:3]]
    assert await store.read("e", after=3) == three[:3]
    assert await store.read("e", after=4) == three[1:3]
    await store.aclose()


@pytest.mark.anyio
async def test_an_empty_session_can_be_forked_and_read(open_any: OpenStore, turn: MakeTurn) -> None:
    store = open_any()
    await store.create("s")
    await store.fork("s", "f")
    assert await store.read("f") == []
    assert await store.verify("f") == 0
    await write(store, "f", turn("one"))
    assert await store.verify("f") == 4
    await store.aclose()


@pytest.mark.anyio
async def test_forking_names_what_is_wrong(open_any: OpenStore, turn: MakeTurn) -> None:
    store = open_any()
    await write(store, "s", turn("one"))
    with pytest.raises(NotFound, match="'two'"):
        await store.fork("s", "f", at="two")
    with pytest.raises(NotFound):
        await store.fork("s", "f", at="")
    with pytest.raises(NotFound, match="'none'"):
        await store.fork("none", "f")
    with pytest.raises(InvalidInput, match="already"):
        await store.fork("s", "s")
    assert [session.session_id for session in await store.sessions()] == ["s"]
    await store.aclose()


@pytest.mark.anyio
async def test_a_running_session_can_be_forked(open_any: OpenStore, turn: MakeTurn) -> None:
    store, one = open_any(), turn("one")
    await store.create("s")
    lease = await store.acquire("s")
    await store.append(lease, one[:2])
    await store.fork("s", "f", at="one")
    await store.append(lease, one[2:])
    assert await store.read("f") == one[:2]
    await store.aclose()


@pytest.mark.anyio
async def test_delete(open_any: OpenStore, turn: MakeTurn) -> None:
    store = open_any()
    await write(store, "s", turn("one"))
    await store.fork("s", "f")
    with pytest.raises(InvalidInput, match="'f'"):
        await store.delete("s")
    lease = await store.acquire("f")
    with pytest.raises(SessionBusy):
        await store.delete("f")
    await store.release(lease)
    await store.delete("f")
    await store.delete("s")
    assert await store.sessions() == []
    with pytest.raises(NotFound):
        await store.delete("s")
    await store.create("s")
    assert await store.read("s") == []
    await store.aclose()


@pytest.mark.anyio
async def test_a_deleted_sessions_writer_does_not_write_into_its_namesake(open_any: OpenStore, turn: MakeTurn) -> None:
    store = open_any()
    await store.create("s")
    lease = await store.acquire("s")
    await store.release(lease)
    await store.delete("s")
    await store.create("s")
    with pytest.raises(SessionBusy):
        await store.append(lease, turn("one"))
    assert await store.read("s") == []
    await store.aclose()


@pytest.mark.anyio
async def test_missing_sessions(open_any: OpenStore) -> None:
    store = open_any()
    for call in (store.get, store.acquire, store.read, store.verify, store.delete):
        with pytest.raises(NotFound, match="'nobody'"):
            await call("nobody")
    await store.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\0b", "a\nb", "\x1b[31m", "a\u2028b", "\ud800", 7, None])
async def test_silly_session_ids(open_any: OpenStore, name: str) -> None:
    store = open_any()
    for call in (store.create, store.get, store.acquire, store.read, store.verify, store.delete):
        with pytest.raises(InvalidInput):
            await call(name)
    await store.create("s")
    with pytest.raises(InvalidInput):
        await store.fork("s", name)
    await store.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name",
    ["x" * 200, "'; DROP TABLE agentic_sessions; --", "%s :session ? {}", "../../etc/passwd", "👩‍👩‍👧 Zoë", "a b"],
)
async def test_session_ids_are_data(open_any: OpenStore, turn: MakeTurn, name: str) -> None:
    store = open_any()
    await write(store, name, turn("one"))
    assert await store.verify(name) == 4
    assert [session.session_id for session in await store.sessions()] == [name]
    await store.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "response",
    [
        ToolResponse("c", "t", metadata={"at": object()}),
        ToolResponse("c", "t", "lone surrogate \ud800"),
        ToolResponse("c", "t", metadata={"raw": b"\xff"}),
        ToolResponse("c", "t", 5),  # type: ignore[arg-type]
    ],
)
async def test_what_cannot_be_stored_is_refused_whole(
    open_any: OpenStore, turn: MakeTurn, response: ToolResponse
) -> None:
    store = open_any()
    await store.create("s")
    lease = await store.acquire("s")
    bad = CallClosed(step_id="x", response=response, at=datetime.now(UTC))
    with pytest.raises(InvalidInput, match="CallClosed"):
        await store.append(lease, [*turn("one"), bad])
    assert await store.read("s") == []
    assert lease.seq == 0
    await store.append(lease, turn("one"))
    assert await store.verify("s") == 4
    await store.aclose()


@pytest.mark.anyio
async def test_what_could_not_be_read_back_is_refused(open_any: OpenStore) -> None:
    store = open_any()
    await store.create("s")
    lease = await store.acquire("s")
    found = Retrieval("query", (Hit("text", math.nan, "document"),))
    with pytest.raises(InvalidInput, match="StepClosed"):
        await store.append(lease, [StepClosed(step_id="x", at=datetime.now(UTC), outcome=found)])
    with pytest.raises(InvalidInput, match="str"):
        await store.append(lease, ["record"])  # type: ignore[list-item]
    assert await store.read("s") == []
    await store.aclose()


@pytest.mark.anyio
async def test_appending_nothing(open_any: OpenStore) -> None:
    store = open_any()
    await store.create("s")
    lease = await store.acquire("s")
    await store.append(lease, [])
    assert lease.seq == 0
    assert await store.verify("s") == 0
    await store.aclose()


@pytest.mark.anyio
async def test_a_closed_store_says_so(open_any: OpenStore, turn: MakeTurn) -> None:
    store = open_any()
    await store.create("s")
    lease = await store.acquire("s")
    await store.aclose()
    await store.aclose()
    await store.release(lease)
    for call in (store.create("s"), store.sessions(), store.acquire("s"), store.append(lease, turn("one"))):
        with pytest.raises(StoreError, match="closed"):
            await call


@pytest.mark.anyio
async def test_two_loops_share_one_store(open_any: OpenStore, turn: MakeTurn) -> None:
    store = open_any()

    async def work(name: str) -> None:
        await store.create(name)
        lease = await store.acquire(name)
        for number in range(50):
            await store.append(lease, turn(f"{name}-{number}"))
        await store.release(lease)

    names = ["a", "b", "c"]
    await asyncio.gather(*(asyncio.to_thread(asyncio.run, work(name)) for name in names))
    assert [await store.verify(name) for name in names] == [200, 200, 200]
    await store.aclose()


def test_what_was_left_behind_in_a_closed_loop_is_free(open_any: OpenStore, turn: MakeTurn) -> None:
    """Its writer cannot go on, though its process lives."""
    store = open_any()

    async def left_behind() -> Lease:
        await store.create("s")
        return await store.acquire("s")

    old = asyncio.run(left_behind())

    async def taken_over() -> None:
        lease = await store.acquire("s")
        with pytest.raises(SessionBusy):
            await store.append(Lease("s", old.token, old.seq, old.head), turn("lost"))
        await store.append(lease, turn("one"))
        assert await store.verify("s") == 4
        await store.aclose()

    asyncio.run(taken_over())


def test_open_store(open_any: OpenStore) -> None:
    assert isinstance(open_store(None), MemoryStore)
    store = open_any()
    assert open_store(store) is store
    asyncio.run(store.aclose())


@pytest.mark.parametrize(
    "where", ["", " ", ":memory:", "sqlite://", "sqlite:///:memory:", "mysql://host/db", "http://x", "://", "a\0b", 7]
)
def test_what_is_no_store(where: str) -> None:
    with pytest.raises(ConfigError):
        open_store(where)
