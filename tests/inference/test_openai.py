"""`openai/…`: servers that differ, calls that are malformed, usage, embeddings."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agentic.inference import Retries, connect, generate
from agentic.inference.openai import OpenAI
from agentic.types import (
    AssistantMessage,
    Completion,
    Image,
    InferenceRequest,
    InvalidInput,
    InvalidResponse,
    Message,
    SamplingParams,
    ServerFailed,
    StopReason,
    Text,
    ToolCall,
    ToolDef,
    ToolResponse,
    UserMessage,
)
from servers.base import Insert, Server
from servers.brain import Call, Reply
from servers.openai import Manner, OpenAIServer

pytestmark = pytest.mark.anyio
TOOL = ToolDef("get_weather", "Weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
REQUEST = InferenceRequest(messages=[UserMessage("What is the weather in Lisbon and Porto?")], tools=[TOOL])
ONCE = Retries(limit=0, first_token=5, gap=5)


@asynccontextmanager
async def connected(server: Server, **options: Any) -> AsyncIterator[OpenAI]:
    with server:
        model = connect("openai/test", endpoint=server.url, **options)
        assert isinstance(model, OpenAI)
        try:
            yield model
        finally:
            await model.aclose()


async def answer(model: OpenAI, request: InferenceRequest = REQUEST) -> Completion:
    deltas = [delta async for delta in generate(model, await model.prepare(request), ONCE)]
    assert isinstance(deltas[-1], Completion)
    return deltas[-1]


def streamed(*events: Any, done: bool = True) -> Insert:
    lines = [f"data: {json.dumps(event) if not isinstance(event, str) else event}\n\n" for event in events]
    return Insert(0, "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode())


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def piece(arguments: Any, index: int | None = 0, name: str | None = None, call_id: str | None = None) -> dict[str, Any]:
    part: dict[str, Any] = {"function": {"arguments": arguments}}
    if index is not None:
        part["index"] = index
    if name:
        part["function"]["name"] = name
    if call_id:
        part["id"] = call_id
    return delta(tool_calls=[part])


async def calls_of(*pieces: dict[str, Any], finish: str = "tool_calls") -> tuple[ToolCall, ...]:
    server = OpenAIServer()
    server.faults.append(streamed(*pieces, delta(finish)))
    async with connected(server) as model:
        return (await answer(model)).message.tool_calls


MANNERS = {
    "as documented": Manner(),
    "no index": Manner(index="none"),
    "no index, whole": Manner(index="none", whole_calls=True),
    "index always 0": Manner(index="zero", whole_calls=True),
    "no ids": Manner(ids=False),
    "no ids, no index": Manner(ids=False, index="none", whole_calls=True),
    "objects": Manner(object_arguments=True),
    "no usage": Manner(usage=False),
    "no DONE": Manner(done=False),
    "CRLF": Manner(line=b"\r\n"),
    "comments": Manner(comments=True),
    "reasoning": Manner(reasoning=True),
    "one body": Manner(streams=False),
}


@pytest.mark.parametrize("manner", MANNERS)
async def test_every_manner_of_server_is_understood(manner: str) -> None:
    async with connected(OpenAIServer(manner=MANNERS[manner])) as model:
        message = (await answer(model)).message
        assert [call.arguments for call in message.tool_calls] == [{"city": "Lisbon"}, {"city": "Porto"}]
        assert message.stop_reason is StopReason.END_OF_MESSAGE
        assert bool(message.notes) == (manner == "no usage")


async def test_stream_options_are_left_out_once_a_server_refused_them() -> None:
    server = OpenAIServer(manner=Manner(usage=False))
    async with connected(server) as model:
        await answer(model)
        await answer(model)
        assert ["stream_options" in request.json for request in server.requests] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "arguments", "problem"),
    [
        ('{"city": "Lisbon"}', {"city": "Lisbon"}, None),
        ("", {}, None),
        ("null", {}, None),
        ('{"city": "Lis', {}, "not valid JSON"),
        ("[1]", {}, "must be a JSON object"),
        ("[" * 100_000, {}, "not valid JSON"),
        ('{"city": "a\nb"}', {"city": "a\nb"}, None),
        ('"{\\"city\\": \\"Lisbon\\"}"', {"city": "Lisbon"}, None),
    ],
)
async def test_arguments_never_raise(text: str, arguments: dict[str, Any], problem: str | None) -> None:
    (call,) = await calls_of(piece(text, name="get_weather", call_id="a"))
    assert (call.arguments, call.raw) == (arguments, text)
    assert (problem in (call.error or "")) if problem else call.error is None


async def test_what_was_mended_is_said() -> None:
    (call,) = await calls_of(piece('{"city": "a\nb"}', name="get_weather"))
    assert call.repaired == ("raw control characters inside a string",)


async def test_a_call_cut_off_by_the_token_limit_never_runs() -> None:
    whole, half = await calls_of(
        piece('{"city": "Lisbon"}', 0, "get_weather", "a"), piece('{"ci', 1, "get_weather", "b"), finish="length"
    )
    assert "cut off" in (whole.error or "")
    assert "truncated" in (half.error or "")


async def test_unknown_and_unnamed_tools_are_told() -> None:
    unknown, unnamed = await calls_of(piece("{}", 0, "fly", "a"), piece("{}", 1, None, "b"))
    assert (unknown.known, unknown.error) == (False, None)
    assert unnamed.error == "The call names no tool."


async def test_repeated_ids_and_names_in_each_piece_are_one_call() -> None:
    pieces = [piece(part, None, "get_weather", "a") for part in ('{"ci', 'ty": ', '"Lisbon"}')]
    (call,) = await calls_of(*pieces)
    assert call.arguments == {"city": "Lisbon"}


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"error": {"message": "out of memory"}}, ServerFailed),
        ({"error": "just text"}, ServerFailed),
        ("{nojson", InvalidResponse),
        ("[1, 2]", InvalidResponse),
        ('"text"', InvalidResponse),
        ({"choices": [3]}, InvalidResponse),
        ({"choices": [{"delta": {"tool_calls": ["x"]}}]}, InvalidResponse),
        ({"choices": [{"delta": {"tool_calls": [{"index": {}, "function": {"name": "a"}}]}}]}, InvalidResponse),
    ],
)
async def test_a_broken_stream_is_a_typed_error(event: Any, error: type[Exception]) -> None:
    server = OpenAIServer()
    server.faults.append(streamed(event))
    async with connected(server) as model:
        with pytest.raises(error):
            await answer(model)


async def test_a_content_filter_is_told() -> None:
    server = OpenAIServer()
    server.faults.append(streamed(delta(content="I "), delta("content_filter")))
    async with connected(server) as model:
        message = (await answer(model)).message
        assert message.stop_reason is StopReason.OUT_OF_TOKENS
        assert "filter" in message.notes[0]


async def test_an_empty_reply_is_an_empty_message() -> None:
    async with connected(OpenAIServer(lambda _: Reply(""))) as model:
        assert (await answer(model)).message.content == ""


async def test_the_request_as_it_is_written() -> None:
    async with connected(OpenAIServer(), extra={"temperature": None, "logprobs": True}) as model:
        request = InferenceRequest(
            messages=[UserMessage("Hi", context="Some facts.")],
            tools=[TOOL],
            tool_choice="get_weather",
            sampling=SamplingParams(strategy="top_k", top_k=7, max_tokens=5),
            response_format={"type": "object"},
        )
        body = json.loads((await model.prepare(request)).prompt)
        assert [*body][-2:] == ["tools", "messages"]
        assert body.pop("messages") == [{"role": "user", "content": "Hi\n\nSome facts."}]
        assert body.pop("tools")[0]["function"]["name"] == "get_weather"
        assert body == {
            "model": "test",
            "stream": True,
            "stream_options": {"include_usage": True},
            "top_k": 7,
            "max_tokens": 5,
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
            "logprobs": True,
        }


async def test_log_probabilities_are_asked_for() -> None:
    async with connected(OpenAIServer()) as model:
        request = InferenceRequest(messages=[UserMessage("Hi")], logprobs=3)
        body = json.loads((await model.prepare(request)).prompt)
        assert (body["logprobs"], body["top_logprobs"]) == (True, 3)


async def test_images_of_tools_follow_as_the_users() -> None:
    async with connected(OpenAIServer(lambda _: Reply("", (Call("get_weather", {}),)))) as model:
        said = (await answer(model)).message
        pictures = (Image(data=b"\x89PNG\r\n\x1a\n"), Image(url="https://example.org/a.png"))
        responses = [ToolResponse(call.call_id, call.name, (Text("a "), *pictures)) for call in said.tool_calls]
        request = InferenceRequest(messages=[UserMessage("Hi"), said, *responses, UserMessage("And?")], tools=[TOOL])
        messages = json.loads((await model.prepare(request)).prompt)["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant", "tool", "user", "user"]
        assert messages[2]["content"] == "a [image at https://example.org/a.png]", "nothing a tool names is fetched"
        assert [part["type"] for part in messages[3]["content"]] == ["text", "image_url"]
        assert messages[3]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")


async def test_a_call_that_could_not_be_read_goes_back_as_valid_json() -> None:
    """Servers read the arguments of the history, and refuse the whole conversation when they cannot."""
    async with connected(OpenAIServer()) as model:
        (bad,) = await calls_of(piece('{"city": ', name="get_weather", call_id="a"))
        messages: list[Message] = [UserMessage("Hi"), AssistantMessage("", (bad,))]
        messages.append(ToolResponse("a", "get_weather", "Malformed."))
        assert (await answer(model, InferenceRequest(messages=messages))).message.content == "It is: Malformed.."


async def test_no_number_that_json_lacks_is_sent() -> None:
    async with connected(OpenAIServer()) as model:
        call = ToolCall("get_weather", {"a": float("nan"), "b": [float("inf")]}, "a")
        prompt = (await model.prepare(InferenceRequest(messages=[AssistantMessage("", (call,))]))).prompt
        assert '{\\"a\\":null,\\"b\\":[null]}' in prompt


async def test_messages_are_written_once() -> None:
    async with connected(OpenAIServer()) as model:
        messages = [UserMessage(f"Number {number}") for number in range(100)]
        first = (await model.prepare(InferenceRequest(messages=messages))).prompt
        assert (await model.prepare(InferenceRequest(messages=messages))).prompt == first
        assert all(model._rendered.get(message) for message in messages)


async def test_embeddings_come_in_order_and_in_batches() -> None:
    server = OpenAIServer()
    async with connected(server) as model:
        vectors = await model.embed(["a" * number for number in range(1, 301)])
        assert [vector[0] for vector in vectors] == [float(number) for number in range(1, 301)]
        assert len(server.requests) == 3
        assert await model.embed([]) == []


async def test_no_messages_are_no_request() -> None:
    async with connected(OpenAIServer()) as model:
        with pytest.raises(InvalidInput):
            await model.prepare(InferenceRequest(messages=[]))
