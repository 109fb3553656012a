"""One search of a bank: by meaning, by words, or both; filtered, made diverse, ranked anew, widened and cut to size."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from numbers import Real
from operator import index
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from agentic.types.errors import InvalidInput, InvalidResponse
from agentic.types.steps import Hit

from .rows import Filter, Row, Tx, fetch, lexical, matching

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .types import Vectors

    Numbers: TypeAlias = NDArray[np.int64]

Mode: TypeAlias = Literal["hybrid", "vector", "keyword"]
MODES = ("hybrid", "vector", "keyword")
MOST = 1_000
_FUSE = 60.0
_DEPTH = 50
_FILTERS = 32
_LISTED = 20_000
"""Up to so many allowed chunks are told to the index of words; of more, enough are among those that it finds."""
Scored: TypeAlias = list[tuple[int, float]]


class Dense(Protocol):
    """What finds the nearest vectors."""

    def search(self, tx: Tx, vector: Vectors, k: int, allowed: Numbers | None) -> Scored:
        """The nearest chunks and their cosines, best first; fewer than `k` only when there are no more."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """A model that reads a question and a text together, such as a cross-encoder."""

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """One finite score for each text; larger is better."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is asked; see `MemoryBank.aquery`."""

    query: str
    k: int
    mode: Mode
    vector: Vectors | None
    filter: Filter | None
    min_score: float | None
    diversity: float
    distinct: bool
    neighbours: int


class Filters:
    """What filters allow, remembered for as long as the bank does not change."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], Numbers] = {}

    def allowed(self, tx: Tx, condition: Filter) -> Numbers:
        """The chunks whose documents fit, in order."""
        import numpy as np

        from .rows.filters import compile_filter

        sql, values = compile_filter(condition, sqlite=tx.sqlite)
        key = tx.bank.generation, sql + json.dumps(values)
        if (found := self._found.get(key)) is None:
            parts = [np.arange(first, first + count, dtype=np.int64) for first, count in matching(tx, condition)]
            found = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
            if len(self._found) >= _FILTERS:
                self._found = {}
            self._found[key] = found
        return found


def check(search: Search) -> None:
    """Refuses what cannot be searched for.

    Raises:
        InvalidInput: Says what.
    """
    if not isinstance(search.query, str):
        raise InvalidInput(f"A query is text, not {type(search.query).__name__}.")
    if search.mode not in MODES:
        raise InvalidInput(f"There is no mode {search.mode!r}.", hint=f"There are: {', '.join(MODES)}.")
    if not _is_number(search.diversity) or not 0 <= search.diversity <= 1:
        raise InvalidInput(f"diversity is a number from 0 to 1, not {search.diversity!r}.")
    check_least(search.min_score)


def check_least(min_score: Any) -> None:
    """Refuses what scores cannot be compared with.

    Raises:
        InvalidInput: It is neither a number nor None.
    """
    if min_score is not None and not _is_number(min_score):
        raise InvalidInput(f"min_score is a number or None, not {min_score!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not math.isnan(value)


def whole(what: str, value: Any, least: int, most: int = MOST) -> int:
    """A whole number in its range; those of NumPy serve, too.

    Raises:
        InvalidInput: It is something else.
    """
    with suppress(TypeError):
        if not isinstance(value, bool) and least <= (number := index(value)) <= most:
            return number
    raise InvalidInput(f"{what} is a whole number from {least} to {most}, not {value!r:.80}.")


def find(tx: Tx, search: Search, dense: Dense, filters: Filters, bank: str) -> list[Hit]:
    """Runs a search in one transaction."""
    allowed = filters.allowed(tx, search.filter) if search.filter else None
    if allowed is not None and not len(allowed):
        return []
    choosy = search.diversity > 0 or search.distinct
    want = max(4 * search.k, _DEPTH) if choosy or search.mode == "hybrid" else search.k
    scored = _scored(tx, search, dense, allowed, want)
    if search.min_score is not None:
        scored = [found for found in scored if found[1] >= search.min_score]
    if choosy:
        from .choosing import choose

        scored = choose(tx, scored, search.k, search.diversity, distinct=search.distinct)
    scored = scored[: search.k]
    rows = fetch(tx, [number for number, _ in scored])
    hits = [hit_of(rows[number], score, bank) for number, score in scored if number in rows]
    return [_widened(tx, hit, search.neighbours) for hit in hits] if search.neighbours else hits


def _scored(tx: Tx, search: Search, dense: Dense, allowed: Numbers | None, want: int) -> Scored:
    legs = []
    if search.vector is not None and search.mode != "keyword":
        legs.append(dense.search(tx, search.vector, want, allowed))
    if search.mode != "vector":
        # Where meaning finds enough, common words are not worth their time.
        legs.append(_by_words(tx, search.query, want, allowed, thorough=search.mode == "keyword"))
    return fuse(legs) if search.mode == "hybrid" else legs[0]


def _by_words(tx: Tx, query: str, want: int, allowed: Numbers | None, *, thorough: bool) -> Scored:
    if allowed is None:
        return lexical(tx, query, want, thorough=thorough)
    if len(allowed) <= _LISTED:
        return lexical(tx, query, want, among=allowed.tolist(), thorough=thorough)
    import numpy as np

    limit = 8 * want
    while True:
        found = lexical(tx, query, limit, thorough=thorough)
        fits = np.isin(np.array([number for number, _ in found], dtype=np.int64), allowed, assume_unique=True)
        kept = [each for each, fit in zip(found, fits.tolist(), strict=True) if fit]
        if len(kept) >= want or len(found) < limit:
            return kept[:want]
        limit *= 16


def fuse(legs: Sequence[Scored]) -> Scored:
    """Reciprocal rank fusion: the sum of 1 / (60 + rank), scaled so that first in every list is 1."""
    total: dict[int, float] = {}
    for leg in legs:
        for rank, (number, _) in enumerate(leg, 1):
            total[number] = total.get(number, 0.0) + (_FUSE + 1) / (_FUSE + rank) / len(legs)
    return sorted(total.items(), key=lambda found: (-found[1], found[0]))


def hit_of(row: Row, score: float, bank: str) -> Hit:
    """A stored chunk as a hit; its place in the document is `position["chunk"]`, from 0."""
    return Hit(
        text=row.text,
        score=float(score),
        document_id=row.name,
        bank=bank,
        title=row.title,
        source=row.source,
        position={**row.position, "chunk": row.number},
        metadata=row.metadata,
    )


def _widened(tx: Tx, hit: Hit, count: int) -> Hit:
    around = neighbours(tx, hit, count, hit.bank)
    text = ""
    for each in around:
        text = joined(text, each.text)
    position: dict[str, Any] = dict(hit.position)
    if around and "end" in around[-1].position and "start" in around[0].position:
        position |= {"start": around[0].position["start"], "end": around[-1].position["end"]}
    return replace(hit, text=text or hit.text, position=position)


def neighbours(tx: Tx, hit: Hit, count: int, bank: str) -> list[Hit]:
    """A hit with up to `count` chunks before it and after it, as they are now, in order; none when it is gone."""
    from .rows import known

    found, place = known(tx, [hit.document_id]).get(hit.document_id), hit.position.get("chunk")
    if found is None or not isinstance(place, int) or not 0 <= place < found.chunks:
        return []
    first, last = max(0, place - count), min(found.chunks - 1, place + count)
    rows = fetch(tx, range(found.id + first, found.id + last + 1))
    return [hit_of(rows[number], hit.score, bank) for number in sorted(rows)]


def joined(text: str, more: str, longest: int = 2_000) -> str:
    """Two chunks as one text; what the end of one and the beginning of the other share is written once."""
    for length in range(min(len(text), len(more), longest), 15, -1):
        if text.endswith(more[:length]):
            return text + more[length:]
    return f"{text}\n{more}" if text else more


async def rerank(reranker: Reranker, query: str, hits: Sequence[Hit]) -> list[Hit]:
    """Hits in the order of a re-ranker, with its scores.

    Raises:
        InvalidResponse: It did not give one finite score for each text.
    """
    if not hits:
        return []
    scores = [float(score) for score in await reranker.rerank(query, [hit.text for hit in hits])]
    if len(scores) != len(hits) or not all(map(math.isfinite, scores)):
        raise InvalidResponse(f"The re-ranker gave no {len(hits)} finite scores.")
    ranked = [replace(hit, score=score) for hit, score in zip(hits, scores, strict=True)]
    return sorted(ranked, key=lambda hit: -hit.score)


def within(hits: Sequence[Hit], max_tokens: int | None) -> list[Hit]:
    """The first hits that fit into a number of tokens, taken as four bytes each; a too long one is passed over."""
    if max_tokens is None:
        return list(hits)
    left, kept = whole("max_tokens", max_tokens, 0, 2**31), []
    for hit in hits:
        cost = math.ceil(len(hit.text.encode()) / 4)
        if cost <= left:
            kept.append(hit)
            left -= cost
    return kept


def as_filter(value: Filter | None) -> Filter | None:
    """A filter, checked.

    Raises:
        InvalidInput: It cannot be read.
    """
    if value is not None and not isinstance(value, Mapping):
        raise InvalidInput(f"A filter is a mapping of names to values, not {type(value).__name__}.")
    return value
