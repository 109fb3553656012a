"""Nearest vectors by FAISS: a cache of the rows, which can be thrown away at any time.

Up to 50,000 chunks all vectors are compared, in half precision. Above, a thread sorts them into lists (IVF, one byte
per number) and finds out how many lists a search must visit to have 99 % of the true neighbours; what came later is
compared in full. Whatever FAISS proposes is scored again from the rows, in the same transaction that reads the text:
a chunk that is gone is never found.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from agentic.types.errors import AgenticError

from . import inverted
from .rows import Rows, Tx, span
from .rows.vectors import read_after, score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .types import Vectors

    Numbers: TypeAlias = NDArray[np.int64]

FLAT = 50_000
"""Above so many chunks an inverted index is built; again when a tenth as many have come or gone."""
_GATHER = 200
"""Up to so many allowed chunks are compared without an index."""


class Index:
    """The vectors of one bank.

    Args:
        rows: The bank's rows.
        cached: Whether an inverted index is kept in a file beside the database.
    """

    def __init__(self, rows: Rows, *, cached: bool) -> None:
        self._rows = rows
        self._cached = cached
        self._building = threading.Lock()
        self._lock = threading.Lock()  # FAISS crashes when it is searched while something is added
        self._base: inverted.Inverted | None = None
        self._tail: Any = None
        self._generation = -1
        self._last = self._gone = 0
        self._removed = 0
        self._builder: threading.Thread | None = None
        self._closed = False

    def search(self, tx: Tx, vector: Vectors, k: int, allowed: Numbers | None) -> list[tuple[int, float]]:
        """The nearest chunks as numbers and cosines, best first.

        Args:
            tx: What it is read in.
            vector: Of length 1.
            k: How many.
            allowed: The chunks that may be found, in order; None is all.

        Returns:
            Fewer than `k` only when there are no more.
        """
        if allowed is not None and len(allowed) <= _GATHER:
            return score(tx, vector, allowed.tolist())[:k]
        want = max(4 * k, 40)
        while True:
            found, count = self._propose(tx, vector, want, allowed)
            scored = score(tx, vector, found)
            if len(scored) >= k or want >= count:
                return scored[:k]
            want *= 4

    def refresh(self, tx: Tx) -> None:
        """Takes in what has changed since the last time, whoever changed it."""
        with self._lock:
            self._refresh(tx)

    def build(self) -> None:
        """Builds the inverted index anew if the bank is large enough; blocks. Searches go on meanwhile."""
        with self._building:
            if self._due():
                self._build()

    def _build(self) -> None:
        made = self._rows.read_here(lambda tx: inverted.build(tx, FLAT))
        if made is None or self._closed:
            return
        if self._cached:
            with suppress(OSError):  # a cache that cannot be written is made again next time
                inverted.save(made, Path(self._rows.where))
        with self._lock:
            self._start_from(made)

    def describe(self) -> dict[str, Any]:
        """What it is made of."""
        with self._lock:
            base, tail = self._base, self._tail
            return {
                "index": "ivf-sq8" if base else "flat-fp16",
                "indexed": (base.index.ntotal if base else 0) + (tail.ntotal if tail is not None else 0),
                "tail": tail.ntotal if tail is not None else 0,
                "lists": base.index.nlist if base else 0,
                "lists_visited": base.probes if base else 0,
            }

    def numbers(self, tx: Tx) -> Numbers:
        """The chunks that it holds, in order; for `verify`."""
        import numpy as np

        with self._lock:
            self._refresh(tx)
            low, _ = span(tx)
            parts = [inverted.numbers(self._base.index)] if self._base else []
            if self._tail is not None:
                parts.append(inverted.vector_to_array(self._tail.id_map))
            return np.sort(np.concatenate(parts)) + low if parts else np.zeros(0, dtype=np.int64)

    def discard(self, uid: str) -> None:
        """Removes the files of a bank that was dropped."""
        inverted.discard(Path(self._rows.where), uid)

    def close(self) -> None:
        """Waits for a build that is under way."""
        self._closed = True
        if self._builder is not None:
            self._builder.join()

    def _propose(self, tx: Tx, vector: Vectors, want: int, allowed: Numbers | None) -> tuple[list[int], int]:
        import numpy as np

        with self._lock:
            self._refresh(tx)
            low, _ = span(tx)
            local = None if allowed is None else allowed - low
            found = (self._search_base(vector, want, local), self._search_tail(vector, want, local))
            total = (self._base.index.ntotal if self._base else 0) + (self._tail.ntotal if self._tail else 0)
        numbers = np.concatenate([part[1] for part in found])
        order = np.argsort(-np.concatenate([part[0] for part in found]), kind="stable")[:want]
        return (numbers[order] + low).tolist(), total if allowed is None else min(total, len(allowed))

    def _search_base(self, vector: Vectors, want: int, local: Numbers | None) -> tuple[Vectors, Numbers]:
        if self._base is None:
            return _nothing()
        lists, probes = self._base.index.nlist, self._base.probes
        if local is not None and len(local) < self._base.index.ntotal // 2:
            probes = lists  # what is allowed may lie anywhere
        scores, numbers = inverted.search(self._base.index, vector, want, local, probes)
        if len(numbers) < want and probes < lists:
            scores, numbers = inverted.search(self._base.index, vector, want, local, lists)
        return scores, numbers

    def _search_tail(self, vector: Vectors, want: int, local: Numbers | None) -> tuple[Vectors, Numbers]:
        if self._tail is None or not self._tail.ntotal:
            return _nothing()
        return inverted.search(self._tail, vector, want, local, None)

    def _refresh(self, tx: Tx) -> None:
        bank, new = tx.bank, self._generation < 0
        if bank.generation > self._generation:
            if self._generation < 0 or self._gone < bank.floor:
                saved = inverted.load(tx, Path(self._rows.where)) if self._cached else None
                self._start_from(saved) if saved else self._start_anew(tx)
            self._remove(tx)
            for numbers, vectors in read_after(tx, self._last):
                self._add(tx, numbers, vectors)
            self._generation = bank.generation
        if not new:  # who asks one question only does not pay for the next ones
            self._build_if_due()

    def _start_from(self, made: inverted.Inverted) -> None:
        self._base, self._tail, self._removed = made, None, 0
        self._last, self._gone, self._generation = made.last, made.gone, made.generation

    def _start_anew(self, tx: Tx) -> None:
        self._base, self._tail, self._removed = None, None, 0
        self._last, self._gone = span(tx)[0], max(span(tx)[0], tx.bank.floor)

    def _remove(self, tx: Tx) -> None:
        low, high = span(tx)
        gone = tx.all(
            "SELECT id, first, last FROM agentic_bank_gone WHERE id > ? AND id < ? ORDER BY id", (self._gone, high)
        )
        if not gone:
            return
        self._gone = gone[-1][0]
        numbers = inverted.ranges([(first - low, last - low) for _, first, last in gone if first <= self._last])
        for index in (self._base.index if self._base else None, self._tail):
            if index is not None and len(numbers):
                self._removed += index.remove_ids(numbers)

    def _add(self, tx: Tx, numbers: Numbers, vectors: Vectors) -> None:
        if self._tail is None:
            self._tail = inverted.flat(vectors.shape[1])
        self._tail.add_with_ids(vectors, numbers - span(tx)[0])
        self._last = int(numbers[-1])

    def _due(self) -> bool:
        base, tail = (self._base.index.ntotal if self._base else 0), (self._tail.ntotal if self._tail else 0)
        return base + tail > FLAT and (self._base is None or tail + self._removed > base // 10)

    def _build_if_due(self) -> None:
        if self._due() and not self._closed and (self._builder is None or not self._builder.is_alive()):
            self._builder = threading.Thread(target=self._build_quietly, name="agentic-index", daemon=True)
            self._builder.start()

    def _build_quietly(self) -> None:
        with suppress(AgenticError):  # the store went away; a later search tries again
            self.build()


def _nothing() -> tuple[Vectors, Numbers]:
    import numpy as np

    return np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64)
