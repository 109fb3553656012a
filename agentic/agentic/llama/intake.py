"""Reads messages and tools that callers pass as plain dicts, in Llama Stack's or OpenAI's shape."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

from ..types.content import Content, File, Image, Part, Text, images_of, text_of
from ..types.errors import ConfigError, InvalidInput, ToolDefinitionError
from ..types.messages import AssistantMessage, Message, StopReason, SystemMessage, UserMessage
from ..types.tools import BUILTIN_TOOLS, ToolCall, ToolDef, ToolResponse
from .coerce import ALIASES


class HasDefinition(Protocol):
    """Anything that says how it is described to a model: an `agentic.Tool`, the code interpreter."""

    @property
    def definition(self) -> ToolDef:
        """How it is described to a model."""


ToolLike: TypeAlias = ToolDef | HasDefinition | Mapping[str, Any] | str
"""A definition, what has one, a dict (OpenAI's wrapped form too), or a name."""

WRAP = "Wrap a function first: agentic.Tool(function)."
_JSON_TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
_NAME = re.compile(r"[A-Za-z_][\w.-]{0,127}", re.ASCII)


def message_of(value: object) -> Message:
    """A message from a message or a dict with the role system, user, assistant, ipython or tool.

    Raises:
        InvalidInput: It is neither, or a field has a wrong type.
    """
    if isinstance(value, AssistantMessage):
        return replace(value, content=_reply(_content(value.content)))
    if isinstance(value, SystemMessage | UserMessage | ToolResponse):
        return replace(value, content=_content(value.content))
    if not isinstance(value, Mapping):
        raise InvalidInput(f"A message is one of agentic.types' messages or a dict, not {type(value).__name__}.")
    content = _content(value.get("content"))
    match value.get("role"):
        case "system":
            return SystemMessage(content)
        case "user":
            return UserMessage(content, context=_optional_text(value, "context"))
        case "assistant":
            return _assistant(content, value)
        case "ipython" | "tool":
            call_id = _optional_text(value, "call_id") or _optional_text(value, "tool_call_id") or ""
            name = _optional_text(value, "tool_name") or _optional_text(value, "name") or ""
            return ToolResponse(call_id, name, content)
    raise InvalidInput(f"A message's role is system, user, assistant, ipython or tool, not {value.get('role')!r:.40}.")


def tool_of(value: object) -> ToolDef:
    """A tool's definition from one, from what has one, from a dict, or from a built-in's name.

    Raises:
        ConfigError: A name alone that is no built-in's.
        ToolDefinitionError: Its name or a field cannot be used.
    """
    value = defined(value)
    match value:
        case ToolDef():
            tool = value
        case str() if value in BUILTIN_TOOLS:
            tool = ToolDef(value)
        case str():
            raise ConfigError(
                f"{value!r} is no built-in tool.", hint=f"Built in are {', '.join(BUILTIN_TOOLS)}; define others."
            )
        case Mapping():
            tool = _tool_from_dict(value)
        case _:
            raise ToolDefinitionError(
                f"A tool is a ToolDef, a dict or a built-in's name, not {type(value).__name__}.",
                hint=WRAP,
            )
    name: object = tool.name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ToolDefinitionError(
            f"{name!r:.60} is no tool name.",
            hint="Use letters, digits, '_', '-' and '.', beginning with a letter or '_', 128 characters at most.",
        )
    return tool


def defined(value: object) -> object:
    """The definition of what has one; anything else as it is."""
    definition = getattr(value, "definition", None)
    return definition if isinstance(definition, ToolDef) else value


def _tool_from_dict(value: Mapping[str, Any]) -> ToolDef:
    inner = value.get("function", value)
    if not isinstance(inner, Mapping):
        raise ToolDefinitionError("A tool's 'function' must be a dict.")
    parameters = schema_of(inner.get("parameters"))
    description = inner.get("description") or ""
    if not isinstance(parameters, Mapping) or not isinstance(description, str):
        raise ToolDefinitionError("A tool's parameters must be a JSON schema in a dict, its description a text.")
    return ToolDef(inner.get("name", inner.get("tool_name", "")), description, parameters)


def schema_of(parameters: object) -> object:
    """A tool's parameters as a JSON schema; Llama Stack gives them as a list, or by name with a `param_type`."""
    if parameters is None:
        return {"type": "object", "properties": {}}
    if isinstance(parameters, list) and all(
        isinstance(each, Mapping) and isinstance(each.get("name"), str) for each in parameters
    ):
        named = {each["name"]: each for each in parameters}
    elif (
        isinstance(parameters, Mapping)
        and parameters
        and all(isinstance(each, Mapping) and "param_type" in each for each in parameters.values())
    ):
        named = dict(parameters)
    else:
        return parameters
    return {
        "type": "object",
        "properties": {name: _property(each) for name, each in named.items()},
        "required": [name for name, each in named.items() if each.get("required", True)],
    }


def _property(parameter: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's schema. Clients name types as Python does; servers refuse a schema with such a name."""
    kept = {key: parameter[key] for key in ("description", "default") if parameter.get(key) is not None}
    named = str(parameter.get("param_type", parameter.get("parameter_type", "string"))).partition("[")[0]
    kind = ALIASES.get(named, named)
    return {"type": kind, **kept} if kind in _JSON_TYPES else kept


def _reply(content: Content) -> str:
    if images_of(content):
        raise InvalidInput("An assistant's message holds text only, no images.")
    return text_of(content)


def _assistant(content: Content, value: Mapping[str, Any]) -> AssistantMessage:
    calls = value.get("tool_calls") or ()
    if isinstance(calls, str) or not isinstance(calls, Sequence):
        raise InvalidInput("A message's tool_calls must be a list.")
    reason = value.get("stop_reason") or StopReason.END_OF_TURN
    if reason not in tuple(StopReason):
        raise InvalidInput(f"A stop_reason is one of {', '.join(StopReason)}, not {reason!r:.40}.")
    return AssistantMessage(_reply(content), tuple(_call(call) for call in calls), StopReason(reason))


def _call(value: object) -> ToolCall:
    if isinstance(value, ToolCall):
        return value
    if not isinstance(value, Mapping):
        raise InvalidInput(f"A tool call is a ToolCall or a dict, not {type(value).__name__}.")
    inner = value.get("function", value)
    if not isinstance(inner, Mapping):
        raise InvalidInput("A tool call's 'function' must be a dict.")
    name = inner.get("name", inner.get("tool_name"))
    call_id = value.get("call_id", value.get("id")) or ""
    if not isinstance(name, str) or not isinstance(call_id, str):
        raise InvalidInput("A tool call needs a name; its name and its id are texts.")
    arguments = inner.get("arguments")
    if isinstance(arguments, str):
        return _call_from_json(name, arguments, call_id)
    if not isinstance(arguments, Mapping | None):
        raise InvalidInput("A tool call's arguments are a dict, or JSON text of an object.")
    return ToolCall(name, arguments or {}, call_id)


def _call_from_json(name: str, arguments: str, call_id: str) -> ToolCall:
    """Broken arguments are history as well: the model wrote them, so they are kept as they are."""
    try:
        read = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        read = None
    if isinstance(read, dict):
        return ToolCall(name, read, call_id)
    return ToolCall(name, call_id=call_id, raw=f"{name}({arguments})", error="The arguments are no JSON object.")


def _content(value: object) -> Content:
    match value:
        case None:
            return ""
        case str():
            return value
        case Mapping() | Text() | Image() | File():
            return (_part(value),)
        case Sequence():
            return tuple(_part(part) for part in value)
    raise InvalidInput(f"A message's content is text or a list of parts, not {type(value).__name__}.")


def _part(value: object) -> Part:
    match value:
        case Text() | Image() | File():
            return value
        case str():
            return Text(value)
        case {"type": "text", "text": str(text)}:
            return Text(text)
        case {"type": "image_url", "image_url": {"url": str(url)}} | {"type": "image_url", "image_url": str(url)}:
            return _image_at(url)
        case {"type": "image", "image": {"url": {"uri": str(url)}}} | {"type": "image", "url": str(url)}:
            return _image_at(url)
        case {"type": "image", "image": {"data": data}} | {"type": "image", "data": data}:
            return _image_in(data)
    raise InvalidInput("A content part is a text, or a dict of the type text, image or image_url.")


def _image_at(url: str) -> Image:
    """Only URLs: a path from outside must not name a file of this machine."""
    return Image.of(url) if url.lower().startswith("data:") else Image(url=url)


def _image_in(data: object) -> Image:
    if isinstance(data, str):
        try:
            data = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput(f"An image's data is not valid base64: {error}.") from None
    if not isinstance(data, bytes):
        raise InvalidInput("An image's data is bytes or base64 text.")
    return Image(data=data)


def _optional_text(value: Mapping[str, Any], key: str) -> str | None:
    text = value.get(key)
    if text is None or isinstance(text, str):
        return text
    raise InvalidInput(f"A message's {key} must be a text, not {type(text).__name__}.")
