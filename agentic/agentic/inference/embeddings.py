"""Embeddings from servers: each API's route, what it is asked, and where in the answer the vectors are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from .http import Http, vectors
from .rendered import dumps
from .retry import repeat

_AT_ONCE = 128
"""Texts in one request."""


@dataclass(frozen=True, slots=True)
class EmbeddingApi:
    """How a server is asked for embeddings.

    Attributes:
        route: After the endpoint.
        request: The body for a model's name and some texts.
        find: The vectors in the answer, in the texts' order.
    """

    route: str
    request: Callable[[str, list[str]], Mapping[str, Any]]
    find: Callable[[Any], Sequence[Sequence[float]]]


async def embed(http: Http, api: EmbeddingApi, model: str, texts: Sequence[str]) -> list[list[float]]:
    """One vector for each text, in order.

    Raises:
        InferenceError: In any of its kinds.
    """
    found: list[list[float]] = []
    for start in range(0, len(texts), _AT_ONCE):
        batch = list(texts[start : start + _AT_ONCE])
        data = await repeat(partial(http.fetch, api.route, dumps(api.request(model, batch)).encode()))
        found += vectors(data, len(batch), http.server, api.find)
    return found


def _openai_request(model: str, texts: list[str]) -> Mapping[str, Any]:
    return {"model": model, "input": texts, "encoding_format": "float"}


def _openai_rows(answer: Any) -> list[Any]:
    return [row["embedding"] for row in sorted(answer["data"], key=lambda row: row.get("index", 0))]


OPENAI = EmbeddingApi("/embeddings", _openai_request, _openai_rows)
LLAMA_CPP = EmbeddingApi("/v1/embeddings", _openai_request, _openai_rows)
OLLAMA = EmbeddingApi(
    "/api/embed", lambda model, texts: {"model": model, "input": texts}, lambda answer: answer["embeddings"]
)
LLAMA_STACK = EmbeddingApi(
    "/v1/inference/embeddings",
    lambda model, texts: {"model_id": model, "contents": texts},
    lambda answer: answer["embeddings"],
)
