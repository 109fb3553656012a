"""ChatML and Llama, written and read: however an answer is cut, the message is the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from agentic.inference.local import Reader
from agentic.inference.local_chat import ChatmlReader, chatml_segments
from agentic.inference.local_llama import LlamaReader, llama_segments
from agentic.llama import Control
from agentic.types import (
    AssistantMessage,
    InferenceRequest,
    StopReason,
    SystemMessage,
    ToolCall,
    ToolDef,
    ToolResponse,
    UserMessage,
)

WEATHER = ToolDef("get_weather", "Weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
ANSWERS = [
    "",
    "Plain words.",
    "A < B, and <tool is no mark.",
    CALL,
    f"Let me see.\n{CALL}\n{CALL}",
    '<tool_call>\n{"name": "get_weather", "argum',
    "<tool_call>no JSON</tool_call>",
    '<tool_call>{"name": "launch", "arguments": {}}</tool_call>',
    '<tool_call>{"name": 1, "arguments": []}</tool_call>',
    "It ends with <tool_ca",
]


def told(reader: Reader, pieces: Sequence[str]) -> tuple[str, AssistantMessage]:
    shown = [delta for piece in pieces for delta in reader.feed(piece)]
    rest, message = reader.finish(StopReason.END_OF_TURN)
    return "".join(delta for delta in [*shown, *rest] if isinstance(delta, str)), message


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_chunking_never_changes_the_answer(answer: str, size: int) -> None:
    def make() -> Reader:
        return ChatmlReader([WEATHER])

    whole = told(make(), [answer])
    assert told(make(), [answer[at : at + size] for at in range(0, len(answer), size)]) == whole
    assert whole[0] == whole[1].content


def test_calls_are_read() -> None:
    text, message = told(ChatmlReader([WEATHER]), [f"Let me see.\n{CALL}\n{CALL}"])
    assert text == "Let me see.\n"
    assert [(call.name, call.arguments, call.known) for call in message.tool_calls] == [
        ("get_weather", {"city": "Oslo"}, True)
    ] * 2
    assert message.stop_reason is StopReason.END_OF_MESSAGE


@pytest.mark.parametrize(
    ("answer", "known", "error"),
    [
        (ANSWERS[5], False, "cut off"),
        (ANSWERS[6], False, "malformed"),
        (ANSWERS[7], False, None),
        (ANSWERS[8], False, "a name"),
    ],
)
def test_what_is_no_sound_call_is_told(answer: str, known: bool, error: str | None) -> None:
    _, message = told(ChatmlReader([WEATHER]), [answer])
    (call,) = message.tool_calls
    assert call.known is known
    assert (error is None) == (call.error is None)
    assert error is None or error in str(call.error)


def test_without_tools_a_mark_is_text() -> None:
    text, message = told(ChatmlReader([]), [CALL])
    assert text == CALL
    assert not message.tool_calls


def test_control_tokens_are_not_shown() -> None:
    text, _ = told(ChatmlReader([], {"<|im_end|>": 2}), ["Hi", "<|im_end|>", " <|im_end|>"])
    assert text == "Hi <|im_end|>"  # the second one is text: its piece is not the token alone


def test_a_conversation_with_calls_in_chatml() -> None:
    call = ToolCall("get_weather", {"city": "Oslo"}, "call_1")
    request = InferenceRequest(
        messages=[
            SystemMessage("Be brief."),
            UserMessage("Weather?", context="Oslo is cold."),
            AssistantMessage("", (call,)),
            ToolResponse("call_1", "get_weather", "3 degrees"),
        ],
        tools=[WEATHER],
        tool_choice="required",
    )
    segments = chatml_segments(request, {"<tool_call>": 5, "</tool_call>": 6})
    text = "".join(item.name if isinstance(item, Control) else item for item in segments)
    assert "must call one of them" in text
    assert "user\nWeather?\n\nOslo is cold.<|im_end|>" in text
    assert f"assistant\n\n{CALL}<|im_end|>" in text
    assert "user\n<tool_response>\n3 degrees\n</tool_response><|im_end|>\n<|im_start|>assistant\n" in text
    assert Control("<tool_call>") in segments
    assert Control("<tool_call>") not in chatml_segments(request, {})


@pytest.mark.parametrize("names", [["llama-3.2-1b-instruct"], ["mine", "Llama 3.1 8B Instruct"], ["mine", ""]])
def test_llama_is_written_by_the_codec(names: list[str]) -> None:
    segments = llama_segments(InferenceRequest(messages=[UserMessage("Hi <|eot_id|>")]), names)
    assert segments[0] == Control("<|begin_of_text|>")
    assert segments.count(Control("<|eot_id|>")) <= 2
    assert any(isinstance(item, str) and "Hi <|eot_id|>" in item for item in segments)


@pytest.mark.parametrize("cut", [lambda text: [text], list])
def test_llama_is_read_by_the_codec(cut: Callable[[str], list[str]]) -> None:
    text, message = told(LlamaReader([WEATHER]), [*cut('[get_weather(city="Oslo")]'), "<|eot_id|>"])
    assert text == message.content == ""
    (call,) = message.tool_calls
    assert (call.name, call.arguments) == ("get_weather", {"city": "Oslo"})
