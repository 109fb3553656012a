"""`embeddings`: vectors as numbers or, half the size, as base64."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ...types.content import storable
from ...types.errors import InvalidInput
from ..services import Use
from . import on_both

MOST_TEXTS = 2048

routes = APIRouter(tags=["OpenAI"])


class EmbeddingsRequest(BaseModel):
    """The body."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None


@routes.post("/embeddings")
async def create(body: EmbeddingsRequest, services: Use) -> dict[str, Any]:
    """One vector for each text, in order."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not all(isinstance(text, str) for text in texts):
        raise InvalidInput("input must be text or a list of texts: numbers of tokens mean nothing to another model.")
    if not 0 < len(texts) <= MOST_TEXTS or "" in texts:
        raise InvalidInput(f"input must hold 1 to {MOST_TEXTS:,} texts, and none that is empty.")
    embedder = await services.models.embedder(body.model)
    vectors = await embedder.embed([storable(text) for text in texts])
    if body.dimensions is not None and vectors and len(vectors[0]) != body.dimensions:
        raise InvalidInput(f"{body.model} makes vectors of {len(vectors[0])} dimensions, not {body.dimensions}.")
    write = _packed if body.encoding_format == "base64" else list
    data = [{"object": "embedding", "index": index, "embedding": write(row)} for index, row in enumerate(vectors)]
    return {"object": "list", "data": data, "model": body.model, "usage": {"prompt_tokens": 0, "total_tokens": 0}}


def _packed(vector: Sequence[float]) -> str:
    """Little-endian 32-bit floats, in base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


router = on_both(routes)
