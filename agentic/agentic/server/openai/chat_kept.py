"""`chat/completions` that are kept, each with the messages that it answers.

Llama Stack keeps all of them, so under its prefix one is kept unless the request says `"store": false`; under `/v1` it
is OpenAI's default, and one is kept where the request says `"store": true`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Query, Request

from ...store.documents import Document
from ...types.errors import NotFound
from ..services import Services, Use
from . import PREFIXES, kept, on_both
from .files import page

KIND = "chat completion"

Keep: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
"""Keeps a completion, or does not."""

routes = APIRouter(tags=["OpenAI"])


def is_kept(request: Request, store: bool | None) -> bool:
    """Whether a request's answer is to be kept; `store` is what it says itself."""
    return request.url.path.startswith(PREFIXES[1]) if store is None else store


def keeper(services: Services, messages: Sequence[Mapping[str, Any]], *, wanted: bool) -> Keep:
    """What keeps the answer to these messages, if that is wanted."""

    async def keep(completion: dict[str, Any]) -> None:
        if wanted:
            await services.documents.put(KIND, completion["id"], {**completion, "input_messages": list(messages)})

    return keep


@routes.get("/chat/completions")
async def list_kept(
    services: Use,
    model: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """The completions that were kept, the newest first."""
    found = [dict(one.body) for one in await services.documents.all(KIND) if model in (None, one.body["model"])]
    return page(found if order == "asc" else found[::-1], after, limit)


@routes.get("/chat/completions/{completion_id}")
async def retrieve(completion_id: str, services: Use) -> dict[str, Any]:
    """A completion that was kept."""
    return dict((await _found(completion_id, services)).body)


@routes.delete("/chat/completions/{completion_id}")
async def delete(completion_id: str, services: Use) -> dict[str, Any]:
    """Removes a completion that was kept."""
    await _found(completion_id, services)
    await services.documents.remove(KIND, completion_id)
    return {"id": completion_id, "object": "chat.completion.deleted", "deleted": True}


async def _found(completion_id: str, services: Services) -> Document:
    if (found := await kept(services.documents, KIND, completion_id)) is None:
        raise NotFound(f"No chat completion {completion_id!r} is kept.")
    return found


router = on_both(routes)
