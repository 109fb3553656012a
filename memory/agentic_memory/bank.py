"""The vector bank: documents in, the chunks that answer a question out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from agentic.portal import run_sync
from agentic.threads import run_in_thread
from agentic.types.errors import InvalidInput, NotFound
from agentic.types.steps import Hit

from . import adding, computing, searching, upkeep
from .report import DocumentInfo, Report, Verification
from .rows import Filter, Rows, Tx, drop, known, matching, remove, remove_all
from .rows.documents import as_json
from .searching import Mode, Reranker, Search
from .types import Document, Embedding, Fingerprint

if TYPE_CHECKING:
    from agentic.protocols import Inference

    from .embedding import EmbeddingLike

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")
_TEXTS = 1_000


def synced(method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[S, P], T]:
    """The sync form of an async method."""

    @functools.wraps(method)
    def sync(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run_sync(method(self, *args, **kwargs))

    sync.__name__ = method.__name__.removeprefix("a")
    sync.__qualname__ = f"{method.__qualname__.rpartition('.')[0]}.{sync.__name__}"
    return sync


class MemoryBank:
    """Documents that can be searched by meaning, by words, or both.

    Every method has an async form with the letter `a` before its name; the sync one runs it on a loop of its own.
    Several processes may read and write a bank at once; writers wait for each other. A document that was reported as
    added survives the death of the process and of the machine, and none is ever there in part.

    Args:
        name: Its name in the store.
        store: A path or URL as for sessions (the same file may hold both); `"default"` is the sessions' own file, None
            a bank that is gone when it is closed.
        embedding: What turns texts into vectors: `default`, `wordllama`, a model string, an object or a function. None:
            vectors are given, and queries without one go by words.
        reranker: Puts what was found into a better order.
        timeout: Seconds to wait for another process that writes.

    Raises:
        InvalidInput: The name cannot be used.
        ConfigError: The store or the embedding cannot be used.
    """

    kind = "vector"

    def __init__(
        self,
        name: str,
        *,
        store: str | Path | None = "default",
        embedding: EmbeddingLike | None = "default",
        reranker: Reranker | None = None,
        timeout: float = 30.0,
    ) -> None:
        from .embedding import connect

        self._rows = Rows(store, name, kind=self.kind, timeout=timeout)
        self._given = embedding
        self._embedding: Embedding | None = None if embedding is None else connect(embedding)
        self._reranker = reranker
        self._filters = searching.Filters()
        self._dense = _dense(self._rows)

    @property
    def name(self) -> str:
        """The bank's name."""
        return self._rows.name

    @property
    def rows(self) -> Rows:
        """Where it keeps what it knows."""
        return self._rows

    def __repr__(self) -> str:
        return f"MemoryBank({self.name!r}, store={self._rows.where!r})"

    # -- putting in ---------------------------------------------------------------------------------------------------

    async def aadd(
        self,
        *sources: str | Path | Document,
        progress: bool | Callable[[str, int, int], None] = False,
        metadata: Mapping[str, Any] | None = None,
        vision: Inference | None = None,
    ) -> Report:
        """Adds documents. One that is there already, unchanged, costs nothing; a changed one is replaced.

        Args:
            sources: Paths of files and folders, patterns, http(s) URLs, and documents.
            progress: Show a bar on the terminal, or call a function with the document's name, the number of documents
                done and the number of chunks stored.
            metadata: For each of them, besides its own.
            vision: A model that describes images; without one, their text is recognised (extra `ocr`).

        Returns:
            What happened to each; what cannot be read is among `failed`, and the others go on.

        Raises:
            ConfigError: The bank has vectors of another embedding.
            InferenceError: The embedding failed; what was stored before stays, and the next call goes on from there.
            StoreError: It cannot be written.
        """
        from .progress import count_of, shown

        as_json(metadata)
        adder = adding.Adder(self._rows, self._embedding)
        total = await run_in_thread(lambda: count_of(sources)) if progress is True else 0
        with shown(progress, total) as told:
            await adding.add_sources(adder, sources, metadata or {}, told, vision)
        return adder.tally.report()

    async def aadd_text(
        self,
        text: str,
        *,
        id: str | None = None,
        title: str = "",
        source: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> Report:
        """Adds one text, cut into chunks; see `aadd`.

        Args:
            text: The text.
            id: Its id; default: its source, or a hash of the text.
            title: For listings and citations; default: the last part of its source.
            source: The path or URL that it is from; nothing is read there.
            metadata: JSON values; queries filter by them.

        Raises:
            InvalidInput: It is no text, or holds nothing.
        """
        return await self._add_text(text, id, title, source, metadata or {}, replaces=False)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        *,
        ids: Iterable[str] | None = None,
        metadata: Iterable[Mapping[str, Any]] | None = None,
        vectors: Any = None,
    ) -> Report:
        """Adds many texts, each as a document of one chunk, a thousand in each transaction.

        Args:
            texts: The texts.
            ids: One for each; default: a hash of the text.
            metadata: One for each.
            vectors: Array-like of shape (texts, dimension), finite, brought to length 1; default: they are computed.

        Raises:
            InvalidInput: The numbers of texts, ids, metadata and vectors differ, or one cannot be used.
            ConfigError: The bank has vectors of another embedding.
        """
        if isinstance(texts, str):
            raise InvalidInput("add_texts takes a list of texts.")
        texts = list(texts)
        names = None if ids is None else list(ids)
        said = None if metadata is None else list(metadata)
        for what, listed in (("ids", names), ("metadata", said)):
            if listed is not None and len(listed) != len(texts):
                raise InvalidInput(f"For {len(texts)} texts there must be {len(texts)} {what}, not {len(listed)}.")
        adder = adding.Adder(self._rows, self._embedding)
        matrix, fingerprint = None, None
        if vectors is not None:
            matrix = computing.normalised(vectors, len(texts))
            fingerprint = await self._fingerprint_of(matrix.shape[1])
        for start in range(0, len(texts), _TEXTS):
            part = slice(start, start + _TEXTS)
            own = None if matrix is None else matrix[part]
            entries = await run_in_thread(
                functools.partial(
                    adding.entries_of,
                    texts[part],
                    None if names is None else names[part],
                    None if said is None else said[part],
                    own,
                )
            )
            if own is None:
                await self._add_computed(adder, entries)
            else:
                await adder.store(entries, None, fingerprint)
        return adder.tally.report()

    async def aupdate(
        self, id: str, *, text: str | None = None, title: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Changes a document: its text, or only what is said of it (then nothing is computed).

        Args:
            id: Its id.
            text: Its new text; None leaves it.
            title: Its new title; None leaves it.
            metadata: Its new metadata, instead of the old; None leaves it.

        Raises:
            NotFound: There is no such document.
            InvalidInput: The text or the title is no text, or the metadata no JSON.
        """
        if title is not None:
            adding.check_text(title)
        old = await self._rows.read(lambda tx: upkeep.one(tx, id))
        if text is not None:
            said = old.metadata if metadata is None else metadata
            called = old.title if title is None else title
            await self._add_text(text, id, called, old.source, said, replaces=True)
        elif not await self._rows.write(lambda tx: upkeep.update(tx, id, metadata, title)):
            raise NotFound(f"The bank {self.name!r} has no document {id!r}.")

    async def adelete(self, *ids: str, filter: Filter | None = None) -> int:
        """Removes documents by id, or all that a filter is true of; returns how many there were.

        Raises:
            InvalidInput: Neither is given: to empty the bank, call `clear`.
        """
        if not ids and not searching.as_filter(filter):
            raise InvalidInput("delete takes ids or a filter; to empty the bank, call clear.")

        def work(tx: Tx) -> int:
            found = [document.id for document in known(tx, ids).values()]
            if filter:
                found += [number for number, _ in matching(tx, filter)]
            remove(tx, sorted(set(found)))
            return len(set(found))

        return await self._rows.write(work)

    async def aclear(self) -> int:
        """Removes every document; returns how many there were. The bank takes any embedding afterwards."""

        def work(tx: Tx) -> int:
            tx.bank.settings.pop("fingerprint", None)
            return remove_all(tx)

        return await self._rows.write(work)

    # -- getting out --------------------------------------------------------------------------------------------------

    async def aquery(
        self,
        query: str,
        *,
        k: int = 5,
        mode: Mode | None = None,
        filter: Filter | None = None,
        min_score: float | None = None,
        vector: Any = None,
        diversity: float = 0.0,
        distinct: bool = False,
        neighbours: int = 0,
        max_tokens: int | None = None,
    ) -> tuple[Hit, ...]:
        """The chunks that answer a question best, best first. Any text is a question; an empty one finds nothing.

        Args:
            query: The question.
            k: How many chunks, 1 to 1,000; there are fewer only when there are no more.
            mode: `vector`: score is the cosine, -1 to 1. `keyword`: score is BM25, above 0, without an upper bound.
                `hybrid`: both lists are fused by rank; 1 is first in both, and every score is above 0 and at most 1.
                Default: hybrid, or keyword in a bank without an embedding.
            filter: Conditions on metadata: `{"lang": "en", "year": {"$gte": 2024}}`; see `agentic_memory.rows.filters`.
            min_score: Leaves out what scores less.
            vector: The question's vector, where it is known.
            diversity: 0 to 1: how much a chunk loses for resembling those before it (maximal marginal relevance).
            distinct: Leave out chunks that say the same as a better one.
            neighbours: How many chunks before and after each hit its text is widened by.
            max_tokens: How much text all hits may have together, four bytes taken as a token.

        Returns:
            The hits. With a re-ranker their scores are its own.

        Raises:
            InvalidInput: An argument cannot be used.
            ConfigError: The bank has vectors of another embedding, or needs one.
        """
        chosen: Mode = mode or ("hybrid" if self._embedding is not None or vector is not None else "keyword")
        search = Search(
            query=query,
            k=searching.whole("k", k, 1),
            mode=chosen,
            vector=None,
            filter=searching.as_filter(filter),
            min_score=min_score,
            diversity=diversity,
            distinct=distinct,
            neighbours=searching.whole("neighbours", neighbours, 0),
        )
        searching.check(search)
        if self._reranker is not None:
            search = replace(search, k=4 * k)
        if not query.strip() and vector is None:
            return ()
        fingerprint = None
        if chosen != "keyword":
            asked, fingerprint = await self._vector_of(query, vector)
            search = replace(search, vector=asked)

        def work(tx: Tx) -> list[Hit]:
            if fingerprint is not None and "fingerprint" in tx.bank.settings:
                computing.pin(tx, fingerprint)
            return searching.find(tx, search, self._dense, self._filters, self.name)

        hits = await self._rows.read(work)
        if self._reranker is not None:
            hits = (await searching.rerank(self._reranker, query, hits))[:k]
        return tuple(searching.within(hits, max_tokens))

    async def aneighbours(self, hit: Hit, *, count: int = 1) -> tuple[Hit, ...]:
        """A hit with up to `count` chunks before and after it, in order; nothing when its document is gone."""
        around = searching.whole("count", count, 0)
        return tuple(await self._rows.read(lambda tx: searching.neighbours(tx, hit, around, self.name)))

    async def adocuments(
        self, *, filter: Filter | None = None, limit: int | None = None, offset: int = 0
    ) -> tuple[DocumentInfo, ...]:
        """The documents, in the order in which they came."""
        return tuple(await self._rows.read(lambda tx: upkeep.listed(tx, filter, limit, offset)))

    # -- looking after it ---------------------------------------------------------------------------------------------

    async def astats(self) -> dict[str, Any]:
        """How many documents and chunks there are, the embedding's fingerprint, and what the index is made of."""
        told = await self._rows.read(upkeep.counted)
        return {**told, "store": self._rows.where, **self._dense.describe()}

    async def averify(self) -> Verification:
        """Reads everything and compares it: rows with their hashes, the words and the index with the rows."""
        return await self._rows.write(lambda tx: upkeep.verified(tx, self._dense))

    async def aoptimise(self) -> None:
        """Waits until the index of a large bank is built.

        In SQLite that is one of more than 50,000 chunks, and searches begin it by themselves; in PostgreSQL one of more
        than 10,000, which gets its HNSW index by this call only.
        """
        await self._rows.read(self._dense.refresh)
        await run_in_thread(self._dense.build)

    async def areembed(self) -> int:
        """Computes every vector anew with the bank's embedding; returns how many. Needed after choosing another one.

        Raises:
            ConfigError: The bank was opened without an embedding.
        """
        if self._embedding is None:
            raise computing.no_embedding()
        return await upkeep.reembed(self._rows, self._embedding)

    async def aexport(self, file: str | Path | None = None) -> int:
        """Writes all documents, chunks and vectors as JSON lines; returns how many documents.

        Args:
            file: Where to; default: the bank's name and `.jsonl` in the current folder.
        """
        return await upkeep.export(self._rows, file)

    async def arestore(self, file: str | Path) -> Report:
        """Adds the documents that `export` wrote, without computing anything.

        Raises:
            InvalidInput: The file is no exported bank.
            ConfigError: Its vectors are of another embedding.
        """
        return await upkeep.restore(self._rows, Path(file))

    async def adrop(self) -> None:
        """Removes the bank from its store, and closes it."""
        uid = await self._rows.write(drop)
        await self.aclose()
        self._dense.discard(uid)

    async def aclose(self) -> None:
        """Frees files, connections, threads, and the embedding unless it was given as an object."""
        await run_in_thread(self._dense.close)
        await self._rows.aclose()
        if self._embedding is not None and isinstance(self._given, str):
            await self._embedding.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    add = synced(aadd)
    add_text = synced(aadd_text)
    add_texts = synced(aadd_texts)
    update = synced(aupdate)
    delete = synced(adelete)
    clear = synced(aclear)
    query = synced(aquery)
    neighbours = synced(aneighbours)
    documents = synced(adocuments)
    stats = synced(astats)
    verify = synced(averify)
    optimise = synced(aoptimise)
    reembed = synced(areembed)
    export = synced(aexport)
    restore = synced(arestore)
    drop = synced(adrop)
    close = synced(aclose)

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _add_text(
        self, text: str, id: str | None, title: str, source: str, metadata: Mapping[str, Any], *, replaces: bool
    ) -> Report:
        adding.check_text(text)
        if not text.strip():
            raise InvalidInput("A text to remember must not be empty.")
        document = Document(content=text, id=id, title=title, source=source, mime_type="text/plain", metadata=metadata)
        adder = adding.Adder(self._rows, self._embedding, replaces=replaces)
        await adding.add_sources(adder, [document], {}, lambda _name, _tally: None)
        for error in adder.tally.failed.values():
            raise InvalidInput(error)
        return adder.tally.report()

    async def _add_computed(self, adder: adding.Adder, entries: Sequence[Any]) -> None:
        there = await self._rows.read(lambda tx: known(tx, [entry.name for entry in entries]))
        for entry in entries:
            found = there.get(entry.name)
            if found is not None and found.hash == entry.hash:
                adder.tally.names["unchanged"].append(entry.name)
            else:
                await adder.take(entry)
        await adder.flush()

    async def _fingerprint_of(self, dimension: int) -> Fingerprint:
        if self._embedding is None:
            return Fingerprint(model="given", dimension=dimension)
        fingerprint = await self._embedding.fingerprint()
        if fingerprint.dimension != dimension:
            raise InvalidInput(f"{fingerprint.model} has vectors of {fingerprint.dimension} numbers, not {dimension}.")
        return fingerprint

    async def _vector_of(self, query: str, vector: Any) -> tuple[Any, Fingerprint]:
        if vector is None:
            if self._embedding is None:
                raise computing.no_embedding()
            computed = await self._embedding.embed([query])
            fingerprint = await self._embedding.fingerprint()
            return computing.normalised(computed, 1, fingerprint.dimension)[0], fingerprint
        asked = computing.normalised_one(vector)
        return asked, await self._fingerprint_of(len(asked))


def _dense(rows: Rows) -> Any:
    from .index import Index
    from .pgvector import PgVector

    if rows.postgresql:
        return PgVector(rows)
    return Index(rows, cached=True)
