"""What every embedding keeps to: one finite vector for each text, always of the same length."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from agentic.types.content import storable
from agentic.types.errors import AgenticError, InferenceError, InferenceTimeout, InvalidInput, InvalidResponse, describe

from ..types import Embedding, Fingerprint

if TYPE_CHECKING:
    from ..types import Vectors

BATCH_SECONDS = 600.0
"""How long one batch may take; the first one may have to fetch the model."""

Compute = Callable[[list[str]], Awaitable[Any]]


class Checked:
    """Vectors from some model, cut into batches, checked, and brought to length 1, so that a dot product is the cosine.

    Args:
        model: The model string.
        compute: Gives a vector for each of some texts.
        weights: SHA-256 of its weights, or what finds it out; empty where they are not here.
        batch: Texts given to `compute` at once.
        requests: How many batches may be on their way at once.
        close: Frees what the model holds.
        window: How many tokens of a text it sees, and what counts them; chunks are cut to that length.
    """

    def __init__(
        self,
        model: str,
        compute: Compute,
        *,
        weights: Callable[[], Awaitable[str]] | str = "",
        batch: int = 128,
        requests: int = 1,
        close: Callable[[], Awaitable[None]] | None = None,
        window: tuple[int, Callable[[str], int]] | None = None,
    ) -> None:
        self.model = model
        self._compute = compute
        self._weights = weights
        self._batch = batch
        self._requests = requests
        self._close = close
        self._window = window
        self._dimension: int | None = None

    def __repr__(self) -> str:
        return f"Embedding({self.model!r})"

    async def fingerprint(self) -> Fingerprint:
        """Which model this is; a first text is embedded to find its dimension."""
        if self._dimension is None:
            await self.embed(["dimension"])
        if not isinstance(self._weights, str):
            self._weights = await self._weights()
        return Fingerprint(model=self.model, dimension=self._dimension or 0, weights=self._weights)

    async def measure(self) -> tuple[int, Callable[[str], int]] | None:
        """How many tokens of a text the model sees, and what counts them; None where that is not known."""
        if self._window is not None:
            await self.fingerprint()  # the tokenizer comes with the model
        return self._window

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text, float32, of length 1 (all zeros where the model gives zeros).

        Raises:
            InvalidInput: It is one string, or something in it is no string.
            InvalidResponse: The model gave other than one finite vector for each text, all of one length.
            InferenceError: In any of its kinds.
        """
        import numpy as np

        asked = texts_of(texts)
        if not asked:
            return np.zeros((0, (await self.fingerprint()).dimension), dtype=np.float32)
        limit = asyncio.Semaphore(self._requests)

        async def one(start: int) -> Vectors:
            async with limit:
                return await self._one(asked[start : start + self._batch])

        batches = [asyncio.ensure_future(one(start)) for start in range(0, len(asked), self._batch)]
        try:
            found = await asyncio.gather(*batches)
        finally:
            for batch in batches:
                batch.cancel()
            await asyncio.gather(*batches, return_exceptions=True)
        vectors = np.concatenate(found)
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, None]
        unit: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0, casting="unsafe")
        return unit

    async def aclose(self) -> None:
        """Frees threads and connections."""
        if self._close is not None:
            await self._close()

    async def _one(self, texts: list[str]) -> Vectors:
        try:
            async with asyncio.timeout(BATCH_SECONDS):
                found = await self._compute(texts)
        except TimeoutError as error:
            raise InferenceTimeout(f"{self.model} embedded {len(texts)} texts for {BATCH_SECONDS:g} s.") from error
        except AgenticError:
            raise
        except Exception as error:
            raise InferenceError(f"{self.model} failed: {describe(error)}.") from error
        vectors = checked(found, len(texts), self._dimension, self.model)
        self._dimension = vectors.shape[1]
        return vectors


class Declared:
    """A caller's own embedding, whose output is held to its fingerprint."""

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding

    async def fingerprint(self) -> Fingerprint:
        """What it says of itself."""
        return await self._embedding.fingerprint()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text, float32.

        Raises:
            InvalidInput: It is one string, or something in it is no string.
            InvalidResponse: The output is not what the fingerprint says.
        """
        asked, said = texts_of(texts), await self.fingerprint()
        return checked(await self._embedding.embed(asked), len(asked), said.dimension, said.model)

    async def aclose(self) -> None:
        """Closes it."""
        await self._embedding.aclose()


def texts_of(texts: Sequence[str]) -> list[str]:
    """The texts as servers take them: none empty, and none with half a surrogate pair.

    Raises:
        InvalidInput: It is one string, or something in it is no string.
    """
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise InvalidInput("embed takes a list of strings.")
    return [storable(text) or " " for text in texts]


def checked(found: Any, count: int, dimension: int | None, model: str) -> Vectors:
    """Vectors as a float32 array of one finite row for each text.

    Raises:
        InvalidResponse: They are something else, or of another length than before.
    """
    import numpy as np

    try:
        vectors: Vectors = np.asarray(list(found) if isinstance(found, Iterator) else found, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        raise InvalidResponse(f"{model} gave no vectors of numbers, or some of different lengths.") from None
    if count == 0 and dimension and vectors.size == 0:
        return vectors.reshape(0, dimension)
    if vectors.ndim != 2 or len(vectors) != count or vectors.shape[1] == 0:
        raise InvalidResponse(f"{model} gave an array of shape {vectors.shape} for {count} texts.")
    if dimension not in (None, vectors.shape[1]):
        raise InvalidResponse(f"{model} gave vectors of {vectors.shape[1]} numbers; before, they had {dimension}.")
    if not np.isfinite(vectors).all():
        raise InvalidResponse(f"{model} gave vectors that hold NaN or infinity.")
    return vectors
