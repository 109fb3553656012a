"""The engine's values as Llama Stack 0.2.12 writes them, and its values as the engine takes them. No I/O."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ...llama.intake import message_of
from ...types.content import Content, Image, Part, Text, storable, text_of
from ...types.messages import AssistantMessage, Message, StopReason, UserMessage
from ...types.steps import (
    InferenceStep,
    MemoryRetrievalStep,
    SafetyViolation,
    ShieldCallStep,
    Step,
    ToolExecutionStep,
)
from ...types.tools import ToolCall, ToolResponse, ToolStatus
from ...types.turns import EndReason, Turn, TurnStatus

JSON = dict[str, Any]


# -- out --------------------------------------------------------------------------------------------------------------


def time_of(moment: datetime | None) -> str | None:
    """A time in UTC, with microseconds, as pydantic writes it."""
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def content_out(content: Content) -> Any:
    """Text alone, or a list of items."""
    if isinstance(content, str):
        return content
    return [_item(part) for part in content]


def call_out(call: ToolCall) -> JSON:
    """A call, with its arguments twice: clients read the one or the other."""
    arguments = storable(dict(call.arguments))
    return {
        "call_id": call.call_id,
        "tool_name": call.name,
        "arguments": arguments,
        "arguments_json": json.dumps(arguments),
    }


def response_out(response: ToolResponse) -> JSON:
    """A call's result."""
    return {
        "call_id": response.call_id,
        "tool_name": response.tool_name,
        "content": content_out(response.content),
        "metadata": dict(response.metadata),
    }


def completion_out(message: AssistantMessage, stop: StopReason | None = None) -> JSON:
    """What the model said."""
    return {
        "role": "assistant",
        "content": message.content,
        "stop_reason": str(stop or message.stop_reason),
        "tool_calls": [call_out(call) for call in message.tool_calls],
    }


def message_out(message: Message) -> JSON:
    """Any message."""
    match message:
        case UserMessage():
            return {"role": "user", "content": content_out(message.content), "context": message.context}
        case AssistantMessage():
            return completion_out(message)
        case ToolResponse():
            return {"role": "tool", "call_id": message.call_id, "content": content_out(message.content)}
        case _:
            return {"role": "system", "content": content_out(message.content)}


def violation_out(violation: SafetyViolation | None) -> JSON | None:
    """A shield's objection."""
    if violation is None:
        return None
    return {
        "violation_level": violation.violation_level,
        "user_message": violation.user_message,
        "metadata": storable(dict(violation.metadata)),
    }


def step_out(step: Step, turn_id: str) -> JSON:
    """A step that has ended, as part of the turn that clients know."""
    common = {
        "turn_id": turn_id,
        "step_id": step.step_id,
        "started_at": time_of(step.started_at),
        "completed_at": time_of(step.completed_at),
        "step_type": step.step_type,
    }
    match step:
        case InferenceStep():
            return {**common, "model_response": _in_turn(step.message or AssistantMessage())}
        case ToolExecutionStep():
            return {
                **common,
                "tool_calls": [call_out(call) for call in step.tool_calls],
                "tool_responses": [response_out(response) for response in step.tool_responses],
            }
        case ShieldCallStep():
            return {**common, "violation": violation_out(step.violation)}
        case MemoryRetrievalStep():
            inserted = step.retrieval.inserted if step.retrieval else ""
            return {**common, "vector_db_ids": ",".join(step.banks), "inserted_context": inserted}


def is_shown(step: Step) -> bool:
    """Whether a step is part of what clients see: not one that failed, nor one in which no call ran."""
    match step:
        case ToolExecutionStep():
            return any(response.status is not ToolStatus.NOT_RUN for response in step.tool_responses)
        case _:
            return step.failure is None


def continues(turn: Turn) -> bool:
    """Whether a turn of the engine goes on with the one before it, see `continuation`."""
    return bool(turn.input_messages) and isinstance(turn.input_messages[0], AssistantMessage)


def continuation(responses: Sequence[ToolResponse]) -> list[Message]:
    """The messages that take a turn up that has ended: results of calls which only the client knows of.

    A ReAct client finds calls in the answer's text. The engine's log needs a call for each result, and no turn in it
    changes after its end; so these open another turn, which clients see as part of the first.
    """
    calls = tuple(ToolCall(response.tool_name, {}, response.call_id) for response in responses)
    return [AssistantMessage("", calls, StopReason.END_OF_MESSAGE), *responses]


def turn_out(turns: Sequence[Turn]) -> JSON:
    """A turn as clients know it: one of the engine's, with those that continue it."""
    first, last = turns[0], turns[-1]
    shown: JSON = {
        "turn_id": first.turn_id,
        "session_id": first.session_id,
        "input_messages": [message_out(message) for message in first.input_messages],
        "steps": [step for turn in turns for step in _steps(turn, first.turn_id)],
        "output_message": _output(last),
        "output_attachments": [],
        "started_at": time_of(first.started_at),
        "completed_at": time_of(_ended(last)),
    }
    if last.failure is not None and last.reason is EndReason.ERROR:
        shown["error"] = {"type": last.failure.error, "message": last.failure.message}
    return shown


def turns_out(turns: Iterable[Turn]) -> list[JSON]:
    """A session's turns, in order."""
    return [turn_out(group) for group in grouped(turns)]


def grouped(turns: Iterable[Turn]) -> list[list[Turn]]:
    """The engine's turns, each with those that continue it."""
    groups: list[list[Turn]] = []
    for turn in turns:
        if groups and continues(turn):
            groups[-1].append(turn)
        else:
            groups.append([turn])
    return groups


def given_step(own_id: str, at: datetime, results: Sequence[ToolResponse], turn_id: str) -> JSON:
    """The step in which a client's own results came in.

    Args:
        own_id: The engine's turn that they opened.
        at: When.
        results: The results.
        turn_id: The turn as the client knows it.
    """
    return {
        "turn_id": turn_id,
        "step_id": own_id,
        "started_at": time_of(at),
        "completed_at": time_of(at),
        "step_type": "tool_execution",
        "tool_calls": [],
        "tool_responses": [response_out(result) for result in results],
    }


def _steps(turn: Turn, turn_id: str) -> list[JSON]:
    steps = [step_out(step, turn_id) for step in turn.steps if is_shown(step)]
    if not continues(turn):
        return steps
    results = [message for message in turn.input_messages if isinstance(message, ToolResponse)]
    return [given_step(turn.turn_id, turn.started_at, results, turn_id), *steps]


def _output(turn: Turn) -> JSON:
    """The last message. A client goes on after `end_of_message` only, and stops at `out_of_tokens` in any case."""
    if turn.status is TurnStatus.RUNNING:
        return completion_out(AssistantMessage("", (), StopReason.END_OF_MESSAGE))  # there is more to come
    if turn.status is TurnStatus.AWAITING_INPUT:
        last = next((step.message for step in reversed(turn.steps) if isinstance(step, InferenceStep)), None)
        calls = tuple(item.call for item in turn.pending)
        return completion_out(AssistantMessage(last.content if last else "", calls, StopReason.END_OF_MESSAGE))
    if turn.output is None:
        return completion_out(AssistantMessage("", (), StopReason.OUT_OF_TOKENS))
    return _in_turn(turn.output)


def _in_turn(message: AssistantMessage) -> JSON:
    """A message of a turn: one that calls tools has the stop reason `end_of_turn` there, too."""
    cut_off = message.stop_reason is StopReason.OUT_OF_TOKENS
    return completion_out(message, StopReason.OUT_OF_TOKENS if cut_off else StopReason.END_OF_TURN)


def _ended(turn: Turn) -> datetime | None:
    """When it ended or paused."""
    if turn.completed_at is None and turn.status is TurnStatus.AWAITING_INPUT and turn.steps:
        return turn.steps[-1].completed_at
    return turn.completed_at


def _item(part: Part) -> JSON:
    if not isinstance(part, Image):
        return {"type": "text", "text": part.text}
    if part.data is None:
        return {"type": "image", "image": {"url": {"uri": part.url}, "data": None}}
    return {"type": "image", "image": {"url": None, "data": base64.b64encode(part.data).decode("ascii")}}


# -- in ---------------------------------------------------------------------------------------------------------------


def content_in(value: Any) -> Content:
    """Content as clients write it: text, an item, or a list of items.

    Raises:
        InvalidInput: It is none of these.
    """
    return message_in({"role": "system", "content": value}).content


def message_in(value: Mapping[str, Any]) -> Message:
    """A message as clients write it; the role `ipython` is as good as `tool`.

    Raises:
        InvalidInput: Its role is unknown, or its content cannot be read.
    """
    if value.get("role") == "user" and not isinstance(value.get("context"), str | None):
        value = {**value, "context": text_of(content_in(value["context"]))}
    if isinstance(value.get("content"), Mapping):
        value = {**value, "content": [value["content"]]}
    return message_of(value)


def response_in(value: Mapping[str, Any]) -> ToolResponse:
    """A client's result of a call.

    Raises:
        InvalidInput: Its content cannot be read.
    """
    metadata = value.get("metadata")
    return ToolResponse(
        call_id=str(value.get("call_id") or ""),
        tool_name=str(value.get("tool_name") or ""),
        content=content_in(value.get("content")),
        metadata=storable(metadata) if isinstance(metadata, Mapping) else {},
    )


def with_text(content: Content, more: str) -> Content:
    """Content with text behind it."""
    if isinstance(content, str):
        return content + more
    return (*content, Text(more))
