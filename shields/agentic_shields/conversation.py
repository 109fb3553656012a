"""Messages as a shield reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import islice

from agentic.llama.neutral import neutralise
from agentic.types import AssistantMessage, Content, Message, SystemMessage, Text, UserMessage
from agentic.types.content import images_of, text_of


def written(message: Message) -> str:
    """All text of a message: what it says, the text that came with it, and the calls that it makes."""
    parts = [message.text]
    if isinstance(message, UserMessage) and message.context:
        parts.append(message.context)
    if isinstance(message, AssistantMessage):
        parts += [
            f"{call.name}({json.dumps(dict(call.arguments), ensure_ascii=False, default=str)})"
            for call in message.tool_calls
        ]
    return "\n\n".join(part for part in parts if part)


def masked(message: Message, change: Callable[[str], str]) -> Content:
    """A message's content with its texts changed; those that must change together become one: models read them so."""
    if isinstance(message.content, str):
        return change(message.content)
    apart = tuple(Text(change(part.text)) if isinstance(part, Text) else part for part in message.content)
    whole = change(message.text)
    if text_of(apart) == whole:
        return apart
    return (*(part for part in message.content if not isinstance(part, Text)), Text(whole))


def quoted(messages: Sequence[Message], window: int) -> str:
    """The end of a conversation for a model that judges it: a line behind `> ` cannot pass for anything else.

    Special tokens are broken, for a server's template would take what somebody typed for its own.
    """
    return neutralise("\n\n".join(_quoted(message) for message in spoken_last(messages, window)))


def spoken_last(messages: Sequence[Message], window: int) -> Sequence[Message]:
    """The last messages but for the system's, in order; however long the conversation, only these are looked at."""
    spoken = (message for message in reversed(messages) if not isinstance(message, SystemMessage))
    return list(islice(spoken, window))[::-1]


def _quoted(message: Message) -> str:
    who = {"user": "user", "assistant": "assistant"}.get(message.role, "tool or document")
    images = len(images_of(message.content))
    note = f"\n[{images} image{'s' if images > 1 else ''}]" if images else ""
    lines = f"{written(message)}{note}".strip().splitlines()
    return "\n".join([f"{who}:", *(f"> {line}" for line in lines)])
