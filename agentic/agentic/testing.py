"""Test doubles for people who build on this package: a model that says what it is told to say."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeAlias

from .protocols import Delta, Prepared
from .types.messages import AssistantMessage, StopReason
from .types.sampling import Completion, InferenceRequest, ToolCallDelta
from .types.serialise import to_json
from .types.tools import ToolCall

__all__ = ["Delay", "Piece", "Reply", "ScriptedModel"]

_SPECIAL = ("<|python_tag|>", "<|eom_id|>", "<|eot_id|>", "<|start_header_id|>")


@dataclass(frozen=True, slots=True)
class Delay:
    """A reply, or a piece of one, that comes after some seconds."""

    seconds: float
    reply: Reply = ""


Piece: TypeAlias = "str | ToolCall | Exception | Delay"
Reply: TypeAlias = "Piece | AssistantMessage | Sequence[Piece] | Callable[[InferenceRequest], Reply | Awaitable[Reply]]"
"""What a scripted model may be told to answer; see `ScriptedModel`."""


class ScriptedModel:
    """An `Inference` that gives one scripted reply for each request, in order.

    A reply is one of:

    - a string: the answer's text. One that holds a Llama special token, such as
      `<|python_tag|>brave_search.call(query="x")<|eom_id|>`, is decoded as what a Llama model generates;
    - a `ToolCall`, or a list of them: one message with these calls;
    - a list of strings: the same as the joined string, streamed piece by piece. Calls, exceptions and delays may stand
      among the pieces: `["Let me ", ConnectionFailed("cut")]` breaks in the middle;
    - an `AssistantMessage`: exactly that message;
    - an exception: it is raised;
    - `Delay(seconds, reply)`: the reply, later;
    - a function of the request, sync or async, that returns any of these.

    Args:
        replies: The script.
        model: The model string it answers to.

    Attributes:
        requests: What it was asked, in order.
        prompts: The prompts that belong to the requests.
        closed: Whether `aclose` was called.
    """

    def __init__(self, replies: Iterable[Reply] = (), *, model: str = "scripted/model") -> None:
        if isinstance(replies, str):
            raise TypeError("A script is a list of replies, not one string.")
        self.model = model
        self.requests: list[InferenceRequest] = []
        self.prompts: list[str] = []
        self.closed = False
        self._replies = list(replies)

    def __repr__(self) -> str:
        return f"ScriptedModel({self.model!r}, {len(self.requests)} of {len(self._replies)} replies asked for)"

    async def prepare(self, request: InferenceRequest) -> Prepared:
        """Writes the messages as JSON lines, which stands for a prompt."""
        return Prepared("".join(f"{to_json(message).decode()}\n" for message in request.messages), request)

    async def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        """Plays the next reply of the script.

        Raises:
            AssertionError: The script has no reply left.
            Exception: The one that the script names.
        """
        self.requests.append(prepared.request)
        self.prompts.append(prepared.prompt)
        if len(self.requests) > len(self._replies):
            raise AssertionError(self._too_many())
        reply = await _resolve(self._replies[len(self.requests) - 1], prepared.request)
        if isinstance(reply, AssistantMessage):
            deltas = _say(reply)
        elif _is_raw(reply):
            deltas = _decode(reply, prepared.request)
        else:
            deltas = _assemble(reply, prepared.request)
        async with aclosing(deltas):
            async for delta in deltas:
                yield delta

    async def aclose(self) -> None:
        """Notes that it was closed; it can still be used."""
        self.closed = True

    def assert_complete(self) -> None:
        """Checks that every reply was asked for, and no more.

        Raises:
            AssertionError: Replies are left over, or too many were asked for.
        """
        asked, scripted = len(self.requests), len(self._replies)
        if asked < scripted:
            raise AssertionError(f"{scripted - asked} of {scripted} scripted replies were never asked for.")
        if asked > scripted:
            raise AssertionError(self._too_many())

    def _too_many(self) -> str:
        last = self.requests[-1].messages
        said = f"{last[-1].role}: {last[-1].text[:200]!r}" if last else "nothing at all"
        return f"The script has {len(self._replies)} replies, but one more was asked for. The last message was {said}."


async def _resolve(reply: Reply, request: InferenceRequest) -> AssistantMessage | Sequence[Piece]:
    """The reply as a message or a list of pieces."""
    while True:
        match reply:
            case AssistantMessage():
                return reply
            case Delay(seconds=seconds, reply=later) if not isinstance(later, str | ToolCall | Exception):
                await asyncio.sleep(seconds)
                reply = later
            case str() | ToolCall() | Delay() | Exception():
                return [reply]
            case Sequence():
                return reply
            case _ if not callable(reply):
                raise TypeError(f"A scripted reply cannot be a {type(reply).__name__}.")
            case _:
                answer = reply(request)
                reply = await answer if inspect.isawaitable(answer) else answer


def _is_raw(pieces: Sequence[Piece]) -> bool:
    inner = (piece.reply if isinstance(piece, Delay) else piece for piece in pieces)
    text = "".join(piece for piece in inner if isinstance(piece, str))
    return any(token in text for token in _SPECIAL)


async def _play(pieces: Sequence[Piece]) -> AsyncGenerator[str | ToolCall]:
    for piece in pieces:
        match piece:
            case Delay(seconds=seconds, reply=later):
                await asyncio.sleep(seconds)
                async with aclosing(_play([later])) as played:  # type: ignore[list-item]
                    async for inner in played:
                        yield inner
            case Exception():
                raise piece
            case str() | ToolCall():
                yield piece
            case _:
                raise TypeError(f"A scripted reply cannot hold a {type(piece).__name__}.")


async def _assemble(pieces: Sequence[Piece], request: InferenceRequest) -> AsyncGenerator[Delta]:
    offered = {tool.name for tool in request.tools}
    texts: list[str] = []
    calls: list[ToolCall] = []
    async with aclosing(_play(pieces)) as played:
        async for piece in played:
            if isinstance(piece, ToolCall):
                yield _call_delta(len(calls), piece)
                calls.append(replace(piece, known=piece.name in offered))
            elif piece:
                texts.append(piece)
                yield piece
    stop = StopReason.END_OF_MESSAGE if calls else StopReason.END_OF_TURN
    yield Completion(AssistantMessage("".join(texts), tuple(calls), stop))


async def _decode(pieces: Sequence[Piece], request: InferenceRequest) -> AsyncGenerator[Delta]:
    from .llama import StreamParser

    parser = StreamParser(tools=request.tools)
    texts: list[str] = []
    async with aclosing(_play(pieces)) as played:
        async for piece in played:
            if isinstance(piece, ToolCall):
                raise TypeError("A reply in raw Llama text cannot hold a ToolCall as well: write the call as text.")
            texts.append(piece)
            for delta in parser.feed(piece):
                yield delta
    message = parser.finish()
    for delta in parser.rest:
        yield delta
    yield Completion(message, raw="".join(texts))


async def _say(message: AssistantMessage) -> AsyncGenerator[Delta]:
    if message.content:
        yield message.content
    for index, call in enumerate(message.tool_calls):
        yield _call_delta(index, call)
    yield Completion(message)


def _call_delta(index: int, call: ToolCall) -> ToolCallDelta:
    return ToolCallDelta(index, call.name, call.raw or json.dumps(dict(call.arguments), ensure_ascii=False))
