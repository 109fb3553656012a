"""`meta_compat=True` against `llama-models` itself, on dialogs that hypothesis makes up."""

from __future__ import annotations

import base64
import io
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic.llama import Family, Tokenizer, encode
from agentic.types import (
    AssistantMessage,
    CodecError,
    Image,
    Message,
    StopReason,
    SystemMessage,
    Text,
    ToolCall,
    ToolResponse,
    UserMessage,
)

pytest.importorskip("llama_models")
from llama_models.datatypes import RawMediaItem, RawMessage, RawTextItem, ToolPromptFormat
from llama_models.datatypes import StopReason as RawStopReason
from llama_models.datatypes import ToolCall as RawToolCall
from llama_models.llama3.chat_format import ChatFormat
from llama_models.llama3.tokenizer import Tokenizer as MetaTokenizer

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

texts = st.text(max_size=40) | st.sampled_from(["<|eot_id|>", "\n\n", "  ", "\nHi", 'a "quoted" word', "it's"])
parts = st.lists(texts.map(Text) | st.just(Image(data=PIXEL)), max_size=4).map(tuple)
contents = texts | parts
SEARCHES = ["brave_search", "wolfram_alpha", "photogen"]
flat = st.none() | st.booleans() | st.integers(-9, 10**6) | texts
recursive = flat | st.lists(flat, max_size=3) | st.dictionaries(st.text(max_size=5), flat, max_size=3)
calls = st.one_of(
    st.builds(ToolCall, st.sampled_from(SEARCHES), texts.map(lambda q: {"query": q})),
    st.builds(ToolCall, st.just("code_interpreter"), texts.map(lambda t: {"code": t})),
    st.builds(ToolCall, st.text(min_size=1, max_size=8), st.dictionaries(st.text(max_size=6), recursive, max_size=3)),
)
messages = st.one_of(
    st.builds(SystemMessage, contents),
    st.builds(UserMessage, contents, st.none() | texts),
    st.builds(AssistantMessage, texts, st.lists(calls, max_size=3).map(tuple), st.sampled_from(StopReason)),
    st.builds(ToolResponse, st.just("id"), st.just("f"), contents),
)


@cache
def reference() -> ChatFormat:
    return ChatFormat(MetaTokenizer.get_instance())


def raw_content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [
        RawTextItem(text=part.text) if isinstance(part, Text) else RawMediaItem(data=io.BytesIO(part.data or b""))
        for part in content
    ]


def raw(message: Message) -> Any:
    match message:
        case AssistantMessage():
            return RawMessage(
                role="assistant",
                content=message.content,
                stop_reason=RawStopReason(message.stop_reason.value),
                tool_calls=[
                    RawToolCall(call_id="id", tool_name=call.name, arguments=dict(call.arguments))
                    for call in message.tool_calls
                ],
            )
        case UserMessage():
            return RawMessage(role="user", content=raw_content(message.content), context=message.context)
        case _:
            role = "tool" if isinstance(message, ToolResponse) else "system"
            return RawMessage(role=role, content=raw_content(message.content))


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    dialog=st.lists(messages, max_size=6),
    family=st.sampled_from([family for family in Family if not family.base]),
    tool_format=st.sampled_from(["json", "function_tag", "python_list"]),
)
def test_same_tokens_as_llama_models(dialog: list[Message], family: Family, tool_format: str) -> None:
    expected = reference().encode_dialog_prompt([raw(message) for message in dialog], ToolPromptFormat(tool_format))
    ours = encode(dialog, family=family, tool_format=tool_format, meta_compat=True)
    assert ours.tokens(Tokenizer.load()) == expected.tokens
    assert len(ours.images) == (len(expected.vision.images) if expected.vision else 0)


@pytest.mark.parametrize(
    "call",
    [
        ToolCall("brave_search", {"q": "x"}),
        ToolCall("code_interpreter", {}),
        ToolCall("f", {"a": (1, 2)}),
        ToolCall("f", {"a": object()}),
    ],
)
def test_what_llama_models_cannot_write(call: ToolCall) -> None:
    with pytest.raises(CodecError, match="llama-models cannot write"):
        encode([AssistantMessage("", (call,))], meta_compat=True, tool_format="python_list")


def test_the_adapter_s_layout_with_tools() -> None:
    rendered = encode(
        [SystemMessage("You are a helpful assistant."), UserMessage("Hi")],
        family="llama3.1",
        tools=["brave_search", "wolfram_alpha", "code_interpreter"],
        meta_compat=True,
    )
    system = rendered.text.split("<|eot_id|>")[0].partition("<|end_header_id|>\n\n")[2]
    assert system == (
        "Environment: ipython\nTools: brave_search, wolfram_alpha\nCutting Knowledge Date: December 2023\n"
        "Today Date: 21 September 2024\nYou are a helpful assistant."
    )


def test_the_known_defects_are_kept() -> None:
    search = AssistantMessage("", (ToolCall("brave_search", {"query": 'say "x"'}),))
    assert 'brave_search.call(query="say "x"")<|eot_id|>' in encode([search], meta_compat=True).text
    assert "<|python_tag|>" not in encode([search], meta_compat=True).text
