"""A turn as its records tell it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..types.messages import AssistantMessage
from ..types.records import Decision
from ..types.steps import MemoryRetrievalStep, Step
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
        cleared: Whether shields have let it pass with the arguments that it would run with.
    """

    call: ToolCall
    opened: bool = False
    decision: Decision | None = None
    response: ToolResponse | None = None
    cleared: bool = False

    @property
    def actual(self) -> ToolCall:
        """The call with the arguments that it runs with: the model's, or what the caller put in their place."""
        edited = self.decision.arguments if self.decision else None
        return self.call if edited is None else replace(self.call, arguments=edited)


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
    def retrieved(self) -> str:
        """The text that memory retrieval put into the prompt; empty when there was none."""
        found = [step.retrieval for step in self.turn.steps if isinstance(step, MemoryRetrievalStep)]
        return found[-1].inserted if found and found[-1] else ""

    @property
    def open_calls(self) -> tuple[CallState, ...]:
        """The calls that have no result yet."""
        return tuple(state for state in self.calls if state.response is None)

    @property
    def responses(self) -> tuple[ToolResponse, ...]:
        """The results of those that have one."""
        return tuple(state.response for state in self.calls if state.response is not None)
