"""What a server's tools, resources and prompts hold, in the words of this package."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from agentic.protocols import ToolOutput
from agentic.types.content import Content, File, Image, Part, Text
from agentic.types.errors import InvalidInput, ToolError
from agentic.types.messages import AssistantMessage, Message, UserMessage

from ..text import clip


def output_of(result: Any) -> ToolOutput:
    """A tool's result. What is structured goes to `metadata["structured"]`, and to the model if nothing else does.

    Raises:
        ToolError: The server says that the call failed.
    """
    content = _joined(_part(block) for block in result.content)
    if result.is_error:
        text = content if isinstance(content, str) else "\n".join(p.text for p in content if isinstance(p, Text))
        raise ToolError(text or "The tool failed and did not say why.")
    structured = result.structured_content
    if not content:
        content = "done" if structured is None else _json(structured)
    return ToolOutput(content, {} if structured is None else {"structured": structured})


def resource_of(result: Any) -> Content:
    """A resource's contents: text as it is, pictures as images, anything else as files."""
    return _joined(_resource(item, named=len(result.contents) > 1) for item in result.contents) or "(empty)"


def messages_of(result: Any) -> list[Message]:
    """A prompt's messages."""
    messages: list[Message] = []
    for message in result.messages:
        content = _joined([_part(message.content)])
        if message.role == "assistant":
            text = content if isinstance(content, str) else "".join(p.text for p in content if isinstance(p, Text))
            messages.append(AssistantMessage(text))
        else:
            messages.append(UserMessage(content))
    return messages


def _joined(parts: Iterable[Part]) -> Content:
    """Parts as content; plain text where there is nothing else."""
    found = tuple(part for part in parts if not (isinstance(part, Text) and not part.text))
    if all(isinstance(part, Text) for part in found):
        return "\n".join(part.text for part in found if isinstance(part, Text))
    return found


def _part(block: Any) -> Part:
    match block.type:
        case "text":
            return Text(block.text)
        case "image":
            return _picture(block.data, block.mime_type)
        case "audio":
            return Text(f"[audio, {clip(block.mime_type, 100)}: it cannot be shown]")
        case "resource":
            return _resource(block.resource, named=True)
        case _:
            about = f": {clip(block.description, 500)}" if block.description else ""
            return Text(f"[resource {clip(block.uri, 2000)}{about}]")


def _resource(item: Any, *, named: bool) -> Part:
    if (text := getattr(item, "text", None)) is not None:
        return Text(f"{clip(item.uri, 2000)}:\n{text}" if named else text)
    media_type = item.mime_type or "application/octet-stream"
    if media_type.startswith("image/"):
        return _picture(item.blob, media_type)
    try:
        return File(item.uri.rpartition("/")[2], base64.b64decode(item.blob, validate=True))
    except ValueError:
        return Text(f"[{clip(item.uri, 2000)}, {clip(media_type, 100)}, that cannot be read]")


def _picture(data: str, media_type: str) -> Part:
    try:
        return Image(data=base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError, InvalidInput):
        return Text(f"[a picture, {clip(media_type, 100)}, that cannot be read]")


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
