"""Everything a turn works with, in one frozen value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .inference.retry import Retries
from .protocols import Inference, MemoryBank, Shield, Tool
from .turn import Plan, Route
from .types.messages import Message, SystemMessage
from .types.sampling import SamplingParams
from .types.steps import Touchpoint
from .types.tools import ToolCall, ToolChoice, ToolDef
from .types.turns import Limits


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Everything a turn works with; an agent builds it once.

    Attributes:
        inference: The model.
        name: The agent's name.
        instructions: The system message, or an empty string for none.
        tools: By name.
        tool_choice: Whether the model may, must or must not call one. A call is forced once a turn.
        sampling: How tokens are drawn.
        limits: What one turn may use.
        retries: How failing inferences are repeated.
        memory: Banks searched before the first inference.
        input_shields: They look at the input.
        output_shields: They look at the answer before the caller sees it.
        tool_shields: They look at calls before they run and at results before the model sees them.
    """

    inference: Inference
    name: str = "agent"
    instructions: str = ""
    tools: Mapping[str, Tool] = field(default_factory=dict)
    tool_choice: ToolChoice = "auto"
    sampling: SamplingParams = SamplingParams()
    limits: Limits = Limits()
    retries: Retries = Retries()
    memory: Sequence[MemoryBank] = ()
    input_shields: Sequence[Shield] = ()
    output_shields: Sequence[Shield] = ()
    tool_shields: Sequence[Shield] = ()
    plan: Plan = field(init=False)
    system: tuple[Message, ...] = field(init=False)
    definitions: tuple[ToolDef, ...] = field(init=False)

    def __post_init__(self) -> None:
        plan = Plan(
            input_shields=bool(self.input_shields),
            output_shields=bool(self.output_shields),
            tool_shields=bool(self.tool_shields),
            memory=bool(self.memory),
            route=self._route,
        )
        object.__setattr__(self, "plan", plan)
        object.__setattr__(self, "system", (SystemMessage(self.instructions),) if self.instructions else ())
        object.__setattr__(self, "definitions", tuple(tool.definition for tool in self.tools.values()))

    def shields(self, touchpoint: Touchpoint) -> Sequence[Shield]:
        """The shields of one touchpoint."""
        match touchpoint:
            case Touchpoint.INPUT:
                return self.input_shields
            case Touchpoint.OUTPUT:
                return self.output_shields
            case _:
                return self.tool_shields

    def _route(self, call: ToolCall) -> Route:
        tool = self.tools.get(call.name)
        if tool is None:
            return "run"  # it is then answered that there is no such tool
        if tool.policy.client:
            return "client"
        approve = tool.policy.approve
        try:
            return "approval" if (approve(call.arguments) if callable(approve) else approve) else "run"
        except Exception:  # it was written for arguments that this call does not have: let a person look
            return "approval"
