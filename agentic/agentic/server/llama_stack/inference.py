"""Models asked directly, without an agent: `/v1/inference`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from ...inference import generate
from ...protocols import Inference
from ...types.content import images_of, text_of
from ...types.errors import AgenticError, InvalidInput
from ...types.messages import AssistantMessage, Message, UserMessage
from ...types.sampling import Completion, InferenceRequest, Usage
from ...types.sampling import SamplingParams as EngineSampling
from ...types.tools import ToolResponse
from .. import failures
from ..services import Use
from ..sse import STREAMED, EventStream, frame, frames
from . import wire
from .answers import ChatBatch, ChatCompletion, CompletionBatch, Embeddings, TextCompletion
from .schemas import (
    BatchChatRequest,
    BatchCompletionRequest,
    ChatRequest,
    CompletionRequest,
    EmbeddingsRequest,
    JsonSchemaFormat,
    ResponseFormat,
)

router = APIRouter(tags=["inference"])

TOGETHER = 4
"""How many of a batch are asked at once."""


@router.post("/v1/inference/chat-completion", response_model=ChatCompletion, responses=STREAMED)
async def chat_completion(body: ChatRequest, services: Use) -> Response:
    """Asks a model for the next message."""
    try:
        model, request = await services.models.inference(body.model_id), chat_request(body, body.messages)
    except AgenticError as error:
        return _refuse(error, body.stream)
    if body.stream:
        return EventStream(frames(_chat_events(model, request)))
    return JSONResponse(_chat(await ask(model, request)))


@router.post("/v1/inference/completion", response_model=TextCompletion, responses=STREAMED)
async def completion(body: CompletionRequest, services: Use) -> Response:
    """Asks a model to go on with a text."""
    try:
        model, request = await services.models.inference(body.model_id), _text_request(body, body.content)
    except AgenticError as error:
        return _refuse(error, body.stream)
    if body.stream:
        return EventStream(frames(_text_events(model, request)))
    return JSONResponse(_text(await ask(model, request)))


@router.post("/v1/inference/batch-chat-completion", response_model=ChatBatch)
async def batch_chat_completion(body: BatchChatRequest, services: Use) -> Any:
    """Asks a model for the next message of several conversations."""
    model = await services.models.inference(body.model_id)
    found = await _all(model, [chat_request(body, messages) for messages in body.messages_batch])
    return JSONResponse({"batch": [_chat(one) for one in found]})


@router.post("/v1/inference/batch-completion", response_model=CompletionBatch)
async def batch_completion(body: BatchCompletionRequest, services: Use) -> Any:
    """Asks a model to go on with several texts."""
    model = await services.models.inference(body.model_id)
    found = await _all(model, [_text_request(body, content) for content in body.content_batch])
    return JSONResponse({"batch": [_text(one) for one in found]})


@router.post("/v1/inference/embeddings", response_model=Embeddings)
async def embeddings(body: EmbeddingsRequest, services: Use) -> Any:
    """Makes vectors of texts."""
    model = await services.models.embedder(body.model_id)
    contents = [wire.content_in(content) for content in body.model_dump()["contents"]]
    if any(images_of(content) for content in contents):
        raise InvalidInput("contents holds an image; the vectors here are those of texts.")
    texts = [text_of(content) for content in contents]
    if not texts:
        raise InvalidInput("contents is empty: there is nothing to make vectors of.")
    vectors = await model.embed(texts)
    if body.output_dimension is not None:
        if body.output_dimension > len(vectors[0]):
            raise InvalidInput(f"Model {body.model_id!r} makes vectors of {len(vectors[0])} numbers.")
        vectors = [vector[: body.output_dimension] for vector in vectors]
    return JSONResponse({"embeddings": vectors})


def chat_request(body: ChatRequest | BatchChatRequest, messages: Sequence[Any]) -> InferenceRequest:
    """What an engine's model is asked for."""
    choice = (body.tool_config and body.tool_config.tool_choice) or getattr(body, "tool_choice", None) or "auto"
    given = [wire.message_in(message.model_dump()) for message in messages]
    if not given:
        raise InvalidInput("messages is empty.")
    return InferenceRequest(
        messages=_named(given),
        tools=[tool.engine() for tool in body.tools or ()],
        tool_choice=choice if body.tools else "auto",
        sampling=body.sampling_params.engine() if body.sampling_params else EngineSampling(),
        response_format=_schema(body.response_format),
        logprobs=body.wanted_logprobs,
    )


async def ask(model: Inference, request: InferenceRequest) -> Completion:
    """The whole answer."""
    async with aclosing(generate(model, await model.prepare(request))) as deltas:
        pieces = [delta async for delta in deltas]
    last = pieces[-1] if pieces else None
    if isinstance(last, Completion):
        return last
    return Completion(AssistantMessage("".join(piece for piece in pieces if isinstance(piece, str))))


async def _all(model: Inference, requests: Sequence[InferenceRequest]) -> list[Completion]:
    slots = asyncio.Semaphore(TOGETHER)

    async def one(request: InferenceRequest) -> Completion:
        async with slots:
            return await ask(model, request)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(request)) for request in requests]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _named(messages: Sequence[Message]) -> list[Message]:
    """Results with the name of the tool that they come from, which Llama Stack leaves out."""
    spoken = [one for one in messages if isinstance(one, AssistantMessage)]
    names = {call.call_id: call.name for message in spoken for call in message.tool_calls}
    return [
        replace(one, tool_name=one.tool_name or names.get(one.call_id, "")) if isinstance(one, ToolResponse) else one
        for one in messages
    ]


def _schema(given: ResponseFormat | None) -> dict[str, Any] | None:
    if given is None:
        return None
    if not isinstance(given, JsonSchemaFormat):
        raise InvalidInput("response_format is a JSON schema here; grammars are not taken.")
    return given.json_schema


def _text_request(body: CompletionRequest | BatchCompletionRequest, content: Any) -> InferenceRequest:
    text = wire.content_in(content if isinstance(content, str) else _plain(content))
    return InferenceRequest(
        messages=[UserMessage(text)],
        sampling=body.sampling_params.engine() if body.sampling_params else EngineSampling(),
        response_format=_schema(body.response_format),
        logprobs=body.wanted_logprobs,
    )


def _plain(content: Any) -> Any:
    return [item.model_dump() for item in content] if isinstance(content, list) else content.model_dump()


# -- answers ----------------------------------------------------------------------------------------------------------


def _metrics(usage: Usage) -> list[dict[str, Any]]:
    counts = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total,
    }
    return [{"metric": name, "value": value, "unit": None} for name, value in counts.items()]


def _chat(found: Completion) -> dict[str, Any]:
    message = wire.completion_out(found.message)
    return {"metrics": _metrics(found.usage), "completion_message": message, "logprobs": _logprobs(found)}


def _text(found: Completion) -> dict[str, Any]:
    shown = {"content": found.message.content, "stop_reason": str(found.message.stop_reason)}
    return {"metrics": _metrics(found.usage), **shown, "logprobs": _logprobs(found)}


def _logprobs(found: Completion) -> list[dict[str, Any]] | None:
    return [{"logprobs_by_token": dict(one)} for one in found.logprobs] or None


async def _chat_events(model: Inference, request: InferenceRequest) -> AsyncIterator[dict[str, Any]]:
    yield _event("start", _TEXT)
    last = Completion(AssistantMessage())
    async with aclosing(generate(model, await model.prepare(request))) as deltas:
        if request.tools:
            yield _event("progress", _TEXT)
        async for delta in deltas:
            if isinstance(delta, str):
                yield _event("progress", {"type": "text", "text": delta})
            elif isinstance(delta, Completion):
                last = delta
    for call in last.message.tool_calls:
        status = "failed" if call.error is not None else "succeeded"
        shown = call.raw or call.error if call.error is not None else wire.call_out(call)
        yield _event("progress", {"type": "tool_call", "tool_call": shown, "parse_status": status})
    yield _event("complete", _TEXT, last)


_TEXT = {"type": "text", "text": ""}


def _event(kind: str, delta: dict[str, Any], last: Completion | None = None) -> dict[str, Any]:
    event: dict[str, Any] = {"event_type": kind, "delta": delta, "logprobs": None, "stop_reason": None}
    if last is None:
        return {"metrics": None, "event": event}
    event |= {"logprobs": _logprobs(last), "stop_reason": str(last.message.stop_reason)}
    return {"metrics": _metrics(last.usage), "event": event}


async def _text_events(model: Inference, request: InferenceRequest) -> AsyncIterator[dict[str, Any]]:
    last = Completion(AssistantMessage())
    async with aclosing(generate(model, await model.prepare(request))) as deltas:
        async for delta in deltas:
            if isinstance(delta, str):
                yield {"metrics": None, "delta": delta, "stop_reason": None, "logprobs": None}
            elif isinstance(delta, Completion):
                last = delta
    stop = str(last.message.stop_reason)
    yield {"metrics": _metrics(last.usage), "delta": "", "stop_reason": stop, "logprobs": _logprobs(last)}


def _refuse(error: AgenticError, stream: bool | None) -> Response:
    if not stream:
        raise error

    async def only() -> AsyncIterator[bytes]:
        yield frame(failures.frame_of(error))

    return EventStream(only())
