"""Tool calls as chat APIs write them: arguments are JSON text that comes in pieces, or not quite as documented."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from ..types.messages import AssistantMessage, StopReason
from ..types.tools import ToolCall


def read_call(name: str, text: str, *, call_id: str, offered: Collection[str], cut_off: bool) -> ToolCall:
    """Makes a call from what the model wrote; never fails.

    Args:
        name: The tool's name.
        text: The arguments as JSON; empty is none.
        call_id: The server's id, or an empty string.
        offered: The names of the tools that the model was told of.
        cut_off: The message was cut off: then nothing in it may run, for who knows how it was meant to go on.

    Returns:
        The call. Where it cannot run, `error` says why; arguments that cannot be read are empty.
    """
    arguments, repaired, error = _read(text)
    if cut_off and (error or not text.strip()):
        error = "The call was truncated: the answer reached its token limit before the call was complete."
    elif cut_off:
        error = "The answer was cut off at its token limit after this call, so the call was not run."
    elif not error and not name:
        error = "The call names no tool."
    return ToolCall(name, arguments, call_id, name in offered, repaired, text, error)


def text_or_none(value: Any) -> str:
    """A name or an id as a server gave it; an empty string when it is no text."""
    return value if isinstance(value, str) else ""


def whole_message(text: str, calls: list[ToolCall], stop: StopReason, *notes: str) -> AssistantMessage:
    """The message; with calls, it waits for their results unless it was cut off."""
    if calls and stop is StopReason.END_OF_TURN:
        stop = StopReason.END_OF_MESSAGE
    return AssistantMessage(text, tuple(calls), stop, notes)


def _read(text: str) -> tuple[dict[str, Any], tuple[str, ...], str | None]:
    if not text.strip():
        return {}, (), None
    repaired: tuple[str, ...] = ()
    try:
        try:
            found = json.loads(text)
        except ValueError:
            found = json.loads(text, strict=False)
            repaired = ("raw control characters inside a string",)
        if isinstance(found, str):
            found = json.loads(found)
            repaired = (*repaired, "the arguments were a string that holds JSON")
    except (ValueError, RecursionError) as problem:
        return {}, (), f"The arguments are not valid JSON: {str(problem)[:200]}."
    if found is None:
        return {}, (), None
    if not isinstance(found, dict):
        return {}, (), f"The arguments must be a JSON object, not {type(found).__name__}."
    return found, repaired, None
