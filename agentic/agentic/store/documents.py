"""Small JSON documents beside the sessions: what a server keeps of agents, session names, files and the like."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..types.content import storable
from ..types.errors import StoreCorrupt
from .base import check_name

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPICursor

    from .schema import Sql


@dataclass(frozen=True, slots=True)
class Document:
    """One document.

    Attributes:
        kind: What it is about, such as `agent`.
        name: Unique within its kind.
        body: JSON values.
        created_at: UTC.
    """

    kind: str
    name: str
    body: Mapping[str, Any]
    created_at: datetime


class Documents(Protocol):
    """What a store does for documents; every method may raise `StoreError` in any of its kinds."""

    async def put(self, kind: str, name: str, body: Mapping[str, Any]) -> Document:
        """Writes a document, in the place of an older one, whose time it then keeps.

        Raises:
            InvalidInput: The name is empty, longer than 200 characters, or holds control characters.
        """
        ...

    async def get(self, kind: str, name: str) -> Document | None:
        """One document, or None."""
        ...

    async def all(self, kind: str) -> list[Document]:
        """All documents of a kind, the oldest first."""
        ...

    async def remove(self, kind: str, name: str) -> bool:
        """Removes a document; False where there is none."""
        ...


@runtime_checkable
class KeepsDocuments(Protocol):
    """A store that keeps documents, too."""

    @property
    def documents(self) -> Documents:
        """The documents."""
        ...


class MemoryDocuments:
    """Documents that live as long as this object."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Document] = {}
        self._lock = threading.Lock()

    async def put(self, kind: str, name: str, body: Mapping[str, Any]) -> Document:
        """See `Documents`."""
        check_name(f"{kind}'s name", name)
        with self._lock:
            older = self._kept.get((kind, name))
            created = older.created_at if older else datetime.now(UTC)
            added = self._kept[kind, name] = Document(kind, name, json.loads(_text(body)), created)
            return added

    async def get(self, kind: str, name: str) -> Document | None:
        """See `Documents`."""
        with self._lock:
            return self._kept.get((kind, name))

    async def all(self, kind: str) -> list[Document]:
        """See `Documents`."""
        with self._lock:
            found = [document for document in self._kept.values() if document.kind == kind]
        return sorted(found, key=lambda document: document.created_at)

    async def remove(self, kind: str, name: str) -> bool:
        """See `Documents`."""
        with self._lock:
            return self._kept.pop((kind, name), None) is not None


class SqlDocuments:
    """Documents in an SQL store's database.

    Args:
        sql: The statements.
        transact: Runs a function of a cursor in one transaction.
    """

    def __init__(self, sql: Sql, transact: Callable[..., Awaitable[Any]]) -> None:
        self._sql = sql
        self._transact = transact

    async def put(self, kind: str, name: str, body: Mapping[str, Any]) -> Document:
        """See `Documents`."""
        check_name(f"{kind}'s name", name)
        row = {"kind": kind, "name": name, "body": _text(body), "created": time.time()}
        found = await self._transact(partial(self._put, row))
        return _document(found)

    async def get(self, kind: str, name: str) -> Document | None:
        """See `Documents`."""
        key = {"of_kind": kind, "called": name}
        rows = await self._transact(partial(_rows, self._sql.document, key), write=False)
        return _document(rows[0]) if rows else None

    async def all(self, kind: str) -> list[Document]:
        """See `Documents`."""
        work = partial(_rows, self._sql.documents, {"of_kind": kind})
        return [_document(row) for row in await self._transact(work, write=False, quick=False)]

    async def remove(self, kind: str, name: str) -> bool:
        """See `Documents`."""
        removed: bool = await self._transact(partial(self._remove, {"of_kind": kind, "called": name}))
        return removed

    def _put(self, row: dict[str, Any], cursor: DBAPICursor) -> Sequence[Any]:
        cursor.execute(self._sql.put_document, row)
        found: Sequence[Any] = _rows(self._sql.document, {"of_kind": row["kind"], "called": row["name"]}, cursor)[0]
        return found

    def _remove(self, key: dict[str, Any], cursor: DBAPICursor) -> bool:
        cursor.execute(self._sql.drop_document, key)
        return cursor.rowcount == 1


def _text(body: Mapping[str, Any]) -> str:
    return json.dumps(storable(body), ensure_ascii=False, separators=(",", ":"))


def _rows(statement: str, values: dict[str, Any], cursor: DBAPICursor) -> Sequence[Any]:
    cursor.execute(statement, values)
    rows: Sequence[Any] = cursor.fetchall()
    return rows


def _document(row: Sequence[Any]) -> Document:
    kind, name, created, body = row
    try:
        return Document(kind, name, json.loads(body), datetime.fromtimestamp(created, UTC))
    except (TypeError, ValueError, OverflowError, OSError) as error:  # SQLite keeps whatever type an altered row has
        raise StoreCorrupt(
            f"The row of {kind} {name!r} is damaged.", hint="Restore the store from a backup."
        ) from error
