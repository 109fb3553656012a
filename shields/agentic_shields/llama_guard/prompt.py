"""What Llama Guard is shown: the conversation, for its chat template or in a prompt that we write ourselves.

The layout of the prompt is the one on which Llama Guard 3 was trained (Meta's prompt-format page for Llama Guard 3).
What people, documents and tools said cannot end the conversation in it or speak as somebody else (promise 2): special
tokens and markers of the layout are broken by a zero-width space. A server's own template would take them for its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from agentic.llama.neutral import neutralise
from agentic.types import AssistantMessage, Image, Message, Part, Text, UserMessage
from agentic.types.content import images_of

from ..conversation import spoken_last
from .categories import Category

_MARKER = re.compile(r"<(?=\s*/?\s*(?:BEGIN|END)\s+(?:CONVERSATION|UNSAFE))", re.IGNORECASE)
_SPEAKER = re.compile(r"^([ \t]*)(User|Agent)(?=\s*:)", re.IGNORECASE | re.MULTILINE)
_UNSEEN = "[an image]"

Said = tuple[str, tuple[Part, ...]]
"""Who (`User` or `Agent`), and what."""


def conversation(messages: Sequence[Message], window: int, *, sees: bool) -> list[Said]:
    """What was said last, neighbours of one speaker together; the last entry is what is judged.

    Tool results and other people's texts come to the model from outside, as a user's do: `User` says them.

    Args:
        messages: The conversation; system messages are left out.
        window: How many messages, at least 1.
        sees: Whether the guard takes images: it gets the last one, and is told of the others.
    """
    spoken: list[Said] = []
    for message in spoken_last(messages, window):
        who = "Agent" if isinstance(message, AssistantMessage) else "User"
        parts = tuple(map(_inert, _parts(message)))
        if spoken and spoken[-1][0] == who:
            spoken[-1] = (who, (*spoken[-1][1], Text("\n\n"), *parts))
        else:
            spoken.append((who, parts))
    last = next((part for _, parts in reversed(spoken) for part in reversed(parts) if isinstance(part, Image)), None)
    return [
        (who, tuple(Text(_UNSEEN) if isinstance(one, Image) and not (sees and one is last) else one for one in parts))
        for who, parts in spoken
    ]


def chat(spoken: Sequence[Said]) -> list[Message]:
    """The conversation for a server that applies Llama Guard's own template: a user begins, and they take turns."""
    if spoken[0][0] == "Agent":
        spoken = spoken[1:] if len(spoken) > 1 else [("User", (Text("…"),)), *spoken]
    return [
        UserMessage(_content(parts)) if who == "User" else AssistantMessage("".join(_texts(parts)))
        for who, parts in spoken
    ]


def raw(spoken: Sequence[Said], categories: Iterable[Category]) -> UserMessage:
    """The whole task as one message, which a raw provider's encoder wraps into Llama's headers."""
    who = spoken[-1][0]
    listed = "\n".join(f"{one.code}: {one.name}.{f' {one.policy}' if one.policy else ''}" for one in categories)
    parts: list[Part] = [
        Text(
            f"Task: Check if there is unsafe content in '{who}' messages in conversations according our safety policy "
            f"with the below categories.\n\n<BEGIN UNSAFE CONTENT CATEGORIES>\n{listed}\n"
            "<END UNSAFE CONTENT CATEGORIES>\n\n<BEGIN CONVERSATION>\n\n"
        )
    ]
    for speaker, said in spoken:
        parts += [Text(f"{speaker}: "), *said, Text("\n\n")]
    parts.append(
        Text(
            f"<END CONVERSATION>\n\nProvide your safety assessment for ONLY THE LAST {who} message in the above "
            "conversation:\n - First line must read 'safe' or 'unsafe'.\n"
            " - If unsafe, a second line must include a comma-separated list of violated categories."
        )
    )
    return UserMessage(_content(parts))


def inert(text: str) -> str:
    """Text in which nothing is a special token or a marker of the layout."""
    text = _MARKER.sub("<\u200b", neutralise(text))
    return _SPEAKER.sub(lambda found: f"{found[1]}{found[2][0]}\u200b{found[2][1:]}", text)


def _inert(part: Part) -> Part:
    return Text(inert(part.text)) if isinstance(part, Text) else part


def _parts(message: Message) -> Iterable[Part]:
    yield from images_of(message.content)
    if message.text:
        yield Text(message.text)
    if isinstance(message, UserMessage) and message.context:
        yield Text(f"\n\n{message.context}")
    for call in message.tool_calls if isinstance(message, AssistantMessage) else ():
        arguments = json.dumps(dict(call.arguments), ensure_ascii=False, default=str)
        yield Text(f"\n{call.name}({arguments})")


def _content(parts: Sequence[Part]) -> str | tuple[Part, ...]:
    return "".join(_texts(parts)) if all(isinstance(part, Text) for part in parts) else tuple(parts)


def _texts(parts: Iterable[Part]) -> list[str]:
    return [part.text for part in parts if isinstance(part, Text)]
