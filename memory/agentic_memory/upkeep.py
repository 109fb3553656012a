"""Looking after a bank: checking it, listing it, writing it to a file and back, and computing its vectors anew."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentic.types.errors import InvalidInput, NotFound, StoreCorrupt

from .adding import Adder
from .computing import Embedder, forget_aside, normalised
from .report import DocumentInfo, Report, Verification
from .rows import Entry, Filter, Row, Rows, Tx, compile_filter, fetch, known, span
from .rows.documents import as_json, clean, digest, from_json, hash_of_update, insert_vectors, unindex
from .rows.schema import words_table
from .rows.vectors import blobs_between
from .searching import whole
from .types import Chunk, Embedding, Fingerprint

if TYPE_CHECKING:
    from .index import Index
    from .pgvector import PgVector

_FORMAT = 1
_LINES = 200
_ALL = 2**62
_INFO = "name, title, source, mime_type, metadata, chunks, added"


def one(tx: Tx, name: str) -> DocumentInfo:
    """A document by its id.

    Raises:
        NotFound: There is none.
    """
    row = tx.one(f"SELECT {_INFO} FROM agentic_bank_documents WHERE bank = ? AND name = ?", (tx.bank.id, name))  # noqa: S608
    if row is None:
        hint = f"See: agentic memory ls {tx.bank.name}"
        raise NotFound(f"The bank {tx.bank.name!r} has no document {name!r}.", hint=hint)
    return _info(row)


def listed(tx: Tx, condition: Filter | None, limit: int | None, offset: int) -> list[DocumentInfo]:
    """Documents in the order in which they came."""
    sql, values = compile_filter(condition or {}, sqlite=tx.sqlite)
    page = (whole("limit", _ALL if limit is None else limit, 0, _ALL), whole("offset", offset, 0, _ALL))
    rows = tx.all(
        f"SELECT {_INFO} FROM agentic_bank_documents WHERE bank = ? AND {sql} ORDER BY id LIMIT ? OFFSET ?",  # noqa: S608
        [tx.bank.id, *values, *page],
    )
    return [_info(row) for row in rows]


def passages(tx: Tx, name: str) -> list[Row]:
    """A document's chunks, as far as they are there, in order; none when there is no such document."""
    numbers = [number for each in known(tx, [name]).values() for number in range(each.id, each.id + each.chunks)]
    rows = fetch(tx, numbers)
    return [rows[number] for number in numbers if number in rows]


def _info(row: tuple[Any, ...]) -> DocumentInfo:
    name, title, source, mime_type, metadata, chunks, added = row
    return DocumentInfo(
        id=name,
        title=title,
        source=source,
        mime_type=mime_type,
        metadata=from_json(metadata),
        chunks=chunks,
        added=added,
    )


def update(tx: Tx, name: str, metadata: Mapping[str, Any] | None, title: str | None) -> bool:
    """Changes what is said of a document; False when there is none of that name."""
    row = tx.one(
        "SELECT id, metadata, title, hash FROM agentic_bank_documents WHERE bank = ? AND name = ?", (tx.bank.id, name)
    )
    if row is None:
        return False
    said = as_json(metadata) if metadata is not None else as_json(from_json(row[1]))
    called = row[2] if title is None else clean(title)
    tx.run(
        "UPDATE agentic_bank_documents SET metadata = ?, title = ?, hash = ? WHERE id = ?",
        (said, called, hash_of_update(bytes(row[3]), said, called), row[0]),
    )
    tx.changed = True
    return True


def counted(tx: Tx) -> dict[str, Any]:
    """How much the bank holds."""
    low, high = span(tx)
    (documents, chunks) = tx.one(
        "SELECT count(*), coalesce(sum(chunks), 0) FROM agentic_bank_documents WHERE bank = ?", (tx.bank.id,)
    ) or (0, 0)
    (pending,) = tx.one("SELECT count(*) FROM agentic_bank_pending WHERE bank = ?", (tx.bank.id,)) or (0,)
    (vectors,) = tx.one("SELECT count(*) FROM agentic_bank_vectors WHERE chunk > ? AND chunk < ?", (low, high)) or (0,)
    return {
        "name": tx.bank.name,
        "kind": tx.bank.kind,
        "documents": documents,
        "chunks": int(chunks),
        "vectors": vectors,
        "vectors_put_aside": pending,
        "generation": tx.bank.generation,
        "embedding": tx.bank.settings.get("fingerprint"),
    }


def verified(tx: Tx, index: Index | PgVector | None) -> Verification:
    """Reads everything and compares it: rows with their hashes, words and the index, if there is one, with the rows."""
    import numpy as np

    problems, documents, chunks = [], 0, 0
    numbers: list[int] = []
    for name, sealed, count, stored, vectors in _stored(tx):
        numbers += vectors
        if len(stored) != count:
            problems.append(f"Document {name!r} has {len(stored)} of its {count} chunks.")
        elif vectors and len(vectors) != count:
            problems.append(f"Document {name!r} has {len(vectors)} vectors for its {count} chunks.")
        elif digest(stored, list(vectors.values())) != sealed:
            problems.append(f"Document {name!r} does not match its hash.")
        else:
            documents, chunks = documents + 1, chunks + count
    low, high = span(tx)
    for table, column in (("chunks", "id"), ("vectors", "chunk")):
        (stray,) = tx.one(
            f"SELECT count(*) FROM agentic_bank_{table} t WHERE {column} > ? AND {column} < ? AND NOT EXISTS"  # noqa: S608
            f" (SELECT 1 FROM agentic_bank_documents d WHERE t.{column} BETWEEN d.id AND d.id + d.chunks - 1"
            f" AND d.id = (SELECT max(id) FROM agentic_bank_documents WHERE id <= t.{column}))",
            (low, high),
        ) or (0,)
        if stray:
            problems.append(f"{stray} {table} belong to no document.")
    try:
        held = index.numbers(tx) if index is not None else None
    except StoreCorrupt as error:
        problems.append(error.message)
    else:
        if held is not None and not np.array_equal(held, np.array(numbers, dtype=np.int64)):
            problems.append("The index does not hold what the rows hold.")
    if tx.sqlite:
        problems += _altered(tx)
    return Verification(documents=documents, chunks=chunks, problems=tuple(problems))


def _altered(tx: Tx) -> Iterator[str]:
    count = "SELECT count(*) FROM agentic_bank_documents WHERE bank = ? AND NOT json_valid(metadata)"
    (broken,) = tx.one(count, (tx.bank.id,)) or (0,)
    if broken:
        yield f"The metadata of {broken} documents are damaged."
    if not _words_match(tx):
        yield "The index of words does not match the rows."


def _words_match(tx: Tx) -> bool:
    import sqlite3

    words = words_table(tx.bank.id)
    try:
        tx.run(f"INSERT INTO {words} ({words}, rank) VALUES ('integrity-check', 1)")  # noqa: S608 - a number
    except sqlite3.DatabaseError:
        return False
    return True


def _stored(tx: Tx) -> Iterator[tuple[str, bytes, int, list[tuple[str, str]], dict[int, bytes]]]:
    """Each document's name, hash, number of chunks, chunks and vectors."""
    query = "SELECT id, name, digest, chunks FROM agentic_bank_documents WHERE bank = ? ORDER BY id"
    for number, name, sealed, count in tx.all(query, (tx.bank.id,)):
        last = number + max(1, count) - 1
        chunks = tx.all(
            "SELECT text, position FROM agentic_bank_chunks WHERE id BETWEEN ? AND ? ORDER BY id", (number, last)
        )
        yield name, bytes(sealed), count, [(row[0], row[1]) for row in chunks], blobs_between(tx, number, last)


async def export(rows: Rows, given: str | Path | None) -> int:
    """Writes a bank as JSON lines, whole or not at all; returns how many documents."""
    file = Path(f"{rows.name.replace('/', '_')}.jsonl" if given is None else given)

    def work(tx: Tx) -> int:
        part = file.with_name(f"{file.name}.part")
        count = 0
        try:
            with part.open("w", encoding="utf-8") as out:
                head = {
                    "agentic_bank": _FORMAT,
                    "name": tx.bank.name,
                    "kind": tx.bank.kind,
                    "fingerprint": tx.bank.settings.get("fingerprint"),
                }
                out.write(json.dumps(head) + "\n")
                infos = {info.id: info for info in listed(tx, None, None, 0)}
                for name, _, _, chunks, vectors in _stored(tx):
                    out.write(json.dumps(_line(infos[name], chunks, list(vectors.values())), ensure_ascii=False) + "\n")
                    count += 1
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
        return count

    try:
        return await rows.read(work)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror or error}.") from error


def _line(info: DocumentInfo, chunks: list[tuple[str, str]], vectors: list[bytes]) -> dict[str, Any]:
    told = asdict(info)
    told["chunks"] = [
        {
            "text": text,
            "position": from_json(position),
            **({"vector": base64.b64encode(vectors[number]).decode()} if vectors else {}),
        }
        for number, (text, position) in enumerate(chunks)
    ]
    return told


async def restore(rows: Rows, file: Path) -> Report:
    """Adds the documents of an exported bank, with their vectors; a keyword bank leaves those out.

    Raises:
        InvalidInput: The file cannot be read, or is no exported bank, or one of another kind.
        ConfigError: Its vectors are of another embedding than the bank's.
    """
    with _reading(file):
        return await _restore(rows, file)


def kind_of(file: Path) -> str:
    """The kind of an exported bank.

    Raises:
        InvalidInput: The file cannot be read, or is no exported bank.
    """
    with _reading(file), file.open(encoding="utf-8") as lines:
        return str(_head(lines, file)["kind"])


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is no exported memory bank: {error}.") from error


def _head(lines: Iterator[str], file: Path) -> dict[str, Any]:
    head = _parsed(next(lines, ""), file)
    if head.get("agentic_bank") != _FORMAT:
        raise InvalidInput(f"{file} is no exported memory bank.")
    return {"kind": "vector", **head}


async def _restore(rows: Rows, file: Path) -> Report:
    adder = Adder(rows, None)
    with file.open(encoding="utf-8") as lines:
        head = _head(lines, file)
        words_only = rows.kind == "keyword"
        if head["kind"] != rows.kind and not (words_only and head["kind"] == "vector"):
            raise InvalidInput(f"{file} is of a {head['kind']} bank; {rows.name!r} is a {rows.kind} bank.")
        try:
            pinned = None if words_only else head.get("fingerprint")
            fingerprint = Fingerprint(**pinned) if pinned else None
        except TypeError as error:
            raise InvalidInput(f"{file} is damaged: {error}.") from error
        group: list[Entry] = []
        for line in lines:
            entry = _entry(_parsed(line, file), file)
            group.append(replace(entry, vectors=None) if words_only else entry)
            if len(group) >= _LINES:
                await adder.store(group, None, fingerprint)
                group = []
        if group:
            await adder.store(group, None, fingerprint)
    return adder.tally.report()


def _parsed(line: str, file: Path) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise InvalidInput(f"{file} is no exported memory bank: {error}.") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{file} is no exported memory bank.")
    return found


def _entry(told: dict[str, Any], file: Path) -> Entry:
    import numpy as np

    try:
        chunks = [Chunk(text=each["text"], position=each["position"]) for each in told["chunks"]]
        blobs = [base64.b64decode(each["vector"]) for each in told["chunks"] if "vector" in each]
        vectors = np.frombuffer(b"".join(blobs), dtype=np.float32).reshape(len(blobs), -1) if blobs else None
        said = as_json(told["metadata"])
        stored = [(chunk.text, as_json(chunk.position)) for chunk in chunks]
        return Entry(
            name=told["id"],
            hash=hash_of_update(digest(stored, blobs), said, told["title"]),
            chunks=chunks,
            vectors=None if vectors is None else normalised(vectors, len(chunks)),
            title=told["title"],
            source=told["source"],
            mime_type=told["mime_type"],
            metadata=told["metadata"],
        )
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise InvalidInput(f"{file} is damaged: {error!r}.") from error


async def reembed(rows: Rows, embedding: Embedding) -> int:
    """Computes every vector anew with another embedding, then puts all of them in place at once.

    It can be interrupted and called again: what was computed is put aside.
    """
    embedder = Embedder(rows, embedding)
    fingerprint = await embedding.fingerprint()
    chunks = await rows.read(_texts)
    vectors = await embedder.vectors([text for _, text in chunks], {})

    def work(tx: Tx) -> int:
        if [number for number, _ in _texts(tx)] != [number for number, _ in chunks]:
            raise StoreCorrupt("The bank changed while its vectors were computed.", hint="Call reembed again.")
        low, high = span(tx)
        unindex(tx)
        tx.run("DELETE FROM agentic_bank_vectors WHERE chunk > ? AND chunk < ?", (low, high))
        insert_vectors(tx, [(number, vector.tobytes()) for (number, _), vector in zip(chunks, vectors, strict=True)])
        tx.bank.settings["fingerprint"] = asdict(fingerprint)
        tx.bank.floor = tx.take(1)  # every reader reads all vectors anew
        forget_aside(tx, (text for _, text in chunks), fingerprint)
        sealed = [(digest(stored, list(found.values())), tx.bank.id, name) for name, _, _, stored, found in _stored(tx)]
        tx.many("UPDATE agentic_bank_documents SET digest = ? WHERE bank = ? AND name = ?", sealed)
        return len(chunks)

    return await rows.write(work)


def _texts(tx: Tx) -> list[tuple[int, str]]:
    low, high = span(tx)
    rows = tx.all("SELECT id, text FROM agentic_bank_chunks WHERE id > ? AND id < ? ORDER BY id", (low, high))
    return [(number, text) for number, text in rows]
