"""ChatML, the conversation format of SmolLM2 and Qwen: written as segments, and read back as it is generated.

Segments keep control tokens apart from text, so that what a user, a document or a tool says stays text. Tools are
described and called in the Hermes manner that Qwen was trained on: JSON between `<tool_call>` and `</tool_call>`.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from ..llama.prompt import Control, Segment
from ..types.content import images_of
from ..types.errors import RequestRejected
from ..types.messages import AssistantMessage, Message, StopReason, SystemMessage, UserMessage
from ..types.sampling import InferenceRequest
from ..types.tools import ToolCall, ToolChoice, ToolDef, ToolResponse

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_START, _END = Control("<|im_start|>"), Control("<|im_end|>")

DEFAULT_SYSTEM = "You are a helpful assistant."
"""Said when the caller gives no instructions: these models were always trained with some."""

_TOOLS_INTRO = "You can call these functions, each described by a JSON object:"
_TOOLS_RULES = (
    "To call one, write one line of JSON with its name and its arguments, between the two marks, like this:\n"
    '<tool_call>\n{"name": "the function", "arguments": {"an argument": "its value"}}\n</tool_call>\n'
    "Call a function only when it is needed; otherwise answer in plain words."
)


def chatml_segments(request: InferenceRequest, control: Container[str]) -> list[Segment]:
    """Writes a conversation, ready for the assistant to go on.

    Args:
        request: The conversation and the tools.
        control: The names of the model's control tokens.

    Raises:
        RequestRejected: It holds an image.
    """
    messages = list(request.messages)
    system = messages.pop(0).text if messages and isinstance(messages[0], SystemMessage) else DEFAULT_SYSTEM
    if request.tools and request.tool_choice != "none":
        system = "\n\n".join([system, *_describe(request.tools, request.tool_choice)])
    segments: list[Segment] = [_START, f"system\n{system}", _END, "\n"]
    for message in messages:
        segments += [_START, *_body(message, control), _END, "\n"]
    return [*segments, _START, "assistant\n"]


def _describe(tools: Sequence[ToolDef], choice: ToolChoice) -> Iterator[str]:
    lines = (
        json.dumps({"name": tool.name, "description": tool.description, "parameters": plain(tool.parameters)})
        for tool in tools
    )
    yield "\n".join([_TOOLS_INTRO, *lines, _TOOLS_RULES])
    if choice != "auto":
        yield "This time you must call " + ("one of them." if choice == "required" else f"{choice}.")


def _body(message: Message, control: Container[str]) -> Iterator[Segment]:
    if not isinstance(message, AssistantMessage) and images_of(message.content):
        raise RequestRejected("This in-process model reads text only; it cannot see images.")
    match message:
        case SystemMessage():
            yield f"system\n{message.text}"
        case UserMessage(context=context):
            yield f"user\n{message.text}" + (f"\n\n{context}" if context else "")
        case ToolResponse():
            yield f"user\n<tool_response>\n{message.text}\n</tool_response>"
        case AssistantMessage():
            yield f"assistant\n{message.content}"
            for call in message.tool_calls:
                yield "\n"
                yield Control(OPEN) if OPEN in control else OPEN
                yield f"\n{call.raw if call.error else call_json(call)}\n"
                yield Control(CLOSE) if CLOSE in control else CLOSE


def call_json(call: ToolCall) -> str:
    """A call as the JSON object that a model writes."""
    return json.dumps({"name": call.name, "arguments": plain(call.arguments)}, ensure_ascii=False)


def plain(value: Any) -> Any:
    """Mappings and sequences of any kind as dicts and lists, for `json.dumps`."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value


class ChatmlReader:
    """Reads an answer piece by piece: text at once, calls when the answer is complete.

    However the answer is split, the text handed out and the finished message are the same.
    """

    def __init__(self, tools: Sequence[ToolDef], control: Container[str] = ()) -> None:
        self._control = control
        self._names = frozenset(tool.name for tool in tools)
        self._text = ""
        self._shown = 0
        self._calls_at: int | None = None

    def feed(self, piece: str) -> list[str]:
        """Takes the next piece (a control token is one of its own) and returns what is certain to be text."""
        if piece in self._control and piece not in (OPEN, CLOSE):
            return []
        self._text += piece
        if self._names and self._calls_at is None and (found := self._text.find(OPEN, self._shown)) >= 0:
            self._calls_at = found
        if self._calls_at is None:
            return self._show(len(self._text) - self._pending())
        return self._show(self._calls_at)

    def _show(self, end: int) -> list[str]:
        fresh = self._text[self._shown : end]
        self._shown = max(self._shown, end)
        return [fresh] if fresh else []

    def _pending(self) -> int:
        """How many of the last characters may be a call's beginning."""
        lengths = range(len(OPEN) - 1, 0, -1) if self._names else ()
        return next((length for length in lengths if self._text.endswith(OPEN[:length])), 0)

    def finish(self, stop: StopReason) -> tuple[list[str], AssistantMessage]:
        """Ends the answer.

        Returns:
            The text not handed out yet, and the whole message.
        """
        if self._calls_at is None:
            return self._show(len(self._text)), AssistantMessage(self._text, stop_reason=stop)
        calls = tuple(self._call(piece) for piece in self._text[self._calls_at :].split(OPEN)[1:])
        reason = stop if stop is StopReason.OUT_OF_TOKENS else StopReason.END_OF_MESSAGE
        return [], AssistantMessage(self._text[: self._calls_at], calls, reason)

    def _call(self, piece: str) -> ToolCall:
        body, closed, _after = piece.partition(CLOSE)
        return read_call(body.strip(), self._names, whole=bool(closed))


def read_call(text: str, names: Container[str], *, whole: bool = True) -> ToolCall:
    """Reads `{"name": …, "arguments": {…}}`; what cannot be read becomes a call that is answered and never run."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        why = "The call's JSON is malformed." if whole else "The call was cut off before it was complete."
        return ToolCall("", known=False, raw=text, error=why)
    name = value.get("name") if isinstance(value, dict) else None
    arguments = value.get("arguments", {}) if isinstance(value, dict) else None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        why = "A call is a JSON object with a name and an object of arguments."
        return ToolCall("", known=False, raw=text, error=why)
    return ToolCall(name, arguments, known=name in names, raw=text)
