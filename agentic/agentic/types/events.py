"""What a stream yields: frozen events, made to be matched.

One turn's stream is `TurnStarted`, then steps (`StepStarted` … `StepCompleted`), then exactly one of
`TurnCompleted` and `TurnPaused`. A turn that fails raises its error instead of the last event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from .content import Content
from .steps import Step, StepType, Touchpoint
from .tagged import TaggedBy
from .tools import ToolCall, ToolResponse
from .turns import Turn


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A turn is open in the log."""

    turn_id: str
    session_id: str
    type: Literal["turn_started"] = "turn_started"


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step is in the log and its effect begins; of a shield call, `touchpoint` says where it looks."""

    step_id: str
    step_type: StepType
    touchpoint: Touchpoint | None = None
    type: Literal["step_started"] = "step_started"


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer's text."""

    text: str
    step_id: str = ""
    type: Literal["text_delta"] = "text_delta"


@dataclass(frozen=True, slots=True)
class ToolCallProgress:
    """The next piece of a call that the model is writing."""

    index: int
    name: str = ""
    arguments: str = ""
    step_id: str = ""
    type: Literal["tool_call_progress"] = "tool_call_progress"


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """A tool begins to run."""

    call: ToolCall
    step_id: str = ""
    type: Literal["tool_call_started"] = "tool_call_started"


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """What a running tool reports before its result."""

    call_id: str
    content: Content
    step_id: str = ""
    type: Literal["tool_progress"] = "tool_progress"


@dataclass(frozen=True, slots=True)
class ToolCallCompleted:
    """A call has its result."""

    response: ToolResponse
    step_id: str = ""
    type: Literal["tool_call_completed"] = "tool_call_completed"


@dataclass(frozen=True, slots=True)
class StepCompleted:
    """A step's end is in the log."""

    step: Step
    type: Literal["step_completed"] = "step_completed"


@dataclass(frozen=True, slots=True)
class TurnPaused:
    """The turn waits for `session.resume`; `turn.pending` says for what."""

    turn: Turn
    type: Literal["turn_paused"] = "turn_paused"


@dataclass(frozen=True, slots=True)
class TurnCompleted:
    """The turn has ended; `turn.reason` says why."""

    turn: Turn
    type: Literal["turn_completed"] = "turn_completed"


Event: TypeAlias = Annotated[
    TurnStarted
    | StepStarted
    | TextDelta
    | ToolCallProgress
    | ToolCallStarted
    | ToolProgress
    | ToolCallCompleted
    | StepCompleted
    | TurnPaused
    | TurnCompleted,
    TaggedBy("type"),
]
