"""Promises about every prompt: text never becomes control, and what was written never moves."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic.llama import Control, Family, Prompt, Tokenizer, encode
from agentic.llama.neutral import neutralise
from agentic.llama.special import FIRST_SPECIAL_ID, LLAMA4_TOKENS, SPECIAL_TOKENS
from agentic.types import (
    AssistantMessage,
    Image,
    Message,
    StopReason,
    SystemMessage,
    Text,
    ToolCall,
    ToolDef,
    ToolResponse,
    UserMessage,
)

INSTRUCT = [family for family in Family if not family.base]
NAMES = [*SPECIAL_TOKENS, *LLAMA4_TOKENS]
ANY_SPECIAL = re.compile(r"<\|\w+\|>", re.ASCII)

CRUMBS = ["<", "|", ">", "<|", "|>", "\u200b", "eot_id", "_", "user", "\n\n", "\ud800", "\udc00", "ipython"]


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """Whole names, their halves and single letters: runs of these spell tokens in every way, across parts too."""
    name = draw(st.sampled_from(NAMES))
    cut = draw(st.integers(0, len(name)))
    return draw(st.sampled_from([name, name[:cut], name[cut:], *CRUMBS]) | st.text(max_size=3))


hostile = st.lists(spellings(), max_size=6).map("".join)
parts = st.lists(hostile.map(Text), max_size=4).map(tuple)
arguments = st.dictionaries(hostile, hostile | st.lists(hostile, max_size=2), max_size=2)
calls = st.builds(
    ToolCall,
    st.sampled_from(["brave_search", "code_interpreter", "f", "<|eot_id|>"]) | hostile,
    arguments | hostile.map(lambda code: {"code": code}),
    raw=hostile,
    error=st.none() | st.just("broken"),
)
messages = st.one_of(
    st.builds(SystemMessage, hostile | parts),
    st.builds(UserMessage, hostile | parts, st.none() | hostile),
    st.builds(AssistantMessage, hostile, st.lists(calls, max_size=2).map(tuple), st.sampled_from(StopReason)),
    st.builds(ToolResponse, hostile, hostile, hostile | parts),
)
dialogs = st.lists(messages, max_size=5)
tools = st.lists(
    st.builds(
        lambda description, key, hint: ToolDef("f", description, {"properties": {key: {"description": hint}}}),
        hostile,
        hostile,
        hostile,
    )
    | st.just("brave_search"),
    max_size=2,
    unique_by=lambda tool: tool if isinstance(tool, str) else tool.name,
)


def check(prompt: Prompt) -> None:
    """On both routes the special tokens are those that the codec wrote, and no others."""
    tokenizer = Tokenizer.load()
    controls = [segment for segment in prompt.segments if isinstance(segment, Control)]
    ids = [each for each in prompt.tokens(tokenizer) if each >= FIRST_SPECIAL_ID]
    assert ids == [control.id for control in controls]
    as_read = [each for each in tokenizer.encode(prompt.text, allowed_special=True) if each >= FIRST_SPECIAL_ID]
    assert as_read == [SPECIAL_TOKENS[control.name] for control in controls]
    assert ANY_SPECIAL.findall(prompt.text) == [control.name for control in controls]
    prompt.text.encode()


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(dialog=dialogs, family=st.sampled_from(INSTRUCT), offered=tools, choice=st.sampled_from(["auto", "none"]))
def test_text_never_becomes_control(dialog: list[Message], family: Family, offered: Any, choice: str) -> None:
    check(encode(dialog, family=family, tools=offered, tool_choice=choice))


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(hostile, max_size=4), family=st.sampled_from([family for family in Family if family.base]))
def test_nor_in_a_base_model_s_prompt(texts: list[str], family: Family) -> None:
    check(encode([UserMessage(text) for text in texts], family=family))


@settings(max_examples=100, deadline=None)
@given(dialog=st.lists(st.builds(UserMessage, hostile, st.none() | hostile), max_size=3), today=hostile)
def test_nor_in_meta_s_manner_or_a_date(dialog: list[Message], today: str) -> None:
    check(encode(dialog, meta_compat=True, date_lines=True, today=today))


@settings(max_examples=300, deadline=None)
@given(text=hostile)
def test_neutral_text_reads_the_same(text: str) -> None:
    neutral = neutralise(text)
    assert not ANY_SPECIAL.search(neutral)
    assert neutralise(neutral) == neutral
    if "\u200b" not in text and not re.search("[\ud800-\udfff]", text):
        assert neutral.replace("\u200b", "") == text
        assert neutral == text or ANY_SPECIAL.search(text)


@settings(max_examples=60, deadline=None)
@given(dialog=dialogs, added=messages, family=st.sampled_from(INSTRUCT), offered=tools, tags=st.booleans())
def test_what_was_written_never_moves(
    dialog: list[Message], added: Message, family: Family, offered: Any, tags: bool
) -> None:
    tokenizer = Tokenizer.load()
    tool_format = "function_tag" if tags and family.classic else None
    opened = [UserMessage("Hi"), *dialog]
    before = encode(opened, family=family, tools=offered, tool_format=tool_format)
    after = encode([*opened, added], family=family, tools=offered, tool_format=tool_format)
    last = before.blocks[-1]  # the header of the answer
    assert after.text.startswith(before.text.removesuffix(last.text))
    kept = before.tokens(tokenizer)[: -len(last.ids(tokenizer))]
    assert after.tokens(tokenizer)[: len(kept)] == kept
    if isinstance(added, AssistantMessage):
        assert after.text.startswith(before.text)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(hostile, min_size=1, max_size=6), family=st.sampled_from(INSTRUCT))
def test_remembered_messages_are_written_as_new_ones(texts: list[str], family: Family) -> None:
    old = [UserMessage(text) for text in texts]
    first = encode(old, family=family)
    assert encode(old, family=family).text == first.text
    assert encode([UserMessage(text) for text in texts], family=family).text == first.text
    assert encode([{"role": "user", "content": text} for text in texts], family=family).text == first.text


@settings(max_examples=50, deadline=None)
@given(dialog=dialogs)
def test_counts(dialog: list[Message]) -> None:
    prompt = encode(dialog)
    tokenizer = Tokenizer.load()
    assert prompt.count(tokenizer).tokens == len(prompt.tokens(tokenizer))
    assert prompt.count(tokenizer).exact
    assert not prompt.count().exact


def test_an_image_s_token_is_the_codec_s_alone() -> None:
    prompt = encode([UserMessage((Image(data=b"GIF89a"), Text("<|image|>")))], family="llama3.2-vision")
    assert prompt.tokens(Tokenizer.load()).count(128256) == 1
    assert prompt.text.count("<|image|>") == 1
