"""What the banks of keys and of relations have in common: documents in rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from agentic.types.content import storable
from agentic.types.errors import InvalidInput
from agentic.types.steps import Hit

from .. import upkeep
from ..adding import check_text
from ..bank import synced
from ..report import DocumentInfo, Report, Verification
from ..rows import Change, Entry, Filter, Row, Rows, Tx, drop, fetch, known, lexical, matching, put, remove, remove_all
from ..rows.documents import as_json, clean
from ..searching import check_least

_LONGEST_ID = 1000


class RowBank:
    """A bank whose documents are rows without vectors.

    Every method has an async form with the letter `a` before its name; the sync one runs it on a loop of its own.

    Args:
        name: Its name in the store.
        store: A path or URL as for sessions; `"default"` is the sessions' own file, None a bank that is gone when it is
            closed.

    Raises:
        InvalidInput: The name cannot be used.
        ConfigError: The store cannot be used, or has a bank of that name and another kind.
    """

    kind: ClassVar[str]

    def __init__(self, name: str, *, store: str | Path | None = "default") -> None:
        self._rows = Rows(store, name, kind=self.kind)

    @property
    def name(self) -> str:
        """The bank's name."""
        return self._rows.name

    @property
    def rows(self) -> Rows:
        """Where it keeps what it knows."""
        return self._rows

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, store={self._rows.where!r})"

    async def aupdate(self, id: str, *, title: str | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        """Changes what is said of a document; None leaves it as it is.

        Raises:
            NotFound: There is no such document.
            InvalidInput: The title is no text, or the metadata no JSON.
        """
        if title is not None:
            check_text(title)

        def work(tx: Tx) -> None:
            upkeep.one(tx, id)
            upkeep.update(tx, id, metadata, title)

        await self._rows.write(work)

    async def adelete(self, *ids: str, filter: Filter | None = None) -> int:
        """Removes documents by id, or all whose metadata a filter is true of; returns how many there were."""
        if not ids and not filter:
            raise InvalidInput("delete takes ids or a filter; to empty the bank, call clear.")

        def work(tx: Tx) -> int:
            found = {document.id for document in known(tx, ids).values()}
            if filter:
                found |= {number for number, _ in matching(tx, filter)}
            remove(tx, sorted(found))
            return len(found)

        return await self._rows.write(work)

    async def aclear(self) -> int:
        """Removes every document; returns how many there were."""
        return await self._rows.write(remove_all)

    async def adocuments(
        self, *, filter: Filter | None = None, limit: int | None = None, offset: int = 0
    ) -> tuple[DocumentInfo, ...]:
        """The documents, in the order in which they came."""
        return tuple(await self._rows.read(lambda tx: upkeep.listed(tx, filter, limit, offset)))

    async def astats(self) -> dict[str, Any]:
        """How many documents and chunks there are, and where."""
        return {**await self._rows.read(upkeep.counted), "store": self._rows.where}

    async def averify(self) -> Verification:
        """Reads everything and compares it: rows with their hashes, and the words with the rows."""
        return await self._rows.write(lambda tx: upkeep.verified(tx, None))

    async def aexport(self, file: str | Path | None = None) -> int:
        """Writes everything as JSON lines, by default into the current folder; returns how many documents."""
        return await upkeep.export(self._rows, file)

    async def arestore(self, file: str | Path) -> Report:
        """Adds the documents that `export` wrote."""
        return await upkeep.restore(self._rows, Path(file))

    async def adrop(self) -> None:
        """Removes the bank from its store, and closes it."""
        await self._rows.write(drop)
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections to the store."""
        await self._rows.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        synced(type(self).aclose)(self)

    update = synced(aupdate)
    delete = synced(adelete)
    clear = synced(aclear)
    documents = synced(adocuments)
    stats = synced(astats)
    verify = synced(averify)
    export = synced(aexport)
    restore = synced(arestore)
    drop = synced(adrop)

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _rows_of(self, id: str) -> list[Row]:
        """A document's chunks, in order; none when it is not known."""
        return await self._rows.read(lambda tx: upkeep.passages(tx, id))

    async def _put(self, entry: Entry) -> Change:
        (change,) = await self._rows.write(lambda tx: put(tx, [entry]))
        return change

    def _hit(self, row: Row, score: float) -> Hit:
        return Hit(row.text, score, row.name, self.name, row.title, row.source, row.position, row.metadata)


def best(hits: Iterable[Hit], k: int, min_score: float | None) -> list[Hit]:
    """The first hits that score enough.

    Raises:
        InvalidInput: `min_score` is no number.
    """
    check_least(min_score)
    return [hit for hit in hits if min_score is None or hit.score >= min_score][:k]


def by_words(
    tx: Tx, query: str, k: int, filter: Filter | None, *, thorough: bool = False
) -> Sequence[tuple[Row, float]]:
    """Chunks that share words with a question, best first, and their BM25 scores above 0; see `lexical`."""
    if not filter:
        found = lexical(tx, query, k, thorough=thorough)
    else:
        allowed = [number for first, chunks in matching(tx, filter) for number in range(first, first + chunks)]
        found = lexical(tx, query, k, among=allowed, thorough=thorough)
    rows = fetch(tx, [number for number, _ in found])
    return [(rows[number], score) for number, score in found if number in rows]


def checked_id(given: str) -> str:
    """A document's id that can be stored and shown.

    Raises:
        InvalidInput: It is empty, too long, or no text.
    """
    if not isinstance(given, str):
        raise InvalidInput(f"An id is text, not {type(given).__name__}.")
    if not given.strip() or len(given) > _LONGEST_ID:
        raise InvalidInput(f"An id is 1 to {_LONGEST_ID} characters of text.")
    return clean(given)


def checked_query(query: str) -> str:
    """A question that can be searched for.

    Raises:
        InvalidInput: It is no text.
    """
    if not isinstance(query, str):
        raise InvalidInput(f"A query is text, not {type(query).__name__}.")
    return clean(query)


def checked_metadata(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Metadata that can be stored.

    Raises:
        InvalidInput: It is no mapping of names to JSON values.
    """
    as_json(given or {})
    return dict(given or {})


def hash_of(*parts: Any) -> bytes:
    """SHA-256 of what a document is made of."""
    return hashlib.sha256(json.dumps(storable(parts), sort_keys=True, ensure_ascii=False).encode()).digest()


def below_one(score: float) -> float:
    """A score above 0 of any size, in its order but below 1."""
    return score / (1 + score)
