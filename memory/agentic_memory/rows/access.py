"""How rows are reached: one bank of one database, in transactions that run in a thread."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from agentic.store.base import check_name
from agentic.threads import run_in_thread
from agentic.types.errors import ConfigError, NotFound, StoreError, UsageError

T = TypeVar("T")
WAIT = 30.0
"""Seconds that a writer waits for another one."""


@dataclass(slots=True)
class Bank:
    """A bank's row.

    Attributes:
        id: Its number.
        name: Its name.
        kind: `vector`, `keyword`, …
        uid: Random, so that a cache made from another database is never taken for this one's.
        generation: Goes up with each transaction that changes the bank.
        last: The last number given to a chunk, document or removal.
        floor: Removals up to this number have been forgotten.
        settings: JSON: the embedding's fingerprint, and whatever a kind of bank keeps.
    """

    id: int
    name: str
    kind: str
    uid: str
    generation: int
    last: int
    floor: int
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> Bank:
        """Reads a row of `_COLUMNS`."""
        number, name, kind, uid, generation, last, floor, settings = row
        return cls(number, name, kind, uid, generation, last, floor, json.loads(settings))


_COLUMNS = "id, name, kind, uid, generation, last, floor, settings"


class Tx:
    """A transaction: a cursor of either database, and the bank as it is in it.

    Statements are written with `?` for each value.
    """

    __slots__ = ("_cursor", "bank", "changed", "sqlite")

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.sqlite = isinstance(cursor, sqlite3.Cursor)
        self.bank: Bank
        self.changed = False

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Runs a statement; returns how many rows it changed."""
        self._cursor.execute(sql if self.sqlite else _psycopg(sql), values)
        return int(self._cursor.rowcount)

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        self._cursor.execute(sql if self.sqlite else _psycopg(sql), values)
        rows: list[tuple[Any, ...]] = self._cursor.fetchall()
        return rows

    def one(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        self._cursor.execute(sql if self.sqlite else _psycopg(sql), values)
        row: tuple[Any, ...] | None = self._cursor.fetchone()
        return row

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Runs a statement once for each row of values."""
        self._cursor.executemany(sql if self.sqlite else _psycopg(sql), rows)

    def take(self, count: int) -> int:
        """Gives out numbers that nobody had; returns the first of `count`."""
        first = self.bank.last + 1
        self.bank.last += count
        self.changed = True
        return first


def span(tx: Tx) -> tuple[int, int]:
    """The numbers that a bank's chunks lie between, both ends excluded."""
    from .schema import SPAN

    low = tx.bank.id << SPAN
    return low, low + (1 << SPAN)


def numbers_among(tx: Tx) -> str:
    """A subquery of the numbers in one bound value, a JSON list."""
    if tx.sqlite:
        return "SELECT value FROM json_each(?)"
    return "SELECT CAST(value AS bigint) FROM jsonb_array_elements_text(CAST(? AS jsonb))"


@functools.lru_cache(maxsize=256)
def _psycopg(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


class Rows:
    """One bank's rows. Nothing on disk is touched before the first use; any thread and event loop may use it.

    Args:
        store: `"default"` (the file that sessions are in, too), a path, a URL, or None for a file that is gone when
            this is closed.
        name: The bank's name; it is made at the first use.
        kind: What sort of bank it is; opening it as another one is refused.
        timeout: Seconds to wait for a lock.

    Raises:
        InvalidInput: The name cannot be used.
        ConfigError: The store cannot be used.
    """

    def __init__(self, store: str | Path | None, name: str, *, kind: str, timeout: float = WAIT) -> None:
        from agentic.store.database import Database

        from .schema import prepare

        self.name = check_name("bank name", name)
        self.kind = kind
        self._folder = Path(tempfile.mkdtemp(prefix="agentic-bank-")) if store is None else None
        self._database = Database(_where(store, self._folder), timeout, prepare=prepare, durable=True)
        self._writing = threading.Lock()
        self._bank: int | None = None
        self._pid = os.getpid()
        self._closed = False

    @property
    def where(self) -> str:
        """The file's path, or the database's URL without its password."""
        return self._database.where

    @property
    def postgresql(self) -> bool:
        """Whether it is on PostgreSQL."""
        return self.where.startswith("postgresql")

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Runs a function on the bank as of one moment."""
        await self._opened()
        return await _thread(functools.partial(self.read_here, work))

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Runs a function that may change rows, after every other writer; when it raises, nothing has changed.

        A cancelled call first waits until its transaction has ended.

        Raises:
            StoreLocked: Another process kept writing for too long.
        """
        await self._opened()
        return await _thread(functools.partial(self.write_here, work))

    def read_here(self, work: Callable[[Tx], T]) -> T:
        """As `read`, in the calling thread; the bank must have been opened."""
        return self._database.run(functools.partial(self._within, work), write=False)

    async def aclose(self) -> None:
        """Closes every connection. A second call does nothing."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        await _thread(self._database.close)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _opened(self) -> None:
        if self._closed:
            raise StoreError(f"The bank {self.name!r} is closed.", hint="Open it again.")
        if self._pid != os.getpid():
            raise UsageError("This bank was opened before the process forked; open it anew in the child process.")
        if self._bank is None:
            await _thread(self._open)

    def _open(self) -> None:
        self._database.open()
        row = self._database.run(self._find, write=False)
        if row is None:
            with self._writing:
                row = self._database.run(self._create)
        if row[1] != self.kind:
            raise ConfigError(f"The bank {self.name!r} is a {row[1]} bank, not a {self.kind} one.")
        self._bank = row[0]

    def _find(self, cursor: Any) -> tuple[Any, ...] | None:
        return Tx(cursor).one("SELECT id, kind FROM agentic_banks WHERE name = ?", (self.name,))

    def _create(self, cursor: Any) -> tuple[Any, ...]:
        from .schema import SPAN, words_of_bank

        tx = Tx(cursor)
        if not tx.sqlite:
            tx.run("LOCK TABLE agentic_banks IN SHARE ROW EXCLUSIVE MODE")
        if (row := self._find(cursor)) is not None:
            return row
        # Numbers of dropped banks are not given again: a reader may still have one in mind.
        (highest,) = tx.one("SELECT coalesce(max(id), 0) FROM agentic_banks") or (0,)
        number = max(highest, self._dropped(tx)) + 1
        tx.run(
            "INSERT INTO agentic_banks (id, name, kind, uid, generation, last, floor, settings, created)"
            " VALUES (?, ?, ?, ?, 0, ?, 0, '{}', ?)",
            (number, self.name, self.kind, secrets.token_hex(8), number << SPAN, time.time()),
        )
        for statement in words_of_bank(number) if tx.sqlite else ():
            tx.run(statement)
        return number, self.kind

    @staticmethod
    def _dropped(tx: Tx) -> int:
        from .schema import SPAN

        (last,) = tx.one("SELECT coalesce(max(id), 0) FROM agentic_bank_gone") or (0,)
        return int(last) >> SPAN

    def _within(self, work: Callable[[Tx], T], cursor: Any, *, lock: str = "") -> T:
        tx = Tx(cursor)
        query = f"SELECT {_COLUMNS} FROM agentic_banks WHERE id = ?{lock}"  # noqa: S608
        row = tx.one(query, (self._bank,))
        if row is None:
            raise NotFound(f"The bank {self.name!r} was removed.")
        tx.bank = Bank.of(row)
        return work(tx)

    def write_here(self, work: Callable[[Tx], T]) -> T:
        """As `write`, in the calling thread; the bank must have been opened."""

        def changing(cursor: Any) -> T:
            tx: Tx

            def noted(within: Tx) -> T:
                nonlocal tx
                tx = within
                return work(within)

            result = self._within(noted, cursor, lock="" if isinstance(cursor, sqlite3.Cursor) else " FOR UPDATE")
            if tx.changed:
                bank = tx.bank
                tx.run(
                    "UPDATE agentic_banks SET generation = generation + 1, last = ?, floor = ?, settings = ?"
                    " WHERE id = ?",
                    (bank.last, bank.floor, json.dumps(bank.settings), bank.id),
                )
            return result

        with self._writing:
            return self._database.run(changing)


async def banks(store: str | Path | None = "default") -> list[Bank]:
    """The banks of a store, by name."""
    from agentic.store.database import Database

    from .schema import prepare

    database = Database(_where(store, None), WAIT, prepare=prepare, durable=True)

    def work(cursor: Any) -> list[Bank]:
        found = Tx(cursor).all(f"SELECT {_COLUMNS} FROM agentic_banks ORDER BY name")  # noqa: S608
        return [Bank.of(row) for row in found]

    def all_of_it() -> list[Bank]:
        try:
            database.open()
            return database.run(work, write=False)
        finally:
            database.close()

    return await _thread(all_of_it)


def _where(store: Any, folder: Path | None) -> Any:
    if store is None:
        if folder is None:
            raise ConfigError("A store needs a path or a URL.")
        return folder / "bank.db"
    if not isinstance(store, str | Path) or not str(store).strip():
        raise ConfigError("A bank's store is a path, a URL or None.")
    if store != "default":
        return store
    from agentic.paths import data_dir

    return data_dir() / "sessions.db"


async def _thread(function: Callable[[], T]) -> T:
    """Runs a function in a thread; a cancelled caller leaves only when it has ended."""
    running = asyncio.ensure_future(run_in_thread(function, "agentic-bank"))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # seen, so that asyncio does not complain
        raise
