"""A store that forgets: the same log, chain and leases in plain Python."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ..types.records import Record
from ..types.turns import Session
from .base import Lease, check_name
from .chain import ZERO, Row, Span, encode, fork_point, seal, unseal
from .documents import MemoryDocuments
from .prompts import MemoryPrompts
from .refusals import busy, closed, forked, lost, missing, taken


@dataclass(slots=True)
class _Log:
    session_id: str
    agent: str
    model: str
    parent: _Log | None = None
    parent_seq: int = 0
    rows: list[Row] = field(default_factory=list)
    owner: str | None = None
    loop: asyncio.AbstractEventLoop | None = None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def seq(self) -> int:
        return self.parent_seq + len(self.rows)

    @property
    def held(self) -> bool:
        """Whether somebody writes it; what was left behind in a loop that has closed cannot go on."""
        return self.owner is not None and not (self.loop and self.loop.is_closed())

    def head(self, seq: int) -> bytes:
        """The hash of record `seq`."""
        log: _Log | None = self
        while log is not None and seq <= log.parent_seq:
            log = log.parent
        return log.rows[seq - log.parent_seq - 1].hash if log else ZERO

    def history(self) -> Iterator[Row]:
        """All rows, oldest first."""
        spans: list[Sequence[Row]] = []
        log, high = self, self.seq
        while True:
            spans.append(log.rows[: max(0, high - log.parent_seq)])
            if log.parent is None:
                break
            log, high = log.parent, min(high, log.parent_seq)
        for rows in reversed(spans):
            yield from rows

    def picture(self) -> Session:
        return Session(
            session_id=self.session_id,
            started_at=self.created,
            updated_at=self.updated,
            agent=self.agent,
            model=self.model,
            parent=self.parent.session_id if self.parent else None,
            records=len(self.rows),
        )


class MemoryStore:
    """Sessions that live as long as this object; everything else is as in `Store`."""

    def __init__(self) -> None:
        self.prompts = MemoryPrompts()
        self.documents = MemoryDocuments()
        self._logs: dict[str, _Log] = {}
        self._lock = threading.Lock()  # not a loop's lock: several loops may share the store
        self._closed = False

    async def create(self, session_id: str, *, agent: str = "", model: str = "") -> Session:
        """See `Store`."""
        check_name("session id", session_id)
        check_name("agent name", agent, empty=True)
        check_name("model", model, empty=True)
        with self._open():
            return self._logs.setdefault(session_id, _Log(session_id, agent, model)).picture()

    async def get(self, session_id: str) -> Session:
        """See `Store`."""
        with self._open():
            return self._log(session_id).picture()

    async def sessions(self) -> list[Session]:
        """See `Store`."""
        with self._open():
            return sorted((log.picture() for log in self._logs.values()), key=lambda one: one.updated_at, reverse=True)

    async def acquire(self, session_id: str) -> Lease:
        """See `Store`."""
        with self._open():
            log = self._log(session_id)
            if log.held:
                raise busy(session_id)
            log.owner, log.loop = secrets.token_hex(16), asyncio.get_running_loop()
            return Lease(session_id, log.owner, log.seq, log.head(log.seq))

    async def append(self, lease: Lease, records: Sequence[Record], *, release: bool = False) -> None:
        """See `Store`."""
        bodies = encode(records)
        with self._open():
            log = self._logs.get(lease.session_id)
            if log is None or log.owner != lease.token:
                raise lost(lease.session_id)
            rows = seal(lease.session_id, lease.seq, lease.head, records, bodies)
            if rows:
                log.rows.extend(rows)
                log.updated = datetime.now(UTC)
                lease.seq, lease.head = rows[-1].seq, rows[-1].hash
            if release:
                log.owner = log.loop = None

    async def release(self, lease: Lease) -> None:
        """See `Store`."""
        log = self._logs.get(lease.session_id)
        if log is not None and log.owner == lease.token:
            log.owner = log.loop = None

    async def read(self, session_id: str, *, after: int = 0) -> list[Record]:
        """See `Store`."""
        with self._open():
            log = self._log(session_id)
            high, after = log.seq, max(0, after)
            if after >= high:
                return []
            rows = [row for row in log.history() if row.seq >= after]
            return unseal(rows, Span(session_id, after, high), log.head(high))

    async def fork(self, session_id: str, new_id: str, *, at: str | None = None) -> Session:
        """See `Store`."""
        check_name("session id", new_id)
        with self._open():
            log = self._log(session_id)
            if new_id in self._logs:
                raise taken(new_id)
            labels = ((row.seq, row.kind, row.turn_id, row.step_id) for row in log.history())
            seq = log.seq if at is None else fork_point(labels, at)
            self._logs[new_id] = _Log(new_id, log.agent, log.model, parent=log, parent_seq=seq)
            return self._logs[new_id].picture()

    async def delete(self, session_id: str) -> None:
        """See `Store`."""
        with self._open():
            log = self._log(session_id)
            if log.held:
                raise busy(session_id)
            if forks := sorted(one.session_id for one in self._logs.values() if one.parent is log):
                raise forked(session_id, forks)
            del self._logs[session_id]

    async def verify(self, session_id: str) -> int:
        """See `Store`."""
        return len(await self.read(session_id))

    async def aclose(self) -> None:
        """See `Store`."""
        self._closed = True
        self._logs.clear()

    def _open(self) -> threading.Lock:
        if self._closed:
            raise closed()
        return self._lock

    def _log(self, session_id: str) -> _Log:
        if (log := self._logs.get(check_name("session id", session_id))) is None:
            raise missing(session_id)
        return log
