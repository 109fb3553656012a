"""Settings of the wrong kind: each is refused where it is given, by a sentence that names it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agentic import Agent, Image, Limits, SamplingParams, Tool, ToolCall, ToolDef, UserMessage, tool
from agentic.testing import ScriptedModel
from agentic.types import InvalidInput, ToolDefinitionError, UsageError


def look(city: str, key: str = "none", days: int = 1) -> str:
    """Looks out of the window.

    Args:
        city: Where.
    """
    return f"{city} {key} {days}"


async def soon(city: str, key: str) -> str:
    """Looks later."""
    return f"{city} {key}"


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("model", 3, "model is a model string or an Inference, not 3"),
        ("model", look, "model is a model string or an Inference"),
        ("instructions", ["Be brief."], "instructions is text"),
        ("instructions", "\ud800", "half a surrogate pair"),
        ("prompt", 3, "prompt is a Prompt or its name"),
        ("memory", "bank::docs", "memory is a list"),
        ("memory", None, "memory is a list"),
        ("memory", [3], "Each of memory is a memory bank or its id"),
        ("max_chunks", "5", "max_chunks must be a whole number"),
        ("max_tokens_in_context", None, "max_tokens_in_context must be a whole number"),
        ("tool_choice", ["look"], "tool_choice is auto, required, none"),
        ("sampling", {"temperature": 1}, "sampling is a SamplingParams"),
        ("limits", 5, "limits is a Limits"),
        ("context_tokens", "100", "context_tokens must be a whole number"),
        ("name", 3, "An agent name is text"),
        ("name", "a\nb", "An agent name must not hold control characters"),
    ],
)
def test_an_agent_names_the_setting_that_it_cannot_use(setting: str, value: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Agent(**{"model": ScriptedModel(), "store": None, setting: value})


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": "hot", "strategy": "top_p"},
        {"temperature": "hot"},
        {"top_p": 0},
        {"top_k": 1.5},
        {"max_tokens": "9"},
        {"seed": "x"},
        {"repetition_penalty": float("nan")},
        {"stop": "end"},
        {"stop": [3]},
    ],
    ids=str,
)
def test_sampling_params_name_what_they_cannot_use(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        SamplingParams(**wrong)


@pytest.mark.parametrize(
    ("given", "strategy"),
    [
        ({}, "greedy"),
        ({"max_tokens": 5}, "greedy"),
        ({"temperature": 0.7}, "top_p"),
        ({"temperature": 1}, "top_p"),
        ({"temperature": 0}, "greedy"),
        ({"temperature": 0, "top_p": 0.9, "top_k": 5}, "greedy"),
        ({"top_p": 0.9, "temperature": None}, "top_p"),
        ({"top_k": 5, "temperature": 0.5}, "top_k"),
        ({"strategy": "greedy", "temperature": 0.7}, "greedy"),
    ],
    ids=str,
)
def test_sampling_params_draw_as_they_ask_to(given: dict[str, Any], strategy: str) -> None:
    params = SamplingParams(**given)
    assert params.strategy == strategy
    assert (params.temperature, params.top_p, params.top_k) == (
        1.0 if given.get("temperature") is None else given["temperature"],
        given.get("top_p", 0.95),
        given.get("top_k", 40),
    )


@pytest.mark.parametrize(
    "wrong",
    [{"max_infer_iters": "3"}, {"max_infer_iters": None}, {"seconds": "1"}, {"seconds": float("inf")}, {"tokens": 1.5}],
    ids=str,
)
def test_limits_name_what_they_cannot_use(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        Limits(**wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"timeout": 0}, "timeout is a number of seconds above 0"),
        ({"timeout": float("nan")}, "timeout is a number"),
        ({"timeout": "5"}, "timeout is a number"),
        ({"approve": "never"}, "approve is True, False or a function of the arguments, not 'never'"),
        ({"isolation": "thread"}, 'isolation is "process" or None'),
        ({"metadata": 3}, "metadata is a dict"),
        ({"name": 3}, "name is text"),
        ({"description": 3}, "description is text"),
    ],
    ids=str,
)
def test_a_tool_names_the_option_that_it_cannot_use(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ToolDefinitionError, match=says):
        Tool(look, **wrong)
    with pytest.raises(ToolDefinitionError, match=says):
        tool(**wrong)(look)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (Tool(look), "look is a Tool already"),
        (Limits, "A tool is a function, not Limits"),
        (ToolDef("ask", parameters={"type": "array"}), "must be a JSON schema of type object"),
    ],
)
def test_what_is_no_function_is_no_tool(function: Any, says: str) -> None:
    with pytest.raises(ToolDefinitionError, match=says):
        Tool(function)


@pytest.mark.parametrize("option", [{"approve": True}, {"isolation": "process"}])
def test_a_tool_of_the_callers_takes_no_options_of_its_running(option: dict[str, Any]) -> None:
    with pytest.raises(ToolDefinitionError, match="caller's side"):
        Tool(ToolDef("ask"), **option)


def test_the_decorators_options_count_beside_a_function_too() -> None:
    made: Any = tool(look, timeout=3)  # type: ignore[call-overload]
    assert made.policy.timeout == 3


def test_a_partial_function_keeps_its_types_and_hides_what_is_settled() -> None:
    offered: list[Callable[..., Any]] = [partial(look, key="secret"), partial(soon, key="secret")]
    first, second = (Tool(function).definition for function in offered)
    assert (first.name, first.description) == ("look", "Looks out of the window.")
    assert first.parameters["properties"] == {
        "city": {"description": "Where.", "type": "string"},
        "days": {"default": 1, "type": "integer"},
    }
    assert list(second.parameters["properties"]) == ["city"]
    calls = [ToolCall("look", {"city": "Faro", "days": "2"}), ToolCall("soon", {"city": "Faro"})]
    calls.append(ToolCall("soon", {"city": "Faro", "key": "mine"}))
    turn = Agent(ScriptedModel([calls, "Done."]), tools=offered, store=None).run("Look.")
    said = [response.text for response in turn.tool_responses]
    assert said[:2] == ["Faro secret 2", "Faro secret"]
    assert "$.key: is not permitted" in said[2]


@pytest.mark.parametrize(
    "wrong",
    [{"limits": {"seconds": 1}}, {"images": "photo.png"}, {"images": Path("photo.png")}, {"files": 3}],
    ids=str,
)
def test_a_turn_names_the_argument_that_it_cannot_use(wrong: dict[str, Any]) -> None:
    agent = Agent(ScriptedModel(["never"]), store=None)
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        agent.run("Hi", **wrong)


def test_messages_hold_what_a_turn_may_hold() -> None:
    wrong: Any = UserMessage(3)  # type: ignore[arg-type]
    listed: Any = UserMessage(["a", "b"])  # type: ignore[arg-type]
    model = ScriptedModel(["Fine."])
    agent = Agent(model, store=None)
    with pytest.raises(InvalidInput, match="not int"):
        agent.run(wrong)
    assert agent.run(listed).input_messages[0].text == "ab"


def test_messages_may_be_dicts() -> None:
    agent = Agent(ScriptedModel(["Fine."] * 3), store=None)
    wrong: Any
    assert agent.run({"role": "user", "content": "Hi"}).input_messages == (UserMessage("Hi"),)
    answer: Any = {"role": "assistant", "content": "Yes?"}
    parts: Any = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
    assert agent.run([{"role": "system", "content": "Be brief."}, parts]).input_messages[1].text == "Hi"
    assert len(agent.run([UserMessage("Hi"), answer]).input_messages) == 2
    for wrong in ({"role": "robot", "content": "Hi"}, {"text": "Hi"}, [{"role": "user", "content": object()}], {}):
        with pytest.raises(InvalidInput, match=r"[Mm]essage.s (role|content)"):
            agent.run(wrong)


def test_an_image_says_what_reads_a_path() -> None:
    for wrong in ("photo.png", Path("photo.png")):
        with pytest.raises(InvalidInput, match=r"data are bytes, not .*Image\.of"):
            Image(wrong)  # type: ignore[arg-type]


def test_a_call_that_waits_has_its_calls_id_name_and_arguments() -> None:
    offered = [Tool(look, approve=True)]
    session = Agent(ScriptedModel([ToolCall("look", {"city": "Faro"}), "Done."]), tools=offered, store=None).session()
    (waiting,) = session.run("Look.").pending
    assert (waiting.call_id, waiting.name, waiting.arguments) == (waiting.call.call_id, "look", {"city": "Faro"})
    assert session.resume({waiting.call_id: True}).text == "Done."


@pytest.mark.parametrize("wrong", [3, None, object()])
def test_steps_and_turns_are_named_by_themselves_or_their_ids(wrong: Any) -> None:
    session = Agent(ScriptedModel(["Hi."]), store=None).session()
    turn = session.run("Hi")
    with pytest.raises(InvalidInput, match="A step or a turn"):
        session.prompt(wrong)
    if wrong is not None:
        with pytest.raises(InvalidInput, match="A step or a turn"):
            session.fork(at=wrong)
        with pytest.raises(InvalidInput, match="A step or a turn"):
            session.replay(wrong)
    assert session.prompt(turn.steps[0].step_id) == session.prompt(turn.steps[0])
