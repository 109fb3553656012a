"""What happens inside one transaction of an SQL store, for each method of `Store`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.engine.interfaces import DBAPICursor

from ..types.errors import StoreCorrupt
from ..types.records import Record
from ..types.turns import Session
from .base import Lease
from .chain import Row, Span, fork_point, seal, unseal
from .owner import LEASE_SECONDS, abandoned, host
from .refusals import busy, forked, lost, missing, taken
from .schema import SessionRow, Sql


class Queries:
    """The transactions' bodies; each gets a cursor and neither begins nor commits.

    Args:
        sql: The statements.
    """

    def __init__(self, sql: Sql) -> None:
        self._sql = sql
        self._host = host()

    def create(self, new: SessionRow, cursor: DBAPICursor) -> SessionRow:
        """Adds a session unless it exists, and returns what is there."""
        cursor.execute(self._sql.add_session, new._asdict())
        return self.get(new.id, cursor)

    def get(self, session_id: str, cursor: DBAPICursor, *, lock: bool = False) -> SessionRow:
        """One session; `lock` keeps others from changing it until the transaction ends."""
        cursor.execute(self._sql.session_locked if lock else self._sql.session, {"session": session_id})
        if (found := cursor.fetchone()) is None:
            raise missing(session_id)
        return _whole(found)

    def all(self, cursor: DBAPICursor) -> list[SessionRow]:
        """Every session, the one that changed last first."""
        cursor.execute(self._sql.sessions)
        return [_whole(row) for row in cursor.fetchall()]

    def take(self, session_id: str, token: str, cursor: DBAPICursor) -> SessionRow:
        """Makes `token` the session's owner."""
        row = self.get(session_id, cursor, lock=True)
        if not _free(row, now := self._now(cursor)):
            raise busy(session_id, f" by process {row.pid} on {(row.host or '').partition(' ')[0]}")
        new = {
            "new_owner": token,
            "new_host": self._host,
            "new_pid": os.getpid(),
            "until": now + LEASE_SECONDS,
        }
        cursor.execute(self._sql.take, {"session": session_id, **new})
        return row

    def renew(self, lease: Lease, cursor: DBAPICursor) -> bool:
        """Makes a lease last longer; False when it was lost."""
        until = time.time() + LEASE_SECONDS
        cursor.execute(self._sql.renew, {"session": lease.session_id, "token": lease.token, "until": until})
        return cursor.rowcount == 1

    def free(self, lease: Lease, cursor: DBAPICursor) -> None:
        """Ends a lease."""
        cursor.execute(self._sql.free, {"session": lease.session_id, "token": lease.token})

    def append(
        self, lease: Lease, records: Sequence[Record], bodies: Sequence[bytes], release: bool, cursor: DBAPICursor
    ) -> tuple[int, bytes]:
        """Writes records after those that the lease knows of; returns the lease's new `seq` and `head`."""
        rows = seal(lease.session_id, lease.seq, lease.head, records, bodies)
        last, now = rows[-1], time.time()
        fence = {"session": lease.session_id, "token": lease.token, "old_seq": lease.seq}
        new = {"new_seq": last.seq, "new_head": last.hash, "now": now}
        if release:
            cursor.execute(self._sql.advance_last, {**fence, **new})
        else:
            cursor.execute(self._sql.advance, {**fence, **new, "until": now + LEASE_SECONDS})
        if cursor.rowcount != 1:
            raise lost(lease.session_id)
        cursor.executemany(self._sql.add_record, [row._asdict() for row in rows])
        return last.seq, last.hash

    def read(self, session_id: str, after: int, cursor: DBAPICursor) -> list[Record]:
        """The checked records above `after`."""
        row = self.get(session_id, cursor)
        if after >= row.seq:
            return []
        found = self._select(self._sql.records, self._lineage(row, cursor), max(after, 1), row.seq, cursor)
        rows = [Row(*columns) for columns in found]
        return unseal(rows, Span(session_id, after, row.seq), row.head)

    def fork(self, session_id: str, new_id: str, at: str | None, cursor: DBAPICursor) -> SessionRow:
        """Adds a session that goes on from another one's record."""
        row = self.get(session_id, cursor, lock=True)
        seq, head = row.seq, row.head
        if at is not None:
            spans = self._lineage(row, cursor)
            seq = fork_point(self._select(self._sql.labels, spans, 1, row.seq, cursor), at)
            ((head,),) = self._select(self._sql.hash, spans, seq, seq, cursor)
        now = time.time()
        new = SessionRow(new_id, row.agent, row.model, row.id, seq, now, now, seq, head, None, None, None, None)
        cursor.execute(self._sql.add_session, new._asdict())
        if cursor.rowcount != 1:
            raise taken(new_id)
        return new

    def delete(self, session_id: str, cursor: DBAPICursor) -> None:
        """Removes a session that nobody writes and nobody inherits from."""
        row = self.get(session_id, cursor, lock=True)
        if not _free(row, self._now(cursor)):
            raise busy(session_id)
        cursor.execute(self._sql.forks, {"session": session_id})
        if forks := [name for (name,) in cursor.fetchall()]:
            raise forked(session_id, forks)
        cursor.execute(self._sql.drop_records, {"session": session_id})
        cursor.execute(self._sql.drop_session, {"session": session_id})

    def _now(self, cursor: DBAPICursor) -> float:
        """The time by which leases end."""
        if not self._sql.clock:
            return time.time()
        cursor.execute(self._sql.clock)
        ((now,),) = cursor.fetchall()
        return float(now)

    def _lineage(self, row: SessionRow, cursor: DBAPICursor) -> list[Span]:
        """The parts that a session's log is made of, oldest first."""
        spans, high = [Span(row.id, row.parent_seq, row.seq)], row.parent_seq
        while row.parent is not None:
            cursor.execute(self._sql.session, {"session": row.parent})
            if (found := cursor.fetchone()) is None or any(span.session == row.parent for span in spans):
                raise StoreCorrupt(f"Session {row.id!r} goes on from {row.parent!r}, whose history is missing.")
            row = _whole(found)
            spans.append(Span(row.id, row.parent_seq, high))
            high = min(high, row.parent_seq)
        return spans[::-1]

    def _select(self, statement: str, spans: Sequence[Span], first: int, last: int, cursor: DBAPICursor) -> list[Any]:
        """Rows numbered `first` to `last`, each from the session that owns it."""
        rows: list[Any] = []
        for session, low, high in spans:
            start, end = max(first, low + 1), min(last, high)
            if start <= end:
                cursor.execute(statement, {"session": session, "first": start, "last": end})
                rows.extend(cursor.fetchall())
        return rows


def picture(row: SessionRow) -> Session:
    """A session's row as callers see it."""
    try:
        started, updated = (datetime.fromtimestamp(time, UTC) for time in (row.created, row.updated))
    except (ValueError, OverflowError, OSError) as error:
        raise _damaged(row) from error
    return Session(
        session_id=row.id,
        started_at=started,
        updated_at=updated,
        agent=row.agent,
        model=row.model,
        parent=row.parent,
        records=row.seq - row.parent_seq,
    )


def _whole(columns: Sequence[Any]) -> SessionRow:
    """A session's row; SQLite keeps whatever type a damaged or altered one has."""
    row = SessionRow(*columns)
    texts = (row.id, row.agent, row.model, row.parent or "", row.owner or "", row.host or "")
    numbers, times = (row.seq, row.parent_seq, row.pid or 0), (row.created, row.updated, row.lease_until or 0.0)
    if not (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) for number in numbers)
        and all(isinstance(time, float | int) for time in times)
        and isinstance(row.head, bytes)
    ):
        raise _damaged(row)
    return row


def _damaged(row: SessionRow) -> StoreCorrupt:
    return StoreCorrupt(f"The row of session {row.id!r} is damaged.", hint="Restore the store from a backup.")


def _free(row: SessionRow, now: float) -> bool:
    return abandoned(row.owner, row.host, row.pid, row.lease_until, now)
