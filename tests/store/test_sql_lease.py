"""Who may write a session in a database: dead owners are replaced, living ones never."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from agentic.store import owner
from agentic.store.sql import SqlStore, _Held
from agentic.types.errors import SessionBusy
from agentic.types.records import Record

MakeTurn = Callable[[str], list[Record]]
ELSEWHERE = "another host"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def own(file: Path, host: str, pid: int, seconds: float) -> None:
    """Makes somebody else the owner of session `s`."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(
            "UPDATE agentic_sessions SET owner = 'theirs', host = ?, pid = ?, lease_until = ? WHERE id = 's'",
            (host, pid, time.time() + seconds),
        )


def lease_until(file: Path) -> float | None:
    with closing(sqlite3.connect(file)) as connection:
        found: tuple[float | None] = connection.execute("SELECT lease_until FROM agentic_sessions").fetchone()
    return found[0]


@pytest.fixture
def gone() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        return child.pid


@pytest.mark.anyio
async def test_owners_that_may_be_replaced(file: Path, gone: int) -> None:
    store = SqlStore(file)
    await store.create("s")
    for host, pid, seconds in [
        (owner.host(), gone, 20.0),
        (owner.host(), os.getpid(), 20.0),
        (ELSEWHERE, 1, -0.1),
        (owner.host(), os.getppid(), -0.1),
        (ELSEWHERE, 1, 3600.0),
    ]:
        own(file, host, pid, seconds)
        await store.release(await store.acquire("s"))
    await store.aclose()


@pytest.mark.anyio
async def test_owners_that_may_live(file: Path) -> None:
    store = SqlStore(file)
    await store.create("s")
    for host, pid in [(ELSEWHERE, 1), (ELSEWHERE, os.getpid()), (owner.host(), os.getppid())]:
        own(file, host, pid, 20.0)
        with pytest.raises(SessionBusy, match=str(pid)):
            await store.acquire("s")
        with pytest.raises(SessionBusy):
            await store.delete("s")
    await store.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_killed_owner_is_dead_before_its_parent_looks() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        lease = ("theirs", owner.host(), child.pid, 20.0, 0.0)
        assert not owner.abandoned(*lease)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table of processes
        assert owner.abandoned(*lease)


@pytest.mark.anyio
async def test_two_stores_of_one_process_see_each_other(file: Path) -> None:
    one, two = SqlStore(file), SqlStore(file)
    await one.create("s")
    lease = await one.acquire("s")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE agentic_sessions SET lease_until = 0")  # a blocked loop did not renew it
    with pytest.raises(SessionBusy):
        await two.acquire("s")
    await one.release(lease)
    assert lease_until(file) is None
    await two.acquire("s")
    await two.aclose()
    await one.acquire("s")
    await one.aclose()
    assert not owner.live


@pytest.mark.anyio
async def test_a_writer_that_was_replaced_writes_nothing(file: Path, turn: MakeTurn) -> None:
    store = SqlStore(file)
    await store.create("s")
    lease = await store.acquire("s")
    await store.append(lease, turn("one"))
    own(file, ELSEWHERE, 1, 20.0)
    with pytest.raises(SessionBusy, match="taken over"):
        await store.append(lease, turn("two"))
    await store.release(lease)
    assert await store.verify("s") == 4
    assert lease.token not in owner.live
    with pytest.raises(SessionBusy):
        await store.acquire("s")
    await store.aclose()


@pytest.mark.anyio
async def test_a_held_lease_is_renewed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "RENEW_SECONDS", 0.01)
    store = SqlStore(file)
    await store.create("s")
    lease = await store.acquire("s")
    first = lease_until(file)
    assert first is not None
    renewed = asyncio.Event()
    note = store._note

    def noted(held: _Held, kept: bool) -> None:
        note(held, kept)
        renewed.set()

    monkeypatch.setattr(store, "_note", noted)
    await asyncio.wait_for(renewed.wait(), 5)
    until = lease_until(file)
    assert until is not None
    assert until > first
    own(file, ELSEWHERE, 1, 20.0)
    renewed.clear()
    await asyncio.wait_for(renewed.wait(), 5)
    assert lease.token not in owner.live
    await store.aclose()


@pytest.mark.anyio
async def test_a_lease_is_renewed_behind_a_lock(file: Path) -> None:
    store = SqlStore(file)
    await store.create("s")
    lease = await store.acquire("s")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE agentic_sessions SET lease_until = 0")
        connection.execute("BEGIN IMMEDIATE")
        store._renew(store._held[lease.token])
        connection.execute("COMMIT")
    await store.aclose()
    assert lease_until(file) is None
    assert not owner.live


@pytest.mark.anyio
async def test_an_append_renews_the_lease(file: Path, turn: MakeTurn) -> None:
    store = SqlStore(file)
    await store.create("s")
    lease = await store.acquire("s")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE agentic_sessions SET lease_until = 0")
    await store.append(lease, turn("one"))
    until = lease_until(file)
    assert until is not None
    assert until > time.time()
    await store.aclose()


@pytest.mark.anyio
async def test_an_acquire_that_is_cancelled_leaves_the_session_free(file: Path) -> None:
    store = SqlStore(file)
    await store.create("s")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        acquiring = asyncio.create_task(store.acquire("s"))
        await asyncio.sleep(0)
        acquiring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await acquiring
        connection.execute("COMMIT")
    await asyncio.gather(*map(asyncio.wrap_future, list(store._running)), return_exceptions=True)
    await store.release(await store.acquire("s"))
    await store.aclose()


@pytest.mark.anyio
async def test_a_loop_that_ended_keeps_no_other_from_releasing(file: Path) -> None:
    store = SqlStore(file)
    await store.create("s")
    lease = await asyncio.to_thread(asyncio.run, store.acquire("s"))
    await store.release(lease)
    await store.acquire("s")
    await store.aclose()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork")
def test_a_forked_process_may_not_use_its_parents_store(file: Path) -> None:
    script = f"""
import asyncio, os
from agentic.store import owner
from agentic.store.sql import SqlStore, _Held
from agentic.types.errors import UsageError

store = SqlStore({str(file)!r})
asyncio.run(store.create("s"))
lease = asyncio.run(store.acquire("s"))
if not (child := os.fork()):
    try:
        asyncio.run(store.read("s"))
    except UsageError:
        asyncio.run(store.aclose())
        os._exit(0 if not owner.live else 2)
    os._exit(1)
_, status = os.waitpid(child, 0)
asyncio.run(store.aclose())
raise SystemExit(os.waitstatus_to_exitcode(status))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
