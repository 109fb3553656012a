"""`routed`: tools for models too small to choose one.

An embedding model picks the tool or none; the language model only fills in its arguments, after three worked examples
and under a schema narrowed to what the user said; the answer is made from the tool's result by a template. Only the
last user message is looked at. Without a tool the model chats.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, cast

from ...protocols import Delta, Embedder, Inference, Prepared
from ...types.messages import AssistantMessage, Message, StopReason, SystemMessage, UserMessage
from ...types.sampling import Completion, InferenceRequest, SamplingParams, Usage
from ...types.tools import ToolCall, ToolDef, ToolResponse
from ..local_chat import plain
from .answers import answer_for
from .constrained import as_said
from .examples import EXAMPLES, examples_of, invented
from .grounding import grounded
from .router import Router
from .schema import arguments_schema

NO_MODEL = "(answer made from the tool's result by a template; no model was asked)"
"""The prompt of a step that needs no model."""

ARGUMENT_TOKENS = 256


class Routed:
    """An `Inference` that calls tools on behalf of a model too small to do so by itself."""

    def __init__(self, inner: Inference, embedder: Embedder | None = None) -> None:
        if embedder is None:
            from ..local_embedding import LocalEmbedder

            embedder = LocalEmbedder()
        self.inner = inner
        self._embedder = embedder
        self._router = Router(embedder)

    @property
    def model(self) -> str:
        """The inner model's string."""
        return self.inner.model

    async def prepare(self, request: InferenceRequest) -> Prepared:
        """Decides what the step is for, and builds its prompt."""
        responses = _last_responses(request.messages)
        if responses and request.response_format is None:
            calls = {call.call_id: call for call in _calls(request.messages)}
            answer = answer_for(responses, calls, {tool.name: tool for tool in request.tools})
            return Prepared(f"{NO_MODEL}\n{answer}", request, _Said(answer))
        tool = None if responses else await self._chosen(request)
        if tool is None:
            talk = replace(request, messages=_talk(request.messages), tools=(), tool_choice="auto")
            inner = await self.inner.prepare(talk)
            return replace(inner, request=request, payload=_Talk(inner))
        inner = await self.inner.prepare(_filling(tool, _last_words(request.messages)))
        return replace(inner, request=request, payload=_Fill(inner, tool.name))

    async def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        """Chats, fills in arguments, or says what a tool found."""
        match prepared.payload:
            case _Said(answer=answer):
                yield answer
                yield Completion(AssistantMessage(answer))
            case _Talk(inner=inner):
                async with aclosing(cast(Any, self.inner.generate(inner))) as deltas:
                    async for delta in deltas:
                        yield delta
            case _Fill(inner=inner, tool=tool):
                yield await self._fill(inner, tool)

    async def _fill(self, inner: Prepared, tool: str) -> Completion:
        text: list[str] = []
        done: Completion | None = None
        async with aclosing(cast(Any, self.inner.generate(inner))) as deltas:
            async for delta in deltas:
                match delta:
                    case str():
                        text.append(delta)
                    case Completion():
                        done = delta
        raw = "".join(text)
        call = _read(raw, tool)
        cut = done is not None and done.message.stop_reason is StopReason.OUT_OF_TOKENS
        reason = StopReason.OUT_OF_TOKENS if cut else StopReason.END_OF_MESSAGE
        message = AssistantMessage(tool_calls=(call,), stop_reason=reason)
        return Completion(message, done.usage if done else Usage(), (done.raw if done else None) or raw)

    async def _chosen(self, request: InferenceRequest) -> ToolDef | None:
        if request.tool_choice == "none" or not request.tools:
            return None
        if named := [tool for tool in request.tools if tool.name == request.tool_choice]:
            return named[0]
        must = request.tool_choice == "required"
        return await self._router.choose(_last_words(request.messages), request.tools, must=must)

    async def aclose(self) -> None:
        """Closes the inner provider, and the embedder if it can be closed."""
        closers = [self.inner.aclose()]
        if (close := getattr(self._embedder, "aclose", None)) is not None:
            closers.append(close())
        await asyncio.gather(*closers)


@dataclass(frozen=True, slots=True)
class _Said:
    answer: str


@dataclass(frozen=True, slots=True)
class _Talk:
    inner: Prepared


@dataclass(frozen=True, slots=True)
class _Fill:
    inner: Prepared
    tool: str


def _last_responses(messages: Sequence[Message]) -> list[ToolResponse]:
    """The results at the conversation's end, in order."""
    found: list[ToolResponse] = []
    for message in reversed(messages):
        if not isinstance(message, ToolResponse):
            break
        found.insert(0, message)
    return found


def _calls(messages: Sequence[Message]) -> Sequence[ToolCall]:
    """The calls that the last assistant message made."""
    return next((message.tool_calls for message in reversed(messages) if isinstance(message, AssistantMessage)), ())


def _last_words(messages: Sequence[Message]) -> str:
    return next((message.text for message in reversed(messages) if isinstance(message, UserMessage)), "")


def _talk(messages: Sequence[Message]) -> list[Message]:
    """What was said, without the calls: an answer holds its tool's result already, only the last ones are new."""
    new = len(messages) - len(_last_responses(messages))
    said: list[Message] = []
    for index, message in enumerate(messages):
        match message:
            case ToolResponse() if index < new:
                continue
            case AssistantMessage(tool_calls=(_, *_)):
                continue
        said.append(as_said(message))
    return said


def _filling(tool: ToolDef, message: str) -> InferenceRequest:
    """Asks for one tool's arguments."""
    shared: dict[str, Any] = {}
    schema = arguments_schema(tool, shared)
    whole = schema | ({"$defs": shared} if shared else {})
    properties = schema.get("properties", {})
    arguments = "\n".join(f"- {name}: {_meaning(inner)}" for name, inner in properties.items())
    task = f"Write the arguments of {tool.name} as JSON. {tool.description}\n{arguments}"
    turns: list[Message] = [SystemMessage(task)]
    examples = (examples_of(tool) or invented(tool))[:EXAMPLES]
    for example in examples:
        said = json.dumps(plain(example.arguments), ensure_ascii=False)
        turns += [UserMessage(example.user), AssistantMessage(said)]
    return InferenceRequest(
        messages=[*turns, UserMessage(message)],
        sampling=SamplingParams(max_tokens=ARGUMENT_TOKENS),
        response_format=grounded(whole, message, examples),
    )


def _meaning(schema: Mapping[str, Any]) -> str:
    described = str(schema.get("description") or schema.get("type") or "a value")
    values = schema.get("enum")
    return f"{described}, one of {', '.join(map(str, values))}" if values else described


def _read(text: str, tool: str) -> ToolCall:
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError):
        return ToolCall(tool, raw=text, error="The arguments' JSON was cut off or is malformed.")
    if not isinstance(arguments, dict):
        return ToolCall(tool, raw=text, error="The arguments are no JSON object.")
    return ToolCall(tool, arguments, raw=text)
