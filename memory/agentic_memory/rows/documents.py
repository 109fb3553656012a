"""Documents and their chunks as rows: putting, replacing, removing and fetching them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from agentic.types.content import storable
from agentic.types.errors import InvalidInput, StoreCorrupt

from ..types import Chunk
from .access import Tx, numbers_among, span
from .pairs import paired
from .schema import near_index, words_table

if TYPE_CHECKING:
    from ..types import Vectors

Change = Literal["added", "changed", "unchanged"]
_DEEPEST = 500
_REMEMBERED = 10_000
"""Removals kept for readers that are behind; one that is further behind reads everything anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A document that is ready to be stored.

    Attributes:
        name: Its id; an entry of the same name is replaced, unless its hash is the same.
        hash: Of everything that makes it what it is.
        chunks: In order.
        vectors: One row for each chunk, float32; None in banks without vectors.
        title: For citations.
        source: A path or URL.
        mime_type: What it was.
        metadata: JSON values.
    """

    name: str
    hash: bytes
    chunks: Sequence[Chunk] = ()
    vectors: Vectors | None = None
    title: str = ""
    source: str = ""
    mime_type: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Known(NamedTuple):
    """A stored document: its number, hash and number of chunks."""

    id: int
    hash: bytes
    chunks: int


class Row(NamedTuple):
    """A stored chunk with its document; `number` is the chunk's place in it, from 0."""

    chunk: int
    number: int
    name: str
    title: str
    source: str
    text: str
    position: dict[str, Any]
    metadata: dict[str, Any]


def clean(text: str) -> str:
    """Text that both databases take: no lone surrogates, no NUL."""
    if not text.isascii():
        text = storable(text)
    return text.replace("\0", "\ufffd") if "\0" in text else text


def as_json(value: Any, what: str = "metadata") -> str:
    """JSON in one spelling.

    Raises:
        InvalidInput: A value is no JSON, or a key no text, or it is nested more than 500 deep.
    """
    if not value:
        return "{}"
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidInput(f"A document's {what} is a mapping of names to JSON values.")
    try:
        text = json.dumps(dict(value), ensure_ascii=False, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"A document's {what} must be JSON: {error}.") from error
    if text.count("{") + text.count("[") > _DEEPEST and _is_deep(value):
        raise InvalidInput(f"A document's {what} is nested at most {_DEEPEST} deep.")
    return clean(text).replace("\\u0000", "\ufffd")


def _is_deep(value: Any) -> bool:
    """Whether it is nested so deeply that SQLite might not read it: then no filter of the bank would work any more."""
    layer = [value]
    for _ in range(_DEEPEST):
        lists = [one.values() if isinstance(one, Mapping) else one for one in layer]
        layer = [inner for one in lists for inner in one if isinstance(inner, Mapping | list | tuple)]
    return bool(layer)


def from_json(stored: Any) -> dict[str, Any]:
    """What `as_json` wrote; PostgreSQL has read it already.

    Raises:
        StoreCorrupt: It was altered.
    """
    try:
        found: dict[str, Any] = stored if isinstance(stored, dict) else json.loads(stored)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreCorrupt(f"A row of the bank is damaged: {error}.", hint="See: bank.verify().") from error
    return found


def digest(chunks: Iterable[tuple[str, str]], vectors: Sequence[bytes]) -> bytes:
    """SHA-256 over what is stored of a document: each chunk's text and position, and its vector."""
    state = hashlib.sha256()
    for number, (text, position) in enumerate(chunks):
        state.update(f"{len(text)} {position} {text}".encode())
        if vectors:
            state.update(vectors[number])
    return state.digest()


def hash_of_update(before: bytes, metadata: str, title: str) -> bytes:
    """The hash of a document of which something else is said than when it was added."""
    return hashlib.sha256(before + json.dumps([metadata, title]).encode()).digest()


def known(tx: Tx, names: Sequence[str]) -> dict[str, Known]:
    """Which of some documents the bank has.

    Raises:
        InvalidInput: An id is no text.
    """
    for name in names:
        if not isinstance(name, str):
            raise InvalidInput(f"A document's id is text, not {name!r:.80}.", hint="Unpack a list: delete(*ids).")
    listed = "SELECT value FROM json_each(?)" if tx.sqlite else "SELECT jsonb_array_elements_text(CAST(? AS jsonb))"
    rows = tx.all(
        f"SELECT name, id, hash, chunks FROM agentic_bank_documents WHERE bank = ? AND name IN ({listed})",  # noqa: S608
        (tx.bank.id, json.dumps([clean(name) for name in names])),
    )
    return {name: Known(number, bytes(hash_), chunks) for name, number, hash_, chunks in rows}


def put(tx: Tx, entries: Sequence[Entry]) -> list[Change]:
    """Stores documents: new ones are added, changed ones replaced, unchanged ones left alone.

    Returns:
        What happened to each. Of several entries of one name the last one counts.
    """
    last = {entry.name: entry for entry in entries}
    there = known(tx, list(last))
    same = {name for name, found in there.items() if found.hash == last[name].hash}
    new = [entry for name, entry in last.items() if name not in same]
    remove(tx, [there[entry.name].id for entry in new if entry.name in there])
    _insert(tx, new)
    return ["unchanged" if entry.name in same else "changed" if entry.name in there else "added" for entry in entries]


def _insert(tx: Tx, entries: Sequence[Entry]) -> None:
    if not entries:
        return
    number = tx.take(sum(max(1, len(entry.chunks)) for entry in entries))
    now, bank = time.time(), tx.bank.id
    documents, chunks, vectors = [], [], []
    for entry in entries:
        first = number
        stored = [(clean(chunk.text), as_json(chunk.position, "position")) for chunk in entry.chunks]
        blobs = [] if entry.vectors is None else [vector.tobytes() for vector in entry.vectors]
        for place, (text, position) in enumerate(stored):
            chunks.append((first + place, first, text, position, paired(text)))
        vectors += [(first + place, blob) for place, blob in enumerate(blobs)]
        sealed = digest(stored, blobs)
        told = (clean(entry.title), clean(entry.source), entry.mime_type, as_json(entry.metadata))
        documents.append((first, bank, entry.name, *told, entry.hash, sealed, len(stored), now))
        number += max(1, len(stored))
    tx.many(
        "INSERT INTO agentic_bank_documents (id, bank, name, title, source, mime_type, metadata, hash, digest, chunks,"
        " added) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        documents,
    )
    tx.many("INSERT INTO agentic_bank_chunks (id, document, text, position, words) VALUES (?, ?, ?, ?, ?)", chunks)
    insert_vectors(tx, vectors)
    if tx.sqlite:
        words = f"INSERT INTO {words_table(bank)} (rowid, text) VALUES (?, ?)"  # noqa: S608 - a number
        tx.many(words, [(number, text if pairs is None else pairs) for number, _, text, _, pairs in chunks])


def insert_vectors(tx: Tx, vectors: Sequence[tuple[int, bytes]]) -> None:
    """Stores vectors, each a float32 blob, by the numbers of their chunks."""
    if tx.sqlite:
        tx.many("INSERT INTO agentic_bank_vectors (chunk, vector) VALUES (?, ?)", vectors)
    else:
        tx.many(
            "INSERT INTO agentic_bank_vectors (chunk, vector) VALUES (?, CAST(? AS vector))",
            [(chunk, as_pgvector(vector)) for chunk, vector in vectors],
        )


def as_pgvector(vector: bytes) -> str:
    """A vector as pgvector reads it; nine digits tell every float32 from its neighbours."""
    import numpy as np

    return f"[{','.join(f'{number:.9g}' for number in np.frombuffer(vector, dtype=np.float32).tolist())}]"


def remove(tx: Tx, ids: Sequence[int]) -> int:
    """Removes documents by number; returns how many chunks went."""
    listed = json.dumps(sorted(ids))
    rows = tx.all(
        f"SELECT id, chunks FROM agentic_bank_documents WHERE id IN ({numbers_among(tx)}) ORDER BY id",  # noqa: S608
        (listed,),
    )
    if not rows:
        return 0
    ranges: list[list[int]] = []
    for first, count in rows:
        last = first + max(1, count) - 1
        if ranges and ranges[-1][1] == first - 1:
            ranges[-1][1] = last
        else:
            ranges.append([first, last])
    for first, last in ranges:
        _remove_range(tx, first, last)
    number = tx.take(len(ranges))
    gone = "INSERT INTO agentic_bank_gone (id, first, last) VALUES (?, ?, ?)"
    tx.many(gone, [(number + place, first, last) for place, (first, last) in enumerate(ranges)])
    _forget_old_removals(tx)
    return sum(count for _, count in rows)


def remove_all(tx: Tx) -> int:
    """Removes every document, and what was embedded for documents to come; returns how many documents went."""
    low, high = span(tx)
    count = tx.run("DELETE FROM agentic_bank_documents WHERE id > ? AND id < ?", (low, high))
    if tx.sqlite:
        tx.run(f"INSERT INTO {words_table(tx.bank.id)} ({words_table(tx.bank.id)}) VALUES ('delete-all')")  # noqa: S608
    tx.run("DELETE FROM agentic_bank_chunks WHERE id > ? AND id < ?", (low, high))
    tx.run("DELETE FROM agentic_bank_vectors WHERE chunk > ? AND chunk < ?", (low, high))
    tx.run("DELETE FROM agentic_bank_pending WHERE bank = ?", (tx.bank.id,))
    tx.run("DELETE FROM agentic_bank_gone WHERE id > ? AND id < ?", (low, high))
    unindex(tx)
    tx.bank.floor = tx.take(1)
    # One removal stays, so that the bank's numbers are not given again after it was dropped.
    tx.run("INSERT INTO agentic_bank_gone (id, first, last) VALUES (?, ?, ?)", (tx.bank.floor, low, tx.bank.floor))
    return count


def drop(tx: Tx) -> str:
    """Removes the bank with all that it holds; returns its `uid`."""
    remove_all(tx)
    if tx.sqlite:
        tx.run(f"DROP TABLE {words_table(tx.bank.id)}")
        tx.run(f"DROP VIEW agentic_bank_text_{tx.bank.id}")
    tx.run("DELETE FROM agentic_banks WHERE id = ?", (tx.bank.id,))
    return tx.bank.uid


def unindex(tx: Tx) -> None:
    """Drops PostgreSQL's index of vectors: one of another dimension would refuse what comes next."""
    if not tx.sqlite:
        tx.run(f"DROP INDEX IF EXISTS {near_index(tx.bank.id)}")


def _remove_range(tx: Tx, first: int, last: int) -> None:
    if tx.sqlite:
        words = words_table(tx.bank.id)
        tx.run(
            f"INSERT INTO {words} ({words}, rowid, text)"  # noqa: S608
            " SELECT 'delete', id, coalesce(words, text) FROM agentic_bank_chunks WHERE id BETWEEN ? AND ?",
            (first, last),
        )
    for table, column in (("documents", "id"), ("chunks", "id"), ("vectors", "chunk")):
        tx.run(f"DELETE FROM agentic_bank_{table} WHERE {column} BETWEEN ? AND ?", (first, last))  # noqa: S608


def _forget_old_removals(tx: Tx) -> None:
    low, high = span(tx)
    row = tx.one(
        f"SELECT id FROM agentic_bank_gone WHERE id > ? AND id < ? ORDER BY id DESC LIMIT 1 OFFSET {_REMEMBERED}",  # noqa: S608
        (low, high),
    )
    if row is not None:
        tx.run("DELETE FROM agentic_bank_gone WHERE id > ? AND id <= ?", (low, row[0]))
        tx.bank.floor = row[0]


def fetch(tx: Tx, chunks: Sequence[int]) -> dict[int, Row]:
    """Chunks with their documents, by number; those that are gone are left out."""
    rows = tx.all(
        "SELECT c.id, c.id - d.id, d.name, d.title, d.source, c.text, c.position, d.metadata"  # noqa: S608
        " FROM agentic_bank_chunks c JOIN agentic_bank_documents d ON d.id = c.document"
        f" WHERE c.id IN ({numbers_among(tx)})",
        (json.dumps([int(chunk) for chunk in chunks]),),
    )
    found = {}
    for chunk, number, name, title, source, text, position, metadata in rows:
        found[chunk] = Row(chunk, number, name, title, source, text, from_json(position), from_json(metadata))
    return found
