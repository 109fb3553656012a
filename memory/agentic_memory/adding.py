"""From documents to rows: what is new is parsed, cut, embedded and stored, a few documents in each transaction."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentic.threads import run_in_thread
from agentic.types.errors import AgenticError, ConfigError, InvalidInput

from .report import Report
from .rows import Change, Entry, Rows, Tx, known, put
from .rows.documents import as_json, clean
from .rows.vectors import blobs_between
from .types import Chunk, Document, Embedding, Fingerprint

if TYPE_CHECKING:
    from .types import Vectors

_GROUP = 1_000
"""Chunks that are stored in one transaction, unless a second has passed before there are as many."""
_ASKED = 256
"""Texts that are embedded before their vectors are put aside, for the case of an interruption."""
PUT_ASIDE = 1.0
"""Seconds of computing that an interruption may cost."""
_LONGEST_NAME = 4_000


def pin(tx: Tx, fingerprint: Fingerprint) -> None:
    """Notes which embedding the bank's vectors are of.

    Raises:
        ConfigError: The bank has vectors of another one.
    """
    mine = asdict(fingerprint)
    pinned = tx.bank.settings.setdefault("fingerprint", mine)
    if pinned != mine:
        raise ConfigError(
            f"The bank {tx.bank.name!r} has vectors of {pinned['model']} ({pinned['dimension']} numbers), not of"
            f" {fingerprint.model} ({fingerprint.dimension}), or of other weights.",
            hint="Open it with that embedding, or compute its vectors anew: bank.reembed().",
        )


def normalised(vectors: Any, count: int, dimension: int | None = None) -> Vectors:
    """Vectors as float32 rows of length 1; zeros stay zeros.

    Raises:
        InvalidInput: There are not `count` finite ones of `dimension` numbers.
    """
    import numpy as np

    try:
        given: Vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput("Vectors are an array of numbers of shape (texts, dimension).") from None
    if given.ndim != 2 or len(given) != count or not given.shape[1]:
        raise InvalidInput(f"For {count} texts there must be {count} vectors; these have the shape {given.shape}.")
    if dimension is not None and given.shape[1] != dimension:
        raise InvalidInput(f"The bank's vectors have {dimension} numbers, these {given.shape[1]}.")
    lengths = np.sqrt(np.einsum("ij,ij->i", given, given, dtype=np.float64))[:, None]
    if not np.isfinite(lengths).all():
        raise InvalidInput("Vectors must be finite: one holds NaN or infinity.")
    unit: Vectors = np.divide(given, lengths, out=np.zeros_like(given), where=lengths > 0, casting="unsafe")
    return unit


def name_of(given: Any, content: str | bytes) -> str:
    """A document's id; a hash of its content where none is given.

    Raises:
        InvalidInput: It cannot be one.
    """
    if given is None:
        return f"sha256:{hashlib.sha256(_bytes(content)).hexdigest()[:32]}"
    if not isinstance(given, str) or not given.strip() or len(given) > _LONGEST_NAME:
        raise InvalidInput(f"A document's id is text of 1 to {_LONGEST_NAME} characters, not {given!r:.80}.")
    return clean(given)


def hash_of(content: str | bytes, *told: object) -> bytes:
    """SHA-256 over a document and everything that is said of it."""
    state = hashlib.sha256(json.dumps(told, ensure_ascii=True, default=str).encode())
    state.update(_bytes(content))
    return state.digest()


def _bytes(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")


@dataclass(slots=True)
class Embedder:
    """Vectors for the chunks of one bank, each text computed once."""

    rows: Rows
    embedding: Embedding
    computed: int = 0

    async def vectors(self, texts: Sequence[str], there: Mapping[str, bytes]) -> Vectors:
        """One row for each text; those in `there` and those put aside before are not computed."""
        import numpy as np

        fingerprint = await self.embedding.fingerprint()
        # What a fast model gives at once need not be put aside, nor looked for.
        found: dict[str, bytes] = {text: there[text] for text in texts if text in there}
        missing = list(dict.fromkeys(text for text in texts if text not in found))
        if missing:
            found |= await self._put_aside(missing, fingerprint)
        missing = [text for text in missing if text not in found]
        aside: dict[str, bytes] = {}
        since = time.monotonic()
        for start in range(0, len(missing), _ASKED):
            part = missing[start : start + _ASKED]
            given = normalised(await self.embedding.embed(part), len(part), fingerprint.dimension)
            self.computed += len(part)
            fresh = {text: vector.tobytes() for text, vector in zip(part, given, strict=True)}
            found |= fresh
            aside |= fresh
            if start + _ASKED < len(missing) and time.monotonic() - since >= PUT_ASIDE:
                await self.rows.write(lambda tx, kept=aside: _put_aside(tx, kept, fingerprint))  # type: ignore[misc]
                aside, since = {}, time.monotonic()
        if not texts:
            return np.zeros((0, fingerprint.dimension), dtype=np.float32)
        return np.frombuffer(b"".join(found[text] for text in texts), dtype=np.float32).reshape(len(texts), -1)

    async def _put_aside(self, texts: Sequence[str], fingerprint: Fingerprint) -> dict[str, bytes]:
        keys = {_key(text, fingerprint): text for text in texts}

        def work(tx: Tx) -> dict[str, bytes]:
            rows = tx.all("SELECT hash, vector FROM agentic_bank_pending WHERE bank = ?", (tx.bank.id,))
            return {keys[bytes(key)]: bytes(vector) for key, vector in rows if bytes(key) in keys}

        return await self.rows.read(work)


def _put_aside(tx: Tx, vectors: Mapping[str, bytes], fingerprint: Fingerprint) -> None:
    tx.many(
        "INSERT INTO agentic_bank_pending (bank, hash, vector) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(tx.bank.id, _key(text, fingerprint), vector) for text, vector in vectors.items()],
    )


def forget_aside(tx: Tx, texts: Iterable[str], fingerprint: Fingerprint) -> None:
    """Removes vectors that were put aside for documents that are stored now."""
    if tx.one("SELECT 1 FROM agentic_bank_pending WHERE bank = ? LIMIT 1", (tx.bank.id,)):
        keys = [(tx.bank.id, _key(text, fingerprint)) for text in texts]
        tx.many("DELETE FROM agentic_bank_pending WHERE bank = ? AND hash = ?", keys)


def _key(text: str, fingerprint: Fingerprint) -> bytes:
    return hash_of(text, fingerprint.model, fingerprint.dimension, fingerprint.weights)


@dataclass(slots=True)
class Tally:
    """What has happened so far."""

    started: float = field(default_factory=time.monotonic)
    names: dict[Change, list[str]] = field(default_factory=lambda: {"added": [], "changed": [], "unchanged": []})
    failed: dict[str, str] = field(default_factory=dict)
    chunks: int = 0

    def note(self, entries: Sequence[Entry], changes: Sequence[Change]) -> None:
        """Counts documents that were stored."""
        for entry, change in zip(entries, changes, strict=True):
            self.names[change].append(entry.name)
            self.chunks += 0 if change == "unchanged" else len(entry.chunks)

    def report(self) -> Report:
        """The whole of it."""
        return Report(
            **{change: tuple(names) for change, names in self.names.items()},
            failed=self.failed,
            chunks=self.chunks,
            seconds=time.monotonic() - self.started,
        )


class Adder:
    """Collects documents, and stores them in groups."""

    def __init__(self, rows: Rows, embedding: Embedding | None) -> None:
        self.tally = Tally()
        self._rows = rows
        self._embedder = Embedder(rows, embedding) if embedding is not None else None
        self._group: list[Entry] = []
        self._size = 0
        self._since = time.monotonic()

    async def unchanged(self, name: str, content_hash: bytes) -> bool:
        """Whether the bank has this very document; then it is counted, and nothing else is to do."""
        found = await self._rows.read(lambda tx: known(tx, [name]).get(name))
        if found is None or found.hash != content_hash:
            return False
        self.tally.names["unchanged"].append(name)
        return True

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
        """Stores documents with the vectors of all their chunks; None: each has its own."""
        if fingerprint is None and self._embedder is not None:
            fingerprint = await self._embedder.embedding.fingerprint()
        ready = entries if vectors is None else _with_vectors(entries, vectors)

        def work(tx: Tx) -> list[Change]:
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


def no_embedding() -> ConfigError:
    """The error for a bank that can make no vectors."""
    return ConfigError("This bank was opened with embedding=None: it needs given vectors.", hint="Name an embedding.")


async def add_sources(
    adder: Adder,
    sources: Iterable[str | Path | Document],
    metadata: Mapping[str, Any],
    told: Callable[[str, Tally], None],
) -> None:
    """Reads, cuts, embeds and stores documents; one that cannot be read is told of, and the others go on."""
    from .documents import Failure, Workers, chunks, expand, parse

    async with Workers() as workers:
        async for found in expand(sources):
            if isinstance(found, Failure):
                adder.tally.failed[found.source] = str(found.error)
                continue
            name = name_of(found.id if found.id is not None else found.source or None, found.content)
            said = {**found.metadata, **metadata}
            told(found.title or name, adder.tally)
            sealed = hash_of(found.content, found.title, found.source, found.mime_type, as_json(said))
            if await adder.unchanged(name, sealed):
                continue
            try:
                parsed = await parse(found, workers)
            except AgenticError as error:
                adder.tally.failed[found.source or name] = str(error)
                continue
            entry = Entry(
                name=name,
                hash=sealed,
                chunks=await run_in_thread(functools.partial(chunks, parsed), "document-chunks"),
                title=found.title or parsed.title,
                source=found.source,
                mime_type=found.mime_type or "",
                metadata={**parsed.metadata, **said},
            )
            await adder.take(entry)
    await adder.flush()


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
        content = _bytes(text)
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
