"""What is PostgreSQL's own: other processes and machines, servers that restart, connections that break."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from agentic.store import migrate, owner
from agentic.store.schema import metadata
from agentic.store.sql import SqlStore
from agentic.types.errors import SessionBusy, StoreTooNew, StoreUnreachable
from agentic.types.records import Record
from postgres import PostgreSQL

MakeTurn = Callable[[str], list[Record]]
WRITER = Path(__file__).parent / "process_writer.py"


@pytest.fixture
def url(postgresql: PostgreSQL) -> Iterator[str]:
    with postgresql.database() as url:
        yield url


def driver(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg:")


def change(url: str, statement: str) -> None:
    engine = create_engine(driver(url))
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


@contextmanager
def writer(url: str, session_id: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a session and has written into it."""
    command = [sys.executable, str(WRITER), url, session_id, "1000000"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.stdin.write("\n")
            process.stdin.flush()
            assert int(process.stdout.readline()) > 0
            yield process
        finally:
            process.kill()
            process.communicate()


def test_migrations_build_the_tables_that_the_code_expects(url: str) -> None:
    engine = create_engine(driver(url))
    migrate.migrate(engine, "here")
    migrate.migrate(engine, "here")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": migrate.VERSION_TABLE})
        ours = {"include_object": lambda _object, name, kind, *_: kind != "table" or name in metadata.tables}
        context.opts.update(ours)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == migrate.HEAD
    engine.dispose()


@pytest.mark.anyio
async def test_a_newer_schema_is_left_alone(url: str) -> None:
    store = SqlStore(url)
    await store.create("s")
    await store.aclose()
    change(url, f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'")
    store = SqlStore(url)
    with pytest.raises(StoreTooNew, match="9999"):
        await store.get("s")
    await store.aclose()


@pytest.mark.slow
@pytest.mark.anyio
async def test_another_processs_session_is_busy_while_it_lives_and_free_when_it_is_dead(
    url: str, turn: MakeTurn
) -> None:
    store = SqlStore(url)
    with writer(url, "s") as process:
        with pytest.raises(SessionBusy, match=str(process.pid)):
            await store.acquire("s")
        with pytest.raises(SessionBusy):
            await store.delete("s")
    lease = await store.acquire("s")
    count = await store.verify("s")
    assert count == lease.seq > 0
    assert count % 2 == 0
    await store.append(lease, turn("next"))
    assert await store.verify("s") == count + 4
    await store.aclose()


@pytest.mark.anyio
async def test_a_lease_of_another_machine_ends_by_the_databases_clock(
    url: str, turn: MakeTurn, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = SqlStore(url), SqlStore(url)
    await there.create("s")
    lease = await there.acquire("s")
    await there.append(lease, turn("one"))
    owner.live.pop(lease.token)  # as if it were not this process's
    clock = "extract(epoch FROM clock_timestamp())"
    far = f"UPDATE agentic_sessions SET host = 'far', lease_until = {clock}"
    change(url, f"{far} + 20")
    for wrong in (0.0, 4e9):  # our own clock says that it ended long ago, or that no owner can have written it
        monkeypatch.setattr("agentic.store.queries.time.time", lambda wrong=wrong: wrong)
        with pytest.raises(SessionBusy, match="far"):
            await here.acquire("s")
    change(url, f"{far} - 1")
    mine = await here.acquire("s")
    await here.append(mine, turn("two"))
    with pytest.raises(SessionBusy, match="taken over"):
        await there.append(lease, turn("three"))
    assert await here.verify("s") == 8
    await there.aclose()
    await here.aclose()


@pytest.mark.anyio
async def test_a_restarted_server_is_found_again(url: str, postgresql: PostgreSQL, turn: MakeTurn) -> None:
    store = SqlStore(url)
    await store.create("s")
    lease = await store.acquire("s")
    await store.append(lease, turn("one"))
    await asyncio.to_thread(postgresql.stop)
    try:
        with pytest.raises(StoreUnreachable, match="try again"):
            await store.append(lease, turn("lost"))
        with pytest.raises(StoreUnreachable) as refused:
            await store.read("s")
        assert refused.value.retryable
    finally:
        await asyncio.to_thread(postgresql.start)
    await store.append(lease, turn("two"))
    assert await store.verify("s") == 8
    await store.aclose()


@pytest.mark.anyio
async def test_a_server_that_is_frozen_is_given_up(url: str, postgresql: PostgreSQL, turn: MakeTurn) -> None:
    """No time-out of TCP ends that wait: the kernel goes on answering for it."""
    store = SqlStore(url, timeout=0.5)
    await store.create("s")
    lease = await store.acquire("s")
    work = store._queries.append

    def frozen(*arguments: object) -> tuple[int, bytes]:
        backend = arguments[-1].connection.info.backend_pid  # type: ignore[attr-defined]
        os.kill(backend, signal.SIGSTOP)
        try:
            return work(*arguments)  # type: ignore[arg-type]
        finally:
            os.kill(backend, signal.SIGCONT)

    store._queries.append = frozen  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreUnreachable, match="said nothing for 1 s"):
        await store.append(lease, turn("lost"))
    store._queries.append = work  # type: ignore[method-assign]
    assert await store.verify("s") == 0
    await store.append(lease, turn("one"))
    assert await store.verify("s") == 4
    await store.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("statements", range(1, 4))
async def test_a_connection_that_is_lost_in_a_transaction_tears_nothing(
    url: str, postgresql: PostgreSQL, turn: MakeTurn, statements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the session's row was changed, after the records were sent, and right before the commit."""
    store = SqlStore(url)
    await store.create("s")
    lease = await store.acquire("s")
    await store.append(lease, turn("one"))
    work = store._queries.append

    def cut_off(*arguments: object) -> tuple[int, bytes]:
        cursor = arguments[-1]
        done = 0

        class Cursor:
            def __getattr__(self, name: str) -> object:
                return getattr(cursor, name)

            def execute(self, *given: object) -> object:
                return self._after(cursor.execute(*given))  # type: ignore[attr-defined]

            def executemany(self, *given: object) -> object:
                return self._after(cursor.executemany(*given))  # type: ignore[attr-defined]

            def _after(self, result: object) -> object:
                nonlocal done
                done += 1
                if done == statements:
                    self.cut()
                return result

            def cut(self) -> None:
                backend = cursor.connection.info.backend_pid  # type: ignore[attr-defined]
                postgresql.execute(f"SELECT pg_terminate_backend({backend}, 5000)")

        wrapped = Cursor()
        result = work(*arguments[:-1], wrapped)  # type: ignore[call-arg, arg-type]
        if statements > done:
            wrapped.cut()
        return result

    monkeypatch.setattr(store._queries, "append", cut_off)
    with pytest.raises(StoreUnreachable):
        await store.append(lease, turn("torn"))
    monkeypatch.undo()
    assert await store.verify("s") == lease.seq == 4
    await store.append(lease, turn("two"))
    assert await store.verify("s") == 8
    await store.aclose()


@pytest.mark.anyio
async def test_a_database_that_is_not_there(postgresql: PostgreSQL) -> None:
    store = SqlStore(postgresql.url("none_such"), timeout=2)
    with pytest.raises(StoreUnreachable, match="none_such"):
        await store.create("s")
    await store.aclose()
