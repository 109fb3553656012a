"""An SQLite store that is locked, full, read-only, damaged, foreign or too new: typed errors, nothing lost."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from agentic import Agent
from agentic.store.base import Store
from agentic.store.migrate import HEAD
from agentic.store.sql import SqlStore
from agentic.testing import ScriptedModel
from agentic.types.errors import (
    ConfigError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    StoreTooNew,
)
from agentic.types.records import Record

MakeTurn = Callable[[str], list[Record]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@asynccontextmanager
async def opened(where: Path | str, patience: float = 10.0) -> AsyncIterator[SqlStore]:
    store = SqlStore(where, timeout=patience)
    try:
        yield store
    finally:
        await store.aclose()


@contextmanager
def raw(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as connection:
        yield connection


def put(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def content_of(file: Path) -> bytes:
    return file.read_bytes()


def protect(file: Path) -> None:
    file.chmod(0o400)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def fill(store: Store, turns: list[list[Record]]) -> None:
    await store.create("s")
    lease = await store.acquire("s")
    for records in turns:
        await store.append(lease, records)
    await store.release(lease)


@pytest.mark.anyio
async def test_a_lock_that_lasts_is_an_error_and_harms_nothing(file: Path, turn: MakeTurn) -> None:
    async with opened(file, patience=0.05) as store:
        await store.create("s")
        lease = await store.acquire("s")
        with raw(file) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreLocked, match="Try again"):
                await store.append(lease, turn("one"))
            with pytest.raises(StoreLocked):
                await store.create("t")
            assert await store.read("s") == []
        await store.append(lease, turn("two"))
        assert await store.verify("s") == 4


@pytest.mark.anyio
async def test_waiting_for_a_lock_does_not_stop_the_loop(file: Path, turn: MakeTurn) -> None:
    async with opened(file) as store:
        await store.create("s")
        lease = await store.acquire("s")
        with raw(file) as other:
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(store.append(lease, turn("one")))
            await asyncio.sleep(0)
            assert await store.read("s") == []
            assert not writing.done()
            other.execute("COMMIT")
        await writing
        assert await store.verify("s") == lease.seq == 4


@pytest.mark.anyio
async def test_a_cancelled_append_is_written_to_its_end_before_its_caller_goes_on(file: Path, turn: MakeTurn) -> None:
    last = turn("last")
    async with opened(file) as store:
        await store.create("s")
        lease = await store.acquire("s")
        with raw(file) as other:
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(store.append(lease, turn("one")))
            for _ in range(3):  # even when it is cancelled again and again
                await asyncio.sleep(0)
                writing.cancel()
            await asyncio.sleep(0)
            assert not writing.done()
            other.execute("COMMIT")
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await store.verify("s") == lease.seq == 4
        await store.append(lease, last)
        assert (await store.read("s"))[4:] == last


@pytest.mark.anyio
async def test_a_cancelled_append_that_fails_says_so(file: Path, turn: MakeTurn) -> None:
    async with opened(file, patience=0.1) as store:
        await store.create("s")
        lease = await store.acquire("s")
        with raw(file) as other:
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(store.append(lease, turn("one")))
            await asyncio.sleep(0)
            writing.cancel()
            with pytest.raises(StoreLocked):
                await writing
            other.execute("COMMIT")
        assert await store.verify("s") == lease.seq == 0


@pytest.mark.anyio
async def test_a_full_disk_loses_nothing_that_was_acknowledged(file: Path, turn: MakeTurn) -> None:
    async with opened(file) as store:
        await store.create("s")
        lease = await store.acquire("s")
        await store.append(lease, turn("one"))
        quick = store._database._quick
        assert quick is not None
        (pages,) = quick.execute("PRAGMA page_count").fetchone()
        quick.execute(f"PRAGMA max_page_count={pages}")
        appending = (store.append(lease, turn(f"t{number}")) for number in range(50))
        results = await asyncio.gather(*appending, return_exceptions=True)
        assert {type(result) for result in results if result} == {StoreFull}
        kept = lease.seq
        assert await store.verify("s") == kept
        quick.execute("PRAGMA max_page_count=1000000")
        await store.append(lease, turn("last"))
        assert await store.verify("s") == kept + 4


@pytest.mark.anyio
async def test_a_read_only_store_can_be_read(file: Path, turn: MakeTurn) -> None:
    async with opened(file) as store:
        await fill(store, [turn("one")])
    async with opened(f"sqlite:///file:{file}?mode=ro&uri=true") as store:
        assert await store.verify("s") == 4
        session = await Agent(ScriptedModel(), store=store).session("s").aload()
        assert [one.turn_id for one in session.turns] == ["one"]
        for call in (store.acquire("s"), session.arun("Go.")):
            with pytest.raises(StoreReadOnly, match="permissions"):
                await call


@pytest.fixture
def locked_folder(tmp_path: Path) -> Iterator[Path]:
    tmp_path.chmod(0o500)
    yield tmp_path
    tmp_path.chmod(0o700)


@pytest.mark.anyio
@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
async def test_a_folder_that_cannot_be_written(locked_folder: Path) -> None:
    async with opened(locked_folder / "folder" / "sessions.db") as store:
        with pytest.raises(StoreReadOnly):
            await store.sessions()


@pytest.mark.anyio
@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
async def test_a_read_only_file_can_be_read(file: Path, turn: MakeTurn) -> None:
    async with opened(file) as store:
        await fill(store, [turn("one")])
    protect(file)
    async with opened(file) as store:
        assert await store.verify("s") == 4
        with pytest.raises(StoreReadOnly):
            await store.acquire("s")


@pytest.mark.anyio
@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
async def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "sessions.db"
    async with opened(file) as store:
        await store.create("s")
        modes = {path.name: path.stat().st_mode & 0o777 for path in [file.parent, *file.parent.iterdir()]}
    assert modes.pop("folder") == 0o700
    assert set(modes.values()) == {0o600}
    assert "sessions.db-wal" in modes


@pytest.mark.anyio
async def test_paths_that_are_no_files(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(ConfigError, match="folder"):
            await store.sessions()
    (tmp_path / "file").touch()
    async with opened(tmp_path / "file" / "sessions.db") as store:
        with pytest.raises(StoreError):
            await store.sessions()


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["a b", "100%.db", "what?mode=ro", "#x", "Zoë.db"])
async def test_odd_file_names(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path / name) as store:
        await store.create("s")
    assert (tmp_path / name).stat().st_size > 0


@pytest.mark.anyio
async def test_a_relative_path_keeps_its_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqlStore("sessions.db")
    monkeypatch.chdir("/")
    await store.create("s")
    await store.aclose()
    assert (tmp_path / "sessions.db").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("content", [b"not a database at all" * 400, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_file_that_is_no_database_is_left_alone(file: Path, content: bytes) -> None:
    put(file, content)
    async with opened(file) as store:
        with pytest.raises(StoreCorrupt):
            await store.sessions()
    assert content_of(file) == content


@pytest.mark.anyio
async def test_another_programs_database_is_left_alone(file: Path) -> None:
    with raw(file) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    async with opened(file) as store:
        with pytest.raises(StoreCorrupt, match="another program"):
            await store.create("s")
    with raw(file) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]


@pytest.mark.anyio
async def test_a_newer_schema_is_left_alone(file: Path, turn: MakeTurn) -> None:
    async with opened(file) as store:
        await fill(store, [turn("one")])
    with raw(file) as other:
        other.execute("UPDATE agentic_version SET version_num = '0999'")
    async with opened(file) as store:
        with pytest.raises(StoreTooNew, match=r"0999.*Upgrade"):
            await store.read("s")
    with raw(file) as other:
        other.execute("UPDATE agentic_version SET version_num = ?", (HEAD,))
    async with opened(file) as store:
        assert await store.verify("s") == 4


TAMPERED = [
    ("UPDATE agentic_records SET body = replace(body, 'Answer', 'Secret') WHERE seq = 3", "Record 3 .* its hash"),
    (
        "UPDATE agentic_records SET body = CAST(body || ' ' AS BLOB) WHERE seq = 3",
        "Record 3 .* its hash",
    ),
    ("UPDATE agentic_records SET hash = zeroblob(32) WHERE seq = 2", "Record 2 .* its hash"),
    ("UPDATE agentic_records SET kind = 'turn_closed' WHERE seq = 2", "Record 2 .* filed"),
    ("UPDATE agentic_records SET step_id = 'other' WHERE seq = 3", "Record 3 .* filed"),
    ("DELETE FROM agentic_records WHERE seq = 1", "Record 1 .* missing"),
    ("DELETE FROM agentic_records WHERE seq = 5", "Record 5 .* missing"),
    ("DELETE FROM agentic_records WHERE seq = 8", "Record 8 .* missing"),
    ("UPDATE agentic_sessions SET seq = 7", "Record 7 .* ended with"),
    ("UPDATE agentic_sessions SET head = zeroblob(32)", "Record 8 .* ended with"),
    ("UPDATE agentic_sessions SET head = 'text'", "damaged"),
    ("UPDATE agentic_sessions SET seq = 'text'", "damaged"),
    ("UPDATE agentic_sessions SET created = 'text'", "damaged"),
    ("UPDATE agentic_sessions SET model = X'00FF'", "damaged"),
    ("UPDATE agentic_sessions SET owner = 'x', host = X'00FF', pid = 'text'", "damaged"),
    ("UPDATE agentic_version SET version_num = ''", "which version"),
    ("UPDATE agentic_version SET version_num = X'00FF'", "which version"),
    ("UPDATE agentic_version SET version_num = '0000'", "which version"),
    ("UPDATE agentic_records SET kind = CAST(X'FF' AS TEXT) WHERE seq = 2", "damaged"),
    ("UPDATE agentic_sessions SET parent = 's', parent_seq = 8", "history is missing"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("statement", "says"), TAMPERED)
async def test_whatever_is_altered_is_found(file: Path, turn: MakeTurn, statement: str, says: str) -> None:
    async with opened(file) as store:
        await fill(store, [turn("one"), turn("two")])
    with raw(file) as other:
        other.execute(statement)
    async with opened(file) as store:
        for call in (store.verify, store.read):
            with pytest.raises(StoreCorrupt, match=says):
                await call("s")


@pytest.mark.anyio
@pytest.mark.parametrize("column", ["created", "updated"])
async def test_times_that_no_calendar_has(file: Path, turn: MakeTurn, column: str) -> None:
    async with opened(file) as store:
        await fill(store, [turn("one")])
    with raw(file) as other:
        other.execute(f"UPDATE agentic_sessions SET {column} = 9e999")
    async with opened(file) as store:
        for call in (store.get("s"), store.sessions(), store.create("s")):
            with pytest.raises(StoreCorrupt, match="damaged"):
                await call
        assert await store.verify("s") == 4


@pytest.mark.anyio
async def test_an_altered_hash_is_found_by_what_is_read_after_it(file: Path, turn: MakeTurn) -> None:
    async with opened(file) as store:
        await fill(store, [turn("one"), turn("two")])
    with raw(file) as other:
        other.execute("UPDATE agentic_records SET hash = 'text' WHERE seq = 4")
    async with opened(file) as store:
        with pytest.raises(StoreCorrupt, match=r"Record 4 .* its hash"):
            await store.read("s", after=4)


@pytest.mark.anyio
async def test_an_altered_ancestor_is_found_in_its_fork(file: Path, turn: MakeTurn) -> None:
    async with opened(file) as store:
        await fill(store, [turn("one"), turn("two")])
        await store.fork("s", "early", at="one")
        await store.fork("s", "late")
        with raw(file) as other:
            other.execute("UPDATE agentic_records SET hash = zeroblob(32) WHERE seq = 6")
        assert await store.verify("early") == 4
        with pytest.raises(StoreCorrupt, match="Record 6 of session 'late'"):
            await store.verify("late")


@pytest.mark.anyio
async def test_a_record_that_no_version_can_read(file: Path, turn: MakeTurn) -> None:
    from agentic.store.chain import ZERO, Row, Span, link, unseal

    head = link(ZERO, 1, b'{"record":"from the future"}')
    row = Row("s", 1, "from the future", "", "", b'{"record":"from the future"}', head)
    with pytest.raises(StoreCorrupt, match=r"Record 1 .* cannot be read"):
        unseal([row], Span("s", 0, 1), head)


@pytest.mark.anyio
async def test_a_damaged_page_is_found(file: Path, turn: MakeTurn) -> None:
    async with opened(file) as store:
        await fill(store, [turn(f"t{number}") for number in range(40)])
    content = bytearray(content_of(file))
    for page in range(8, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xa5" * 200
    put(file, bytes(content))
    async with opened(file) as store:
        with pytest.raises(StoreCorrupt):
            await store.verify("s")


@pytest.mark.anyio
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
async def test_a_torn_log_loses_only_whole_appends_from_the_end(
    file: Path, tmp_path: Path, turn: MakeTurn, keep: float
) -> None:
    turns = [turn(f"t{number}") for number in range(20)]
    async with opened(file) as store:
        await store.create("s")
        await fill(store, turns[:1])
        assert store._database._quick is not None
        store._database.checkpoint()
        await fill(store, turns[1:])
        torn = tmp_path / "torn.db"  # what a power cut could have left
        put(torn, content_of(file))
        log = content_of(Path(f"{file}-wal"))
        put(Path(f"{torn}-wal"), log[: int(len(log) * keep)])
    async with opened(torn) as store:
        count = await store.verify("s")
        assert count % 4 == 0
        assert await store.read("s") == [record for records in turns for record in records][:count]
        assert count >= 4


@pytest.mark.anyio
async def test_errors_do_not_tell_the_database_password() -> None:
    pytest.importorskip("psycopg")
    async with opened("postgresql://user:hunter2@127.0.0.1:1/none", patience=2) as store:
        with pytest.raises(StoreError) as caught:
            await store.sessions()
    assert "hunter2" not in str(caught.value)


@pytest.mark.anyio
async def test_closing_that_is_cancelled_closes_nonetheless(file: Path, turn: MakeTurn) -> None:
    store = SqlStore(file)
    await store.create("s")
    lease = await store.acquire("s")
    with raw(file) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(store.append(lease, turn("one")))
        closing = asyncio.create_task(store.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        other.execute("COMMIT")
    await asyncio.gather(writing, closing, return_exceptions=True)
    await store.aclose()
    assert names(file.parent) == ["sessions.db"]
