"""The agent: what a model, instructions and tools are bundled into. Immutable; sessions hold what changes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from . import plugins
from .answers import ImageLike, Input
from .inference import connect
from .portal import iterate_sync, run_sync
from .protocols import Inference, MemoryBank, Shield, Toolgroup
from .protocols import Tool as ToolProtocol
from .session import Session
from .setup import Setup
from .store import Store, open_store
from .toolbox import Toolbox
from .types.errors import ConfigError
from .types.events import Event
from .types.sampling import SamplingParams
from .types.tools import ToolChoice, ToolDef, ToolStrategy
from .types.turns import Limits, Turn

ToolLike: TypeAlias = Callable[..., Any] | ToolProtocol | Toolgroup | ToolDef | str

DEFAULT_MODEL = "local/default"
"""The embedded model; `AGENTIC_MODEL` names another default."""


class Agent:
    """A model with instructions, tools, memory and shields.

    Args:
        model: A model string `provider/model` (`ollama/llama3.2:3b`, `openai/gpt-4o-mini`, `raw/…`, `llama-stack/…`,
            `local/…`), or any `Inference`. Default: `AGENTIC_MODEL`, or the embedded model.
        instructions: The system message.
        tools: Functions, `Tool`s, toolgroups or their ids (`"builtin::websearch"`), or a `ToolDef` for a tool that
            runs on the caller's side. A group's tool whose name is taken is called `group__tool`.
        tool_choice: `auto`, `required`, `none`, or a tool's name. A forced call is forced once a turn.
        tool_strategy: How the model is led to call tools: `native`, `constrained` or `routed`; default: what suits it.
        memory: Banks that are searched before the first inference of each turn.
        shields: They look at input and output.
        input_shields: They look at input only.
        output_shields: They look at output only; text is held back until they have passed it.
        tool_shields: They look at calls before they run and at results before the model sees them.
        sampling: How tokens are drawn; greedy by default.
        limits: What one turn may use; 10 inferences by default.
        store: Where sessions are kept: a path, an SQLAlchemy URL, a `Store`, or None for memory only. Default: a
            SQLite file in the user's data folder (`AGENTIC_DATA_DIR`).
        endpoint: The model server's base URL, instead of the provider's environment variable.
        api_key: Its key, likewise.
        name: For listings, and for approvals that hold for good.

    Raises:
        ConfigError: A model, tool, bank or shield cannot be found, a key is missing, or two tools share a name.
        ToolDefinitionError: A function cannot be offered as a tool.
    """

    def __init__(
        self,
        model: str | Inference | None = None,
        *,
        instructions: str = "",
        tools: Sequence[ToolLike] = (),
        tool_choice: ToolChoice = "auto",
        tool_strategy: ToolStrategy | None = None,
        memory: Sequence[MemoryBank | str] = (),
        shields: Sequence[Shield | str] = (),
        input_shields: Sequence[Shield | str] = (),
        output_shields: Sequence[Shield | str] = (),
        tool_shields: Sequence[Shield | str] = (),
        sampling: SamplingParams | None = None,
        limits: Limits | None = None,
        store: Store | str | Path | None = "default",
        endpoint: str | None = None,
        api_key: str | None = None,
        name: str = "agent",
    ) -> None:
        inference = _inference(model, endpoint, api_key, tool_strategy)
        banks = [_load("memory", bank) for bank in memory]
        at_input = [_load("shields", shield) for shield in (*shields, *input_shields)]
        at_output = [_load("shields", shield) for shield in (*shields, *output_shields)]
        at_tools = [_load("shields", shield) for shield in tool_shields]
        self._store = open_store(store)
        # Last, because a toolgroup may start processes: nothing that fails above leaves them behind.
        self._toolbox = Toolbox.of(tools)
        if tool_choice not in ("auto", "required", "none") and tool_choice not in self._toolbox.tools:
            raise ConfigError(f"tool_choice names {tool_choice!r}, which is none of the agent's tools.")
        self._setup = Setup(
            inference=inference,
            name=name,
            instructions=instructions,
            tools=self._toolbox.tools,
            tool_choice=tool_choice,
            sampling=sampling or SamplingParams(),
            limits=limits or Limits(),
            memory=banks,
            input_shields=at_input,
            output_shields=at_output,
            tool_shields=at_tools,
        )

    def __repr__(self) -> str:
        return f"Agent({self.model!r}, tools={list(self._setup.tools)})"

    @property
    def name(self) -> str:
        """The agent's name."""
        return self._setup.name

    @property
    def model(self) -> str:
        """The model string."""
        return self._setup.inference.model

    def session(self, session_id: str | None = None) -> Session:
        """A session by its name, new or continued; without a name, a new one."""
        return Session(self._setup, self._store, session_id)

    async def arun(self, message: Input, *, images: Sequence[ImageLike] = (), limits: Limits | None = None) -> Turn:
        """Runs one turn in a new session; `turn.session_id` names it. See `Session.arun`."""
        return await self.session().arun(message, images=images, limits=limits)

    async def astream(
        self, message: Input, *, images: Sequence[ImageLike] = (), limits: Limits | None = None
    ) -> AsyncIterator[Event]:
        """Runs one turn in a new session and yields its events. See `Session.astream`."""
        async for event in self.session().astream(message, images=images, limits=limits):
            yield event

    def run(self, message: Input, *, images: Sequence[ImageLike] = (), limits: Limits | None = None) -> Turn:
        """Runs one turn in a new session; see `arun`."""
        return run_sync(self.arun(message, images=images, limits=limits))

    def stream(
        self, message: Input, *, images: Sequence[ImageLike] = (), limits: Limits | None = None
    ) -> Iterator[Event]:
        """Runs one turn in a new session and yields its events; see `astream`."""
        return iterate_sync(lambda: self.astream(message, images=images, limits=limits))

    def describe(self) -> dict[str, Any]:
        """What the agent is made of, as plain data without secrets."""
        setup = self._setup
        return {
            "name": self.name,
            "model": self.model,
            "instructions": setup.instructions,
            "tool_choice": setup.tool_choice,
            "tools": [
                {
                    "name": tool.definition.name,
                    "description": tool.definition.description,
                    "parameters": dict(tool.definition.parameters),
                    "timeout": tool.policy.timeout,
                    "idempotent": tool.policy.idempotent,
                    "parallel": tool.policy.parallel,
                    "approval": bool(tool.policy.approve),
                    "runs": "caller" if tool.policy.client else "here",
                }
                for tool in setup.tools.values()
            ],
            "memory": [bank.name for bank in setup.memory],
            "input_shields": [shield.shield_id for shield in setup.input_shields],
            "output_shields": [shield.shield_id for shield in setup.output_shields],
            "tool_shields": [shield.shield_id for shield in setup.tool_shields],
            "limits": {
                "max_infer_iters": setup.limits.max_infer_iters,
                "seconds": setup.limits.seconds,
                "tokens": setup.limits.tokens,
            },
        }

    async def aclose(self) -> None:
        """Closes the model's connections, the toolgroups and the store."""
        await self._setup.inference.aclose()
        await self._toolbox.aclose()
        await self._store.aclose()

    def close(self) -> None:
        """Closes the model's connections, the toolgroups and the store."""
        run_sync(self.aclose())

    async def __aenter__(self) -> Agent:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _inference(
    model: str | Inference | None, endpoint: str | None, api_key: str | None, strategy: ToolStrategy | None
) -> Inference:
    if not isinstance(model, str | None):
        if endpoint or api_key:
            raise ConfigError("endpoint and api_key belong to a model string; this model is an object already.")
        inference = model
    else:
        chosen = model or os.environ.get("AGENTIC_MODEL") or DEFAULT_MODEL
        inference = connect(chosen, endpoint=endpoint, api_key=api_key)
    if strategy is None:
        return inference
    from .inference.strategies import with_strategy

    return with_strategy(inference, strategy)


def _load(group: plugins.Group, given: Any) -> Any:
    return plugins.load(group, given)(given) if isinstance(given, str) else given
