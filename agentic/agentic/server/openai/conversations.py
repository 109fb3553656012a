"""`conversations`: sessions, as OpenAI shows them. Each response in one is a turn of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from ...history import History
from ...journal import new_id as new_turn_id
from ...journal import now
from ...store.documents import Document
from ...types.errors import InvalidInput, NotFound, TurnPending
from ...types.messages import AssistantMessage, Message, SystemMessage, UserMessage
from ...types.records import TurnClosed, TurnOpened
from ...types.tools import ToolResponse
from ...types.turns import EndReason, Limits, Turn, TurnStatus
from ..services import Services, Use
from . import kept, new_id, on_both
from .chat_input import ordered
from .files import Files, page
from .response_input import read_input
from .response_items import KNOWN, function_item, function_output, items_of, message_item

KIND = "conversation"

routes = APIRouter(tags=["OpenAI"])


class NewConversation(BaseModel):
    """A conversation, perhaps with something in it."""

    items: list[dict[str, Any]] | None = None
    metadata: dict[str, str] | None = None


class Changes(BaseModel):
    """What may be changed."""

    metadata: dict[str, str] | None


class NewItems(BaseModel):
    """Items to add."""

    items: list[dict[str, Any]]


@routes.post("/conversations")
async def create(body: NewConversation, services: Use) -> dict[str, Any]:
    """Makes a conversation."""
    name = new_id("conv_")
    await services.store.create(name, agent="response")
    made = await services.documents.put(KIND, name, {"metadata": body.metadata or {}})
    if body.items:
        await _add(name, body.items, services)
    return _shown(made)


@routes.get("/conversations/{conversation_id}")
async def retrieve(conversation_id: str, services: Use) -> dict[str, Any]:
    """A conversation."""
    return _shown(await _get(conversation_id, services))


@routes.post("/conversations/{conversation_id}")
async def update(conversation_id: str, body: Changes, services: Use) -> dict[str, Any]:
    """Changes the metadata."""
    await _get(conversation_id, services)
    return _shown(await services.documents.put(KIND, conversation_id, {"metadata": body.metadata or {}}))


@routes.delete("/conversations/{conversation_id}")
async def delete(conversation_id: str, services: Use) -> dict[str, Any]:
    """Removes a conversation with all that was said in it."""
    await _get(conversation_id, services)
    await services.store.delete(conversation_id)
    await services.documents.remove(KIND, conversation_id)
    return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}


@routes.get("/conversations/{conversation_id}/items")
async def list_items(
    conversation_id: str,
    services: Use,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """What was said."""
    items = await _items(conversation_id, services)
    return page(items if order == "asc" else items[::-1], after, limit)


@routes.post("/conversations/{conversation_id}/items")
async def add_items(conversation_id: str, body: NewItems, services: Use) -> dict[str, Any]:
    """Adds messages, without asking the model."""
    await _get(conversation_id, services)
    added = await _add(conversation_id, body.items, services)
    return page(added, None, max(1, len(added)))


@routes.get("/conversations/{conversation_id}/items/{item_id}")
async def retrieve_item(conversation_id: str, item_id: str, services: Use) -> dict[str, Any]:
    """One item."""
    for item in await _items(conversation_id, services):
        if item["id"] == item_id:
            return item
    raise NotFound(f"Conversation {conversation_id!r} has no item {item_id!r}.")


@routes.delete("/conversations/{conversation_id}/items/{item_id}")
async def delete_item(conversation_id: str, item_id: str, services: Use) -> dict[str, Any]:
    """Refuses: a conversation is a log, and what was said in it stays said."""
    await retrieve_item(conversation_id, item_id, services)
    raise InvalidInput(
        "A conversation's items cannot be removed one by one: they are its log.",
        hint="Delete the conversation, or begin one with the items that you want.",
    )


async def _get(conversation_id: str, services: Services) -> Document:
    if (found := await kept(services.documents, KIND, conversation_id)) is None:
        raise NotFound(f"There is no conversation {conversation_id!r}.")
    return found


async def _add(name: str, given: Sequence[dict[str, Any]], services: Services) -> list[dict[str, Any]]:
    """Writes a turn that holds messages only."""
    asked = await read_input(list(given), Files(services).content)
    lease = await services.store.acquire(name)
    try:
        history = History(name, await services.store.read(name))
        if history.state is not None and history.state.turn.status is TurnStatus.AWAITING_INPUT:
            raise TurnPending("The conversation waits for a function's result; send it with the next response.")
        turn_id = new_turn_id()
        opened = TurnOpened(turn_id=turn_id, at=now(), input_messages=ordered(asked.messages), limits=Limits())
        closed = TurnClosed(turn_id=turn_id, at=now(), reason=EndReason.END_OF_TURN)
        history.apply(opened)
        history.apply(closed)
        await services.store.append(lease, [opened, closed])
    finally:
        await services.store.release(lease)
    return _items_of_turn(history.turns[-1])


async def _items(conversation_id: str, services: Services) -> list[dict[str, Any]]:
    await _get(conversation_id, services)
    history = History(conversation_id, await services.store.read(conversation_id))
    return [item for turn in history.turns for item in _items_of_turn(turn)]


def _items_of_turn(turn: Turn) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, message in enumerate(turn.input_messages):
        found += _items_of_message(message, f"{turn.turn_id}{number}")
    for step in turn.steps:
        found += items_of(step, KNOWN)
    return found + [function_item(item.call) for item in turn.pending]


def _items_of_message(message: Message, name: str) -> list[dict[str, Any]]:
    match message:
        case AssistantMessage(content=text, tool_calls=calls):
            said = [message_item(name, text, "completed")] if text else []
            return [*said, *map(function_item, calls)]
        case ToolResponse():
            return [function_output(message)]
        case SystemMessage(content=content) | UserMessage(content=content):
            parts: list[dict[str, Any]] = []
            for part in [content] if isinstance(content, str) else content:
                if isinstance(part, str):
                    parts.append({"type": "input_text", "text": part})
                elif part.type == "image":
                    parts.append({"type": "input_image", "image_url": part.data_url, "detail": "auto"})
                else:
                    parts.append({"type": "input_text", "text": part.text})
            item_id = f"msg_{name.replace('-', '')}"
            head = {"id": item_id, "type": "message", "role": message.role, "status": "completed"}
            return [{**head, "content": parts}]


def _shown(document: Document) -> dict[str, Any]:
    return {
        "id": document.name,
        "object": "conversation",
        "created_at": int(document.created_at.timestamp()),
        "metadata": document.body["metadata"],
    }


router = on_both(routes)
