"""The agent: what a model, instructions and tools are bundled into. Immutable; sessions hold what changes."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias, get_args

from . import plugins
from .answers import ImageLike, Input
from .context import ContextPolicy, Overflow
from .inference import connect
from .outlet import OutputShieldMode
from .portal import iterate_sync, run_sync
from .prompts import Prompt, PromptStore
from .protocols import Inference, MemoryBank, Toolgroup
from .protocols import Tool as ToolProtocol
from .recall import QueryGenerator, Recall
from .session import Session
from .setup import Setup
from .shield import ShieldLike, placed
from .store import Store, open_store
from .store.base import check_name
from .toolbox import Toolbox
from .types.content import FileLike, storable
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
        prompt: A template of the store's prompts instead: `"name@3"`, `"name"` for its default version, or a `Prompt`.
            Every inference step records the version.
        variables: Values for the prompt's variables; each is put in as text.
        tools: Functions, `Tool`s, toolgroups or their ids (`"builtin::websearch"`), or a `ToolDef` for a tool that
            runs on the caller's side. A group's tool whose name is taken is called `group__tool`.
        tool_choice: `auto`, `required`, `none`, or a tool's name. A forced call is forced once a turn.
        tool_strategy: How the model is led to call tools: `native`, `constrained` or `routed`; default: what suits it.
        memory: Banks that are searched before the first inference of each turn, or their ids (`"bank::docs"`).
        query_generator: What they are searched for: `message`, the user's message as it is, or `model`, what the model
            makes of it in the light of the conversation.
        max_chunks: How many hits enter the prompt, of all banks together.
        max_tokens_in_context: About how many tokens they may take there.
        shields: Shields, their ids (`"llama_guard"`), or functions. They look where they say (`touchpoints`), otherwise
            at input and output.
        input_shields: They look at input only; those that say so, at what memory finds, too.
        output_shields: They look at output only.
        tool_shields: They look at calls before they run and at results before the model sees them.
        output_shield_mode: How an answer's text is streamed where shields look at it: in `segments` that they have
            cleared, as a `whole`, or as it comes (`stream`: then a caller may see what is withdrawn afterwards).
        sampling: How tokens are drawn; greedy by default.
        limits: What one turn may use; 10 inferences by default.
        context_tokens: How many tokens the model's context holds, prompt and answer together. Default: what the
            provider knows; where it knows nothing, a prompt is shortened when the model refuses it as too long.
        overflow: What is done about a session that no longer fits: `drop` leaves its oldest turns out of the prompt,
            `summarise` puts the model's summary in their place, `error` fails with `ContextOverflow`.
        store: Where sessions are kept: a path, an SQLAlchemy URL, a `Store`, or None for memory only. Default: a
            SQLite file in the user's data folder (`AGENTIC_DATA_DIR`).
        endpoint: The model server's base URL, instead of the provider's environment variable.
        api_key: Its key, likewise.
        name: For listings, and for approvals that hold for good.

    Raises:
        ConfigError: A model, tool, bank or shield cannot be found, a key is missing, or two tools share a name.
        ToolDefinitionError: A function cannot be offered as a tool.
        NotFound: There is no such prompt.
        InvalidInput: A variable of the prompt has no value, or a value no variable.
    """

    def __init__(
        self,
        model: str | Inference | None = None,
        *,
        instructions: str = "",
        prompt: str | Prompt | None = None,
        variables: Mapping[str, str | int | float] | None = None,
        tools: Sequence[ToolLike] = (),
        tool_choice: ToolChoice = "auto",
        tool_strategy: ToolStrategy | None = None,
        memory: Sequence[MemoryBank | str] = (),
        query_generator: QueryGenerator = "message",
        max_chunks: int = 5,
        max_tokens_in_context: int = 4096,
        shields: Sequence[ShieldLike] = (),
        input_shields: Sequence[ShieldLike] = (),
        output_shields: Sequence[ShieldLike] = (),
        tool_shields: Sequence[ShieldLike] = (),
        output_shield_mode: OutputShieldMode = "segments",
        sampling: SamplingParams | None = None,
        limits: Limits | None = None,
        context_tokens: int | None = None,
        overflow: Overflow = "drop",
        store: Store | str | Path | None = "default",
        endpoint: str | None = None,
        api_key: str | None = None,
        name: str = "agent",
    ) -> None:
        inference = _inference(model, endpoint, api_key, tool_strategy)
        banks = _banks(memory)
        self._opened = [bank for given, bank in zip(memory, banks, strict=True) if isinstance(given, str)]
        recall = Recall(
            query_generator=query_generator, max_chunks=max_chunks, max_tokens_in_context=max_tokens_in_context
        )
        if output_shield_mode not in get_args(OutputShieldMode):
            raise ConfigError(f"output_shield_mode is segments, whole or stream, not {output_shield_mode!r}.")
        lists = {
            "shields": shields,
            "input_shields": input_shields,
            "output_shields": output_shields,
            "tool_shields": tool_shields,
        }
        looking = placed(lists)
        context = ContextPolicy(tokens=context_tokens, overflow=overflow)
        check_name("agent name", name, empty=True)
        _expect("instructions", instructions, str | None, "text")
        if instructions and storable(instructions) != instructions:
            raise ConfigError("instructions hold half a surrogate pair: decode their bytes as UTF-8.")
        _expect("tool_choice", tool_choice, str, "auto, required, none or a tool's name")
        _expect("sampling", sampling, SamplingParams | None, "a SamplingParams")
        _expect("limits", limits, Limits | None, "a Limits")
        if prompt is not None or variables is not None:
            instructions, prompt = _rendered(instructions, prompt, variables, store)
        self._store = open_store(store)
        # Last, because a toolgroup may start processes: nothing that fails above leaves them behind.
        self._toolbox = Toolbox.of(tools)
        if tool_choice not in ("auto", "required", "none") and tool_choice not in self._toolbox.tools:
            run_sync(self._toolbox.aclose())
            raise ConfigError(f"tool_choice names {tool_choice!r}, which is none of the agent's tools.")
        self._setup = Setup(
            inference=inference,
            name=name,
            instructions=instructions or "",
            prompt=prompt or "",
            tools=self._toolbox.tools,
            tool_choice=tool_choice,
            sampling=sampling or SamplingParams(),
            limits=limits or Limits(),
            context=context,
            memory=banks,
            recall=recall,
            shields=looking,
            output_shield_mode=output_shield_mode,
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

    def session(self, session_id: str | Session | None = None) -> Session:
        """A session by its name, new or continued; without a name, a new one.

        A session of another agent on the same store goes on under this one, and what it has read is not read again.
        """
        if isinstance(session_id, Session):
            return session_id.under(self._setup, self._store)
        return Session(self._setup, self._store, session_id)

    async def arun(
        self,
        message: Input,
        *,
        images: Sequence[ImageLike] = (),
        files: Sequence[FileLike] = (),
        limits: Limits | None = None,
    ) -> Turn:
        """Runs one turn in a new session; `turn.session_id` names it. See `Session.arun`."""
        return await self.session().arun(message, images=images, files=files, limits=limits)

    def astream(
        self,
        message: Input,
        *,
        images: Sequence[ImageLike] = (),
        files: Sequence[FileLike] = (),
        limits: Limits | None = None,
    ) -> AsyncGenerator[Event]:
        """Runs one turn in a new session and yields its events. See `Session.astream`."""
        return self.session().astream(message, images=images, files=files, limits=limits)

    def run(
        self,
        message: Input,
        *,
        images: Sequence[ImageLike] = (),
        files: Sequence[FileLike] = (),
        limits: Limits | None = None,
    ) -> Turn:
        """Runs one turn in a new session; see `arun`."""
        return run_sync(self.arun(message, images=images, files=files, limits=limits))

    def stream(
        self,
        message: Input,
        *,
        images: Sequence[ImageLike] = (),
        files: Sequence[FileLike] = (),
        limits: Limits | None = None,
    ) -> Iterator[Event]:
        """Runs one turn in a new session and yields its events; see `astream`."""
        return iterate_sync(lambda: self.astream(message, images=images, files=files, limits=limits))

    def describe(self) -> dict[str, Any]:
        """What the agent is made of, as plain data without secrets."""
        setup = self._setup
        return {
            "name": self.name,
            "model": self.model,
            "instructions": setup.instructions,
            "prompt": setup.prompt,
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
            "shields": {str(place): [shield.shield_id for shield in there] for place, there in setup.shields.items()},
            "output_shield_mode": setup.output_shield_mode,
            "limits": {
                "max_infer_iters": setup.limits.max_infer_iters,
                "seconds": setup.limits.seconds,
                "tokens": setup.limits.tokens,
            },
            "context": {"tokens": setup.context.tokens, "overflow": setup.context.overflow},
        }

    async def aclose(self) -> None:
        """Closes the model, the toolgroups, the store, the shields, and the banks that were given by their ids.

        Each is closed, whatever closing another raises.
        """
        shields = {shield.shield_id: shield for there in self._setup.shields.values() for shield in there}
        async with AsyncExitStack() as last_first:
            last_first.push_async_callback(self._store.aclose)
            for opened in (*shields.values(), *self._opened):
                if (close := getattr(opened, "aclose", None)) is not None:
                    last_first.push_async_callback(close)
            last_first.push_async_callback(self._toolbox.aclose)
            last_first.push_async_callback(self._setup.inference.aclose)

    def close(self) -> None:
        """Closes what `aclose` closes."""
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
        _expect("model", model, Inference, "a model string or an Inference")
        inference = model
    else:
        chosen = model or os.environ.get("AGENTIC_MODEL") or DEFAULT_MODEL
        inference = connect(chosen, endpoint=endpoint, api_key=api_key)
        if not isinstance(inference, Inference):
            raise ConfigError(f"{chosen} makes embeddings; it does not chat.")
    if strategy is None:
        return inference
    from .inference.strategies import with_strategy

    return with_strategy(inference, strategy)


def _rendered(
    instructions: str,
    prompt: str | Prompt | None,
    variables: Mapping[str, str | int | float] | None,
    store: Store | str | Path | None,
) -> tuple[str, str]:
    """A prompt's text, and which version it is."""
    if prompt is None:
        raise ConfigError("variables belong to a prompt, and none is given.")
    if instructions:
        raise ConfigError("An agent has instructions or a prompt, not both.")
    _expect("prompt", prompt, str | Prompt, "a Prompt or its name")
    if isinstance(prompt, str):
        prompts = PromptStore(store)
        try:
            prompt = prompts.get(prompt)
        finally:
            if not isinstance(store, Store):  # otherwise it is the caller's own
                prompts.close()
    return prompt.render(variables), prompt.ref


def _banks(given: Sequence[MemoryBank | str]) -> list[MemoryBank]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigError(f"memory is a list of memory banks or their ids, not {given!r:.80}.")
    banks = [plugins.load("memory", bank)(bank) if isinstance(bank, str) else bank for bank in given]
    for bank in banks:
        _expect("Each of memory", bank, MemoryBank, "a memory bank or its id")
    return banks


def _expect(setting: str, given: object, kind: Any, what: str) -> None:
    if not isinstance(given, kind):
        raise ConfigError(f"{setting} is {what}, not {given!r:.80}.")
