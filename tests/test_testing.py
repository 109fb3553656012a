"""The scripted model: its replies, its records, its assertions."""

from __future__ import annotations

import pytest

from agentic.inference import Retries, generate
from agentic.protocols import Delta, Inference
from agentic.testing import Delay, Reply, ScriptedModel
from agentic.types import (
    AssistantMessage,
    Completion,
    ConnectionFailed,
    InferenceRequest,
    StopReason,
    ToolCall,
    ToolCallDelta,
    ToolDef,
    UserMessage,
)

pytestmark = pytest.mark.anyio
REQUEST = InferenceRequest(messages=[UserMessage("Hi")], tools=[ToolDef("get_weather"), ToolDef("brave_search")])
CALL = ToolCall("get_weather", {"city": "Lisbon"})


async def ask(model: ScriptedModel) -> tuple[list[Delta], AssistantMessage]:
    deltas = [delta async for delta in generate(model, await model.prepare(REQUEST), Retries(limit=0))]
    last = deltas.pop()
    assert isinstance(last, Completion)
    return deltas, last.message


async def later(_: InferenceRequest) -> Reply:
    return Delay(0, ["a", CALL])


@pytest.mark.parametrize(
    ("reply", "deltas", "message"),
    [
        ("hello", ["hello"], AssistantMessage("hello")),
        ("", [], AssistantMessage()),
        ([], [], AssistantMessage()),
        (["a", "b"], ["a", "b"], AssistantMessage("ab")),
        (AssistantMessage("x", notes=("n",)), ["x"], AssistantMessage("x", notes=("n",))),
        (Delay(0, "x"), ["x"], AssistantMessage("x")),
        (lambda request: request.messages[0].text, ["Hi"], AssistantMessage("Hi")),
        (lambda _: lambda _: "deep", ["deep"], AssistantMessage("deep")),
    ],
)
async def test_text(reply: Reply, deltas: list[Delta], message: AssistantMessage) -> None:
    assert await ask(ScriptedModel([reply])) == (deltas, message)


@pytest.mark.parametrize("reply", [CALL, [CALL], ["a", CALL], later, AssistantMessage("a", (CALL,))])
async def test_calls(reply: Reply) -> None:
    deltas, message = await ask(ScriptedModel([reply]))
    assert deltas[-1] == ToolCallDelta(0, "get_weather", '{"city": "Lisbon"}')
    assert message.tool_calls == (CALL,)


async def test_a_tool_that_was_not_offered_is_unknown() -> None:
    _, message = await ask(ScriptedModel([ToolCall("fly")]))
    assert not message.tool_calls[0].known


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_raw_llama_text_is_decoded(size: int) -> None:
    text = '<|python_tag|>brave_search.call(query="news")<|eom_id|>'
    reply = [text[start : start + size] for start in range(0, len(text), size)]
    deltas, message = await ask(ScriptedModel([reply]))
    assert [(call.name, call.arguments) for call in message.tool_calls] == [("brave_search", {"query": "news"})]
    assert message.stop_reason is StopReason.END_OF_MESSAGE
    assert not any(isinstance(delta, str) for delta in deltas)


async def test_errors_before_and_in_the_middle() -> None:
    model = ScriptedModel([ConnectionFailed("a"), ["text", Delay(0, ValueError("b"))]])
    with pytest.raises(ConnectionFailed):
        await ask(model)
    with pytest.raises(ValueError, match="b"):
        await ask(model)


async def test_what_it_was_asked_is_recorded() -> None:
    model = ScriptedModel(["a"])
    assert isinstance(model, Inference)
    await ask(model)
    assert model.requests == [REQUEST]
    assert '"Hi"' in model.prompts[0]
    await model.aclose()
    assert model.closed


async def test_assert_complete() -> None:
    model = ScriptedModel(["a", "b"])
    await ask(model)
    with pytest.raises(AssertionError, match="1 of 2 scripted replies"):
        model.assert_complete()
    await ask(model)
    model.assert_complete()
    with pytest.raises(AssertionError, match=r"2 replies, but one more was asked for.*user: 'Hi'"):
        await ask(model)
    with pytest.raises(AssertionError, match="one more"):
        model.assert_complete()


async def test_nonsense_in_a_script_is_said() -> None:
    for reply in ([3], 3, None, ["<|python_tag|>x", CALL]):
        with pytest.raises(TypeError, match=r"scripted reply|raw Llama text"):
            await ask(ScriptedModel([reply]))  # type: ignore[list-item]
    with pytest.raises(TypeError, match="list of replies"):
        ScriptedModel("hello")


async def test_it_says_how_far_it_is() -> None:
    model = ScriptedModel(["a", "b"])
    await ask(model)
    assert repr(model) == "ScriptedModel('scripted/model', 1 of 2 replies asked for)"
