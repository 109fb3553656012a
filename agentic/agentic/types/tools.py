"""What a model knows of a tool, its call of one, and the result that it gets back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from .content import Content, File, Image, files_of, images_of, text_of

BUILTIN_TOOLS = ("brave_search", "wolfram_alpha", "photogen", "code_interpreter")
"""Tool names that Llama 3.1 and later were trained on (Meta's prompt-format document); their calls have a form of
their own, so no custom tool may take one of these names."""

ToolChoice: TypeAlias = str
"""`"auto"`, `"required"`, `"none"`, or the name of the one tool to call."""

ToolStrategy: TypeAlias = Literal["native", "constrained", "routed"]
"""How a model is led to call tools: in its own format, under a grammar or schema, or with a router that picks the
tool and a schema that forces its arguments."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class ToolDef:
    """A tool as it is described to a model.

    Attributes:
        name: Letters, digits, `_`, `-` and `.`, beginning with a letter or `_`.
        description: What it does, for the model.
        parameters: A JSON schema of type object.
        metadata: Anything a provider or a toolgroup keeps with it; never sent to the model.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def builtin(self) -> bool:
        """Whether Llama models know this tool from training, without a definition."""
        return self.name in BUILTIN_TOOLS


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's call of a tool.

    Attributes:
        name: The tool's name as the model wrote it.
        arguments: The decoded arguments.
        call_id: Unique within its turn.
        known: Whether the tool was among those offered.
        repaired: What was mended to read the call, a phrase each; empty when nothing was.
        raw: The text that the model wrote for this call.
        error: Why the call cannot be executed (malformed, truncated), or None. Such a call is answered, never run.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    call_id: str = ""
    known: bool = True
    repaired: tuple[str, ...] = ()
    raw: str = ""
    error: str | None = None


class ToolStatus(StrEnum):
    """How a call ended."""

    OK = "ok"
    ERROR = "error"
    """The tool ran and failed, or its arguments were refused before it ran."""
    TIMEOUT = "timeout"
    UNKNOWN_TOOL = "unknown_tool"
    DENIED = "denied"
    NOT_RUN = "not_run"
    """It never started: the turn ended first."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """It had started when the process died or the turn was cancelled."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class ToolResponse:
    """The one result of one call: a message of the `ipython` role (`tool` in HTTP APIs).

    Attributes:
        call_id: The call it answers.
        tool_name: The tool's name.
        content: What the model reads.
        status: How the call ended.
        metadata: Structured extras for the caller; the model does not see them.
    """

    call_id: str
    tool_name: str
    content: Content = ""
    status: ToolStatus = ToolStatus.OK
    metadata: Mapping[str, Any] = field(default_factory=dict)
    role: Literal["ipython"] = "ipython"

    @property
    def text(self) -> str:
        """The content's text, images and files left out."""
        return text_of(self.content)

    @property
    def files(self) -> tuple[File, ...]:
        """The files that the tool wrote: `response.files[0].save("folder")`."""
        return files_of(self.content)

    @property
    def images(self) -> tuple[Image, ...]:
        """The images that the tool returned: `response.images[0].save("plot.png")`."""
        return images_of(self.content)
