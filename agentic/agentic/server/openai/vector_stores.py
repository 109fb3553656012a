"""`vector_stores`: memory banks, as OpenAI shows them. A file is searchable when the answer comes back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from ...protocols import MemoryBank
from ...types.content import storable
from ...types.errors import InvalidInput
from ...types.steps import Hit
from ..banks import Entry
from ..services import Services, Use
from . import new_id, on_both
from .files import Files, page
from .vector_files import MOST_FILES, Bank, Limit, NewFile, Order, add, counts, files_of

KIND = "vector_store"

routes = APIRouter(tags=["OpenAI"])


class NewStore(BaseModel):
    """A new vector store; `embedding_model` is one of this server's, by its id."""

    model_config = ConfigDict(extra="allow")

    name: str | None = None
    file_ids: Annotated[list[str], Field(max_length=MOST_FILES)] | None = None
    metadata: dict[str, str] | None = None
    embedding_model: str | None = None
    expires_after: dict[str, Any] | None = None


class StoreChanges(BaseModel):
    """What may be changed."""

    name: str | None = None
    metadata: dict[str, str] | None = None


class Ranking(BaseModel):
    """How hits are chosen."""

    model_config = ConfigDict(extra="allow")

    score_threshold: float | None = None


class Search(BaseModel):
    """A question, or several."""

    query: str | Annotated[list[str], Field(min_length=1, max_length=10)]
    max_num_results: Annotated[int, Field(ge=1, le=50)] = 10
    filters: dict[str, Any] | None = None
    ranking_options: Ranking | None = None
    rewrite_query: bool | None = None


@routes.post("/vector_stores")
async def create(body: NewStore, services: Use) -> dict[str, Any]:
    """Makes a vector store."""
    if body.expires_after is not None:
        raise InvalidInput("expires_after is not supported: a vector store stays until it is deleted.")
    for file_id in body.file_ids or ():
        await Files(services).get(file_id)
    name = new_id("vs_")
    entry = Entry(name)
    if body.embedding_model is not None:
        model = await services.models.get(body.embedding_model)
        await services.models.embedder(body.embedding_model)  # refuses a model that makes none
        dimension = int(model.metadata.get("embedding_dimension") or 0)
        entry = Entry(name, "vector", body.embedding_model, services.models.embedding(model), dimension)
    await services.banks.register(entry)
    await services.documents.put(KIND, name, {"name": body.name or "", "metadata": body.metadata or {}})
    for file_id in body.file_ids or ():
        await add(name, NewFile(file_id=file_id), services)
    return await _shown(name, services)


@routes.get("/vector_stores")
async def list_stores(
    services: Use, after: str | None = None, limit: Limit = 20, order: Order = "desc"
) -> dict[str, Any]:
    """Lists vector stores; the configuration's banks are among them."""
    names = [entry.bank_id for entry in await services.banks.list()]
    ids = page([{"id": name} for name in (names if order == "asc" else names[::-1])], after, limit)
    return {**ids, "data": [await _shown(one["id"], services) for one in ids["data"]]}


@routes.get("/vector_stores/{vector_store_id}")
async def retrieve(vector_store_id: str, services: Use) -> dict[str, Any]:
    """One vector store."""
    return await _shown(vector_store_id, services)


@routes.post("/vector_stores/{vector_store_id}")
async def update(vector_store_id: str, body: StoreChanges, services: Use) -> dict[str, Any]:
    """Changes its name or metadata."""
    await services.banks.get(vector_store_id)
    known = await services.documents.get(KIND, vector_store_id)
    old = known.body if known else {"name": "", "metadata": {}}
    new = {key: value for key, value in body.model_dump().items() if value is not None}
    await services.documents.put(KIND, vector_store_id, {**old, **new})
    return await _shown(vector_store_id, services)


@routes.delete("/vector_stores/{vector_store_id}")
async def delete(vector_store_id: str, services: Use) -> dict[str, Any]:
    """Removes a vector store; the files themselves stay."""
    await services.banks.unregister(vector_store_id)
    for document in await services.documents.all(files_of(vector_store_id)):
        await services.documents.remove(document.kind, document.name)
    await services.documents.remove(KIND, vector_store_id)
    return {"id": vector_store_id, "object": "vector_store.deleted", "deleted": True}


@routes.post("/vector_stores/{vector_store_id}/search")
async def search(vector_store_id: str, body: Search, services: Use) -> dict[str, Any]:
    """Searches; a hit's score is the bank's, larger is better."""
    bank = await services.banks.bank(vector_store_id)
    queries = storable([body.query] if isinstance(body.query, str) else body.query)
    found: dict[tuple[str, str], Hit] = {}
    for query in queries:
        for hit in await _hits(bank, query, body):
            key = hit.document_id, hit.text
            if key not in found or found[key].score < hit.score:
                found[key] = hit
    least = body.ranking_options.score_threshold if body.ranking_options else None
    hits = sorted(found.values(), key=lambda hit: -hit.score)[: body.max_num_results]
    return {
        "object": "vector_store.search_results.page",
        "search_query": queries,
        "data": [_hit(hit) for hit in hits if least is None or hit.score >= least],
        "has_more": False,
        "next_page": None,
    }


async def _hits(bank: MemoryBank, query: str, body: Search) -> Sequence[Hit]:
    if not query.strip():
        raise InvalidInput("query must not be empty.")
    if body.filters is None:
        return await bank.aquery(query, k=body.max_num_results)
    if not isinstance(bank, Bank):
        raise InvalidInput("This vector store takes no filters.")
    return await bank.aquery(query, k=body.max_num_results, filter=_filter(body.filters))


def _filter(given: Any, depth: int = 0) -> dict[str, Any]:
    """A filter in the words of memory banks.

    Raises:
        InvalidInput: It is malformed, or nested too deeply.
    """
    kind = given.get("type") if isinstance(given, Mapping) else None
    if depth > 10 or not isinstance(kind, str):
        raise InvalidInput("filters must be an object with a type, nested at most 10 deep.")
    if kind in ("and", "or"):
        inner = given.get("filters")
        if not isinstance(inner, Sequence) or isinstance(inner, str) or not inner:
            raise InvalidInput(f"A filter of type {kind} needs a list of filters.")
        return {f"${kind}": [_filter(one, depth + 1) for one in inner]}
    if kind not in ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin") or not isinstance(given.get("key"), str):
        raise InvalidInput(f"A filter of type {kind!r} is not known, or has no key.")
    return {given["key"]: {f"${kind}": given.get("value")}}


def _hit(hit: Hit) -> dict[str, Any]:
    file_id = str(hit.metadata.get("file_id") or Path(hit.document_id).name)
    plain = {key: value for key, value in hit.metadata.items() if isinstance(value, str | int | float | bool)}
    return {
        "file_id": file_id,
        "filename": str(plain.pop("filename", "") or hit.title or file_id),
        "score": hit.score,
        "attributes": {key: value for key, value in plain.items() if key != "file_id"},
        "content": [{"type": "text", "text": hit.text}],
    }


async def _shown(store_id: str, services: Services) -> dict[str, Any]:
    await services.banks.get(store_id)
    known = await services.documents.get(KIND, store_id)
    files = await services.documents.all(files_of(store_id))
    return {
        "id": store_id,
        "object": "vector_store",
        "created_at": int(known.created_at.timestamp()) if known else 0,
        "last_active_at": int(time.time()),
        "name": str(known.body["name"]) if known else store_id,
        "metadata": dict(known.body["metadata"]) if known else {},
        "status": "completed",
        "usage_bytes": sum(int(one.body["bytes"]) for one in files),
        "file_counts": counts(files),
        "expires_after": None,
        "expires_at": None,
    }


router = on_both(routes)
