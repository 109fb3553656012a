"""Vectors for tests: made of a text's words, so that texts with the same words are near each other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agentic_memory.types import Fingerprint

if TYPE_CHECKING:
    from agentic_memory.types import Vectors

DIMENSION = 32


class Words:
    """An embedding without a model: each word has a direction of its own.

    Attributes:
        asked: Every text that was embedded.
    """

    def __init__(self, model: str = "words", dimension: int = DIMENSION) -> None:
        self.asked: list[str] = []
        self._model = model
        self._dimension = dimension

    async def fingerprint(self) -> Fingerprint:
        return Fingerprint(model=self._model, dimension=self._dimension)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        return np.array([self.vector(text) for text in texts], dtype=np.float32).reshape(len(texts), -1)

    async def aclose(self) -> None:
        pass

    def vector(self, text: str) -> Vectors:
        total = np.zeros(self._dimension, dtype=np.float32)
        for word in text.lower().split():
            seed = int.from_bytes(hashlib.sha256(f"{self._model} {word}".encode()).digest()[:8], "big")
            total += np.random.default_rng(seed).normal(size=self._dimension).astype(np.float32)
        length = float(np.linalg.norm(total))
        return total / length if length else total


def clustered(count: int, dimension: int = DIMENSION, seed: int = 0) -> Vectors:
    """Vectors of length 1 that lie in groups, as those of texts do."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(1, count // 50), dimension))
    vectors = centres[random.integers(0, len(centres), count)] + 0.4 * random.normal(size=(count, dimension))
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
