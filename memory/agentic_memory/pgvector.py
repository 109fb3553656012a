"""Nearest vectors by pgvector: the rows themselves, with an HNSW index once a bank is large enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from .rows import Rows, Tx, span
from .rows.documents import as_pgvector, unindex
from .rows.schema import near_index

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .types import Vectors

    Numbers: TypeAlias = NDArray[np.int64]

LEAST = 10_000
"""Below so many chunks, comparing all of them is fast enough."""
_MOST_DIMENSIONS = 2_000
_CANDIDATES = 100


class PgVector:
    """The vectors of one bank in PostgreSQL.

    Args:
        rows: The bank's rows.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def search(self, tx: Tx, vector: Vectors, k: int, allowed: Numbers | None) -> list[tuple[int, float]]:
        """The nearest chunks as numbers and cosines, best first; fewer than `k` only when there are no more."""
        found = self._search(tx, vector, k, allowed)
        if allowed is not None and len(found) < min(k, len(allowed)):  # the index gave up before it had found them
            tx.run("SET LOCAL enable_indexscan = off")
            found = self._search(tx, vector, k, allowed)
        return found

    def _search(self, tx: Tx, vector: Vectors, k: int, allowed: Numbers | None) -> list[tuple[int, float]]:
        low, high = span(tx)
        asked = as_pgvector(vector.tobytes())
        cast = f"vector({len(vector)})"
        among, values = (" AND chunk = ANY(?)", [allowed.tolist()]) if allowed is not None else ("", [])
        tx.run(f"SET LOCAL hnsw.ef_search = {min(1_000, max(_CANDIDATES, 4 * k))}")
        tx.run("SET LOCAL hnsw.iterative_scan = strict_order")
        # The bank's bounds are written out: only so does its partial index serve.
        rows = tx.all(
            f"SELECT chunk, -(CAST(vector AS {cast}) <#> CAST(? AS {cast})) FROM agentic_bank_vectors"  # noqa: S608
            f" WHERE chunk > {low} AND chunk < {high}{among}"
            f" ORDER BY CAST(vector AS {cast}) <#> CAST(? AS {cast}) LIMIT ?",
            [asked, *values, asked, k],
        )
        return [(number, float(score)) for number, score in rows]

    def refresh(self, _tx: Tx) -> None:
        """Nothing is kept here."""

    def build(self) -> None:
        """Makes the HNSW index of a bank of more than 10,000 chunks; PostgreSQL keeps it up to date afterwards."""
        self._rows.write_here(self._build)

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"index": "pgvector"}

    def numbers(self, _tx: Tx) -> None:
        """There is no copy of the rows that could differ."""

    def discard(self, uid: str) -> None:
        """There are no files."""

    def close(self) -> None:
        """Nothing is held."""

    def _build(self, tx: Tx) -> None:
        low, high = span(tx)
        (count,) = tx.one("SELECT count(*) FROM agentic_bank_vectors WHERE chunk > ? AND chunk < ?", (low, high)) or (
            0,
        )
        dimension = tx.bank.settings.get("fingerprint", {}).get("dimension", 0)
        unindex(tx)
        if count > LEAST and 0 < dimension <= _MOST_DIMENSIONS:
            tx.run(
                f"CREATE INDEX {near_index(tx.bank.id)} ON agentic_bank_vectors USING hnsw"
                f" ((CAST(vector AS vector({int(dimension)}))) vector_ip_ops) WHERE chunk > {low} AND chunk < {high}"
            )
