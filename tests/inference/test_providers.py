"""The five scenarios, and what must hold on every provider."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from agentic.inference import Retries, generate
from agentic.protocols import Delta, Inference
from agentic.types import (
    AssistantMessage,
    Completion,
    Image,
    InferenceRequest,
    InferenceTimeout,
    Message,
    SamplingParams,
    StopReason,
    StreamBroken,
    SystemMessage,
    Text,
    ToolCallDelta,
    ToolDef,
    ToolResponse,
    Usage,
    UserMessage,
)
from servers.base import CutAfter, Fault, Resplit, Server, StallAfter
from servers.brain import Brain, Call, Reply, weather_brain
from servers.providers import PROVIDERS, SEEING, serving

pytestmark = pytest.mark.anyio

WEATHER = ToolDef(
    "get_weather",
    "Current weather in a city.",
    {"type": "object", "properties": {"city": {"type": "string", "description": "Its name"}}, "required": ["city"]},
)
GREETING = "Hello there, é and 🦙 too."
HI = InferenceRequest(messages=[UserMessage("Hi")])
STREAMING = tuple(name for name in PROVIDERS if "not streaming" not in name)
ONCE = Retries(limit=0, first_token=5, gap=5)


def png(side: int = 4, grey: int = 128) -> bytes:
    """A small grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes([grey]) * side for _ in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


async def ask(model: Inference, messages: Sequence[Message], **options: Any) -> tuple[list[Delta], Completion]:
    request = InferenceRequest(messages=messages, tools=[WEATHER], **options)
    deltas = [delta async for delta in generate(model, await model.prepare(request), ONCE)]
    completion = deltas.pop()
    assert isinstance(completion, Completion)
    assert "".join(delta for delta in deltas if isinstance(delta, str)) == completion.message.content
    return deltas, completion


async def collect(model: Inference, deltas: list[Delta], retries: Retries) -> None:
    async for delta in generate(model, await model.prepare(HI), retries):
        deltas.append(delta)  # noqa: PERF401 - what came before an error is wanted too


@asynccontextmanager
async def connected(provider: str, brain: Brain = weather_brain) -> AsyncIterator[tuple[Server, Inference]]:
    with serving(provider, brain) as (server, model):
        try:
            yield server, model
        finally:
            await model.aclose()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_plain_text_streams(provider: str) -> None:
    async with connected(provider) as (_, model):
        deltas, completion = await ask(model, [SystemMessage("Be kind."), UserMessage("Hi")])
        assert completion.message.content == GREETING
        assert completion.message.stop_reason is StopReason.END_OF_TURN
        assert len(deltas) == 1 if "not streaming" in provider else len(deltas) >= 4
        assert completion.usage == (Usage() if "careless" in provider else Usage(11, 7))


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_tool_is_called_and_its_result_read(provider: str) -> None:
    async with connected(provider) as (_, model):
        messages: list[Message] = [UserMessage("What is the weather in Lisbon?")]
        deltas, completion = await ask(model, messages)
        (call,) = completion.message.tool_calls
        assert (call.name, call.arguments, call.known, call.error) == (
            "get_weather",
            {"city": "Lisbon"},
            True,
            None,
        )
        pieces = [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
        assert pieces[0].index == 0
        assert [piece.name for piece in pieces if piece.name] == ["get_weather"]
        assert json.loads("".join(piece.arguments for piece in pieces)) == {"city": "Lisbon"}
        messages += [completion.message, ToolResponse(call.call_id, call.name, "sunny, 21 °C")]
        _, completion = await ask(model, messages)
        assert completion.message == AssistantMessage("It is: sunny, 21 °C.", notes=completion.message.notes)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_parallel_calls_keep_their_order(provider: str) -> None:
    async with connected(provider) as (_, model):
        messages: list[Message] = [UserMessage("What is the weather in Lisbon, Porto and Faro?")]
        _, completion = await ask(model, messages)
        calls = completion.message.tool_calls
        assert [call.arguments["city"] for call in calls] == ["Lisbon", "Porto", "Faro"]
        messages.append(completion.message)
        messages += [ToolResponse(call.call_id, call.name, f"result {number}") for number, call in enumerate(calls)]
        _, completion = await ask(model, messages)
        assert completion.message.content == "It is: result 0, then result 1, then result 2."


@pytest.mark.parametrize("provider", SEEING)
async def test_an_image_arrives_byte_for_byte(provider: str) -> None:
    async with connected(provider) as (_, model):
        first, second = png(grey=10), png(grey=200)
        content = (Image(data=first), Text("Look: "), Image(data=second), Text("what is it?"))
        _, completion = await ask(model, [UserMessage(content)])
        names = [hashlib.sha256(data).hexdigest()[:12] for data in (first, second)]
        assert completion.message.content == f"I see {names[0]}, {names[1]}."


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_chunking_never_changes_the_answer(provider: str) -> None:
    """Promise 5: the same bytes, cut anywhere, lead to the same message and the same text."""
    for question in ("Hi", "What is the weather in Lisbon and Porto?"):
        async with connected(provider) as (server, model):
            _, expected = await ask(model, [UserMessage(question)])
            for size in (1, 2, 3, 7, 64):
                server.faults.append(Resplit(size))
                _, completion = await ask(model, [UserMessage(question)])
                assert replace(completion.message, notes=()) == replace(expected.message, notes=())


def strike(server: Server, provider: str, fault: Callable[[int], Fault]) -> None:
    """Lets a fault strike in the middle of the next answer's text."""
    if "careless" in provider:  # it refuses the first request for its stream_options, and sends comments
        server.faults.extend([None, fault(8)])
    else:
        server.faults.append(fault(4))


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("provider", STREAMING)
async def test_a_stream_cut_in_the_middle_is_told(provider: str, reset: bool) -> None:
    async with connected(provider) as (server, model):
        strike(server, provider, lambda chunks: CutAfter(chunks, reset=reset))
        shown: list[Delta] = []
        with pytest.raises(StreamBroken):
            await collect(model, shown, ONCE)
        assert "".join(map(str, shown)).startswith("Hello")


@pytest.mark.parametrize("provider", STREAMING)
async def test_silence_ends_the_wait_and_the_connection(provider: str) -> None:
    async with connected(provider) as (server, model):
        strike(server, provider, StallAfter)
        with pytest.raises(InferenceTimeout):
            await collect(model, [], Retries(limit=0, first_token=5, gap=0.1))
        assert await asyncio.to_thread(server.requests[-1].gone.wait, 5)


@pytest.mark.parametrize("provider", STREAMING)
async def test_cancelling_closes_the_connection(provider: str) -> None:
    async with connected(provider) as (server, model):
        strike(server, provider, StallAfter)
        began = asyncio.Event()

        async def consume() -> None:
            async for _ in generate(model, await model.prepare(HI), ONCE):
                began.set()

        task = asyncio.create_task(consume())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.requests[-1].gone.wait, 5)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_answer_cut_off_inside_a_call(provider: str) -> None:
    raw = '[get_weather(city="Lis'
    async with connected(
        provider, lambda _: Reply(calls=(Call("get_weather", {"city": "Lisbon"}),), cut_off=True, raw=raw)
    ) as (
        _,
        model,
    ):
        _, completion = await ask(model, [UserMessage("Weather?")], sampling=SamplingParams(max_tokens=5))
        message = completion.message
        assert message.stop_reason is StopReason.OUT_OF_TOKENS
        if provider.startswith("raw"):
            assert not message.tool_calls
            assert "cut off" in message.notes[0]
        else:
            (call,) = message.tool_calls
            assert call.error
            assert "cut off" in call.error or "truncated" in call.error


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_one_connection_serves_a_whole_conversation(provider: str) -> None:
    async with connected(provider) as (server, model):
        for _ in range(5):
            await ask(model, [UserMessage("Hi")])
        assert server.connections == 1


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_next_prompt_begins_with_this_one(provider: str) -> None:
    """The log keeps a prompt as what it adds to the last one."""
    async with connected(provider) as (_, model):
        messages: list[Message] = [SystemMessage("Be brief."), UserMessage("Hi")]
        first = (await model.prepare(InferenceRequest(messages=messages, tools=[WEATHER]))).prompt
        messages += [AssistantMessage("Hello."), UserMessage("And?")]
        second = (await model.prepare(InferenceRequest(messages=messages, tools=[WEATHER]))).prompt
        assert second.startswith(first.removesuffix("]}"))


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_exactly_the_prompt_is_sent(provider: str) -> None:
    async with connected(provider) as (server, model):
        prepared = await model.prepare(InferenceRequest(messages=[UserMessage("Olá 🦙 \ud800")], tools=[WEATHER]))
        async for _ in model.generate(prepared):
            pass
        if provider.startswith("raw"):
            body = server.requests[0].json
            assert prepared.prompt == "<|begin_of_text|>" + body["prompt"]
        else:
            assert server.requests[0].body.decode() == prepared.prompt


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_works_on_several_event_loops(provider: str) -> None:
    with serving(provider) as (server, model):

        async def once() -> None:
            _, completion = await ask(model, [UserMessage("Hi")])
            assert completion.message.content == GREETING

        for _ in range(3):
            asyncio.run(once())  # nobody closes the provider: the loop's end does
        assert server.connections == 3


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_many_requests_at_once(provider: str) -> None:
    async with connected(provider) as (_, model):
        answers = await asyncio.gather(*(ask(model, [UserMessage("Hi")]) for _ in range(60)))
        assert {completion.message.content for _, completion in answers} == {GREETING}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_schema_reaches_the_server(provider: str) -> None:
    async with connected(provider) as (_, model):
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        _, completion = await ask(model, [UserMessage("A city, please")], response_format=schema)
        assert completion.message.content == '{"city": "Lisbon"}'


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_sampling_reaches_the_server(provider: str) -> None:
    sampling = SamplingParams(
        strategy="top_p", temperature=0.7, top_p=0.8, max_tokens=17, seed=4, stop=("END",), repetition_penalty=1.1
    )
    async with connected(provider) as (server, model):
        await ask(model, [UserMessage("Hi")], sampling=sampling)
        text = server.requests[-1].body.decode()
        for value in ("0.7", "0.8", "17", '"END"', "1.1"):
            assert value in text
        assert "llama-stack" in provider or '"seed":4' in text
