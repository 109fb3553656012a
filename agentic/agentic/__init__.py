"""Tool-calling agents on Llama models: sessions, turns and steps that survive `kill -9`.

```python
from agentic import Agent, tool
```
"""

from .agent import Agent
from .answers import Approve, Deny
from .protocols import ToolContext, ToolOutput
from .session import Session
from .stack import Stack
from .tool import Tool, tool
from .types import (
    AgenticError,
    AssistantMessage,
    EndReason,
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

__all__ = [
    "Agent",
    "AgenticError",
    "Approve",
    "AssistantMessage",
    "Deny",
    "EndReason",
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
