"""Embeddings by string, object and function; whatever they give is checked."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from agentic.types.errors import (
    AuthenticationFailed,
    ConfigError,
    InferenceError,
    InvalidInput,
    InvalidResponse,
    ModelNotFound,
)
from agentic_memory.embedding import connect
from agentic_memory.embedding.checked import Checked
from agentic_memory.types import Embedding, Fingerprint
from servers.base import Server, Status
from servers.llama_stack import LlamaStackServer
from servers.ollama import OllamaServer
from servers.openai import OpenAIServer
from servers.raw import LlamaCppServer, VLLMServer

TEXTS = ["a" * number for number in range(1, 301)]


async def close_after(embedding: Embedding, texts: Sequence[str]) -> Any:
    try:
        return await embedding.embed(texts)
    finally:
        await embedding.aclose()


def embed(embedding: Embedding, texts: Sequence[str]) -> Any:
    return asyncio.run(close_after(embedding, texts))


@pytest.mark.parametrize(
    ("spec", "server", "path"),
    [
        ("openai/test", OpenAIServer, ""),
        ("ollama/test", OllamaServer, ""),
        ("llama-stack/test", LlamaStackServer, ""),
        ("raw/test", VLLMServer, ""),
        ("raw/test", OllamaServer, "/api/generate"),
        ("raw/test", LlamaCppServer, ""),
    ],
)
def test_any_provider_with_embeddings_serves(spec: str, server: Callable[[], Server], path: str) -> None:
    with server() as running:
        embedding = connect(spec, endpoint=running.url + path)
        vectors = embed(embedding, TEXTS)
        assert not running.problems
        assert len(running.requests) == 3  # 300 texts, 128 at once
    assert vectors.shape == (300, 2)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.allclose(vectors[:, 0] / vectors[:, 1], range(1, 301))  # in order, whichever batch came first


def test_a_servers_refusals_keep_their_types() -> None:
    with OpenAIServer() as server:
        server.faults.append(Status(401, {"error": {"message": "no"}}))
        with pytest.raises(AuthenticationFailed):
            embed(connect("openai/test", endpoint=server.url), ["a"])
    with OllamaServer() as ollama, pytest.raises(ModelNotFound):
        embed(connect("ollama/other", endpoint=ollama.url), ["a"])


def test_the_embedded_default() -> None:
    embedding = connect("default")
    assert isinstance(embedding, Embedding)
    cat, kitten, stocks = embed(embedding, ["A cat sat down.", "The kitten sits.", "Share prices fell."])
    assert cat @ kitten > 0.5 > cat @ stocks
    found = asyncio.run(embedding.fingerprint())
    assert (found.model, found.dimension, found.normalised, len(found.weights)) == (
        "local/minilm-l6-v2",
        384,
        True,
        64,
    )
    assert asyncio.run(connect(found.model).fingerprint()) == found


@pytest.mark.skipif(not importlib.util.find_spec("wordllama"), reason="needs the extra wordllama")
def test_wordllama_loads_from_its_own_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nothing may be fetched
    embedding = connect("wordllama")
    cat, kitten, stocks = embed(embedding, ["A cat sat down.", "The kitten sits.", "Share prices fell."])
    assert cat @ kitten > cat @ stocks
    found = asyncio.run(embedding.fingerprint())
    assert (found.model, found.dimension, len(found.weights)) == ("wordllama/l2_supercat_256", 256, 64)
    assert asyncio.run(connect(found.model).fingerprint()) == found


@pytest.mark.skipif(importlib.util.find_spec("sentence_transformers") is not None, reason="it is installed")
def test_what_is_not_installed_is_told_with_its_name() -> None:
    with pytest.raises(ConfigError, match="pip install sentence-transformers"):
        connect("sentence-transformers/all-MiniLM-L6-v2")


@pytest.mark.parametrize(
    "spec",
    ["", "nothing", "nobody/model", "local/smollm2-135m-instruct", "wordllama/other", 7, None],
)
def test_what_makes_no_embeddings_is_refused(spec: Any) -> None:
    with pytest.raises(ConfigError):
        connect(spec)
    with pytest.raises(ConfigError):
        connect(lambda texts: texts, endpoint="http://127.0.0.1:1")


def lengths(texts: list[str]) -> list[list[float]]:
    return [[float(len(text)), 1.0] for text in texts]


async def lengths_later(texts: list[str]) -> list[list[float]]:
    return lengths(texts)


class Embedder:
    model = "mine/model"

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return lengths(list(texts))


class Whole:
    def __init__(self, dimension: int = 2) -> None:
        self.dimension = dimension
        self.closed = False

    async def fingerprint(self) -> Fingerprint:
        return Fingerprint(model="whole/model", dimension=self.dimension, normalised=False)

    async def embed(self, texts: Sequence[str]) -> Any:
        return np.array(lengths(list(texts)), dtype=np.float32)

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("given", [lengths, lengths_later, Embedder(), Whole()])
def test_functions_and_objects_embed(given: Any) -> None:
    embedding = connect(given)
    vectors = embed(embedding, ["aaa", ""])
    assert vectors.shape == (2, 2)
    assert np.allclose(vectors[:, 0] / vectors[:, 1], [3, 1])  # an empty text goes as a blank
    assert asyncio.run(embedding.fingerprint()).dimension == 2
    assert embed(embedding, []).shape == (0, 2)
    assert connect(embedding) is embedding


def test_a_function_has_a_name() -> None:
    assert asyncio.run(connect(lengths).fingerprint()).model.endswith("test_embedding.lengths")


@pytest.mark.parametrize(
    "given",
    [[[1.0]], [[1.0], [2.0], [3.0]], [1.0, 2.0], [[1.0], [1.0, 2.0]], [[float("nan")]] * 2, [["x"], ["y"]], [], None],
)
def test_other_than_one_finite_vector_for_each_text_is_refused(given: Any) -> None:
    with pytest.raises(InvalidResponse):
        embed(connect(lambda _: given), ["a", "b"])


def test_a_dimension_does_not_change() -> None:
    sizes = iter([3, 4])
    embedding = connect(lambda texts: np.ones((len(texts), next(sizes))))
    embed(embedding, ["a"])
    with pytest.raises(InvalidResponse, match="before, they had 3"):
        embed(embedding, ["a"])
    with pytest.raises(InvalidResponse):
        embed(connect(Whole(dimension=3)), ["a"])


def test_a_zero_vector_stays_zero_and_overflow_is_refused() -> None:
    assert embed(connect(lambda texts: [[0.0, 0.0] for _ in texts]), ["a"]).tolist() == [[0.0, 0.0]]
    with pytest.raises(InvalidResponse), np.errstate(over="ignore"):
        embed(connect(lambda texts: [[1e300] for _ in texts]), ["a"])


def test_only_lists_of_strings() -> None:
    for wrong in ("one text", ["a", 1]):
        for given in (lengths, Whole()):
            with pytest.raises(InvalidInput):
                embed(connect(given), wrong)  # type: ignore[arg-type]
    seen: list[str] = []

    def see(texts: list[str]) -> Any:
        seen.extend(texts)
        return lengths(texts)

    embed(connect(see), ["half a pair: \ud800"])
    assert seen == ["half a pair: ?"]


def test_an_error_of_a_function_is_an_inference_error_that_names_it() -> None:
    def broken(texts: list[str]) -> Any:
        raise RuntimeError("out of paint")

    with pytest.raises(InferenceError, match="broken failed: RuntimeError: out of paint"):
        embed(connect(broken), ["a"])


def test_batches_are_bounded_and_a_cancel_or_an_error_ends_them_all() -> None:
    running = most = cancelled = 0

    async def run(fail: bool) -> None:
        nonlocal running, most, cancelled
        started = asyncio.Event()

        async def compute(texts: list[str]) -> Any:
            nonlocal running, most, cancelled
            running += 1
            most = max(most, running)
            try:
                if running == 3:
                    started.set()
                    if fail:
                        raise ConnectionError("gone")
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                raise
            finally:
                running -= 1

        task = asyncio.ensure_future(Checked("m", compute, batch=1, requests=3).embed(["a"] * 10))
        await started.wait()
        if not fail:
            task.cancel()
        with pytest.raises(InferenceError if fail else asyncio.CancelledError):
            await task
        assert running == 0

    asyncio.run(run(fail=False))
    asyncio.run(run(fail=True))
    assert most == 3
    assert cancelled == 5


def test_one_model_serves_several_loops_and_threads() -> None:
    embedding = connect("default")
    expected = embed(embedding, ["A cat."])
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(embed(embedding, ["A cat."]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.allclose(vectors, expected) for vectors in found)
    assert len(found) == 4


class _Sync:
    def embed(self, texts: list[str]) -> object:
        return ([float(len(text)), 1.0] for text in texts)


class _Async:
    model = "mine"

    async def embed(self, texts: list[str]) -> object:
        return np.array([[len(text), 1.0] for text in texts])


class _Encoder:
    def encode(self, texts: list[str]) -> object:
        return [[len(text), 1] for text in texts]


@pytest.mark.parametrize("given", [_Sync(), _Async(), _Encoder(), lambda texts: [[1, 2] for _ in texts]])
def test_any_object_or_function_that_makes_vectors_serves(given: Any) -> None:
    embedding = connect(given)
    assert asyncio.run(embedding.embed(["a", "bc"])).shape == (2, 2)
    assert (asyncio.run(embedding.fingerprint()).model == "mine") is isinstance(given, _Async)


def test_vectors_of_any_length_become_unit_vectors() -> None:
    found = asyncio.run(connect(lambda texts: [[1e38, 1e38] for _ in texts]).embed(["a"]))
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5]], rtol=1e-6)


@pytest.mark.skipif(not importlib.util.find_spec("wordllama"), reason="needs the extra wordllama")
def test_importing_wordllama_leaves_the_users_logging_alone() -> None:
    code = (
        "import logging, agentic_memory.embedding as e\n"
        "e.connect('wordllama')\n"
        "assert logging.getLogger().level == logging.WARNING and not logging.getLogger().handlers"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
