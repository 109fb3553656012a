"""OpenAI's API over the same engine, under `/v1` and, as Llama Stack has it, under `/v1/openai/v1`."""

from __future__ import annotations

import secrets

from fastapi import APIRouter

from ...store.base import MAX_NAME
from ...store.documents import Document, Documents

PREFIXES = ("/v1", "/v1/openai/v1")


def on_both(routes: APIRouter) -> APIRouter:
    """The routes under both prefixes."""
    router = APIRouter()
    for prefix in PREFIXES:
        router.include_router(routes, prefix=prefix)
    return router


async def kept(documents: Documents, kind: str, name: object) -> Document | None:
    """A document by a name that a client gave; what no name can be is looked up nowhere."""
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= MAX_NAME:
        return None
    return await documents.get(kind, name)


def new_id(kind: str) -> str:
    """An id that nobody guesses: `resp_…`, `file-…`; `kind` brings its own separator."""
    return kind + secrets.token_hex(16)
