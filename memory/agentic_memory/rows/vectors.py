"""Vectors as rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from agentic.types.errors import StoreCorrupt

from .access import Tx, numbers_among, span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..types import Vectors

_BATCH = 8192


def read_after(tx: Tx, last: int) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """A bank's vectors that are numbered above `last`, in order, some thousand at once."""
    import numpy as np

    _, high = span(tx)
    query = "SELECT chunk, vector FROM agentic_bank_vectors WHERE chunk > ? AND chunk < ? ORDER BY chunk LIMIT ?"
    while rows := tx.all(query, (last, high, _BATCH)):
        numbers = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
        yield numbers, matrix([row[1] for row in rows])
        last = rows[-1][0]


def vectors_of(tx: Tx, chunks: Sequence[int]) -> tuple[list[int], Vectors]:
    """The vectors of some chunks, in the order of their numbers; those that are gone are left out."""
    import numpy as np

    listed = json.dumps([int(chunk) for chunk in chunks])
    query = f"SELECT chunk, vector FROM agentic_bank_vectors WHERE chunk IN ({numbers_among(tx)}) ORDER BY chunk"  # noqa: S608
    rows = [(row[0], _blob(row[1])) for row in tx.all(query, (listed,))] if chunks else []
    return [row[0] for row in rows], matrix([row[1] for row in rows]) if rows else np.zeros((0, 0), dtype=np.float32)


def score(tx: Tx, vector: Vectors, chunks: Sequence[int]) -> list[tuple[int, float]]:
    """Compares chunks with a vector exactly; numbers and cosines, best first, those of equal score as numbered."""
    numbers, vectors = vectors_of(tx, chunks)
    if not numbers:
        return []
    scores = (vectors @ vector).tolist()
    return sorted(zip(numbers, scores, strict=True), key=lambda found: (-found[1], found[0]))


def matrix(blobs: Sequence[bytes]) -> Vectors:
    """Blobs of one length as rows.

    Raises:
        StoreCorrupt: They are of different lengths.
    """
    import numpy as np

    try:
        return np.frombuffer(b"".join(blobs), dtype=np.float32).reshape(len(blobs), -1)
    except ValueError as error:
        raise StoreCorrupt(f"A vector of the bank is damaged: {error}.", hint="See: bank.verify().") from error


def blobs_between(tx: Tx, first: int, last: int) -> dict[int, bytes]:
    """The vectors of a range of chunks, both ends included, as float32 blobs."""
    query = "SELECT chunk, vector FROM agentic_bank_vectors WHERE chunk BETWEEN ? AND ? ORDER BY chunk"
    rows = tx.all(query, (first, last))
    return {number: _blob(vector) for number, vector in rows}


def _blob(vector: bytes | str) -> bytes:
    """A float32 blob; pgvector writes text."""
    if isinstance(vector, bytes):
        return vector
    import numpy as np

    return np.array(json.loads(vector), dtype=np.float32).tobytes()
