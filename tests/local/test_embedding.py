"""The local embedding model."""

from __future__ import annotations

import asyncio
import math
import queue
import threading

import pytest

from agentic import Agent
from agentic.inference import connect
from agentic.inference.local_embedding import DIMENSION, LocalEmbedder
from agentic.protocols import Embedder
from agentic.types import ConfigError, InvalidInput

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("embedding_model")]


def cosine(first: list[float], second: list[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


async def test_like_texts_are_near() -> None:
    embedder = LocalEmbedder()
    assert isinstance(embedder, Embedder)
    cat, kitten, stocks = await embedder.embed(["A cat sat down.", "The kitten sits.", "Share prices fell."])
    assert len(cat) == DIMENSION
    assert all(type(number) is float for number in cat)
    assert math.isclose(cosine(cat, cat), 1, abs_tol=1e-5)
    assert cosine(cat, kitten) > 0.6 > 0.3 > cosine(cat, stocks)
    await embedder.aclose()


async def test_it_is_connected_to_as_other_models_are() -> None:
    embedder: object = connect("local/minilm-l6-v2")
    assert isinstance(embedder, Embedder)
    assert [len(vector) for vector in await embedder.embed(["a", "b"])] == [DIMENSION, DIMENSION]
    with pytest.raises(ConfigError, match=r"local/minilm-l6-v2 makes embeddings; it does not chat\."):
        Agent("local/minilm-l6-v2", store=None)
    with pytest.raises(ConfigError, match="its kind is classifier"):
        connect("local/cloneguard-mini")


async def test_odd_texts() -> None:
    embedder = LocalEmbedder()
    assert await embedder.embed([]) == []
    empty, blank, huge = await embedder.embed(["", "   ", "word " * 100_000])
    assert all(math.isclose(cosine(vector, vector), 1, abs_tol=1e-5) for vector in (empty, blank, huge))
    with pytest.raises(InvalidInput):
        await embedder.embed("one text")
    with pytest.raises(InvalidInput):
        await embedder.embed(["a", 1])  # type: ignore[list-item]
    await embedder.aclose()


async def test_texts_keep_their_order_and_a_batch_changes_little() -> None:
    embedder = LocalEmbedder()
    texts = [f"Number {number} {'and more ' * (number % 5)}" for number in range(40)]
    together = await embedder.embed(texts)
    alone = [(await embedder.embed([text]))[0] for text in texts[:5]]
    assert all(cosine(first, second) > 0.98 for first, second in zip(alone, together, strict=False))
    await embedder.aclose()


async def test_a_cancelled_caller_leaves_when_the_computing_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    events: queue.Queue[threading.Event] = queue.Queue()
    going_on = threading.Event()
    ended: list[bool] = []

    def embed(_self: LocalEmbedder, _texts: list[str], cancel: threading.Event) -> list[list[float]]:
        events.put(cancel)
        ended.append(going_on.wait(10))
        return []

    monkeypatch.setattr(LocalEmbedder, "_embed", embed)
    task = asyncio.create_task(LocalEmbedder().embed(["a"]))
    cancel = await asyncio.to_thread(events.get, timeout=10)
    task.cancel()
    assert await asyncio.to_thread(cancel.wait, 10)
    assert not task.done()
    going_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
