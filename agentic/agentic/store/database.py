"""One SQL database: its connections, how a transaction runs on them, and what its failures mean.

SQLite has two kinds of connection. The *quick* one is used on the event loop's own thread: it never waits for a lock
and never checkpoints, so a transaction on it is a few writes into the page cache (some ten microseconds). Whatever
could take longer runs in a worker thread on a connection from the pool, which waits for locks. PostgreSQL has workers
only.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, PoolProxiedConnection, create_engine, event, exc, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from ..types.errors import ConfigError, StoreError
from .faults import fault, sqlite_code
from .migrate import migrate
from .schema import Sql

T = TypeVar("T")
WORKERS = 4
_WAL_BYTES = 4 * 1024 * 1024
_PAGES_PER_COMMIT = 4 * 4096
_SQLITE_BEGIN = {True: "BEGIN IMMEDIATE", False: "BEGIN"}
_POSTGRESQL_BEGIN = {True: "", False: "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"}


class NotNow(Exception):
    """The quick connection cannot do it without waiting: give it to a worker."""


class Database:
    """A database that is opened on first use.

    Args:
        where: A path to an SQLite file, or a URL.
        timeout: Seconds to wait for a lock or a connection.
        prepare: Creates or upgrades the tables: of the engine and the database's name for messages.
        durable: What was committed survives a power cut too; each commit then waits for the disk.
        silence: Seconds after which a PostgreSQL server that says nothing is given up; None is never.

    Raises:
        ConfigError: The URL cannot be used, or its driver is not installed.
    """

    def __init__(
        self,
        where: str | Path,
        timeout: float,
        *,
        prepare: Callable[[Engine, str], None] = migrate,
        durable: bool = False,
        silence: float | None = None,
    ) -> None:
        url = _url(where)
        self.where = str(url.database) if url.drivername == "sqlite" else url.render_as_string()
        self.ready = False
        self._timeout = timeout
        self._prepare = prepare
        self._engine = _engine(url, timeout, durable=durable, silence=silence)
        self._sqlite = self._engine.dialect.name == "sqlite"
        self._file = Path(url.database or "") if self._sqlite and "uri" not in url.query else None
        self._errors: tuple[type[Exception], ...] = (exc.DBAPIError, self._engine.dialect.loaded_dbapi.Error)
        self._begin = _SQLITE_BEGIN if self._sqlite else _POSTGRESQL_BEGIN
        self.sql = Sql(self._engine.dialect)
        self._opening = threading.Lock()
        self._pooled: PoolProxiedConnection | None = None  # what keeps `_quick` out of the pool
        self._quick: sqlite3.Connection | None = None
        self._quick_lock = threading.Lock()
        self._logged = 0

    def open(self) -> None:
        """Creates or upgrades the database if need be; blocks."""
        with self._opening:
            if self.ready:
                return
            if self._file is not None:
                _create_private(self._file)
            try:
                if self._sqlite:
                    self._prepare_quick()
                self._prepare(self._engine, self.where)
            except self._errors as error:
                raise fault(error, self.where) from error
            self.ready = True

    def close(self) -> None:
        """Closes every connection; blocks while SQLite moves its log into the file."""
        with self._opening, self._quick_lock:
            self.ready = False
            self._quick = None
            if self._pooled is not None:
                self._pooled.close()
                self._pooled = None
            self._engine.dispose()

    def now(self, work: Callable[[DBAPICursor], T], *, write: bool = True) -> T:
        """Runs a short transaction here, without waiting.

        Raises:
            NotNow: It would have to wait.
        """
        if not self._quick_lock.acquire(blocking=False):
            raise NotNow
        try:
            if self._quick is None:
                raise NotNow
            return _transact(self._quick, work, self._begin[write])
        except self._errors as error:
            if sqlite_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise NotNow from error
            raise fault(error, self.where) from error
        finally:
            self._quick_lock.release()

    def run(self, work: Callable[[DBAPICursor], T], *, write: bool = True) -> T:
        """Runs a transaction, waiting for locks; a reading one sees the database as of one moment."""
        try:
            connection = self._engine.raw_connection()
            try:
                return _transact(connection, work, self._begin[write])
            except self._errors as error:
                connection.invalidate(error)  # it may be broken; opening another one is cheap
                raise
            finally:
                connection.close()
        except self._errors as error:
            raise fault(error, self.where) from error

    def due(self, written: int) -> bool:
        """Counts what the quick connection wrote, in bytes; True when `checkpoint` should run."""
        self._logged += written + _PAGES_PER_COMMIT
        if self._quick is None or self._logged < _WAL_BYTES:
            return False
        self._logged = 0
        return True

    def checkpoint(self) -> None:
        """Moves SQLite's log into the file and lets it begin anew; blocks while the disk writes.

        It runs on the quick connection, so that appends meanwhile go to the workers instead of making the log longer,
        and so that it never waits for a reader: what cannot be moved now is moved soon after.
        """
        with self._quick_lock, suppress(*self._errors):
            if self._quick is not None:
                (busy, *_) = self._quick.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
                self._logged = _WAL_BYTES // 2 if busy else 0

    def _prepare_quick(self) -> None:
        if self._pooled is None:
            self._pooled = self._engine.raw_connection()
        connection = self._pooled.driver_connection
        assert isinstance(connection, sqlite3.Connection)  # noqa: S101
        _use_wal(connection, self._timeout)
        connection.execute("PRAGMA busy_timeout=0")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        self._quick = connection


def _transact(connection: Any, work: Callable[[DBAPICursor], T], begin: str) -> T:
    cursor = connection.cursor()
    try:
        if begin:
            cursor.execute(begin)
        result = work(cursor)
        connection.commit()
    except BaseException:
        with suppress(Exception):
            connection.rollback()
        raise
    finally:
        cursor.close()
    return result


def _url(where: str | Path) -> URL:
    if isinstance(where, Path) or "://" not in where:
        return _absolute(URL.create("sqlite", database=str(where)))
    try:
        url = make_url(where)
    except (exc.ArgumentError, ValueError) as error:
        raise ConfigError("The store's URL cannot be read.", hint="Write sqlite:///path or postgresql://…") from error
    if url.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "sqlite":
        raise ConfigError(f"A store is SQLite or PostgreSQL, not {url.drivername!r}.")
    return url if "uri" in url.query else _absolute(url)


def _absolute(url: URL) -> URL:
    """The URL of an SQLite file that does not change its meaning with the current folder."""
    name = url.database or ":memory:"
    if name == ":memory:":
        raise ConfigError("An SQLite store needs a file; use store=None to keep sessions in memory.")
    if "\0" in name:
        raise ConfigError("A store's path must not hold a NUL character.")
    return url.set(database=str(Path(name).expanduser().absolute()))


def _engine(url: URL, timeout: float, *, durable: bool, silence: float | None) -> Engine:
    sqlite = url.drivername == "sqlite"
    # A server whose machine is gone says nothing: without these, a wait for it would have no end.
    waits = {"connect_timeout": max(2, round(timeout)), "keepalives_idle": 30, "tcp_user_timeout": 30_000}
    options: dict[str, Any] = {"pool_pre_ping": True, "connect_args": waits}
    if sqlite:  # isolation_level=None: the driver begins no transactions, we do
        arguments = {"timeout": timeout, "isolation_level": None, "check_same_thread": False}
        options = {"paramstyle": "named", "connect_args": arguments}
    try:
        engine = create_engine(url, pool_size=WORKERS + 1, max_overflow=0, hide_parameters=True, **options)
    except ImportError as error:
        raise ConfigError("PostgreSQL needs psycopg.", hint="Install it: pip install 'psycopg[binary]'") from error
    pragmas = (f"synchronous={'FULL' if durable else 'NORMAL'}", "foreign_keys=ON", "secure_delete=ON")

    # NORMAL: kill -9 loses nothing, since the kernel has what was committed. A power cut may lose the last commits,
    # never their order and never the file.
    def prepare(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        for line in [f"PRAGMA {pragma}" for pragma in pragmas] if sqlite else [f"SET lock_timeout = '{timeout}s'"]:
            cursor.execute(line)
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", prepare)
    if silence is not None and not sqlite:
        from .silence import connection_class

        connect = connection_class(silence).connect
        event.listen(engine, "do_connect", lambda _dialect, _record, args, options: connect(*args, **options))
    return engine


def _create_private(file: Path) -> None:
    if file.is_dir():
        raise ConfigError(f"The store {file} is a folder; name a file in it.")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDONLY, 0o600))
    except OSError as error:
        raise fault(error, str(file)) from error


def _use_wal(connection: sqlite3.Connection, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as error:
            # SQLite does not wait by itself when another process is turning the same new file into WAL mode.
            if sqlite_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            if mode != "wal":
                raise StoreError(f"The store needs SQLite's WAL mode, and this file system cannot do it ({mode}).")
            return
