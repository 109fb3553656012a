"""Vectors for a bank's texts: each computed once, checked, and of the embedding that the bank was made with."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agentic.types.errors import AgenticError, ConfigError, InvalidInput

from .rows import Rows, Tx
from .types import Embedding, Fingerprint

if TYPE_CHECKING:
    from .types import Vectors

_ASKED = 256
"""The most texts that are embedded before their vectors are put aside, for the case of an interruption."""
PUT_ASIDE = 1.0
"""Seconds of computing that an interruption may cost."""


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

    given = _floats(vectors)
    if given.ndim != 2 or len(given) != count or not given.shape[1]:
        raise InvalidInput(f"For {count} texts there must be {count} vectors; these have the shape {given.shape}.")
    if dimension is not None and given.shape[1] != dimension:
        raise InvalidInput(f"The bank's vectors have {dimension} numbers, these {given.shape[1]}.")
    lengths = np.sqrt(np.einsum("ij,ij->i", given, given, dtype=np.float64))[:, None]
    if not np.isfinite(lengths).all():
        raise InvalidInput("Vectors must be finite: one holds NaN or infinity.")
    unit: Vectors = np.divide(given, lengths, out=np.zeros_like(given), where=lengths > 0, casting="unsafe")
    return unit


def normalised_one(vector: Any) -> Vectors:
    """A vector as float32 of length 1.

    Raises:
        InvalidInput: It is no list of finite numbers.
    """
    one: Vectors = normalised(_floats(vector).reshape(1, -1), 1)[0]
    return one


def _floats(given: Any) -> Vectors:
    import numpy as np

    try:
        with np.errstate(over="ignore"):  # becomes infinity, which is refused
            return np.ascontiguousarray(given, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput("Vectors are arrays of numbers, all of one length.") from None


def hash_of(content: str | bytes, *told: object) -> bytes:
    """SHA-256 over a document and everything that is said of it."""
    state = hashlib.sha256(json.dumps(told, ensure_ascii=True, default=str).encode())
    state.update(as_bytes(content))
    return state.digest()


def as_bytes(content: str | bytes) -> bytes:
    """Any text as bytes, half surrogate pairs too."""
    return content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")


@dataclass(slots=True)
class Embedder:
    """Vectors for the chunks of one bank, each text computed once.

    Attributes:
        rows: Where the bank is.
        embedding: What computes.
        computed: How many texts it was asked for.
        asked: How many at a time: few of a slow embedding, so that an interruption costs about a second.
    """

    rows: Rows
    embedding: Embedding
    computed: int = 0
    asked: int = 32

    async def vectors(self, texts: Sequence[str], there: Mapping[str, bytes]) -> Vectors:
        """One row for each text; those in `there` and those put aside before are not computed."""
        import numpy as np

        # What a fast model gives at once need not be put aside, nor looked for.
        found: dict[str, bytes] = {text: there[text] for text in texts if text in there}
        missing = list(dict.fromkeys(text for text in texts if text not in found))
        if missing:
            found |= await self._kept(missing)
        missing = [text for text in missing if text not in found]
        found |= await self._computed(missing)
        if not texts:
            return np.zeros((0, (await self.embedding.fingerprint()).dimension), dtype=np.float32)
        return np.frombuffer(b"".join(found[text] for text in texts), dtype=np.float32).reshape(len(texts), -1)

    async def _computed(self, texts: Sequence[str]) -> dict[str, bytes]:
        """Computes vectors; should it be interrupted, those that there are already are put aside."""
        found: dict[str, bytes] = {}
        aside: dict[str, bytes] = {}
        since = time.monotonic()
        try:
            start, texts = 0, sorted(texts, key=len)  # those of like length cost the least together
            while part := texts[start : start + min(self.asked, _ASKED)]:
                begun = time.monotonic()
                computed = await self.embedding.embed(part)
                # Only now: a model that was never asked would be given a text of ours to find out its dimension.
                dimension = (await self.embedding.fingerprint()).dimension
                given = normalised(computed, len(part), dimension)
                self.computed += len(part)
                aside |= {text: vector.tobytes() for text, vector in zip(part, given, strict=True)}
                start += len(part)
                if time.monotonic() - begun < PUT_ASIDE / 2:
                    self.asked = min(2 * self.asked, _ASKED)
                if time.monotonic() - since >= PUT_ASIDE and start < len(texts):
                    await self._put_aside(aside)
                    found, aside, since = found | aside, {}, time.monotonic()
        except BaseException:
            if aside:
                with suppress(AgenticError):  # the interruption is what matters
                    await self._put_aside(aside)
            raise
        return found | aside

    async def _put_aside(self, vectors: Mapping[str, bytes]) -> None:
        fingerprint = await self.embedding.fingerprint()
        await self.rows.write(lambda tx: _put_aside(tx, vectors, fingerprint))

    async def _kept(self, texts: Sequence[str]) -> dict[str, bytes]:
        """The vectors that were put aside before."""
        if not await self.rows.read(_any_aside):
            return {}
        fingerprint = await self.embedding.fingerprint()
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


def _any_aside(tx: Tx) -> bool:
    return tx.one("SELECT 1 FROM agentic_bank_pending WHERE bank = ? LIMIT 1", (tx.bank.id,)) is not None


def forget_aside(tx: Tx, texts: Iterable[str], fingerprint: Fingerprint) -> None:
    """Removes vectors that were put aside for documents that are stored now."""
    if _any_aside(tx):
        keys = [(tx.bank.id, _key(text, fingerprint)) for text in texts]
        tx.many("DELETE FROM agentic_bank_pending WHERE bank = ? AND hash = ?", keys)


def _key(text: str, fingerprint: Fingerprint) -> bytes:
    return hash_of(text, fingerprint.model, fingerprint.dimension, fingerprint.weights)


def no_embedding() -> ConfigError:
    """The error for a bank that can make no vectors."""
    return ConfigError("This bank was opened with embedding=None: it needs given vectors.", hint="Name an embedding.")
