"""What the orchestrator needs from the world, as small protocols.

Anything that has these methods will do; there is no base class to inherit from.
"""

from __future__ import annotations

import copy
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from .keys import Secrets
from .types.content import Content, File, text_of
from .types.errors import ToolDefinitionError
from .types.messages import Message
from .types.sampling import Completion, InferenceRequest, ToolCallDelta, positive
from .types.steps import Hit, Verdict
from .types.tools import ToolCall, ToolDef
from .types.turns import Turn

Delta: TypeAlias = str | ToolCallDelta | Completion
"""What a provider yields: text, pieces of calls, and last the whole message. A provider that yields only text may
leave the `Completion` out."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is ready to be sent.

    Attributes:
        prompt: The exact text that the model will see: the rendered prompt, or the request's JSON body.
        request: What was asked for.
        payload: Whatever the provider needs to send it.
        context: How many tokens the model's context holds, prompt and answer together; None where that is not known.
        count: Counts the prompt's tokens with the model's own tokenizer; None where there is none.
    """

    prompt: str
    request: InferenceRequest
    payload: Any = None
    context: int | None = None
    count: Callable[[], int] | None = None


@runtime_checkable
class Inference(Protocol):
    """A model behind some server or library."""

    @property
    def model(self) -> str:
        """The model string, `provider/model`."""
        ...

    async def prepare(self, request: InferenceRequest) -> Prepared:
        """Builds the exact prompt. No text is generated yet; the orchestrator logs the prompt first."""
        ...

    def generate(self, prepared: Prepared) -> AsyncIterator[Delta]:
        """Generates the answer. Closing the iterator ends the generation and its connection.

        Raises:
            InferenceError: In any of its kinds.
        """
        ...

    async def aclose(self) -> None:
        """Frees connections and threads."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """A model that turns texts into vectors."""

    @property
    def model(self) -> str:
        """The model string."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text, in order, all of one length.

        Raises:
            InferenceError: In any of its kinds.
        """
        ...


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a running tool may know of its surroundings.

    Attributes:
        session_id: The session.
        turn_id: The turn.
        call_id: The call that it answers.
        deadline: When the turn's time ends, on `time.monotonic`'s clock; None is no limit.
        report: Sends progress, which is anything that a tool may return, to whoever reads the stream.
        secrets: Keys by name: `secrets["SHOP_API_KEY"]`, from where `agentic.keys` looks.
        attachments: The files that the user attached in this session, in order.
        sources: How many numbered sources this turn has shown to the model; a tool that numbers its own goes on from
            there. Calls that run beside each other get the same number.
    """

    session_id: str = ""
    turn_id: str = ""
    call_id: str = ""
    deadline: float | None = None
    report: Callable[[Any], None] = lambda _progress: None
    secrets: Secrets = field(default_factory=Secrets)
    attachments: tuple[File, ...] = ()
    sources: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPolicy:
    """How the orchestrator may run a tool.

    Attributes:
        timeout: Seconds for one call; None is no limit.
        idempotent: A second run does no harm, so a call that was cut off may run again.
        parallel: May run beside its neighbours; otherwise it is a barrier.
        approve: Ask the caller first: always, never, or as a function of the arguments says.
        client: The tool runs on the caller's side: the turn pauses until `resume` brings the result.
    """

    timeout: float | None = 60.0
    idempotent: bool = False
    parallel: bool = True
    approve: bool | Callable[[Mapping[str, Any]], bool] = False
    client: bool = False

    def __post_init__(self) -> None:
        if self.timeout is not None and not positive(self.timeout, math.inf):
            raise ToolDefinitionError(f"timeout is a number of seconds above 0, or None, not {self.timeout!r}.")
        if not isinstance(self.approve, bool) and not callable(self.approve):
            raise ToolDefinitionError(
                f"approve is True, False or a function of the arguments, not {self.approve!r:.80}."
            )

    def asks(self, arguments: Mapping[str, Any]) -> bool:
        """Whether a call with these arguments wants an approval."""
        if not callable(self.approve):
            return bool(self.approve)
        try:
            return bool(self.approve(copy.deepcopy(dict(arguments))))  # it judges the call, and must not change it
        except Exception:  # it was written for arguments that this call does not have: let a person look
            return True


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """A tool's result: what the model reads, and structured extras for the caller."""

    content: Content
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The content's text, images and files left out."""
        return text_of(self.content)


@runtime_checkable
class Tool(Protocol):
    """Something a model can call."""

    @property
    def definition(self) -> ToolDef:
        """As the model sees it."""
        ...

    @property
    def policy(self) -> ToolPolicy:
        """How it may be run."""
        ...

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Checks the arguments against the schema and runs the tool.

        Raises:
            ToolError: Its text is what the model reads.
        """
        ...


@runtime_checkable
class Toolgroup(Protocol):
    """Tools that belong together, such as those of one server; iterating over it gives them."""

    @property
    def name(self) -> str:
        """What its tools' names are prefixed with when others have the same."""
        ...

    def __iter__(self) -> Iterator[Tool]:
        """Its tools. Whatever must be connected for that is connected now."""
        ...

    async def aclose(self) -> None:
        """Frees connections and processes; the next call of a tool may open them again."""
        ...


@runtime_checkable
class MemoryBank(Protocol):
    """Something that can be searched for text."""

    @property
    def name(self) -> str:
        """The bank's name."""
        ...

    async def aquery(self, query: str, *, k: int = 5) -> Sequence[Hit]:
        """The best `k` chunks, best first."""
        ...


@runtime_checkable
class Learner(Protocol):
    """A memory bank that takes in what turns teach."""

    async def learn(self, turn: Turn, model: Inference) -> None:
        """Takes in a turn that has ended. It may be called again for the same turn, which then changes nothing.

        It may be cancelled when it takes long.

        Args:
            turn: The turn, with its input as shields left it.
            model: The agent's model.
        """
        ...


@runtime_checkable
class Shield(Protocol):
    """Something that judges content before it takes effect.

    It may have two more attributes: `touchpoints`, a frozenset of the `Touchpoint`s at which it can look (default:
    where the agent puts it, which is input and output under `shields=`), and `on_error`, what becomes of content when
    `check` raises or takes too long: `"block"` (default) or `"allow"`.
    """

    @property
    def shield_id(self) -> str:
        """The shield's id."""
        ...

    async def check(self, messages: Sequence[Message]) -> Verdict:
        """Judges the last message, in the light of those before it."""
        ...


@runtime_checkable
class Revealing(Protocol):
    """A shield that masks values, and gives them back to the tools that may have them."""

    def reveal(self, call: ToolCall, masked: Mapping[str, str]) -> Mapping[str, Any]:
        """The arguments with which a call runs.

        Args:
            call: The call as the model wrote it.
            masked: What this shield has masked in the session: the real values by their placeholders.
        """
        ...
