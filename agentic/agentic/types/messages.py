"""Messages of the four roles."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from .content import Content, text_of
from .tagged import TaggedBy
from .tools import ToolCall, ToolResponse


class StopReason(StrEnum):
    """Why a model stopped, in Llama Stack's words."""

    END_OF_TURN = "end_of_turn"
    END_OF_MESSAGE = "end_of_message"
    """It waits for a tool's result within the same turn."""
    OUT_OF_TOKENS = "out_of_tokens"
    """It was cut off: by `max_tokens`, by the context's end, or in an unknown way."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class SystemMessage:
    """Instructions to the model."""

    content: Content
    role: Literal["system"] = "system"

    @property
    def text(self) -> str:
        """The content's text."""
        return text_of(self.content)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class UserMessage:
    """What the user said.

    Attributes:
        content: Text and images.
        context: Retrieved text that belongs to this message (Llama Stack's `context`); encoded after the content.
    """

    content: Content
    context: str | None = None
    role: Literal["user"] = "user"

    @property
    def text(self) -> str:
        """The content's text, images left out."""
        return text_of(self.content)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class AssistantMessage:
    """What the model said.

    Attributes:
        content: Its text; empty when it only called tools.
        tool_calls: Its calls, in the order in which it wrote them.
        stop_reason: Why it stopped.
        notes: What a decoder wants a reader to know (truncation, ignored markup), a sentence each.
    """

    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    stop_reason: StopReason = StopReason.END_OF_TURN
    notes: tuple[str, ...] = ()
    role: Literal["assistant"] = "assistant"

    @property
    def text(self) -> str:
        """The content."""
        return self.content


Message: TypeAlias = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolResponse, TaggedBy("role")]
"""Any message; a `ToolResponse` is the message of the `ipython` role."""
