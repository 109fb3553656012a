"""JSON schemas of tools, made ready for a runtime that forces a model to follow them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...types.tools import ToolDef
from ..local_chat import plain
from .examples import properties_of
from .grounding import named

NO_TOOL = "none"

_REFERENCE = re.compile(r"#/(?:\$defs|definitions)/(.+)")


def call_schema(tools: Sequence[ToolDef], answer: Mapping[str, Any] | None, said: str) -> dict[str, Any]:
    """What a reply may be: a call of one of the tools, or an answer.

    Args:
        tools: The tools that may be called.
        answer: The answer's own schema; None leaves no choice but a call.
        said: The user's words. An optional enumeration is offered only when they name one of its values: a small
            model likes to choose one unasked.

    Returns:
        A schema for `{"tool": name, "arguments": {…}}` or `{"tool": "none", "answer": …}`. The tool is named first:
        a small model that may begin with an answer does so too often.
    """
    shared: dict[str, Any] = {}
    choices = [
        _object(tool={"const": tool.name}, arguments=_complete(arguments_schema(tool, shared), said)) for tool in tools
    ]
    if answer is not None:
        choices.append(_object(tool={"const": NO_TOOL}, answer=_hoisted(plain(answer), "answer", shared)))
    return {"anyOf": choices} | ({"$defs": shared} if shared else {})


def arguments_schema(tool: ToolDef, shared: dict[str, Any]) -> dict[str, Any]:
    """A tool's schema without definitions of its own; they go to `shared`, under the tool's name."""
    schema = _hoisted(plain(tool.parameters), tool.name, shared)
    properties = {
        name: inner if isinstance(inner, dict) else {} for name, inner in schema.get("properties", {}).items()
    }
    return {"type": "object", "additionalProperties": False} | schema | {"properties": properties}


def optional_arguments(tool: ToolDef) -> list[str]:
    """The arguments that may be left out."""
    required = tool.parameters.get("required", ())
    return [name for name in properties_of(tool) if name not in required]


def defaults(tool: ToolDef) -> dict[str, Any]:
    """The same with their defaults (None: there is none), without enumerations."""
    schemas = {name: properties_of(tool)[name] for name in optional_arguments(tool)}
    return {name: schema.get("default") for name, schema in schemas.items() if not enumerated(schema)}


def enumerated(schema: Mapping[str, Any]) -> list[Any]:
    """The values of an enumeration, or of one that may be null; empty for any other schema."""
    choices = [schema, *schema.get("anyOf", ())]
    return [value for choice in choices for value in choice.get("enum", ()) if value is not None]


def _complete(schema: dict[str, Any], said: str) -> dict[str, Any]:
    """The same with every argument asked for, null where there is no value: models leave out too little unasked."""
    required = schema.get("required", ())
    properties: dict[str, Any] = {}
    for name, inner in schema["properties"].items():
        if name in required:
            properties[name] = inner
        elif not (values := enumerated(inner)):
            properties[name] = {"anyOf": [{"type": "null"}, inner]}
        elif found := named(values, said):
            properties[name] = {"enum": found}
    return schema | {"properties": properties, "required": list(properties)}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _hoisted(schema: dict[str, Any], owner: str, shared: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = _renamed(schema, owner)
    for place in ("$defs", "definitions"):
        for name, definition in body.pop(place, {}).items():
            shared[f"{owner}.{name}"] = definition
    return body


def _renamed(value: Any, owner: str) -> Any:
    if isinstance(value, dict):
        found = value.get("$ref")
        match = _REFERENCE.fullmatch(found) if isinstance(found, str) else None
        renamed = {key: _renamed(item, owner) for key, item in value.items()}
        return renamed | ({"$ref": f"#/$defs/{owner}.{match[1]}"} if match else {})
    if isinstance(value, list):
        return [_renamed(item, owner) for item in value]
    return value
