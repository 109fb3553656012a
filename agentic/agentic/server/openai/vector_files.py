"""The files of vector stores: uploaded files, put into memory banks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeAlias, runtime_checkable

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from ...store.documents import Document
from ...types.errors import AgenticError, InvalidInput, NotFound
from ...types.steps import Hit
from ..services import Services, Use
from . import kept, new_id, on_both
from .files import Files, page

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


@routes.post("/vector_stores/{vector_store_id}/files")
async def add_file(vector_store_id: str, body: NewFile, services: Use) -> dict[str, Any]:
    """Adds an uploaded file. One that cannot be read is listed as failed, with the reason."""
    return _shown_file(vector_store_id, await add(vector_store_id, body, services))


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
    found = [_shown_file(vector_store_id, one) for one in await services.documents.all(files_of(vector_store_id))]
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
    return _shown_file(vector_store_id, await add(vector_store_id, changed, services))


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
    await services.documents.remove(files_of(vector_store_id), file_id)
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
        await add(vector_store_id, one, services)
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


async def _bank(store_id: str, services: Services) -> Bank:
    bank = await services.banks.writable(store_id)
    if not isinstance(bank, Bank):
        raise InvalidInput(f"Vector store {store_id!r} can be searched, but takes no files.")
    return bank


async def add(store_id: str, given: NewFile, services: Services) -> Document:
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
    return await services.documents.put(files_of(store_id), given.file_id, known)


def files_of(store_id: str) -> str:
    """The kind of the documents that say which files a store has."""
    return f"file in {store_id}"


async def _file(store_id: str, file_id: str, services: Services) -> Document:
    await services.banks.get(store_id)
    if (found := await kept(services.documents, files_of(store_id), file_id)) is None:
        raise NotFound(f"Vector store {store_id!r} has no file {file_id!r}.")
    return found


async def _batch(store_id: str, batch_id: str, services: Services) -> Document:
    found = await kept(services.documents, BATCH, batch_id)
    if found is None or found.body["store"] != store_id:
        raise NotFound(f"Vector store {store_id!r} has no batch {batch_id!r}.")
    return found


async def _in_batch(batch: Document, services: Services) -> list[Document]:
    kind = files_of(str(batch.body["store"]))
    found = [await services.documents.get(kind, str(file_id)) for file_id in batch.body["files"]]
    return [one for one in found if one is not None]


def counts(files: Sequence[Document]) -> dict[str, int]:
    """How many files there are in each state."""
    failed = sum(one.body["status"] == "failed" for one in files)
    done = {"completed": len(files) - failed, "failed": failed, "total": len(files)}
    return {"in_progress": 0, "cancelled": 0, **done}


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
        "file_counts": counts(await _in_batch(document, services)),
    }


router = on_both(routes)
