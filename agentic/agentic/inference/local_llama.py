"""Llama's own conversation format for in-process models, by this package's codec."""

from __future__ import annotations

from collections.abc import Sequence

from ..llama import StreamParser, encode
from ..llama.families import Family
from ..llama.prompt import Segment
from ..types.content import images_of
from ..types.errors import ConfigError, RequestRejected
from ..types.messages import AssistantMessage, StopReason
from ..types.sampling import InferenceRequest, ToolCallDelta
from ..types.tools import ToolDef


def llama_segments(request: InferenceRequest, names: Sequence[str]) -> list[Segment]:
    """Writes a conversation.

    Args:
        request: The conversation and the tools.
        names: What the model is called, best first: the family is read from them; else it is taken for a Llama 3.2.

    Raises:
        RequestRejected: It holds an image.
    """
    if any(images_of(message.content) for message in request.messages if not isinstance(message, AssistantMessage)):
        raise RequestRejected("This in-process model reads text only; it cannot see images.")
    prompt = encode(request.messages, family=family_of(names), tools=request.tools, tool_choice=request.tool_choice)
    return list(prompt.segments)


def family_of(names: Sequence[str]) -> Family:
    """The family that the first telling name stands for."""
    for name in names:
        try:
            return Family.of(name)
        except ConfigError:
            continue
    return Family.LLAMA3_2


class LlamaReader:
    """Reads an answer piece by piece."""

    def __init__(self, tools: Sequence[ToolDef]) -> None:
        self._parser = StreamParser(tools=tools)

    def feed(self, piece: str) -> Sequence[str | ToolCallDelta]:
        """Takes the next piece and returns what became certain."""
        return self._parser.feed(piece)

    def finish(self, stop: StopReason) -> tuple[Sequence[str | ToolCallDelta], AssistantMessage]:
        """Ends the answer; a stop token in it tells more than `stop`."""
        message = self._parser.finish(stop)
        return self._parser.rest, message
