"""`llama-stack/…` against what the real server said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agentic.inference import Retries, connect, generate
from agentic.protocols import Delta
from agentic.types import (
    Completion,
    ContextOverflow,
    InferenceRequest,
    ModelNotFound,
    StopReason,
    ToolDef,
    Usage,
    UserMessage,
)
from servers.base import Insert, Status
from servers.llama_stack import LlamaStackServer

pytestmark = pytest.mark.anyio
DATA = Path(__file__).parents[1] / "data" / "llama_stack"
MODEL = "meta-llama/Llama-3.3-70B-Instruct"
WEATHER = ToolDef(
    "get_weather",
    "w",
    {"type": "object", "properties": {"location": {"type": "string", "description": "city"}}, "required": ["location"]},
)


def recorded(name: str) -> tuple[dict[str, Any], int, bytes]:
    """What was asked, and the status and body of the answer."""
    text = (DATA / f"{name}.http").read_text()
    asked, _, answered = text.partition("\n<<< ")
    sent = asked.rpartition(">>> ")[2]
    body = json.loads(sent) if sent.startswith("{") else {}
    status, _, rest = answered.partition("\n")
    return body, int(status.split()[0]), re.sub(r"^\[\+\d+ms\] ", "", rest, flags=re.MULTILINE).encode()


async def replay(question: str, tools: list[ToolDef], name: str) -> tuple[dict[str, Any], list[Delta]]:
    """Asks the same as in a recording, is answered the same, and returns what was sent and what came."""
    _, status, body = recorded(name)
    with LlamaStackServer() as server:
        plain = not body.startswith(b"data:")
        server.faults.append(Status(status, body) if plain else Insert(0, body))
        model = connect(f"llama-stack/{MODEL}", endpoint=server.url)
        if not plain:
            server.model = MODEL
        request = InferenceRequest(messages=[UserMessage(question)], tools=tools)
        try:
            prepared = await model.prepare(request)
            deltas = [delta async for delta in generate(model, prepared, Retries(limit=0, first_token=5, gap=5))]
        finally:
            await model.aclose()
        return server.requests[0].json, deltas


async def test_a_recorded_stream() -> None:
    sent, deltas = await replay("Which planet do humans live on?", [], "s24_inference_chat_stream")
    asked, _, _ = recorded("s24_inference_chat_stream")
    assert sent.pop("sampling_params") == {"strategy": {"type": "greedy"}}
    assert sent == asked
    *texts, last = deltas
    assert texts == ["Humans ", "live ", "on ", "Earth."]
    assert isinstance(last, Completion)
    assert (last.message.stop_reason, last.usage) == (StopReason.END_OF_TURN, Usage(17, 15))


async def test_a_recorded_call() -> None:
    sent, deltas = await replay("weather in San Francisco?", [WEATHER], "s26_inference_chat_tool_stream")
    asked, _, _ = recorded("s26_inference_chat_tool_stream")
    assert sent["tools"] == asked["tools"]
    last = deltas[-1]
    assert isinstance(last, Completion)
    (call,) = last.message.tool_calls
    assert (call.call_id, call.name, call.known) == ("call_2a7e83fe005021b5", "get_weather", True)
    assert call.arguments == {"location": "San Francisco, CA"}
    assert last.message.stop_reason is StopReason.END_OF_MESSAGE


@pytest.mark.parametrize("name", ["s23_inference_chat", "s25_inference_chat_tool"])
async def test_a_recorded_answer_in_one_piece(name: str) -> None:
    _, deltas = await replay("weather in San Francisco?", [WEATHER], name)
    last = deltas[-1]
    assert isinstance(last, Completion)
    assert last.message.content or last.message.tool_calls
    assert last.usage.output_tokens


async def test_a_model_that_is_not_served() -> None:
    with pytest.raises(ModelNotFound):
        await replay("Hi", [], "s35_not_found_model")


async def test_a_failure_within_the_stream_says_its_status() -> None:
    event = {"error": {"message": "400: Invalid value: this model's maximum context length is 10 tokens"}}
    with LlamaStackServer() as server:
        server.faults.append(Insert(0, f"data: {json.dumps(event)}\n\n".encode()))
        model = connect("llama-stack/test", endpoint=server.url)
        try:
            with pytest.raises(ContextOverflow):
                async for _ in generate(model, await model.prepare(InferenceRequest(messages=[UserMessage("Hi")]))):
                    pass
        finally:
            await model.aclose()


async def test_what_a_flat_definition_cannot_say_goes_into_the_description() -> None:
    place = {"type": "object", "properties": {"city": {"type": "string"}}}
    schema = {
        "type": "object",
        "$defs": {"Place": place},
        "properties": {
            "where": {"$ref": "#/$defs/Place"},
            "unit": {"enum": ["c", "f"], "type": "string", "default": "c"},
        },
        "required": ["where"],
    }
    model = connect("llama-stack/test", endpoint="http://127.0.0.1:9")
    request = InferenceRequest(messages=[UserMessage("Hi")], tools=[ToolDef("get_weather", "w", schema)])
    parameters = json.loads((await model.prepare(request)).prompt)["tools"][0]["parameters"]
    assert parameters["where"]["param_type"] == "object"
    assert '"Place"' in parameters["where"]["description"]
    assert parameters["unit"] == {
        "param_type": "string",
        "description": 'JSON schema: {"enum":["c","f"]}',
        "required": False,
        "default": "c",
    }
