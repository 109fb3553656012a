"""An OpenAI-compatible server that says what it is told to, word for word: hostile models write no valid JSON.

And the types of the fixtures in `conftest.py`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from click.testing import Result

from servers.base import Answer
from servers.openai import OpenAIServer

Call = tuple[str, str, str]
"""A call's id, name and arguments, all as the model writes them."""


@dataclass(frozen=True)
class Says:
    """One reply.

    Attributes:
        pieces: Its text, as it is streamed.
        calls: Its calls.
        cut: It ran into the limit of tokens.
    """

    pieces: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    cut: bool = False


def text(*pieces: str) -> Says:
    return Says(pieces)


def calls(*given: Call) -> Says:
    return Says(calls=given)


class Script(OpenAIServer):
    """Gives one reply after the other; `replies` may be endless."""

    def __init__(self, replies: Iterable[Says]) -> None:
        super().__init__()
        self._replies = iter(replies)

    async def _chat(self, body: Any, answer: Answer) -> None:
        reply = next(self._replies)
        await answer.start("text/event-stream")
        for piece in reply.pieces:
            await self._event(answer, _choice({"content": piece}))
        for number, (call_id, name, arguments) in enumerate(reply.calls):
            function = {"name": name, "arguments": arguments}
            part = {"index": number, "id": call_id, "type": "function", "function": function}
            await self._event(answer, _choice({"tool_calls": [part]}))
        finish = "length" if reply.cut else "tool_calls" if reply.calls else "stop"
        await self._event(answer, _choice({}, finish))
        await self._line(answer, b"data: [DONE]")
        await answer.end()


def _choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


Agentic = Callable[..., Result]
"""Runs the command in this process."""
Spawn = Callable[..., "subprocess.Popen[str]"]
"""Runs it in a process of its own."""
Start = Callable[[Iterable[Says]], Script]
"""Starts a server with a script; from then on it is the default model."""
