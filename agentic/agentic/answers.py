"""What a caller hands to a session: the messages that open a turn, and the answers to calls that wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from .execution import answer, response_of
from .protocols import ToolOutput
from .types.content import ContentLike, FileLike, Image, content_of, storable, text_of
from .types.errors import InvalidInput, ToolError, TurnPending, describe
from .types.messages import AssistantMessage, Message, SystemMessage, UserMessage
from .types.records import Decision
from .types.tools import ToolResponse, ToolStatus
from .types.turns import PendingCall, Turn

Input: TypeAlias = ContentLike | UserMessage | Mapping[str, Any] | Sequence[Message | Mapping[str, Any]]
ImageLike: TypeAlias = Image | bytes | str | Path
Scope: TypeAlias = Literal["once", "session", "always"]


@dataclass(frozen=True, slots=True)
class Approve:
    """An answer to a call that waits for approval: it may run. `True` is short for `Approve()`.

    Attributes:
        scope: `once` allows this call; `session` also every later call of this tool in this session; `always` every
            later call of it by agents of this name, on this machine.
        arguments: What to run it with instead of the model's arguments; the model is told.
    """

    scope: Scope = "once"
    arguments: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """An answer to a call that waits for approval: it must not run.

    Attributes:
        reason: Why, for the model.
    """

    reason: str = ""


def messages_of(message: Input, images: Sequence[ImageLike], files: Sequence[FileLike] = ()) -> tuple[Message, ...]:
    """The messages that open a turn.

    Raises:
        InvalidInput: They are empty, cannot be stored, or hold calls without results.
    """
    kinds = (SystemMessage, UserMessage, AssistantMessage, ToolResponse)
    if isinstance(message, UserMessage | Mapping):
        message = [message]
    if isinstance(message, Sequence) and not isinstance(message, str):
        read = [_read(item) if isinstance(item, Mapping) else item for item in message]
        given = tuple(item for item in read if isinstance(item, kinds))
        if given and len(given) == len(read):
            if images or files:
                raise InvalidInput("Put images and files into the messages when messages are given.")
            _check_results(given)
            return tuple(map(_usable, given))
    content = content_of(message, images, files)  # type: ignore[arg-type] # it checks each part
    if not content or (isinstance(content, str) and not content.strip()):
        raise InvalidInput("The message is empty.")
    if storable(text_of(content)) != text_of(content):
        raise InvalidInput("The message holds half a surrogate pair: decode its bytes as UTF-8.")
    return (UserMessage(content),)


def _read(message: Mapping[str, Any]) -> Message:
    """A message given as a dict, `{"role": "user", "content": "Hello"}`."""
    from .llama.intake import message_of

    return message_of(message)


def _usable(message: Message) -> Message:
    """The message with content that the log takes: a caller may have put a list there."""
    if isinstance(message.content, str):
        return message
    if isinstance(message, AssistantMessage):
        raise InvalidInput(f"An assistant's message is text, not {type(message.content).__name__}.")
    return replace(message, content=content_of(message.content))


def _check_results(messages: Sequence[Message]) -> None:
    """Every call in messages that a caller hands over has its result right behind it (promise 1)."""
    waiting: list[str] = []
    for message in messages:
        if isinstance(message, ToolResponse):
            if message.call_id not in waiting[:1]:
                raise InvalidInput(f"The result {message.call_id!r} does not follow its call, in the calls' order.")
            del waiting[0]
        elif waiting:
            break
        elif isinstance(message, AssistantMessage):
            waiting = [call.call_id for call in message.tool_calls]
            if len(set(waiting)) != len(waiting):
                raise InvalidInput("Two calls of one message share an id.")
    if waiting:
        raise InvalidInput(f"The call {waiting[0]!r} in the messages has no result.")


def waits_for(turn: Turn) -> TurnPending:
    """The error that says what a paused turn waits for."""
    calls = ", ".join(f"{item.call.name} ({item.call.call_id}, {item.why})" for item in turn.pending)
    return TurnPending(f"The last turn waits for: {calls}.", hint="Answer with session.resume({call_id: …}).")


def decisions_of(turn: Turn, answers: Mapping[str, Any]) -> list[Decision]:
    """A caller's answers to the calls that wait, as the log takes them.

    Raises:
        TurnPending: Calls wait, and there is no answer.
        InvalidInput: An answer names no waiting call, or does not fit it.
    """
    if not isinstance(answers, Mapping):
        raise InvalidInput(f"Answers are a dict, by call id, not {type(answers).__name__}.")
    waiting = {item.call.call_id: item for item in turn.pending}
    if unknown := answers.keys() - waiting.keys():
        raise InvalidInput(f"No call waits under {', '.join(sorted(map(repr, unknown)))}.")
    if waiting and not answers:
        raise waits_for(turn)
    return [_decision(waiting[call_id], given) for call_id, given in answers.items()]


def _decision(pending: PendingCall, given: Any) -> Decision:
    call = pending.call
    if isinstance(given, bool) and pending.why == "approval":
        given = Approve() if given else Deny()
    match given:
        case Deny(reason=reason):
            return Decision(call.call_id, approved=False, reason=storable(str(reason)), digest=pending.digest)
        case Approve(scope=scope, arguments=arguments) if pending.why == "approval":
            if scope not in get_args(Scope) or not isinstance(arguments, Mapping | None):
                raise InvalidInput(f"{given!r}: scope is one of {', '.join(get_args(Scope))}, arguments are a dict.")
            return Decision(call.call_id, scope=scope, arguments=arguments, digest=pending.digest)
        case _ if pending.why == "approval":
            raise InvalidInput(f"{call.name} waits for approval: answer True, Approve(…) or Deny('why').")
        case Approve():
            raise InvalidInput(f"{call.name} is yours to run: answer with its result, or with Deny('why').")
        case Exception():
            return Decision(call.call_id, response=answer(call, ToolStatus.ERROR, describe(given)))
    status = ToolStatus.OK
    if isinstance(given, ToolResponse):
        if given.call_id != call.call_id:
            raise InvalidInput(f"The result for {call.call_id!r} names another call, {given.call_id!r}.")
        status, given = given.status, ToolOutput(given.content, given.metadata)
    try:
        response = response_of(call, given)
    except ToolError as error:
        raise InvalidInput(f"The answer for {call.name} cannot be used: {error}") from None
    return Decision(call.call_id, response=replace(response, status=status))
