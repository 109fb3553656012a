"""From documents to rows: what is new is parsed, cut, embedded and stored, a few documents in each transaction."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentic.threads import run_in_thread
from agentic.types.errors import AgenticError, InvalidInput, NotFound

from .computing import Embedder, as_bytes, forget_aside, hash_of, no_embedding, pin
from .embedding.checked import Checked
from .progress import Tally, Told
from .rows import Change, Entry, Rows, Tx, known, put
from .rows.documents import as_json, clean
from .rows.vectors import blobs_between
from .types import Chunk, Document, Embedding, Fingerprint, Parsed

if TYPE_CHECKING:
    from agentic.protocols import Inference

    from .documents import Count, Workers
    from .types import Vectors

_GROUP = 1_000
"""Chunks that are stored in one transaction, unless a second has passed before there are as many."""
_TOGETHER = 256
_TOGETHER_SIZE = 1024 * 1024
"""Documents that are read together: so many, or so many characters and bytes."""
_SIZE = 256
_OVERLAP = 32
"""Of chunks, in tokens."""
_LONGEST_NAME = 4_000


def name_of(given: Any, content: str | bytes) -> str:
    """A document's id; a hash of its content where none is given.

    Raises:
        InvalidInput: It cannot be one.
    """
    if given is None:
        return f"sha256:{hashlib.sha256(as_bytes(content)).hexdigest()[:32]}"
    if not isinstance(given, str) or not given.strip() or len(given) > _LONGEST_NAME:
        raise InvalidInput(f"A document's id is text of 1 to {_LONGEST_NAME} characters, not {given!r:.80}.")
    return clean(given)


@dataclass(frozen=True, slots=True)
class _Given:
    """A document under its name, with the hash of everything that makes it what it is."""

    name: str
    hash: bytes
    document: Document
    metadata: Mapping[str, Any]


class Adder:
    """Collects documents, and stores them in groups.

    Args:
        rows: Where they are stored.
        embedding: What computes their vectors.
        replaces: Each takes the place of another one of its id; where that was removed meanwhile, none is stored.
    """

    def __init__(self, rows: Rows, embedding: Embedding | None, *, replaces: bool = False) -> None:
        self.tally = Tally()
        self._rows = rows
        self._replaces = replaces
        self._embedder = Embedder(rows, embedding) if embedding is not None else None
        self._group: list[Entry] = []
        self._size = 0
        self._since = time.monotonic()

    async def new(self, given: Sequence[_Given]) -> list[_Given]:
        """Those that the bank does not have as they are; the others are counted, and nothing else is to do."""
        there = await self._rows.read(lambda tx: known(tx, [one.name for one in given])) if given else {}
        same = [one.name in there and there[one.name].hash == one.hash for one in given]
        self.tally.names["unchanged"] += [one.name for one, is_same in zip(given, same, strict=True) if is_same]
        return [one for one, is_same in zip(given, same, strict=True) if not is_same]

    async def measure(self) -> tuple[int, Count | None]:
        """How many tokens a chunk may have, and what counts them: the embedding's tokenizer where it has one."""
        embedding = self._embedder.embedding if self._embedder is not None else None
        return (await embedding.measure() if isinstance(embedding, Checked) else None) or (_SIZE, None)

    async def take(self, entry: Entry) -> None:
        """Takes a document without vectors."""
        self._group.append(entry)
        self._size += len(entry.chunks)
        if self._size >= _GROUP or time.monotonic() - self._since > 1.0:
            await self.flush()

    async def flush(self) -> None:
        """Embeds and stores what was taken. When this returns, those documents survive whatever happens."""
        group, self._group, self._size = self._group, [], 0
        if group:
            await self.store(group, await self._vectors(group))
        self._since = time.monotonic()

    async def store(
        self, entries: Sequence[Entry], vectors: Vectors | None, fingerprint: Fingerprint | None = None
    ) -> None:
        """Stores documents with the vectors of all their chunks; None: each has its own.

        Raises:
            NotFound: The one whose place a document takes is gone.
        """
        if fingerprint is None and self._embedder is not None:
            fingerprint = await self._embedder.embedding.fingerprint()
        ready = entries if vectors is None else _with_vectors(entries, vectors)

        def work(tx: Tx) -> list[Change]:
            if self._replaces:
                there = known(tx, [entry.name for entry in entries])
                for entry in entries:
                    if entry.name not in there:
                        raise NotFound(f"The bank {tx.bank.name!r} has no document {entry.name!r}.")
            if fingerprint is not None:
                pin(tx, fingerprint)
                texts = (chunk.text for entry in entries for chunk in entry.chunks)
                forget_aside(tx, texts, fingerprint)
            return put(tx, ready)

        self.tally.note(entries, await self._rows.write(work))

    async def _vectors(self, group: Sequence[Entry]) -> Vectors | None:
        if self._rows.kind == "keyword":
            return None
        if self._embedder is None:
            raise no_embedding()
        texts = [clean(chunk.text) for entry in group for chunk in entry.chunks]
        there = await self._rows.read(lambda tx: _older(tx, group))
        return await self._embedder.vectors(texts, there)


def _older(tx: Tx, group: Sequence[Entry]) -> dict[str, bytes]:
    """The vectors of chunks that the documents' older versions had already."""
    found: dict[str, bytes] = {}
    for old in known(tx, [entry.name for entry in group]).values():
        rows = tx.all(
            "SELECT id, text FROM agentic_bank_chunks WHERE id BETWEEN ? AND ?",
            (old.id, old.id + old.chunks - 1),
        )
        vectors = blobs_between(tx, old.id, old.id + old.chunks - 1)
        found.update({text: vectors[number] for number, text in rows if number in vectors})
    return found


def _with_vectors(entries: Sequence[Entry], vectors: Vectors) -> list[Entry]:
    ready, start = [], 0
    for entry in entries:
        end = start + len(entry.chunks)
        ready.append(replace(entry, vectors=vectors[start:end]))
        start = end
    return ready


async def add_sources(
    adder: Adder,
    sources: Iterable[str | Path | Document],
    metadata: Mapping[str, Any],
    told: Told,
    vision: Inference | None = None,
) -> None:
    """Reads, cuts, embeds and stores documents; one that cannot be read is told of, and the others go on."""
    from .documents import Failure, Workers, at_once, expand

    together: list[Document] = []
    size = slow = 0
    async with Workers() as workers:
        reading = _Reading(adder, workers, metadata, told, vision)
        async for found in expand(sources):
            full = len(together) >= _TOGETHER or size >= _TOGETHER_SIZE or slow >= workers.most
            if full or isinstance(found, Failure):
                await reading.add(together)
                together, size, slow = [], 0, 0
            if isinstance(found, Failure):
                adder.tally.failed[found.source] = str(found.error)
            else:
                together.append(found)
                size, slow = size + len(found.content), slow + (not at_once(found))
        await reading.add(together)
    await adder.flush()


@dataclass(frozen=True, slots=True)
class _Reading:
    """How documents are read; see `MemoryBank.aadd`."""

    adder: Adder
    workers: Workers
    metadata: Mapping[str, Any]
    told: Told
    vision: Inference | None

    async def add(self, documents: Sequence[Document]) -> None:
        """Those that take long are read beside each other, in processes; the others together, in one thread."""
        given = await run_in_thread(lambda: _named(documents, self.metadata), "document-hashes")
        given = await self.adder.new(given)
        for one in given:
            self.told(one.document.title or one.name, self.adder.tally)
        parsed = await asyncio.gather(*(self._slowly(one.document) for one in given))
        size, count = await self.adder.measure() if given else (_SIZE, None)
        entries, failed = await run_in_thread(lambda: _entries(given, parsed, size, count), "document-chunks")
        self.adder.tally.failed.update(failed)
        for entry in entries:
            await self.adder.take(entry)

    async def _slowly(self, document: Document) -> Parsed | AgenticError | None:
        """What a process read, or why it could not; None of what needs none."""
        from .documents import at_once, parse

        try:
            return None if at_once(document) else await parse(document, self.workers, vision=self.vision)
        except AgenticError as error:
            return error


def _entries(
    given: Sequence[_Given], parsed: Sequence[Parsed | AgenticError | None], size: int, count: Count | None
) -> tuple[list[Entry], dict[str, str]]:
    """Documents cut into chunks, and why others could not be read."""
    from .documents import parse_here

    entries: list[Entry] = []
    failed: dict[str, str] = {}
    for one, found in zip(given, parsed, strict=True):
        try:
            if isinstance(found, AgenticError):
                raise found
            entries.append(_entry(one, found or parse_here(one.document), size, count))
        except AgenticError as error:
            failed[one.document.source or one.name] = str(error)
    return entries, failed


def _named(documents: Sequence[Document], metadata: Mapping[str, Any]) -> list[_Given]:
    given = []
    for found in documents:
        name = name_of(found.id if found.id is not None else found.source or None, found.content)
        said = {**found.metadata, **metadata}
        sealed = hash_of(found.content, found.title, found.source, found.mime_type, as_json(said))
        given.append(_Given(name, sealed, found, said))
    return given


def _entry(one: _Given, parsed: Parsed, size: int, count: Count | None) -> Entry:
    from .documents import chunks

    found = one.document
    return Entry(
        name=one.name,
        hash=one.hash,
        chunks=chunks(parsed, size, min(_OVERLAP, size // 2), count),
        title=found.title or parsed.title,
        source=found.source,
        mime_type=found.mime_type or "",
        metadata={**parsed.metadata, **one.metadata},
    )


def check_text(text: object) -> None:
    """Refuses what is no text.

    Raises:
        InvalidInput: It is not.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"A text is a str, not {type(text).__name__}.")


def entries_of(
    texts: Sequence[str],
    ids: Sequence[str] | None,
    metadata: Sequence[Mapping[str, Any]] | None,
    vectors: Vectors | None,
) -> list[Entry]:
    """Texts as documents of one chunk each.

    Raises:
        InvalidInput: One is no text, or its metadata no JSON.
    """
    entries = []
    for number, text in enumerate(texts):
        check_text(text)
        said = metadata[number] if metadata is not None else {}
        content = as_bytes(text)
        state = hashlib.sha256(as_json(said).encode())
        state.update(content)
        if vectors is not None:
            state.update(vectors[number].tobytes())
        entries.append(
            Entry(
                name=name_of(ids[number] if ids is not None else None, content),
                hash=state.digest(),
                chunks=(Chunk(text=text),),
                metadata=said,
                vectors=None if vectors is None else vectors[number : number + 1],
            )
        )
    return entries
