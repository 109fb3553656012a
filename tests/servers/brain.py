"""The model behind the servers: one small set of rules, so that every provider must lead to the same answers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Call:
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Said:
    """One message of the conversation, as the server understood it."""

    role: str
    text: str = ""
    images: tuple[bytes, ...] = ()
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True)
class Seen:
    """All that the model sees."""

    messages: tuple[Said, ...]
    tools: tuple[str, ...] = ()
    schema: Any = None


@dataclass(frozen=True)
class Reply:
    """What the model says.

    Attributes:
        text: Its text.
        calls: Its calls.
        cut_off: It ran into `max_tokens`.
        raw: For text-completion servers: exactly what is generated; None writes text and calls as Llama 3.2 does.
        usage: Tokens of the prompt and of the answer.
    """

    text: str = ""
    calls: tuple[Call, ...] = ()
    cut_off: bool = False
    raw: str | None = None
    usage: tuple[int, int] = field(default=(11, 7))

    def pieces(self) -> list[str]:
        """The text as tokens: about what a model streams."""
        return re.findall(r"\s*\S+|\s+$", self.text)


Brain = Callable[[Seen], Reply]


def weather_brain(seen: Seen) -> Reply:
    """Greets; looks at images; asks `get_weather` for the cities that the user names; then tells its results."""
    last = seen.messages[-1]
    if last.role == "tool":
        results: list[str] = []
        for message in reversed(seen.messages):
            if message.role != "tool":
                break
            results.insert(0, message.text)
        return Reply(f"It is: {', then '.join(results)}.")
    if last.images:
        return Reply(f"I see {', '.join(hashlib.sha256(data).hexdigest()[:12] for data in last.images)}.")
    if seen.schema:
        return Reply('{"city": "Lisbon"}')
    cities = re.findall(r"\b[A-Z][a-zü]+(?=\s*(?:,|and\b|\?))", last.text.partition(" in ")[2])
    if "get_weather" in seen.tools and cities:
        return Reply("", tuple(Call("get_weather", {"city": city}) for city in cities))
    return Reply("Hello there, é and 🦙 too.")
