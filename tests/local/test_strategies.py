"""The three ways of helping a model with tools."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from agentic.inference.local import connect
from agentic.inference.strategies import Constrained, Routed, with_strategy
from agentic.inference.strategies.answers import answer_for
from agentic.inference.strategies.constrained import ReplyReader
from agentic.inference.strategies.examples import Example, invented
from agentic.inference.strategies.grounding import grounded
from agentic.inference.strategies.routed import NO_MODEL
from agentic.inference.strategies.router import numbers_in
from agentic.inference.strategies.schema import call_schema
from agentic.inference.strategies.spans import spans
from agentic.protocols import Inference
from agentic.testing import ScriptedModel
from agentic.tool import Tool
from agentic.types import (
    AssistantMessage,
    Completion,
    InferenceRequest,
    Message,
    SamplingParams,
    StopReason,
    ToolCall,
    ToolDef,
    ToolDefinitionError,
    ToolResponse,
    ToolStatus,
    UserMessage,
)

pytestmark = pytest.mark.anyio

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = ToolDef(
    "get_weather",
    "The weather in a city.",
    CITY | {"properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}}},
    {"examples": [{"user": "Is it cold in Oslo?", "arguments": {"city": "Oslo"}}]},
)
STOCK = ToolDef(
    "get_stock_price",
    "The price of a share.",
    {"type": "object", "properties": {"symbol": {"type": "string"}}, "required": ["symbol"]},
    {"examples": [{"user": "What is ORCL trading at?", "arguments": {"symbol": "ORCL"}}]},
)
TOOLS = (WEATHER, STOCK)


def asking(*said: Message | str, **more: Any) -> InferenceRequest:
    messages = [UserMessage(item) if isinstance(item, str) else item for item in said]
    return InferenceRequest(messages=messages, **{"tools": TOOLS, **more})


async def reply(model: Inference, request: InferenceRequest) -> tuple[str, AssistantMessage, str]:
    """The text deltas joined, the message, and the prompt."""
    prepared = await model.prepare(request)
    deltas = [delta async for delta in model.generate(prepared)]
    done = deltas[-1]
    assert isinstance(done, Completion)
    text = "".join(delta for delta in deltas if isinstance(delta, str))
    assert text == done.message.content
    return text, done.message, prepared.prompt


# -- constrained ------------------------------------------------------------------------------------------------------


async def test_constrained_asks_for_a_call_or_an_answer() -> None:
    call = json.dumps({"tool": "get_weather", "arguments": {"city": "Oslo", "unit": None}})
    inner = ScriptedModel([call, '{"tool": "none", "answer": "It is cold."}'])
    model = Constrained(inner)
    _, message, prompt = await reply(model, asking("Weather in Oslo?"))
    assert [(one.name, one.arguments, one.known) for one in message.tool_calls] == [
        ("get_weather", {"city": "Oslo"}, True)
    ]
    assert "The price of a share." in prompt
    assert not inner.requests[0].tools
    text, message, prompt = await reply(
        model,
        asking(
            "Weather in Oslo?",
            AssistantMessage("", (ToolCall("get_weather", {"city": "Oslo"}, "1"),)),
            ToolResponse("1", "get_weather", "3 degrees"),
        ),
    )
    assert text == "It is cold."
    assert message.stop_reason is StopReason.END_OF_TURN
    assert "Result of get_weather (ok): 3 degrees" in prompt
    await model.aclose()
    assert inner.closed


@pytest.mark.parametrize(
    ("choice", "tools", "answer"),
    [("auto", 2, True), ("required", 2, False), ("get_stock_price", 1, False)],
)
async def test_constrained_keeps_to_the_tool_choice(choice: str, tools: int, answer: bool) -> None:
    inner = ScriptedModel(['{"tool": "get_stock_price", "arguments": {"symbol": "X"}}'])
    await reply(Constrained(inner), asking("Hello", tool_choice=choice))
    schema = inner.requests[0].response_format
    assert schema is not None
    assert len(schema["anyOf"]) == tools + answer


@pytest.mark.parametrize("more", [{"tools": ()}, {"tool_choice": "none"}])
async def test_constrained_passes_through_without_tools(more: dict[str, Any]) -> None:
    inner = ScriptedModel(["Hi."])
    text, _, _ = await reply(Constrained(inner), asking("Hello", **more))
    assert text == "Hi."
    assert inner.requests[0].response_format is None


async def test_constrained_answers_in_the_callers_schema() -> None:
    inner = ScriptedModel(['{"tool": "none", "answer": {"degrees": 3}}'])
    wanted = {"type": "object", "properties": {"degrees": {"type": "integer"}}}
    text, _, _ = await reply(Constrained(inner), asking("Weather?", response_format=wanted))
    assert json.loads(text) == {"degrees": 3}


REPLIES = [
    r'{"tool": "none", "answer": "Say \"hi\" \\ \u00e9 \ud83d\ude00 日本 🎉\n"}',
    '{"tool": "none", "answer": ""}',
    ' {"tool":"none","answer":"tight"} ',
    '{"tool": "none", "answer": "cut off in the mid',
    r'{"tool": "none", "answer": "cut in an escape \u00',
    '{"tool": "get_weather", "arguments": {"city": "Oslo"}}',
    '{"tool": "get_weather", "argu',
    "Plain words.",
    "[1, 2]",
    "",
]


@pytest.mark.parametrize("whole", REPLIES)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_chunking_never_changes_a_constrained_reply(whole: str, size: int) -> None:
    def read(pieces: list[str]) -> tuple[str, AssistantMessage]:
        reader = ReplyReader()
        shown = "".join(reader.feed(piece) for piece in pieces)
        rest, message = reader.finish({"get_weather": []}, StopReason.OUT_OF_TOKENS)
        return shown + rest, message

    once = read([whole])
    assert read([whole[at : at + size] for at in range(0, len(whole), size)]) == once
    assert once[0] == once[1].content


def test_a_constrained_reply_is_what_it_says() -> None:
    def content(number: int, stop: StopReason = StopReason.END_OF_TURN) -> AssistantMessage:
        reader = ReplyReader()
        reader.feed(REPLIES[number])
        return reader.finish({}, stop)[1]

    assert content(0).content == 'Say "hi" \\ é 😀 日本 🎉\n'
    assert content(3).content == "cut off in the mid"
    assert content(5).tool_calls[0].known is False
    assert content(6, StopReason.OUT_OF_TOKENS).tool_calls[0].error
    assert content(7).notes


class Place(BaseModel):
    """Where."""

    city: str
    near: Place | None = None


def visit(place: Place, mood: Literal["good", "bad"] = "good") -> str:
    """Visits a place."""
    return place.city + mood


@pytest.mark.usefixtures("chat_model")
async def test_nested_schemas_are_enforced() -> None:
    definition = Tool(visit).definition
    schema = call_schema([definition, WEATHER], {"type": "string"}, "Visit Rome.")
    assert list(schema["$defs"]) == ["visit.Place"]
    model = connect("local/default", tool_strategy="constrained")
    _, message, _ = await reply(model, asking("Visit Rome.", tools=[definition], tool_choice="required"))
    (call,) = message.tool_calls
    assert call.error is not None or isinstance(call.arguments["place"]["city"], str)
    await model.aclose()


# -- routed -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("chat_model", "embedding_model")
async def test_routed_calls_answers_and_chats() -> None:
    model = connect("local/default")
    assert isinstance(model, Routed)
    _, message, prompt = await reply(model, asking("How warm is it in Lisbon today?"))
    (call,) = message.tool_calls
    assert (call.name, call.arguments) == ("get_weather", {"city": "Lisbon"})
    assert message.stop_reason is StopReason.END_OF_MESSAGE
    assert "Is it cold in Oslo?" in prompt
    assert prompt.endswith("How warm is it in Lisbon today?<|im_end|>\n<|im_start|>assistant\n")

    asked = AssistantMessage("", (ToolCall("get_weather", call.arguments, "1"),))
    found = ToolResponse("1", "get_weather", "It is 21 degrees in Lisbon.")
    text, message, prompt = await reply(model, asking("How warm is it in Lisbon today?", asked, found))
    assert text == "It is 21 degrees in Lisbon."
    assert prompt.startswith(NO_MODEL)

    earlier: list[Message] = [UserMessage("How warm is it in Lisbon today?"), asked, found, AssistantMessage(text)]
    _, message, _ = await reply(model, asking(*earlier, "And what does a share of MSFT cost?"))
    assert [(one.name, one.arguments) for one in message.tool_calls] == [("get_stock_price", {"symbol": "MSFT"})]
    text, message, prompt = await reply(model, asking(*earlier, "Thank you, goodbye."))
    assert text
    assert not message.tool_calls
    assert "It is 21 degrees in Lisbon." in prompt
    assert "tool_call" not in prompt
    await model.aclose()


@pytest.mark.usefixtures("chat_model", "embedding_model")
async def test_routed_keeps_to_the_tool_choice() -> None:
    model = connect("local/default")
    _, none, _ = await reply(model, asking("How warm is it in Lisbon?", tool_choice="none"))
    assert not none.tool_calls
    _, named, _ = await reply(model, asking("Tell me about MSFT.", tool_choice="get_stock_price"))
    assert named.tool_calls[0].name == "get_stock_price"
    _, forced, _ = await reply(model, asking("", tool_choice="required"))
    assert forced.tool_calls[0].name == "get_weather"
    await model.aclose()


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("It is 3 degrees.", ToolStatus.OK, "It is 3 degrees."),
        ("42", ToolStatus.OK, "The result of get weather is 42."),
        ("cold", ToolStatus.OK, "The result of get weather is: cold."),
        ('{"wind_speed": 4, "rain": false}', ToolStatus.OK, "Here is what get weather found. wind speed: 4; rain: no."),
        ("[1, 2]", ToolStatus.OK, "The result of get weather is 1, 2."),
        ("null", ToolStatus.OK, "The result of get weather is nothing."),
        ("", ToolStatus.OK, "Done: get weather has finished; it said nothing."),
        ("No such city", ToolStatus.ERROR, "I could not do that: No such city."),
        ("", ToolStatus.TIMEOUT, "I could not do that: get weather gave no reason."),
    ],
)
def test_answers_read_naturally(text: str, status: ToolStatus, said: str) -> None:
    assert answer_for([ToolResponse("1", "get_weather", text, status)], {}, {}) == said


def test_a_tool_may_word_its_answer() -> None:
    tool = ToolDef("get_weather", metadata={"answer": "In $city it is $result; $nothing."})
    calls = {"1": ToolCall("get_weather", {"city": "Oslo"}, "1")}
    found = ToolResponse("1", "get_weather", "3 degrees")
    assert answer_for([found], calls, {tool.name: tool}) == "In Oslo it is 3 degrees; $nothing."


# -- the parts --------------------------------------------------------------------------------------------------------


def test_pieces_of_a_message() -> None:
    assert next(piece.text for piece in spans("Say 'the bill, please' in French.")) == "the bill, please"
    texts = {piece.text for piece in spans("Work out (1 + 2) * 3, please.")}
    assert "(1 + 2) * 3" in texts
    assert not {text for text in texts if text.count("(") != text.count(")")}
    assert spans("") == spans("... to the") == []


def test_numbers_in_a_message() -> None:
    assert numbers_in("From 1,250.5 to -3 or twelve on 3rd; x2") == [1250.5, -3, 12, 3, 2]
    assert numbers_in("No number here") == []


def test_a_schema_is_narrowed_to_the_message() -> None:
    examples = [Example("Is it cold in Oslo?", {"city": "Oslo"}), Example("Rain in Rome today?", {"city": "Rome"})]
    narrow = grounded(WEATHER.parameters, "Weather in New York in celsius please", examples)
    assert narrow["required"] == ["city", "unit"]
    assert narrow["properties"]["unit"]["enum"] == ["celsius"]
    assert "New York" in narrow["properties"]["city"]["enum"]
    assert not [city for city in narrow["properties"]["city"]["enum"] if "celsius" in city or city.startswith("York")]
    assert grounded(WEATHER.parameters, "Is it cold?")["required"] == ["city"]
    long = "word " * 100
    assert grounded(WEATHER.parameters, long) == WEATHER.parameters
    assert grounded(WEATHER.parameters, "") == WEATHER.parameters


def test_a_value_is_given_to_one_argument_only() -> None:
    pair = {
        "type": "object",
        "properties": {key: {"enum": ["EUR", "USD", "GBP"]} for key in "ab"},
        "required": ["a", "b"],
    }
    shown = [Example("Change 5 EUR to USD", {"a": "EUR", "b": "USD"})]
    narrow = grounded(pair, "What is 7 USD in GBP?", shown)["properties"]
    assert narrow["a"]["enum"] == ["USD"]
    assert narrow["b"]["enum"] == ["GBP"]


def test_examples_are_invented_from_a_schema() -> None:
    made = invented(Tool(visit).definition)
    assert len(made) == 3
    assert all("place" in example.arguments for example in made)
    assert invented(ToolDef("now"))[0].user == "Please now."


def test_native_is_the_model_itself() -> None:
    model = ScriptedModel()
    assert with_strategy(model, "native") is model


@pytest.mark.parametrize("examples", ["text", [1], [{"user": "x"}], [{"user": "x", "arguments": 3}], 7])
async def test_examples_that_cannot_be_read(examples: Any) -> None:
    tool = ToolDef("get_weather", "", CITY, {"examples": examples})
    with pytest.raises(ToolDefinitionError, match="get_weather"):
        await Constrained(ScriptedModel()).prepare(asking("Hello", tools=[tool]))


@pytest.mark.usefixtures("chat_model", "embedding_model")
@pytest.mark.parametrize("strategy", ["constrained", "routed"])
async def test_an_odd_tool_can_be_called(strategy: Literal["constrained", "routed"]) -> None:
    anything = ToolDef("note", "Notes anything.", {"properties": {"what": True, "tags": {"items": {"type": "string"}}}})
    model = connect("local/default", tool_strategy=strategy)
    sampling = SamplingParams(max_tokens=48)
    _, message, _ = await reply(model, asking("Note this.", tools=[anything], tool_choice="note", sampling=sampling))
    assert len(message.tool_calls) == 1
    await model.aclose()
