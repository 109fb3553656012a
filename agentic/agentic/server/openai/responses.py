"""`responses`: turns of sessions, as OpenAI shows them. The server owns them: a client that goes away loses nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from ...store.documents import Document
from ...types.errors import InvalidInput, NotFound
from ..provider_data import provided
from ..services import Services, Use
from ..sse import STREAMED, EventStream
from . import kept, on_both
from .conversations import KIND as CONVERSATION
from .files import page
from .response_run import KIND, Run, abandoned, remove_session, uses
from .response_start import ResponseRequest, prepare

routes = APIRouter(tags=["OpenAI"])

Limit = Annotated[int, Query(ge=1, le=100)]
Order = Literal["asc", "desc"]


@routes.post("/responses", response_model=dict[str, Any], responses=STREAMED)
async def create(body: ResponseRequest, request: Request, services: Use) -> Response:
    """Asks the model, with the tools that run here and those that the client runs."""
    with provided(request):
        run = await prepare(body, services)
        try:
            run.live = services.turns.start(run.session, run.drive, lambda _event: ())
        except BaseException:
            await run.dismiss()
            raise
    services.responses.add(run)
    if body.background:
        await run.keep()
    if body.stream:
        return EventStream(_watched(run, 0))
    if body.background:
        return JSONResponse(run.response)
    await _ended(run)
    if run.error is not None:
        raise run.error
    return JSONResponse(run.response)


@routes.get("/responses")
async def list_stored(
    services: Use, model: str | None = None, after: str | None = None, limit: Limit = 20, order: Order = "desc"
) -> dict[str, Any]:
    """The responses that are stored, the newest first, each with what it was asked with."""
    found = [
        {**one.body["response"], "input": one.body["input"]}
        for one in await services.documents.all(KIND)
        if model in (None, one.body["response"]["model"])
    ]
    return page(found if order == "asc" else found[::-1], after, limit)


@routes.get("/responses/{response_id}", response_model=dict[str, Any], responses=STREAMED)
async def retrieve(
    response_id: str, services: Use, stream: bool = False, starting_after: Annotated[int, Query(ge=0)] | None = None
) -> Response:
    """A response; with `stream`, its events from number `starting_after` on."""
    run = services.responses.find(response_id)
    if stream:
        await _stored(response_id, services)
        if run is None:
            raise InvalidInput(
                f"The events of response {response_id!r} are kept no longer; retrieve it without stream."
            )
        return EventStream(_watched(run, 0 if starting_after is None else starting_after + 1))
    if run is not None and run.documents is not None:
        return JSONResponse(run.response)
    return JSONResponse((await _stored(response_id, services)).body["response"])


@routes.post("/responses/{response_id}/cancel")
async def cancel(response_id: str, services: Use) -> dict[str, Any]:
    """Ends a response that runs; one that has ended stays as it is."""
    run = services.responses.find(response_id)
    if run is not None and run.running:
        await run.session.acancel()
        await run.feed.ended()
    return dict((await _stored(response_id, services)).body["response"])


@routes.delete("/responses/{response_id}")
async def delete(response_id: str, services: Use) -> dict[str, Any]:
    """Removes a response, and its session with the last response that rests on it."""
    found = await _stored(response_id, services)
    await cancel(response_id, services)
    session_id = str(found.body["session_id"])
    await services.documents.remove(KIND, response_id)
    await services.documents.remove(uses(session_id), response_id)
    services.responses.drop(response_id)
    conversation = await services.documents.get(CONVERSATION, session_id)
    if conversation is None and not await services.documents.all(uses(session_id)):
        await remove_session(services.store, session_id)
    return {"id": response_id, "object": "response", "deleted": True}


@routes.get("/responses/{response_id}/input_items")
async def input_items(
    response_id: str, services: Use, after: str | None = None, limit: Limit = 20, order: Order = "desc"
) -> dict[str, Any]:
    """What a response was asked with."""
    items = list((await _stored(response_id, services)).body["input"])
    return page(items if order == "asc" else items[::-1], after, limit)


async def _stored(response_id: str, services: Services) -> Document:
    """A response as it is kept; one whose process died while it ran has failed.

    Raises:
        NotFound: There is none of that id.
    """
    if (found := await kept(services.documents, KIND, response_id)) is None:
        raise NotFound(f"There is no response {response_id!r}.")
    response = found.body["response"]
    run = services.responses.find(response_id)
    if response["status"] not in ("queued", "in_progress") or (run is not None and run.running):
        return found
    if not await abandoned(services.store, str(found.body["session_id"])):
        return found
    error = {"code": "server_error", "message": "The server ended while this response ran."}
    body = {**found.body, "response": {**response, "status": "failed", "error": error}}
    return await services.documents.put(KIND, response_id, body)


async def _watched(run: Run, after: int) -> AsyncIterator[bytes]:
    """A run's frames. A run that nothing is kept of ends with its reader."""
    try:
        async for frame in run.feed.follow(after):
            yield frame
    finally:
        await _leave(run)


async def _ended(run: Run) -> None:
    try:
        await run.feed.ended()
    finally:
        await _leave(run)


async def _leave(run: Run) -> None:
    if run.running and run.documents is None and run.live is not None and run.live.task is not None:
        run.live.task.cancel()


router = on_both(routes)
