"""Leaving out what says the same again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rows import Tx
from .rows.vectors import vectors_of

if TYPE_CHECKING:
    from .types import Vectors

_SAME = 0.98
"""The cosine from which on two chunks say the same."""


def choose(
    tx: Tx, scored: list[tuple[int, float]], k: int, diversity: float, *, distinct: bool
) -> list[tuple[int, float]]:
    """Chooses chunks one after another, each for its score and for how little it resembles those before it.

    Args:
        tx: Where their vectors are read.
        scored: Numbers and scores, best first.
        k: How many to choose.
        diversity: The share of the resemblance in the choice, from 0 to 1: maximal marginal relevance.
        distinct: Leave out what resembles a chosen one in almost everything.
    """
    import numpy as np

    numbers, vectors = vectors_of(tx, [number for number, _ in scored])
    row_of = {number: row for row, number in enumerate(numbers)}
    left = [each for each in scored if each[0] in row_of]
    if not left:
        return scored
    units: Vectors = vectors[[row_of[number] for number, _ in left]]
    scores = np.array([score for _, score in left])
    spread = float(scores.max() - scores.min()) or 1.0
    relevance = (scores - scores.min()) / spread
    nearest, open_ = np.full(len(left), -1.0), np.ones(len(left), dtype=bool)
    chosen: list[tuple[int, float]] = []
    while len(chosen) < k and open_.any():
        worth = (1 - diversity) * relevance - diversity * np.maximum(nearest, 0.0)
        best = int(np.argmax(np.where(open_, worth, -np.inf)))
        chosen.append(left[best])
        nearest = np.maximum(nearest, units @ units[best])
        open_[best] = False
        if distinct:
            open_ &= nearest < _SAME
    return chosen
