"""Memory banks as Llama Stack has them: `/v1/vector-dbs`, `/v1/vector-io` and `/v1/tool-runtime/rag-tool`."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from ...types.content import storable, text_of
from ...types.errors import InvalidInput
from ...types.steps import Hit
from ..banks import Entry, TakesChunks, Writable, find
from ..knowledge import search
from ..services import Services, Use
from . import wire
from .answers import Chunks, RAGResult, VectorDB, VectorDBList
from .attachments import text_at
from .schemas import URL, ChunkQuery, ChunksInsert, RAGDocument, RAGInsert, RAGQuery, VectorDBCreate

router = APIRouter(tags=["memory"])

_ADDRESS = re.compile(r"https?://\S+|data:[\w.+-]+/[\w.+-]+[;,]\S*")


@router.get("/v1/vector-dbs", response_model=VectorDBList)
async def list_vector_dbs(services: Use) -> Any:
    """All banks."""
    return {"data": [_vector_db(entry) for entry in await services.banks.list()]}


@router.post("/v1/vector-dbs", response_model=VectorDB)
async def register_vector_db(body: VectorDBCreate, services: Use) -> Any:
    """Makes a bank. Its vectors are as long as the model makes them, whatever the client believes."""
    model = await services.models.get(body.embedding_model)
    await services.models.embedder(body.embedding_model)  # refuses a model that makes none
    dimension = int(model.metadata.get("embedding_dimension") or body.embedding_dimension or 384)
    made_by, provider = services.models.embedding(model), body.provider_id or "faiss"
    entry = Entry(body.vector_db_id, "vector", body.embedding_model, made_by, dimension, provider)
    return _vector_db(await services.banks.register(entry))


@router.get("/v1/vector-dbs/{vector_db_id:path}", response_model=VectorDB)
async def get_vector_db(vector_db_id: str, services: Use) -> Any:
    """One bank."""
    return _vector_db(await services.banks.get(vector_db_id))


@router.delete("/v1/vector-dbs/{vector_db_id:path}")
async def unregister_vector_db(vector_db_id: str, services: Use) -> None:
    """Removes a bank with everything in it."""
    await services.banks.unregister(vector_db_id)
    services.agents.forget()


@router.post("/v1/vector-io/insert")
async def insert_chunks(body: ChunksInsert, services: Use) -> None:
    """Adds chunks; each is kept as it is, and its vector is made here."""
    bank = await services.banks.writable(body.vector_db_id)
    chunks = {}  # a chunk that comes twice is one
    for chunk in body.chunks:
        text = text_of(wire.content_in(chunk.model_dump()["content"]))
        named = chunk.metadata.get("chunk_id") or chunk.metadata.get("document_id") or ""
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
        if text.strip():
            chunks[f"{named}:{digest}"[-200:]] = (text, chunk.metadata)
    if isinstance(bank, TakesChunks):
        texts, metadata = [text for text, _ in chunks.values()], [told for _, told in chunks.values()]
        await bank.aadd_texts(texts, ids=list(chunks), metadata=metadata)
        return
    for name, (text, told) in chunks.items():
        await bank.aadd_text(text, id=name, metadata=told)


@router.post("/v1/vector-io/query", response_model=Chunks)
async def query_chunks(body: ChunkQuery, services: Use) -> Any:
    """The chunks that fit a query best."""
    bank = await services.banks.bank(body.vector_db_id)
    params = body.params or {}
    count, least = params.get("max_chunks") or 5, params.get("score_threshold")
    if not isinstance(count, int) or not 1 <= count <= 1000 or not isinstance(least, int | float | None):
        raise InvalidInput("params: max_chunks is 1 to 1000, score_threshold a number.")
    hits = await find(bank, text_of(wire.content_in(body.model_dump()["query"])), count, params.get("mode"))
    kept = [hit for hit in hits if least is None or hit.score >= least]
    return JSONResponse({"chunks": [_chunk(hit) for hit in kept], "scores": [hit.score for hit in kept]})


@router.post("/v1/tool-runtime/rag-tool/insert")
async def insert_documents(body: RAGInsert, services: Use) -> None:
    """Adds documents: cut into chunks here, and searchable when this returns."""
    await insert(services, body.vector_db_id, body.documents)


@router.post("/v1/tool-runtime/rag-tool/query", response_model=RAGResult)
async def query_documents(body: RAGQuery, services: Use) -> Any:
    """Searches banks, and writes what was found for a model."""
    config = body.query_config
    found = await search(
        services.banks,
        text_of(wire.content_in(body.model_dump()["content"])),
        body.vector_db_ids,
        max_chunks=config.max_chunks,
        max_tokens=config.max_tokens_in_context,
        template=config.chunk_template,
        mode=config.mode,
    )
    return JSONResponse({"content": wire.content_out(found.parts) or None, "metadata": found.metadata})


async def insert(services: Services, bank_id: str, documents: list[RAGDocument]) -> None:
    """Adds documents to a bank.

    Raises:
        NotFound: There is no such bank.
        InvalidInput: A document is no text, or cannot be fetched.
    """
    bank: Writable = await services.banks.writable(bank_id)
    for document in documents:
        if isinstance(document.content, URL):
            text = await text_at(document.content.uri)
        else:
            text = text_of(wire.content_in(document.model_dump()["content"]))
            if _ADDRESS.fullmatch(text):
                text = await text_at(text)  # as first-generation clients write it
        if text.strip():
            await bank.aadd_text(text, id=document.document_id, metadata=document.metadata)


def _vector_db(entry: Entry) -> dict[str, Any]:
    return {
        "identifier": entry.bank_id,
        "provider_resource_id": entry.bank_id,
        "provider_id": entry.provider_id,
        "type": "vector_db",
        "owner": {"principal": "", "attributes": {}},
        "embedding_model": entry.embedding_model,
        "embedding_dimension": entry.embedding_dimension,
    }


def _chunk(hit: Hit) -> dict[str, Any]:
    metadata = {"document_id": hit.document_id, **hit.metadata}
    return {"content": hit.text, "metadata": storable(metadata), "embedding": None}
