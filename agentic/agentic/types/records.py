"""The records of a session's log. The log is the truth; turns, steps and prompts are read from it.

A record says that something is about to happen or has happened. What is about to happen is written before its
effect begins, so that a process that dies leaves behind what it had started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from .messages import AssistantMessage, Message
from .steps import Failure, Outcome, SafetyViolation, Step
from .tagged import TaggedBy
from .tools import ToolResponse
from .turns import EndReason, Limits, PendingCall


@dataclass(frozen=True, slots=True)
class PromptDelta:
    """An exact prompt, as what it adds to the prompt of an earlier step, so that the log grows by what is new.

    Attributes:
        base: The step whose prompt this one continues, or None.
        keep: How many characters of that prompt stand at the beginning of this one.
        tail: The characters that follow them.
    """

    base: str | None
    keep: int
    tail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOpened:
    """A turn began."""

    turn_id: str
    at: datetime
    input_messages: tuple[Message, ...]
    limits: Limits
    record: Literal["turn_opened"] = "turn_opened"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOpened:
    """A step is about to begin; `prompt` is set for an inference."""

    step: Step
    prompt: PromptDelta | None = None
    record: Literal["step_opened"] = "step_opened"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOpened:
    """A tool is about to run for one call."""

    step_id: str
    call_id: str
    at: datetime
    record: Literal["call_opened"] = "call_opened"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallClosed:
    """A call has its one result."""

    step_id: str
    response: ToolResponse
    at: datetime
    record: Literal["call_closed"] = "call_closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepClosed:
    """A step has ended; a tool execution has no outcome here, its calls were closed one by one."""

    step_id: str
    at: datetime
    outcome: Outcome | None = None
    record: Literal["step_closed"] = "step_closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSuspended:
    """The turn waits for the caller."""

    turn_id: str
    at: datetime
    pending: tuple[PendingCall, ...]
    record: Literal["turn_suspended"] = "turn_suspended"


@dataclass(frozen=True, slots=True)
class Decision:
    """The caller's answer to one pending call.

    Attributes:
        call_id: The call.
        approved: Whether it may run. A client-side call that is answered has `response` instead.
        reason: Why it was denied, for the model.
        response: The result of a client-side call.
        scope: `session` and `always` allow later calls of the same tool, too.
        arguments: What the caller put in place of the model's arguments, or None.
        digest: The `PendingCall.digest` that was decided on; another call does not run under it.
    """

    call_id: str
    approved: bool = True
    reason: str = ""
    response: ToolResponse | None = None
    scope: Literal["once", "session", "always"] = "once"
    arguments: Mapping[str, Any] | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnContinued:
    """The caller answered what a suspended turn waited for, or took up a turn that had been cut off."""

    turn_id: str
    at: datetime
    decisions: tuple[Decision, ...] = ()
    record: Literal["turn_continued"] = "turn_continued"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnClosed:
    """The turn has ended. Nothing of it can change after this."""

    turn_id: str
    at: datetime
    reason: EndReason
    output: AssistantMessage | None = None
    violation: SafetyViolation | None = None
    failure: Failure | None = None
    record: Literal["turn_closed"] = "turn_closed"


Record: TypeAlias = Annotated[
    TurnOpened | StepOpened | CallOpened | CallClosed | StepClosed | TurnSuspended | TurnContinued | TurnClosed,
    TaggedBy("record"),
]
