"""Sessions in an SQL database: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.engine.interfaces import DBAPICursor

from ..threads import carried_through
from ..types.errors import SessionBusy, StoreError, UsageError
from ..types.records import Record
from ..types.turns import Session
from . import owner
from .base import Lease, check_name
from .chain import ZERO, encode
from .database import WORKERS, Database, NotNow
from .documents import SqlDocuments
from .prompts import SqlPrompts
from .queries import Queries, picture
from .refusals import closed, lost
from .schema import SessionRow

T = TypeVar("T")
_QUICK_BYTES = 1024 * 1024


@dataclass(slots=True, eq=False)
class _Held:
    """A lease that this store gave out."""

    lease: Lease
    loop: asyncio.AbstractEventLoop
    timer: asyncio.TimerHandle | None = None
    writing: threading.Lock = field(default_factory=threading.Lock)


class SqlStore:
    """Sessions in a database; see `Store` for what each method promises.

    Args:
        where: A path to an SQLite file, or a URL: `sqlite:///path`, `postgresql://user:password@host/database`.
        timeout: Seconds to wait for a lock that another process holds. A PostgreSQL server that says nothing for twice
            as long is given up.

    Raises:
        ConfigError: The URL cannot be used, or its driver is not installed.
    """

    def __init__(self, where: str | Path, *, timeout: float = 10.0) -> None:
        self._database = Database(where, timeout, silence=2 * timeout)  # a lock that it waits for ends in half of that
        self._queries = Queries(self._database.sql)
        self.prompts = SqlPrompts(self._database.sql, self._run)
        self.documents = SqlDocuments(self._database.sql, self._run)
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="agentic-store")
        self._running: set[Future[Any]] = set()
        self._held: dict[str, _Held] = {}
        self._closed = False
        self._pid = os.getpid()

    async def create(self, session_id: str, *, agent: str = "", model: str = "") -> Session:
        """See `Store`."""
        check_name("session id", session_id)
        check_name("agent name", agent, empty=True)
        check_name("model", model, empty=True)
        now = time.time()
        new = SessionRow(session_id, agent, model, None, 0, now, now, 0, ZERO, None, None, None, None)
        return picture(await self._run(partial(self._queries.create, new)))

    async def get(self, session_id: str) -> Session:
        """See `Store`."""
        check_name("session id", session_id)
        return picture(await self._run(partial(self._queries.get, session_id), write=False))

    async def sessions(self) -> list[Session]:
        """See `Store`."""
        return [picture(row) for row in await self._run(self._queries.all, write=False, quick=False)]

    async def acquire(self, session_id: str) -> Lease:
        """See `Store`."""
        check_name("session id", session_id)
        token, loop = secrets.token_hex(16), asyncio.get_running_loop()
        owner.live[token] = loop
        try:
            row = await self._run(partial(self._queries.take, session_id, token))
        except BaseException:
            owner.live.pop(token, None)  # should a worker still write it, it is an abandoned lease
            raise
        held = _Held(Lease(session_id, token, row.seq, row.head), loop)
        self._held[token] = held
        self._renew_later(held)
        return held.lease

    async def append(self, lease: Lease, records: Sequence[Record], *, release: bool = False) -> None:
        """See `Store`."""
        await self._opened()
        bodies = encode(records)
        if (held := self._held.get(lease.token)) is None:
            raise lost(lease.session_id)
        if not bodies:
            if release:
                await self.release(lease)
            return
        work, size = partial(self._queries.append, held.lease, records, bodies, release), sum(map(len, bodies))
        try:
            if size > _QUICK_BYTES or not self._append_now(held, work, size):
                await carried_through(self._in_worker(partial(self._append_patiently, held, work)))
        except SessionBusy:
            self._drop(held)
            raise
        if release:
            self._drop(held)

    async def release(self, lease: Lease) -> None:
        """See `Store`."""
        if (held := self._held.get(lease.token)) is None:
            return
        self._drop(held)
        # A lease that could not be freed is not in `owner.live` any more: this process may take it over at once,
        # others when it expires.
        with suppress(StoreError):
            await carried_through(self._run(partial(self._queries.free, lease)))

    async def read(self, session_id: str, *, after: int = 0) -> list[Record]:
        """See `Store`."""
        check_name("session id", session_id)
        return await self._run(partial(self._queries.read, session_id, max(0, after)), write=False, quick=False)

    async def fork(self, session_id: str, new_id: str, *, at: str | None = None) -> Session:
        """See `Store`."""
        check_name("session id", session_id)
        check_name("session id", new_id)
        return picture(await self._run(partial(self._queries.fork, session_id, new_id, at), quick=False))

    async def delete(self, session_id: str) -> None:
        """See `Store`."""
        check_name("session id", session_id)
        await self._run(partial(self._queries.delete, session_id), quick=False)

    async def verify(self, session_id: str) -> int:
        """See `Store`."""
        return len(await self.read(session_id))

    async def aclose(self) -> None:
        """See `Store`."""
        if self._closed or self._pid != os.getpid():
            return
        for held in list(self._held.values()):
            await self.release(held.lease)
        self._closed = True
        try:
            waiting = [asyncio.wrap_future(future) for future in list(self._running)]
            await asyncio.gather(*waiting, return_exceptions=True)
            await self._in_worker(self._database.close)
        finally:
            self._workers.shutdown()
            self._database.close()  # does something only when the wait above was cancelled

    async def _opened(self) -> None:
        if self._closed:
            raise closed()
        if self._pid != os.getpid():
            raise UsageError("This store was opened before the process forked; open it anew in the child process.")
        if not self._database.ready:
            await self._in_worker(self._database.open)

    async def _run(self, work: Callable[[DBAPICursor], T], *, write: bool = True, quick: bool = True) -> T:
        await self._opened()
        if quick:
            with suppress(NotNow):
                return self._database.now(work, write=write)
        return await self._in_worker(partial(self._database.run, work, write=write))

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._submit(work))

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        try:
            future = self._workers.submit(work)
        except RuntimeError as error:  # another thread has closed the store meanwhile
            raise closed() from error
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def _append_now(self, held: _Held, work: Callable[[DBAPICursor], tuple[int, bytes]], size: int) -> bool:
        if not held.writing.acquire(blocking=False):
            return False
        try:
            held.lease.seq, held.lease.head = self._database.now(work)
        except NotNow:
            return False
        finally:
            held.writing.release()
        if self._database.due(size):
            self._submit(self._database.checkpoint)
        return True

    def _append_patiently(self, held: _Held, work: Callable[[DBAPICursor], tuple[int, bytes]]) -> None:
        with held.writing:
            held.lease.seq, held.lease.head = self._database.run(work)

    def _renew_later(self, held: _Held) -> None:
        held.timer = held.loop.call_later(owner.RENEW_SECONDS, self._renew, held)

    def _renew(self, held: _Held) -> None:
        if held.lease.token not in self._held:
            return
        self._renew_later(held)
        try:
            self._note(held, self._database.now(partial(self._queries.renew, held.lease)))
        except NotNow:
            self._submit(partial(self._renew_patiently, held))
        except StoreError:
            pass  # the lease lasts for two more attempts

    def _renew_patiently(self, held: _Held) -> None:
        with suppress(StoreError):
            self._note(held, self._database.run(partial(self._queries.renew, held.lease)))

    def _note(self, held: _Held, renewed: bool) -> None:
        if not renewed:
            self._drop(held)

    def _drop(self, held: _Held) -> None:
        self._held.pop(held.lease.token, None)
        owner.live.pop(held.lease.token, None)
        with suppress(RuntimeError):  # called in a worker: the timer then ends by itself
            if held.timer is not None and asyncio.get_running_loop() is held.loop:
                held.timer.cancel()
