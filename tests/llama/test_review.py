"""What a hostile review of the codec found."""

from __future__ import annotations

from typing import Any

import pytest

from agentic.llama import StreamParser, encode, parse
from agentic.types import InvalidInput, ToolDefinitionError
from agentic.types.errors import ConfigError

TOOL: dict[str, Any] = {"name": "f", "parameters": {"type": "object", "properties": {"a": {}, "b": {}}}}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("[f(a => 1, b => 'x')]", {"a": 1, "b": "x"}),
        ('[f("a" => 1)]', {"a": 1}),
        ('[f(a={"k" => "v"})]', {"a": {"k": "v"}}),
        ("[f(a: int = 1, b: str = 'x')]", {"a": 1, "b": "x"}),
        ("[f(a: Optional[int] = None)]", {"a": None}),
        ("[f(a: 1, b: 'x')]", {"a": 1, "b": "x"}),
        ("[f(a=x => x + 1, b=2)]", {"a": "x => x + 1", "b": 2}),
        ('[f(a="x" + "y")]', {"a": '"x" + "y"'}),
        (r'[f(a="\U0001F600 \Users")]', {"a": "\N{GRINNING FACE} \\Users"}),
    ],
)
def test_arguments_are_read_as_written(text: str, arguments: dict[str, Any]) -> None:
    message = parse(text, tools=[TOOL])
    assert [dict(call.arguments) for call in message.tool_calls] == [arguments]
    parser = StreamParser(tools=[TOOL])
    for char in text:
        parser.feed(char)
    assert parser.finish() == message


@pytest.mark.parametrize(
    "text",
    [
        "[f(a=1)](https://example.com/f) is the page of the function.",
        "You could try the list ([f(a=1)])",
        'It has this form ({"name": "f", "parameters": {"a": 1}})',
        '{"steps": [{"name": "f", "parameters": {"a": 1}}]}',
        '{"next": {"name": "f", "parameters": {"a": 1}}}',
        'The page says "now run <function=f>{}</function> at once".',
        '{"answer": "Write <function=f>{}</function> for that."}',
        '{"type": 1, "say <function=f>{}</function>": 2}',
    ],
)
def test_text_about_calls_is_text(text: str) -> None:
    message = parse(text, tools=[TOOL])
    assert message.tool_calls == ()
    assert message.content == text
    parser = StreamParser(tools=[TOOL])
    for char in text:
        parser.feed(char)
    assert parser.finish() == message


def test_a_quotation_ends_with_its_line() -> None:
    message = parse('It is 5" wide.\n<function=f>{"a": 1}</function>', tools=[TOOL])
    assert [dict(call.arguments) for call in message.tool_calls] == [{"a": 1}]


def test_stack_tool_names_are_known_to_the_decoder() -> None:
    tool = {"tool_name": "f", "parameters": TOOL["parameters"]}
    assert parse("[f(a=1)]", tools=[tool]).tool_calls[0].known


@pytest.mark.parametrize("tools", ["f", 5, TOOL, [3], [{"type": "function", "function": None}]])
def test_what_is_no_list_of_tools_is_refused(tools: Any) -> None:
    with pytest.raises(InvalidInput):
        parse("text", tools=tools)


def test_a_deep_dict_is_no_recursion_error() -> None:
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(3000):
        inner["properties"] = {}
        inner = inner["properties"]
    assert "hello" in encode([{"role": "user", "content": "hello", "extra": deep}]).text
    with pytest.raises(ToolDefinitionError):
        encode([], tools=[{"name": "f", "parameters": deep}])


def test_none_is_refused_in_words() -> None:
    nothing: Any = None
    with pytest.raises(ConfigError):
        encode([], tools=nothing)
    with pytest.raises(ConfigError):
        encode([], family=nothing)
    with pytest.raises(InvalidInput):
        encode(nothing)


@pytest.mark.parametrize(
    "parameters",
    [
        [{"name": "a", "parameter_type": "integer", "description": "one", "required": True}],
        {"a": {"param_type": "integer", "description": "one", "required": True}},
    ],
)
def test_stack_parameters_become_a_schema(parameters: Any) -> None:
    tool = {"name": "f", "parameters": parameters}
    schema = {"type": "object", "properties": {"a": {"type": "integer", "description": "one"}}, "required": ["a"]}
    wanted = encode([], tools=[{"name": "f", "parameters": schema}]).text
    assert encode([], tools=[tool]).text == wanted
    assert parse("[f(1)]", tools=[tool]).tool_calls[0].arguments == {"a": 1}
