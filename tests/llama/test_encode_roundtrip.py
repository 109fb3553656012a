"""What the encoder writes into history, the decoder reads back as the same calls, in every format."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic.llama import encode, parse
from agentic.llama.special import PYTHON_TAG
from agentic.types import AssistantMessage, ToolCall, ToolDef

FORMATS = [("llama3.1", "json"), ("llama3.1", "function_tag"), ("llama3.2", "python_list"), ("llama3.3", "python_list")]
TOOLS: list[ToolDef | str] = [
    *(ToolDef(name) for name in ("f", "get_weather", "a.b-c", "_x1")),
    "brave_search",
    "wolfram_alpha",
    "code_interpreter",
]
AWKWARD = ["<|eot_id|>", "<|python_tag|>", "</function>", "'\"\\", "]; [f()]", "\n\t\r", "\x00\x1f\x7f", "\u2028", "🦀"]

strings = st.lists(
    st.sampled_from(AWKWARD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=4
).map("".join)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | strings
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3), max_leaves=8
)
arguments = st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), values, max_size=4)
custom = st.builds(ToolCall, st.sampled_from(["f", "get_weather", "a.b-c", "_x1"]), arguments)


def written(message: AssistantMessage, family: str, tool_format: str) -> list[str]:
    """The assistant's messages in the prompt, each from its header's end to its own end."""
    prompt = encode([message], family=family, tools=TOOLS, tool_format=tool_format)
    return ["".join(block) for block in prompt.text.split("<|start_header_id|>assistant<|end_header_id|>\n\n")[1:-1]]


def shape(calls: Any) -> list[tuple[str, Any]]:
    return [(call.name, dict(call.arguments)) for call in calls]


@pytest.mark.parametrize(("family", "tool_format"), FORMATS)
@settings(max_examples=60, deadline=None)
@given(calls=st.lists(custom, min_size=1, max_size=3))
def test_custom_calls(calls: list[ToolCall], family: str, tool_format: str) -> None:
    [text] = written(AssistantMessage("", tuple(calls)), family, tool_format)
    read = parse(text, tools=TOOLS, mode="strict")
    assert shape(read.tool_calls) == shape(calls)
    assert read.content == ""
    assert all(call.known and not call.repaired and call.error is None for call in read.tool_calls)
    assert written(read, family, tool_format) == [text]


@pytest.mark.parametrize(("family", "tool_format"), FORMATS)
@settings(max_examples=50, deadline=None)
@given(keys=st.dictionaries(strings, scalars, min_size=1, max_size=3))
def test_any_argument_name(keys: dict[str, Any], family: str, tool_format: str) -> None:
    [text] = written(AssistantMessage("", (ToolCall("f", keys),)), family, tool_format)
    assert shape(parse(text, tools=TOOLS).tool_calls) == [("f", keys)]


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(["brave_search", "wolfram_alpha"]), query=strings)
def test_builtin_calls(name: str, query: str) -> None:
    [text] = written(AssistantMessage("", (ToolCall(name, {"query": query}),)), "llama3.1", "json")
    assert shape(parse(text, tools=TOOLS).tool_calls) == [(name, {"query": query})]


@settings(max_examples=60, deadline=None)
@given(code=strings.filter(lambda text: text.strip() and "<|" not in text))
def test_code(code: str) -> None:
    code = "print(1)\n" + code
    [text] = written(AssistantMessage("", (ToolCall("code_interpreter", {"code": code}),)), "llama3.1", "json")
    assert text.startswith(PYTHON_TAG)
    assert shape(parse(text, tools=TOOLS).tool_calls) == [("code_interpreter", {"code": code.rstrip()})]


@settings(max_examples=60, deadline=None)
@given(
    calls=st.lists(
        custom | st.builds(ToolCall, st.just("brave_search"), strings.map(lambda q: {"query": q})), max_size=4
    )
)
def test_calls_of_several_kinds(calls: list[ToolCall]) -> None:
    for family, tool_format in FORMATS:
        texts = written(AssistantMessage("", tuple(calls)), family, tool_format)
        read = [call for text in texts for call in parse(text, tools=TOOLS).tool_calls]
        assert shape(read) == shape(calls)
