"""What a response is asked with: input items as messages, and as answers to calls that wait."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...answers import Approve, Deny
from ...types.content import storable, text_of
from ...types.errors import InvalidInput
from ...types.messages import AssistantMessage, Message, SystemMessage, UserMessage
from ...types.tools import ToolCall, ToolResponse
from . import new_id
from .chat_input import GetFile, read_call, read_content, text_at

PASSED_OVER = {"reasoning", "mcp_list_tools", "mcp_approval_request", "web_search_call", "file_search_call"}
"""Items of earlier responses that hold nothing which a model could read again."""


@dataclass(slots=True)
class Asked:
    """Input items, read.

    Attributes:
        items: As the API shows them, each with an id.
        messages: All of them as messages.
        answers: The results of function calls and the decisions on approvals, by call id.
        only_answers: Whether there is nothing else.
    """

    items: list[dict[str, Any]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    only_answers: bool = True


async def read_input(given: Any, get_file: GetFile) -> Asked:
    """Reads `input`: text, or a list of items.

    Raises:
        InvalidInput: An item cannot be read.
    """
    asked = Asked()
    if given is None:
        return asked
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, Sequence):
        raise InvalidInput("input must be text or a list of items.")
    for number, item in enumerate(given):
        where = f"input[{number}]"
        if not isinstance(item, Mapping):
            raise InvalidInput(f"{where} must be an object.")
        await _read(item, where, asked, get_file)
    return asked


async def _read(item: Mapping[str, Any], where: str, asked: Asked, get_file: GetFile) -> None:
    kind = item.get("type") or "message"
    answer = kind in ("function_call_output", "mcp_approval_response")
    asked.only_answers = asked.only_answers and answer
    match kind:
        case "message":
            asked.messages.append(await _message(item, where, get_file))
            asked.items.append(_shown_message(item))
            return
        case "function_call":
            call = read_call(item, item, text_at(item, "call_id", where), where)
            _add_call(asked.messages, call)
        case "function_call_output":
            call_id = text_at(item, "call_id", where)
            output = await read_content(item.get("output"), f"{where}.output", get_file)
            response = ToolResponse(call_id, _name_of(asked.messages, call_id), output)
            asked.messages.append(response)
            asked.answers[call_id] = response
        case "mcp_approval_response":
            call_id = text_at(item, "approval_request_id", where).removeprefix("mcpr_")
            asked.answers[call_id] = Approve() if item.get("approve") is True else Deny(str(item.get("reason") or ""))
        case "mcp_call" | "code_interpreter_call":
            _add_past(asked.messages, item, kind)
        case _ if kind not in PASSED_OVER:
            raise InvalidInput(f"{where}: items of type {kind!r} are not supported.")
    asked.items.append({**_plain(item), "id": item.get("id") or new_id("item_")})


async def _message(item: Mapping[str, Any], where: str, get_file: GetFile) -> Message:
    content = await read_content(item.get("content"), where, get_file)
    match item.get("role"):
        case "user":
            return UserMessage(content)
        case "assistant":
            return AssistantMessage(text_of(content))
        case "system" | "developer":
            return SystemMessage(text_of(content))
        case role:
            raise InvalidInput(f"{where}.role must be user, assistant, system or developer, not {role!r}.")


def _shown_message(item: Mapping[str, Any]) -> dict[str, Any]:
    content = item.get("content")
    if isinstance(content, str):
        kind = "output_text" if item.get("role") == "assistant" else "input_text"
        part = {"type": kind, "text": content, **({"annotations": []} if kind == "output_text" else {})}
        content = [part]
    shown = {"id": item.get("id") or new_id("msg_"), "type": "message", "role": item.get("role")}
    return {**shown, "status": "completed", "content": storable(content)}


def _add_call(messages: list[Message], call: ToolCall) -> None:
    """Calls that follow each other, or an assistant's text, were written in one message."""
    last = messages[-1] if messages else None
    if isinstance(last, AssistantMessage):
        messages[-1] = AssistantMessage(last.content, (*last.tool_calls, call))
    else:
        messages.append(AssistantMessage("", (call,)))


def _add_past(messages: list[Message], item: Mapping[str, Any], kind: str) -> None:
    """A call that an earlier response carried out, and its result."""
    call_id = str(item.get("id") or new_id("call_"))
    if kind == "mcp_call":
        arguments = item.get("arguments")
        name, text = str(item.get("name")), str(item.get("output") or item.get("error") or "")
        call = read_call(
            item, {"name": name, "arguments": arguments if isinstance(arguments, str) else ""}, call_id, ""
        )
    else:
        name, listed = "code_interpreter", item.get("outputs")
        outputs = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, Sequence) else []
        text = "".join(str(one.get("logs") or "") for one in outputs)
        call = ToolCall(name, {"code": str(item.get("code") or "")}, call_id)
    _add_call(messages, call)
    messages.append(ToolResponse(call_id, name, storable(text)))


def _name_of(messages: Sequence[Message], call_id: str) -> str:
    for message in reversed(messages):
        if isinstance(message, AssistantMessage):
            for call in message.tool_calls:
                if call.call_id == call_id:
                    return call.name
    return ""


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(storable(dict(item))))  # type: ignore[no-any-return]
