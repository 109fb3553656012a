"""What chat APIs have in common: a list of messages, each written once, and tool results that hold text only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from ..types.content import Content, Image, Text, images_of
from ..types.errors import InvalidInput
from ..types.messages import Message, UserMessage
from ..types.tools import ToolDef, ToolResponse
from .rendered import Rendered, dumps

Write = Callable[[Message], Awaitable[dict[str, Any]]]


async def write_messages(messages: Sequence[Message], rendered: Rendered, write: Write) -> str:
    """The messages as a JSON list.

    A tool's message may hold text only in these APIs; so images that tools returned follow in a message of the user.

    Args:
        messages: The conversation.
        rendered: The texts written before.
        write: Makes one message as the API takes it; of a tool's response it takes the text.

    Raises:
        InvalidInput: There are no messages, or an image cannot be used.
    """
    if not messages:
        raise InvalidInput("There are no messages to answer.")
    texts: list[str] = []
    images: list[Image] = []
    for message in map(without_tool_urls, messages):
        if images and not isinstance(message, ToolResponse):
            texts.append(dumps(await write(_from_tools(images))))
            images = []
        text = rendered.get(message)
        texts.append(rendered.keep(message, await write(message)) if text is None else text)
        if isinstance(message, ToolResponse):
            images += images_of(message.content)
    if images:
        texts.append(dumps(await write(_from_tools(images))))
    return f"[{','.join(texts)}]"


def without_tool_urls(message: Message) -> Message:
    """The message; of a tool's response, image URLs become text.

    What a tool names may come from a document or another server: fetching it could reach into a private network, and
    a URL can carry data out.
    """
    if not isinstance(message, ToolResponse) or all(image.data is not None for image in images_of(message.content)):
        return message
    parts = [
        Text(f"[image at {part.url}]") if isinstance(part, Image) and part.data is None else part
        for part in message.content
        if not isinstance(part, str)
    ]
    return replace(message, content=tuple(parts))


def write_tools(tools: Sequence[ToolDef], rendered: Rendered) -> str:
    """The tools as a JSON list."""
    texts = (rendered.get(tool) or rendered.keep(tool, _tool(tool)) for tool in tools)
    return f"[{','.join(texts)}]"


def user_content(message: UserMessage) -> Content:
    """A user message's content with its context after it."""
    if not message.context:
        return message.content
    if isinstance(message.content, str):
        return f"{message.content}\n\n{message.context}"
    return (*message.content, Text(f"\n\n{message.context}"))


def _from_tools(images: Sequence[Image]) -> UserMessage:
    return UserMessage((Text("The images that the tools returned:"), *images))


def _tool(tool: ToolDef) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}
