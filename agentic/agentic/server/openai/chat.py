"""`chat/completions`: one inference, its tools the caller's."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from ...inference import Retries, generate
from ...protocols import Inference
from ...types.content import storable
from ...types.errors import InvalidInput
from ...types.messages import AssistantMessage, StopReason
from ...types.sampling import Completion, InferenceRequest, Usage
from ...types.tools import ToolCall
from ..services import Services, Use
from ..sse import STREAMED, EventStream, frame
from . import PREFIXES, new_id, on_both
from .chat_input import read_choice, read_format, read_messages, read_tools, sampling_of
from .chat_kept import Keep, is_kept, keeper
from .failures import body_of
from .files import Files

MOST_CHOICES = 8

routes = APIRouter(tags=["OpenAI"])


class StreamOptions(BaseModel):
    """What a stream shows besides the answer."""

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """The body; what is not named here is taken and not used."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: str | list[str] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    store: bool | None = None


UNSUPPORTED = ("frequency_penalty", "presence_penalty", "logit_bias", "logprobs")
"""What would change the answer, and cannot be asked of every model: refused rather than passed over."""


@routes.post("/chat/completions", response_model=dict[str, Any], responses=STREAMED)
async def create(body: ChatRequest, request: Request, services: Use) -> Response:
    """Answers a conversation."""
    for name in UNSUPPORTED:
        if getattr(body, name):
            raise InvalidInput(f"{name} is not supported.")
    inference = await services.models.inference(body.model)
    asked = await _asked(body, services)
    head = {"id": new_id("chatcmpl-"), "created": int(time.time()), "model": body.model}
    keep = keeper(services, body.messages, wanted=is_kept(request, body.store))
    if not body.stream:
        return JSONResponse(await _whole(inference, asked, head, body.n or 1, keep))
    chunks = _chunks(inference, asked, head, body, keep)
    first = await anext(chunks)  # a model that cannot be reached is an answer with a status, not a broken stream
    return EventStream(frames_of(first, chunks, last_frame(request)))


async def _asked(body: ChatRequest, services: Services) -> InferenceRequest:
    tools = read_tools(body.tools or ())
    return InferenceRequest(
        messages=await read_messages(body.messages, Files(services).content),
        tools=tools,
        tool_choice=read_choice(body.tool_choice, [tool.name for tool in tools]),
        sampling=sampling_of(
            temperature=body.temperature,
            top_p=body.top_p,
            max_tokens=body.max_completion_tokens or body.max_tokens,
            stop=body.stop,
            seed=body.seed,
        ),
        response_format=read_format(body.response_format),
    )


async def deltas_of(inference: Inference, request: InferenceRequest) -> AsyncIterator[str | Completion]:
    """Pieces of text, and last the whole message."""
    prepared = await inference.prepare(request)
    async with aclosing(generate(inference, prepared, Retries())) as deltas:
        async for delta in deltas:
            if isinstance(delta, str):
                yield storable(delta)
            elif isinstance(delta, Completion):
                yield replace(delta, message=replace(delta.message, content=storable(delta.message.content)))


async def _whole(
    inference: Inference, request: InferenceRequest, head: Mapping[str, Any], choices: int, keep: Keep
) -> dict[str, Any]:
    usage = Usage()
    listed: list[dict[str, Any]] = []
    for index in range(choices):
        completion = Completion(AssistantMessage())
        async for delta in deltas_of(inference, request):
            if isinstance(delta, Completion):
                completion = delta
        usage += completion.usage
        listed.append(_choice(index, completion.message, _calls(completion.message.tool_calls)))
    whole = _completion(head, listed, usage)
    await keep(whole)
    return whole


async def _chunks(
    inference: Inference, request: InferenceRequest, head: Mapping[str, Any], body: ChatRequest, keep: Keep
) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a stream. A call comes whole: a model may write it in a form that only its end makes JSON."""
    told, choices = bool(body.stream_options and body.stream_options.include_usage), body.n or 1
    head = {**head, "object": "chat.completion.chunk", **({"usage": None} if told else {})}

    def chunk(index: int, delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}]}

    usage = Usage()
    listed: list[dict[str, Any]] = []
    for index in range(choices):
        begun = False
        async for delta in deltas_of(inference, request):
            if not begun:
                begun = True
                yield chunk(index, {"role": "assistant", "content": ""})
            if isinstance(delta, str):
                yield chunk(index, {"content": delta})
                continue
            usage += delta.usage
            calls = _calls(delta.message.tool_calls)
            listed.append(_choice(index, delta.message, calls))
            if len(listed) == choices:
                await keep(_completion(head, listed, usage))  # before the client can know that the answer is complete
            for number, call in enumerate(calls):
                yield chunk(index, {"tool_calls": [{"index": number, **call}]})
            yield chunk(index, {}, reason_of(delta.message))
    if told:
        yield {**head, "choices": [], "usage": usage_of(usage)}


async def frames_of(first: dict[str, Any], rest: AsyncIterator[dict[str, Any]], last: bytes) -> AsyncIterator[bytes]:
    """A stream's frames; an error becomes the last one."""
    yield frame(first)
    try:
        async for chunk in rest:
            yield frame(chunk)
    except Exception as error:
        yield frame(body_of(error))
    else:
        yield last


# -- in OpenAI's words ------------------------------------------------------------------------------------------------


def _completion(head: Mapping[str, Any], choices: Sequence[dict[str, Any]], usage: Usage) -> dict[str, Any]:
    return {**head, "object": "chat.completion", "choices": list(choices), "usage": usage_of(usage)}


def _choice(index: int, message: AssistantMessage, calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": message.content, "refusal": None}
    if calls:
        said |= {"content": message.content or None, "tool_calls": list(calls)}
    return {"index": index, "message": said, "logprobs": None, "finish_reason": reason_of(message)}


def _calls(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [
        {
            "id": call.call_id or new_id("call_"),
            "type": "function",
            "function": {"name": call.name, "arguments": arguments_of(call)},
        }
        for call in calls
    ]


def last_frame(request: Request) -> bytes:
    """What ends a stream: Llama Stack's client reads every frame as JSON, others wait for one that is none."""
    return b"" if request.url.path.startswith(PREFIXES[1]) else b"data: [DONE]\n\n"


def arguments_of(call: ToolCall) -> str:
    """A call's arguments as JSON text; of a call that could not be read, what the model wrote."""
    return str(storable(call.raw if call.error else json.dumps(dict(call.arguments), ensure_ascii=False)))


def usage_of(usage: Usage) -> dict[str, int]:
    """Tokens, in the words of chat completions."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total,
    }


def reason_of(message: AssistantMessage) -> str:
    """Why a message ended, in the words of chat completions."""
    if message.stop_reason is StopReason.OUT_OF_TOKENS:
        return "length"
    return "tool_calls" if message.tool_calls else "stop"


router = on_both(routes)
