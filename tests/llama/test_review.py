"""What a hostile review of the codec found."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from agentic import Tool
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


def test_no_tools_and_no_choice_are_none_and_auto() -> None:
    messages = [{"role": "user", "content": "hello"}]
    assert encode(messages, tools=None, tool_choice=None) == encode(messages)
    assert encode(messages, tools=[TOOL], tool_choice=None) == encode(messages, tools=[TOOL])


def test_a_tool_is_offered_by_its_definition() -> None:
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    tool = Tool(add)
    assert encode([], tools=[tool]) == encode([], tools=[tool.definition])
    message = parse("[add(1, 2)]", tools=[tool])
    assert message == parse("[add(1, 2)]", tools=[tool.definition])
    assert message.tool_calls[0].arguments == {"a": 1, "b": 2}
    function: Any = add
    for refused in (lambda: encode([], tools=[function]), lambda: parse("", tools=[function])):
        with pytest.raises((ToolDefinitionError, InvalidInput), match=r"agentic\.Tool\("):
            refused()


def test_today_is_a_date_or_text() -> None:
    dated = encode([], family="llama3.1", today=date(2025, 3, 5))
    assert "Today Date: 05 March 2025" in dated.text
    assert encode([], family="llama3.1", today="2025-03-05") == dated
    assert "Today Date: the ides of March" in encode([], family="llama3.1", today="the ides of March").text
    number: Any = 5
    with pytest.raises(ConfigError, match="today is a date or text, not int"):
        encode([], family="llama3.1", today=number)


@pytest.mark.parametrize("text", ["[f(1, 2)]", '<function=f{"a": 1}</function>', "[f(a={k=v})]", "f(a=1)"])
def test_what_was_cut_off_is_not_mended(text: str) -> None:
    assert parse(text, tools=[TOOL]).tool_calls[0].repaired
    cut = parse(text, tools=[TOOL], stop_reason="out_of_tokens")
    assert not cut.tool_calls
    assert "cut off in a call of f, which was not run" in cut.notes[0]
