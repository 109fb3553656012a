"""A turn as its records tell it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..types.messages import AssistantMessage
from ..types.records import Decision
from ..types.steps import Step
from ..types.tools import ToolCall, ToolResponse
from ..types.turns import Limits, Turn
from .table import Phase


@dataclass(frozen=True, slots=True)
class CallState:
    """One call of the model's last message.

    Attributes:
        call: The call.
        opened: Whether its tool has begun to run.
        decision: What the caller decided about it, or None.
        response: Its one result, or None.
    """

    call: ToolCall
    opened: bool = False
    decision: Decision | None = None
    response: ToolResponse | None = None


@dataclass(frozen=True, slots=True)
class TurnState:
    """A turn as its records tell it.

    Attributes:
        turn: The picture of it.
        phase: Where it stands.
        limits: What it may use.
        step: The open step, or None.
        message: The model's last message, or None.
        calls: The calls of that message.
        inferences: How many were begun and not interrupted.
        failures: How often each failing call was made, by the digest of its name and arguments.
    """

    turn: Turn
    phase: Phase
    limits: Limits
    step: Step | None = None
    message: AssistantMessage | None = None
    calls: tuple[CallState, ...] = ()
    inferences: int = 0
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def open_calls(self) -> tuple[CallState, ...]:
        """The calls that have no result yet."""
        return tuple(state for state in self.calls if state.response is None)
