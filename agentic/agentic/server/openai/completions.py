"""`completions`, the older form: texts that a model answers one by one."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from ...protocols import Inference
from ...types.content import storable
from ...types.errors import InvalidInput
from ...types.messages import UserMessage
from ...types.sampling import Completion, InferenceRequest, Usage
from ..services import Use
from ..sse import STREAMED, EventStream
from . import new_id, on_both
from .chat import StreamOptions, deltas_of, frames_of, last_frame, reason_of, usage_of
from .chat_input import sampling_of

MOST_PROMPTS = 64

routes = APIRouter(tags=["OpenAI"])


class CompletionRequest(BaseModel):
    """The body; what is not named here is taken and not used."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(min_length=1, max_length=200)]
    prompt: str | list[str] | list[int] | list[list[int]]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: str | list[str] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    echo: bool | None = None
    suffix: str | None = None
    n: int | None = None
    best_of: int | None = None
    logprobs: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None


UNSUPPORTED = ("echo", "suffix", "logprobs", "frequency_penalty", "presence_penalty", "logit_bias")


@routes.post("/completions", response_model=dict[str, Any], responses=STREAMED)
async def create(body: CompletionRequest, request: Request, services: Use) -> Response:
    """Answers one text, or several."""
    for name in UNSUPPORTED:
        if getattr(body, name):
            raise InvalidInput(f"{name} is not supported.")
    if body.n not in (None, 1) or body.best_of not in (None, 1):
        raise InvalidInput("n and best_of must be 1; give a list of prompts for several answers.")
    inference = await services.models.inference(body.model)
    head = {"id": new_id("cmpl-"), "object": "text_completion", "created": int(time.time()), "model": body.model}
    chunks = _chunks(inference, _asked(body), head, body)
    first = await anext(chunks)
    if body.stream:
        return EventStream(frames_of(first, chunks, last_frame(request)))
    texts: dict[int, str] = {}
    reasons: dict[int, str] = {}
    async for chunk in _with(first, chunks):
        for choice in chunk["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
            reasons[choice["index"]] = choice["finish_reason"]
        usage = chunk["usage"]
    choices = [_choice(index, text, reasons[index]) for index, text in texts.items()]
    return JSONResponse({**head, "choices": choices, "usage": usage})


def _asked(body: CompletionRequest) -> list[InferenceRequest]:
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if not 0 < len(prompts) <= MOST_PROMPTS or not all(isinstance(one, str) and one for one in prompts):
        raise InvalidInput(f"prompt must be text, or a list of 1 to {MOST_PROMPTS} texts, none of them empty.")
    sampling = sampling_of(
        temperature=body.temperature, top_p=body.top_p, max_tokens=body.max_tokens, stop=body.stop, seed=body.seed
    )
    return [InferenceRequest(messages=[UserMessage(storable(one))], sampling=sampling) for one in prompts]


async def _chunks(
    inference: Inference, asked: list[InferenceRequest], head: Mapping[str, Any], body: CompletionRequest
) -> AsyncIterator[dict[str, Any]]:
    told = not body.stream or bool(body.stream_options and body.stream_options.include_usage)
    usage = Usage()
    for index, request in enumerate(asked):
        async for delta in deltas_of(inference, request):
            if isinstance(delta, Completion):
                usage += delta.usage
                yield {**head, "choices": [_choice(index, "", reason_of(delta.message))], "usage": None}
            else:
                yield {**head, "choices": [_choice(index, delta, None)], "usage": None}
    if told:
        yield {**head, "choices": [], "usage": usage_of(usage)}


async def _with(first: dict[str, Any], rest: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    yield first
    async for chunk in rest:
        yield chunk


def _choice(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


router = on_both(routes)
