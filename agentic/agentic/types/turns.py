"""Turns and sessions as results: frozen pictures of what the log says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from .citations import Citation, cited, numbered
from .content import File, Image
from .errors import InvalidInput
from .messages import AssistantMessage, Message
from .sampling import Usage, positive, whole
from .steps import Failure, SafetyViolation, Step, ToolExecutionStep
from .tools import ToolCall, ToolResponse


class TurnStatus(StrEnum):
    """Where a turn stands."""

    RUNNING = "running"
    """Open in the log: it runs somewhere, or the process that ran it died."""
    AWAITING_INPUT = "awaiting_input"
    """Paused: `turn.pending` says for what."""
    COMPLETED = "completed"


class EndReason(StrEnum):
    """Why a turn ended."""

    END_OF_TURN = "end_of_turn"
    OUT_OF_TOKENS = "out_of_tokens"
    """The model's last message was cut off."""
    MAX_INFER_ITERS = "max_infer_iters"
    TIME_LIMIT = "time_limit"
    TOKEN_LIMIT = "token_limit"  # noqa: S105
    VIOLATION = "violation"
    REPEATED_FAILURE = "repeated_failure"
    """The model made the identical failing call too often."""
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """The process died in the turn and the user went on with another one."""
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a turn may use at the most; reaching a limit ends it cleanly, with a typed reason.

    Attributes:
        max_infer_iters: Inferences in one turn.
        seconds: Wall time of one turn, pauses not counted; None is no limit.
        tokens: Input and output tokens of one turn together, as the provider counts them; None is no limit.
    """

    max_infer_iters: int = 10
    seconds: float | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        if not whole(self.max_infer_iters):
            raise InvalidInput(f"max_infer_iters must be a whole number, at least 1, not {self.max_infer_iters!r}.")
        if self.seconds is not None and not positive(self.seconds):
            raise InvalidInput(f"seconds must be a number, above 0 and finite, not {self.seconds!r}.")
        if self.tokens is not None and not whole(self.tokens):
            raise InvalidInput(f"tokens must be a whole number, at least 1, not {self.tokens!r}.")

    def within(self, outer: Limits | None) -> Limits:
        """These limits, none of them wider than the outer ones."""
        if outer is None:
            return self
        return Limits(
            max_infer_iters=min(self.max_infer_iters, outer.max_infer_iters),
            seconds=_least(self.seconds, outer.seconds),
            tokens=None if (least := _least(self.tokens, outer.tokens)) is None else int(least),
        )


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that a paused turn waits for.

    Attributes:
        call: The call.
        why: `approval` wants a decision; `client` wants the result of a tool that runs on the caller's side.
        digest: SHA-256 of name and arguments; an approval is bound to it.
    """

    call: ToolCall
    why: Literal["approval", "client"]
    digest: str = ""

    @property
    def call_id(self) -> str:
        """The call's id, under which `resume` takes the answer."""
        return self.call.call_id

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.call.name

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The call's arguments."""
        return self.call.arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of a session: the user's input, the steps it led to, and the answer.

    Attributes:
        turn_id: Unique.
        session_id: The session it belongs to.
        input_messages: What opened the turn.
        steps: In order.
        output: The last message for the caller, or None while there is none.
        status: Where it stands.
        reason: Why it ended; None while it has not.
        pending: The calls it waits for.
        usage: Tokens of all its inferences.
        violation: The shield's objection that ended it, or that withheld what no shield had seen at its end; or None.
        failure: The error that ended it, or None.
        started_at: UTC.
        completed_at: UTC, or None.
    """

    turn_id: str
    session_id: str
    input_messages: tuple[Message, ...]
    steps: tuple[Step, ...] = ()
    output: AssistantMessage | None = None
    status: TurnStatus = TurnStatus.RUNNING
    reason: EndReason | None = None
    pending: tuple[PendingCall, ...] = ()
    usage: Usage = Usage()
    violation: SafetyViolation | None = None
    failure: Failure | None = None
    started_at: datetime
    completed_at: datetime | None = None

    @property
    def text(self) -> str:
        """The answer's text; empty when there is none."""
        return self.output.content if self.output else ""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Every call that was carried out in this turn, in order."""
        return tuple(call for step in self.steps if isinstance(step, ToolExecutionStep) for call in step.tool_calls)

    @property
    def tool_responses(self) -> tuple[ToolResponse, ...]:
        """Every call's result, in the same order as `tool_calls`."""
        return tuple(
            response for step in self.steps if isinstance(step, ToolExecutionStep) for response in step.tool_responses
        )

    @property
    def files(self) -> tuple[File, ...]:
        """The files that tools wrote, in order: `for file in turn.files: file.save("folder")`."""
        return tuple(file for response in self.tool_responses for file in response.files)

    @property
    def images(self) -> tuple[Image, ...]:
        """The images that tools returned, such as figures, in order: `turn.images[0].save("plot.png")`."""
        return tuple(image for response in self.tool_responses for image in response.images)

    @property
    def sources(self) -> tuple[Mapping[str, Any], ...]:
        """What its tools' results rest on: the `metadata["sources"]` of each, in order, each URL once."""
        found: dict[str, Mapping[str, Any]] = {}
        for response in self.tool_responses:
            listed = response.metadata.get("sources")
            for source in listed if isinstance(listed, list | tuple) else ():
                if isinstance(source, Mapping) and isinstance(url := source.get("url"), str):
                    found.setdefault(url, source)
        return tuple(found.values())

    @property
    def citations(self) -> tuple[Citation, ...]:
        """The retrieved chunks that the answer cites as `[1]`, `[2]`, once each, in the answer's order."""
        return cited(self.text, numbered(self.steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A stored session, as a listing shows it. `agentic.Session` is the live one.

    Attributes:
        session_id: The name it was opened under.
        started_at: UTC.
        updated_at: When its log last grew; UTC.
        agent: The agent's name.
        model: The model string it was started with.
        parent: The session it was forked from, or None.
        records: Length of its log, the part shared with its parent left out.
    """

    session_id: str
    started_at: datetime
    updated_at: datetime
    agent: str = ""
    model: str = ""
    parent: str | None = None
    records: int = 0


def _least(one: float | None, other: float | None) -> float | None:
    given = [value for value in (one, other) if value is not None]
    return min(given) if given else None
