"""`vector_stores`: memory banks, as OpenAI shows them. A file is searchable when the answer comes back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeAlias, runtime_checkable

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from ...protocols import MemoryBank
from ...store.documents import Document
from ...types.content import storable
from ...types.errors import AgenticError, InvalidInput, NotFound
from ...types.steps import Hit
from ..banks import Entry
from ..services import Services, Use
from . import kept, new_id, on_both
from .files import Files, page

KIND = "vector_store"
BATCH = "file_batch"
MOST_FILES = 500

routes = APIRouter(tags=["OpenAI"])

Attributes: TypeAlias = dict[str, str | float | bool]
Limit = Annotated[int, Query(ge=1, le=100)]
Order = Literal["asc", "desc"]


@runtime_checkable
class Bank(Protocol):
    """A memory bank that takes files and forgets them."""

    async def aadd_text(self, text: str, *, id: str, title: str, metadata: Mapping[str, Any]) -> Any:
        """Adds a text, in the place of an older one of its id."""
        ...

    async def aadd(self, *sources: Path, metadata: Mapping[str, Any]) -> Any:
        """Adds files whose format it finds out; their ids are their paths. What cannot be read is in `failed`."""
        ...

    async def adelete(self, id: str) -> int:
        """Removes a document; returns how many there were."""
        ...

    async def aquery(self, query: str, *, k: int, filter: Mapping[str, Any]) -> Sequence[Hit]:
        """The best chunks of documents whose metadata the filter matches."""
        ...


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


class NewFile(BaseModel):
    """A file to add; banks cut it up as they see fit, whatever `chunking_strategy` says."""

    model_config = ConfigDict(extra="allow")

    file_id: str
    attributes: Attributes | None = None


class FileChanges(BaseModel):
    """What may be changed."""

    attributes: Attributes | None


class NewBatch(BaseModel):
    """Files to add."""

    model_config = ConfigDict(extra="allow")

    file_ids: Annotated[list[str], Field(max_length=MOST_FILES)] | None = None
    files: Annotated[list[NewFile], Field(max_length=MOST_FILES)] | None = None
    attributes: Attributes | None = None


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


# -- stores -----------------------------------------------------------------------------------------------------------


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
        dimension = int(model.metadata.get("embedding_dimension") or 0)
        entry = Entry(name, "vector", body.embedding_model, model.model, dimension)
    await services.banks.register(entry)
    await services.documents.put(KIND, name, {"name": body.name or "", "metadata": body.metadata or {}})
    for file_id in body.file_ids or ():
        await _add(name, NewFile(file_id=file_id), services)
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
    for document in await services.documents.all(_files_of(vector_store_id)):
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


# -- their files ------------------------------------------------------------------------------------------------------


@routes.post("/vector_stores/{vector_store_id}/files")
async def add_file(vector_store_id: str, body: NewFile, services: Use) -> dict[str, Any]:
    """Adds an uploaded file. One that cannot be read is listed as failed, with the reason."""
    return _shown_file(vector_store_id, await _add(vector_store_id, body, services))


@routes.get("/vector_stores/{vector_store_id}/files")
async def list_files(
    *,
    vector_store_id: str,
    services: Use,
    after: str | None = None,
    limit: Limit = 20,
    order: Order = "desc",
    filter: str | None = None,
) -> dict[str, Any]:
    """Lists a store's files."""
    await services.banks.get(vector_store_id)
    found = [_shown_file(vector_store_id, one) for one in await services.documents.all(_files_of(vector_store_id))]
    found = [one for one in found if filter in (None, one["status"])]
    return page(found if order == "asc" else found[::-1], after, limit)


@routes.get("/vector_stores/{vector_store_id}/files/{file_id}")
async def retrieve_file(vector_store_id: str, file_id: str, services: Use) -> dict[str, Any]:
    """A file of a store."""
    return _shown_file(vector_store_id, await _file(vector_store_id, file_id, services))


@routes.post("/vector_stores/{vector_store_id}/files/{file_id}")
async def update_file(vector_store_id: str, file_id: str, body: FileChanges, services: Use) -> dict[str, Any]:
    """Changes a file's attributes."""
    await _file(vector_store_id, file_id, services)
    changed = NewFile(file_id=file_id, attributes=body.attributes)
    return _shown_file(vector_store_id, await _add(vector_store_id, changed, services))


@routes.get("/vector_stores/{vector_store_id}/files/{file_id}/content")
async def file_content(vector_store_id: str, file_id: str, services: Use) -> dict[str, Any]:
    """A file's text."""
    await _file(vector_store_id, file_id, services)
    name, data = await Files(services).content(file_id)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{name} is no text; get the file itself.") from None
    return {"object": "vector_store.file_content.page", "data": [{"type": "text", "text": text}], "has_more": False}


@routes.delete("/vector_stores/{vector_store_id}/files/{file_id}")
async def remove_file(vector_store_id: str, file_id: str, services: Use) -> dict[str, Any]:
    """Takes a file out of a store; the file itself stays."""
    document = await _file(vector_store_id, file_id, services)
    await (await _bank(vector_store_id, services)).adelete(str(document.body["document"]))
    await services.documents.remove(_files_of(vector_store_id), file_id)
    return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}


@routes.post("/vector_stores/{vector_store_id}/file_batches")
async def create_batch(vector_store_id: str, body: NewBatch, services: Use) -> dict[str, Any]:
    """Adds several files."""
    listed = body.files or [NewFile(file_id=one, attributes=body.attributes) for one in body.file_ids or ()]
    if not listed:
        raise InvalidInput("A batch needs file_ids or files.")
    for one in listed:
        await Files(services).get(one.file_id)
    for one in listed:
        await _add(vector_store_id, one, services)
    name = new_id("vsfb_")
    made = {"store": vector_store_id, "files": [one.file_id for one in listed]}
    return await _shown_batch(await services.documents.put(BATCH, name, made), services)


@routes.get("/vector_stores/{vector_store_id}/file_batches/{batch_id}")
async def retrieve_batch(vector_store_id: str, batch_id: str, services: Use) -> dict[str, Any]:
    """A batch."""
    return await _shown_batch(await _batch(vector_store_id, batch_id, services), services)


@routes.post("/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel")
async def cancel_batch(vector_store_id: str, batch_id: str, services: Use) -> dict[str, Any]:
    """Shows a batch: it has ended before its id was known."""
    return await retrieve_batch(vector_store_id, batch_id, services)


@routes.get("/vector_stores/{vector_store_id}/file_batches/{batch_id}/files")
async def list_batch(
    vector_store_id: str, batch_id: str, services: Use, after: str | None = None, limit: Limit = 20
) -> dict[str, Any]:
    """Lists a batch's files that are in the store still."""
    batch = await _batch(vector_store_id, batch_id, services)
    return page([_shown_file(vector_store_id, one) for one in await _in_batch(batch, services)], after, limit)


# -- inside -----------------------------------------------------------------------------------------------------------


async def _bank(store_id: str, services: Services) -> Bank:
    bank = await services.banks.bank(store_id)
    if not isinstance(bank, Bank):
        raise InvalidInput(f"Vector store {store_id!r} can be searched, but takes no files.")
    return bank


async def _add(store_id: str, given: NewFile, services: Services) -> Document:
    """Puts a file into a store, or puts down why it cannot be read."""
    bank, files = await _bank(store_id, services), Files(services)
    name, data = await files.content(given.file_id)
    about = {**(given.attributes or {}), "file_id": given.file_id, "filename": name}
    known: dict[str, Any] = {"attributes": given.attributes or {}, "bytes": len(data), "document": given.file_id}
    try:
        try:
            await bank.aadd_text(data.decode(), id=given.file_id, title=name, metadata=about)
        except UnicodeDecodeError:
            path = await files.path(given.file_id)
            known["document"] = str(path)
            if failed := (await bank.aadd(path, metadata=about)).failed:
                raise InvalidInput(str(next(iter(failed.values())))) from None
        known |= {"status": "completed", "last_error": None}
    except (AgenticError, ValueError) as error:
        known |= {"status": "failed", "last_error": {"code": "unsupported_file", "message": str(error)}}
    return await services.documents.put(_files_of(store_id), given.file_id, known)


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


def _files_of(store_id: str) -> str:
    return f"file in {store_id}"


async def _file(store_id: str, file_id: str, services: Services) -> Document:
    await services.banks.get(store_id)
    if (found := await kept(services.documents, _files_of(store_id), file_id)) is None:
        raise NotFound(f"Vector store {store_id!r} has no file {file_id!r}.")
    return found


async def _batch(store_id: str, batch_id: str, services: Services) -> Document:
    found = await kept(services.documents, BATCH, batch_id)
    if found is None or found.body["store"] != store_id:
        raise NotFound(f"Vector store {store_id!r} has no batch {batch_id!r}.")
    return found


async def _in_batch(batch: Document, services: Services) -> list[Document]:
    kind = _files_of(str(batch.body["store"]))
    found = [await services.documents.get(kind, str(file_id)) for file_id in batch.body["files"]]
    return [one for one in found if one is not None]


async def _shown(store_id: str, services: Services) -> dict[str, Any]:
    await services.banks.get(store_id)
    known = await services.documents.get(KIND, store_id)
    files = await services.documents.all(_files_of(store_id))
    return {
        "id": store_id,
        "object": "vector_store",
        "created_at": int(known.created_at.timestamp()) if known else 0,
        "last_active_at": int(time.time()),
        "name": str(known.body["name"]) if known else store_id,
        "metadata": dict(known.body["metadata"]) if known else {},
        "status": "completed",
        "usage_bytes": sum(int(one.body["bytes"]) for one in files),
        "file_counts": _counts(files),
        "expires_after": None,
        "expires_at": None,
    }


def _counts(files: Sequence[Document]) -> dict[str, int]:
    failed = sum(one.body["status"] == "failed" for one in files)
    counts = {"completed": len(files) - failed, "failed": failed, "total": len(files)}
    return {"in_progress": 0, "cancelled": 0, **counts}


def _shown_file(store_id: str, document: Document) -> dict[str, Any]:
    known = document.body
    return {
        "id": document.name,
        "object": "vector_store.file",
        "created_at": int(document.created_at.timestamp()),
        "vector_store_id": store_id,
        "status": known["status"],
        "last_error": known["last_error"],
        "usage_bytes": known["bytes"],
        "attributes": dict(known["attributes"]),
        "chunking_strategy": {"type": "other"},
    }


async def _shown_batch(document: Document, services: Services) -> dict[str, Any]:
    return {
        "id": document.name,
        "object": "vector_store.files_batch",
        "created_at": int(document.created_at.timestamp()),
        "vector_store_id": document.body["store"],
        "status": "completed",
        "file_counts": _counts(await _in_batch(document, services)),
    }


router = on_both(routes)
