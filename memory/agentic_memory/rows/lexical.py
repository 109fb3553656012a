"""Finding chunks by their words: BM25 in SQLite, cover density in PostgreSQL."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from . import pairs
from .access import Tx, numbers_among, span
from .schema import INDEXED, words_table

MOST_WORDS = 64
"""Words of a question that are searched for; whoever pastes a book asks for its beginning."""

_MANY = 5_000
"""Chunks that are scored for one question: some milliseconds."""

_WORD = re.compile(r"[^\W_]+")
_STOP = frozenset(
    """
    a about above after again all also am an and any are as at be because been before being below between both but
    by can could did do does doing down during each few for from further had has have having he her here hers him
    his how i if in into is it its just me more most my no nor not now of off on once only or other our out over
    own s same she should so some such t than that the their them then there these they this those through to too
    under until up us very was we were what when where which while who whom why will with would you your
    """.split()  # noqa: SIM905 - as prose it can be read
)


def words_of(query: str) -> list[str]:
    """The words to search for: without stop words where others remain; repeated ones count again."""
    words = [word for word in _WORD.findall(pairs.asked(query[:20_000])) if len(word) <= 100]
    return ([word for word in words if word.lower() not in _STOP] or words)[:MOST_WORDS]


def lexical(
    tx: Tx, query: str, k: int, *, among: Sequence[int] | None = None, thorough: bool = False
) -> list[tuple[int, float]]:
    """The chunks that share words with a question, best first, as numbers and scores above 0; larger is better.

    Any text is a question: nothing in it is an operator.

    Args:
        tx: What it is read in.
        query: The question.
        k: How many at the most.
        among: The chunks that may be found; None is all.
        thorough: In a large bank, search for common words, too, when the rare ones are in fewer than `k` chunks.
    """
    words = words_of(query)
    if not words or k < 1:
        return []
    if not tx.sqlite:
        return _postgresql(tx, words, k, among)
    rare = _rare(tx, words) if tx.bank.last - span(tx)[0] > _MANY else words
    found = _sqlite(tx, rare, k, among)
    return _sqlite(tx, words, k, among) if thorough and len(found) < k and len(rare) < len(words) else found


def _sqlite(tx: Tx, words: list[str], k: int, among: Sequence[int] | None) -> list[tuple[int, float]]:
    table = words_table(tx.bank.id)
    asked = " OR ".join(map(_sought, words))
    if among is None:
        rest, values = "ORDER BY rank", []
    else:  # the plus signs have the words looked up first, and only then what is allowed scored
        rest, values = f"AND +rowid IN ({numbers_among(tx)}) ORDER BY +rank", [json.dumps(among)]
    query = f"SELECT rowid, -rank FROM {table} WHERE {table} MATCH ? {rest} LIMIT ?"  # noqa: S608 - a number
    return [(number, max(score, 1e-9)) for number, score in tx.all(query, (asked, *values, k))]


def _sought(word: str) -> str:
    """A word in FTS5's language."""
    return f'"{word}" *' if pairs.begins(word) else f'"{word}"'


def _rare(tx: Tx, words: list[str]) -> list[str]:
    """In a large bank, the rarest words: those that together are in so many chunks; common ones hardly count anyway."""
    table = words_table(tx.bank.id)
    count = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT {_MANY})"  # noqa: S608
    chunks = {word: (tx.one(count, (_sought(word),)) or (0,))[0] for word in set(words)}
    total = 0
    kept: set[str] = set()
    for word in sorted(chunks, key=lambda word: (chunks[word], word)):
        total += chunks[word]
        if total > _MANY and any(chunks[other] for other in kept):
            break
        kept.add(word)
    return [word for word in words if word in kept]


def _postgresql(tx: Tx, words: list[str], k: int, among: Sequence[int] | None) -> list[tuple[int, float]]:
    begins = [pairs.begins(word) for word in words]
    asked = " || ".join(f"{'to' if begin else 'plainto'}_tsquery('english', ?)" for begin in begins)
    sought = [f"{word}:*" if begin else word for word, begin in zip(words, begins, strict=True)]
    allowed, values = ("", []) if among is None else (f" AND id IN ({numbers_among(tx)})", [json.dumps(among)])
    rows = tx.all(
        f"SELECT id, ts_rank_cd({INDEXED}, query, 1) AS score"  # noqa: S608
        f" FROM agentic_bank_chunks, (SELECT {asked} AS query) AS asked"
        f" WHERE id > ? AND id < ? AND {INDEXED} @@ query{allowed} ORDER BY score DESC, id LIMIT ?",
        (*sought, *span(tx), *values, k),
    )
    return [(number, max(float(score), 1e-9)) for number, score in rows]
