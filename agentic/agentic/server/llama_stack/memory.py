"""The first generation's memory API, as other names of the same banks: `/memory_banks` and `/memory`.

It had no prefix, then `/alpha`; `/v1` is taken as well.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from ...recall import BYTES_PER_TOKEN
from ...types.content import text_of
from ...types.errors import InvalidInput
from ...types.steps import Hit
from ..banks import Entry
from ..models import EMBEDDER
from ..services import Services, Use
from . import wire
from .schemas import Content, RAGDocument
from .vector import insert

Kind = Literal["vector", "keyword", "keyvalue", "graph"]


class BankCreate(BaseModel):
    """A bank to make: by `memory_bank_id` and `params`, or by `name` and `config` as it was first."""

    memory_bank_id: str | None = None
    name: str | None = None
    params: dict[str, Any] | None = None
    config: dict[str, Any] | None = None


class BankNamed(BaseModel):
    """A bank."""

    bank_id: str


class BankInsert(BankNamed):
    """Documents to add."""

    documents: list[RAGDocument]
    ttl_seconds: int | None = None


class BankQuery(BankNamed):
    """What to search for."""

    query: Content | list[str]
    params: dict[str, Any] | None = None


async def create(body: BankCreate, services: Use) -> Any:
    """Makes a bank."""
    bank_id, told = body.memory_bank_id or body.name, body.params or body.config or {}
    kind = told.get("memory_bank_type") or told.get("type") or "vector"
    if not bank_id or kind not in ("vector", "keyword", "keyvalue", "graph"):
        raise InvalidInput("Name the bank and its type: vector, keyword, keyvalue or graph.")
    name = str(told.get("embedding_model") or EMBEDDER)
    if kind == "vector":
        model = await services.models.get(name)
        await services.models.embedder(name)  # refuses a model that makes none
        dimension = int(model.metadata.get("embedding_dimension") or 384)
        entry = Entry(bank_id, kind, name, services.models.embedding(model), dimension)
    else:
        entry = Entry(bank_id, kind, provider_id=kind)
    return _bank(await services.banks.register(entry))


async def listed(services: Use) -> Any:
    """All banks."""
    return {"data": [_bank(entry) for entry in await services.banks.list()]}


async def one(bank_id: str, services: Use) -> Any:
    """One bank."""
    return _bank(await services.banks.get(bank_id))


async def drop(body: BankNamed, services: Use) -> Any:
    """Removes a bank with everything in it."""
    return await _drop(services, body.bank_id)


async def delete(bank_id: str, services: Use) -> Any:
    """Removes a bank with everything in it."""
    return await _drop(services, bank_id)


async def add(body: BankInsert, services: Use) -> None:
    """Adds documents."""
    await insert(services, body.bank_id, body.documents)


async def query(body: BankQuery, services: Use) -> Any:
    """The chunks that fit a query best."""
    bank = await services.banks.bank(body.bank_id)
    count = (body.params or {}).get("max_chunks") or 5
    if not isinstance(count, int) or not 1 <= count <= 1000:
        raise InvalidInput("params: max_chunks is 1 to 1000.")
    asked = body.model_dump()["query"]
    if isinstance(asked, list):  # text stood bare among the items then
        asked = [{"type": "text", "text": item} if isinstance(item, str) else item for item in asked]
    hits = await bank.aquery(text_of(wire.content_in(asked)), k=count)
    return JSONResponse({"chunks": [_chunk(hit) for hit in hits], "scores": [hit.score for hit in hits]})


def _router() -> APIRouter:
    routes = APIRouter(tags=["memory"], include_in_schema=False)
    for prefix in ("", "/alpha", "/v1"):
        for banks in ("memory_banks", "memory-banks"):
            routes.post(f"{prefix}/{banks}")(create)
            routes.post(f"{prefix}/{banks}/register")(create)
            routes.get(f"{prefix}/{banks}")(listed)
            routes.get(f"{prefix}/{banks}/list")(listed)
            routes.get(f"{prefix}/{banks}/{{bank_id:path}}")(one)
            routes.delete(f"{prefix}/{banks}/{{bank_id:path}}")(delete)
        routes.post(f"{prefix}/memory/create")(create)
        routes.get(f"{prefix}/memory/list")(listed)
        routes.get(f"{prefix}/memory/get")(one)
        routes.post(f"{prefix}/memory/drop")(drop)
        routes.post(f"{prefix}/memory/insert")(add)
        routes.post(f"{prefix}/memory/query")(query)
    return routes


router = _router()


async def _drop(services: Services, bank_id: str) -> str:
    await services.banks.unregister(bank_id)
    services.agents.forget()
    return bank_id


def _bank(entry: Entry) -> dict[str, Any]:
    config = {"type": entry.kind}
    if entry.embedding_model:
        config["embedding_model"] = entry.embedding_model
    return {
        "bank_id": entry.bank_id,
        "name": entry.bank_id,
        "config": config,
        "identifier": entry.bank_id,
        "memory_bank_type": entry.kind,
        "provider_id": entry.provider_id,
        "type": "memory_bank",
    }


def _chunk(hit: Hit) -> dict[str, Any]:
    tokens = math.ceil(len(hit.text.encode()) / BYTES_PER_TOKEN)
    return {"content": hit.text, "token_count": tokens, "document_id": hit.document_id}
