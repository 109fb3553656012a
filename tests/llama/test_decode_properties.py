"""What holds for every text: chunking changes nothing, deltas add up, markup in strings and code is text."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentic.llama import StreamParser, parse
from agentic.llama.encode import encode
from agentic.types import (
    AssistantMessage,
    CodecError,
    Message,
    StopReason,
    ToolCall,
    ToolCallDelta,
    ToolDef,
    UserMessage,
)

FRAGMENTS = [
    "<|python_tag|>", "<|eot_id|>", "<|eom_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|python_end|>",
    "<|begin_of_text|>", "<|pyth", "<|", "<", "</", ">", "[", "{", "(", ")", "]", "}", "f", "f(", "g(", "[f(", "a=",
    "a=1", '"', "'", '"""', "\\", "\\n", "\\u00e9", ", ", ",", ": ", ":", "=", "==", ";", "\n", "\n\n", " ", "é",
    '{"name": "f", "parameters": {', '{"name": "f", "parameters": {"a": 1}}', '"name"', '"parameters": {}', "function",
    '<function=f>{"a": 1}</function>', "<function=", "f>", "</function>", 'f{"a": 1}', "```", "```json\n", "`", "true",
    "None", "1", "-2.5e3", "0", "it's", "see ", ".call(", "print(1)", "[f(a=1)]", 'g(x="y")', "#", " # ", "//",
    '[g(x=[1, {"a": "b"}])]', "x" * 70, " " * 70, '"a"', "'b'", "1/2", "params=", "=f", "/", 'r"', "assistant",
    "[f(a=\"it\"s\", b='x')]", "f.call(a=1)", "9" * 30, "1e400",
    "[f(a='x, b='y')]", "[f(a=['x', 'y], b='z", ", b='", "lambda x, y: x", "]]", ")]",
    '{"type":', " see <function=f>{}</function>", "(1)/2", "[0]*", "=>", "[[f(", "'a\\n'", "{'a':[",
]  # fmt: skip
TOOLS: list[list[Any] | None] = [
    None, [], ["f"], ["f", "g"], ["f", "code_interpreter"],
    [ToolDef("f", "", {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}})],
]  # fmt: skip
MODES: list[Literal["lenient", "strict"]] = ["lenient", "lenient", "strict"]
STOPS = [None, None, *StopReason]

replies = st.one_of(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join), st.text(max_size=200))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
arguments = st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), values, max_size=4)


@st.composite
def readings(draw: st.DrawFn) -> tuple[str, list[str], dict[str, Any], StopReason | None]:
    """A reply, a way to cut it, and how to read it."""
    text = draw(replies)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=30)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return (
        text,
        pieces,
        {"tools": draw(st.sampled_from(TOOLS)), "mode": draw(st.sampled_from(MODES))},
        draw(st.sampled_from(STOPS)),
    )


def outcome(pieces: list[str], how: dict[str, Any], stop: StopReason | None) -> AssistantMessage | str:
    parser = StreamParser(**how)
    try:
        deltas = [delta for piece in pieces for delta in parser.feed(piece)]
        message = parser.finish(stop)
    except CodecError as error:
        return str(error)
    deltas += parser.rest
    assert "".join(delta for delta in deltas if isinstance(delta, str)) == message.content
    named = {delta.index: delta.name for delta in deltas if isinstance(delta, ToolCallDelta) and delta.name}
    assert all(named[index] == call.name for index, call in enumerate(message.tool_calls) if not call.error)
    assert parser.feed("more") == []
    assert parser.finish("out_of_tokens") is message
    return message


def check(reading: tuple[str, list[str], dict[str, Any], StopReason | None]) -> None:
    text, pieces, how, stop = reading
    whole = outcome([text], how, stop)
    assert outcome(pieces, how, stop) == whole
    assert outcome(list(text), how, stop) == whole
    if isinstance(whole, AssistantMessage):
        if whole.stop_reason is StopReason.OUT_OF_TOKENS:
            assert all(call.error for call in whole.tool_calls)
        if how["mode"] == "strict":
            assert not any(call.repaired for call in whole.tool_calls)


@settings(max_examples=200, deadline=None)
@given(readings())
def test_chunking_never_changes_the_message(reading: tuple[str, list[str], dict[str, Any], StopReason | None]) -> None:
    check(reading)


@pytest.mark.fuzz
@pytest.mark.timeout(300)
@settings(max_examples=30_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(readings())
def test_fuzz(reading: tuple[str, list[str], dict[str, Any], StopReason | None]) -> None:
    """About a minute of it."""
    check(reading)


@settings(max_examples=60, deadline=None)
@given(st.lists(arguments, min_size=1, max_size=3), st.sampled_from(["json", "python_list", "function_tag"]))
def test_what_the_encoder_writes_is_read_back(given_arguments: list[dict[str, Any]], form: Any) -> None:
    calls = tuple(ToolCall("f", arguments, f"call_{n}") for n, arguments in enumerate(given_arguments))
    history: list[Message] = [UserMessage("go"), AssistantMessage("", calls)]
    family = "llama3.2" if form == "python_list" else "llama3.1"
    prompt = encode(history, family=family, tools=[ToolDef("f")], tool_format=form)
    reply = prompt.text.rsplit("<|start_header_id|>assistant<|end_header_id|>\n\n", 2)[1]
    for mode in MODES[1:]:
        read = parse(reply, tools=["f"], mode=mode)
        assert [dict(call.arguments) for call in read.tool_calls] == given_arguments
        assert not any(call.repaired or call.error for call in read.tool_calls)


@settings(max_examples=100, deadline=None)
@given(texts, st.sampled_from(FRAGMENTS), texts)
def test_nothing_inside_an_argument_is_a_call(before: str, fragment: str, after: str) -> None:
    value = (before + fragment + after).replace("<|", "< |")
    for text in (
        json.dumps({"name": "f", "parameters": {"a": value}}, ensure_ascii=False),
        f"[f(a={json.dumps(value, ensure_ascii=False)})]",
        f'<function=f>{{"a": {json.dumps(value, ensure_ascii=False)}}}</function>',
    ):
        message = parse(text, tools=["f", "g"])
        assert [(call.name, dict(call.arguments)) for call in message.tool_calls] == [("f", {"a": value})]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=20).map("".join))
def test_code_stays_code(text: str) -> None:
    code = "x = 1\n" + text.replace("<|", "< |")
    message = parse("<|python_tag|>" + code, tools=["f", "g", "code_interpreter"])
    assert [(call.name, call.arguments["code"]) for call in message.tool_calls] == [("code_interpreter", code.rstrip())]
    assert message.content == ""
