"""Tool-calling agents on Llama models: sessions, turns and steps that survive `kill -9`.

```python
from agentic import Agent, tool
```
"""

from typing import TYPE_CHECKING

from .agent import Agent
from .answers import Approve, Deny
from .protocols import ToolContext, ToolOutput
from .session import Session
from .tool import Tool, tool
from .types import (
    AgenticError,
    AssistantMessage,
    EndReason,
    File,
    Image,
    Limits,
    SamplingParams,
    StepCompleted,
    StepStarted,
    SystemMessage,
    Text,
    TextDelta,
    ToolCall,
    ToolCallCompleted,
    ToolCallProgress,
    ToolCallStarted,
    ToolDef,
    ToolError,
    ToolProgress,
    ToolResponse,
    ToolRetry,
    Turn,
    TurnCompleted,
    TurnPaused,
    TurnStarted,
    UserMessage,
)

if TYPE_CHECKING:
    from .stack import Stack

__all__ = [
    "Agent",
    "AgenticError",
    "Approve",
    "AssistantMessage",
    "Deny",
    "EndReason",
    "File",
    "Image",
    "Limits",
    "SamplingParams",
    "Session",
    "Stack",
    "StepCompleted",
    "StepStarted",
    "SystemMessage",
    "Text",
    "TextDelta",
    "Tool",
    "ToolCall",
    "ToolCallCompleted",
    "ToolCallProgress",
    "ToolCallStarted",
    "ToolContext",
    "ToolDef",
    "ToolError",
    "ToolOutput",
    "ToolProgress",
    "ToolResponse",
    "ToolRetry",
    "Turn",
    "TurnCompleted",
    "TurnPaused",
    "TurnStarted",
    "UserMessage",
    "tool",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    # The configuration's models are built when they are asked for: they need all of pydantic.
    if name == "Stack":
        from .stack import Stack

        return Stack
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
