"""Everything a turn works with, in one frozen value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from .context import ContextPolicy, fixed_size
from .inference.retry import Retries
from .outlet import OutputShieldMode
from .protocols import Inference, MemoryBank, Shield, Tool
from .recall import Recall
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
        prompt: The prompt that the instructions were made from, as `name@version`; every inference step records it.
        tools: By name.
        tool_choice: Whether the model may, must or must not call one. A call is forced once a turn.
        sampling: How tokens are drawn.
        limits: What one turn may use.
        retries: How failing inferences are repeated.
        context: What is done about a conversation that outgrows the model.
        memory: Banks searched before the first inference.
        recall: How they are searched.
        shields: Who looks where; see `agentic.shield.placed`.
        output_shield_mode: How text reaches the caller where shields look at it.
    """

    inference: Inference
    name: str = "agent"
    instructions: str = ""
    prompt: str = ""
    tools: Mapping[str, Tool] = field(default_factory=dict)
    tool_choice: ToolChoice = "auto"
    sampling: SamplingParams = SamplingParams()
    limits: Limits = Limits()
    retries: Retries = Retries()
    context: ContextPolicy = ContextPolicy()
    memory: Sequence[MemoryBank] = ()
    recall: Recall = Recall()
    shields: Mapping[Touchpoint, Sequence[Shield]] = field(default_factory=dict)
    output_shield_mode: OutputShieldMode = "segments"
    plan: Plan = field(init=False)
    system: tuple[Message, ...] = field(init=False)
    definitions: tuple[ToolDef, ...] = field(init=False)

    def __post_init__(self) -> None:
        plan = Plan(
            shields=frozenset(touchpoint for touchpoint, there in self.shields.items() if there),
            memory=bool(self.memory),
            route=self._route,
        )
        object.__setattr__(self, "plan", plan)
        object.__setattr__(self, "system", (SystemMessage(self.instructions),) if self.instructions else ())
        object.__setattr__(self, "definitions", tuple(tool.definition for tool in self.tools.values()))

    @cached_property
    def fixed(self) -> int:
        """The size of what every prompt holds besides the conversation; see `agentic.context`."""
        return fixed_size(self.system, self.definitions)

    def _route(self, call: ToolCall) -> Route:
        tool = self.tools.get(call.name)
        if tool is None:
            return "run"  # it is then answered that there is no such tool
        if tool.policy.client:
            return "client"
        return "approval" if tool.policy.asks(call.arguments) else "run"
