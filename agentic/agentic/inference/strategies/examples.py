"""Worked examples of a tool: its own, or some made from its schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...types.errors import ToolDefinitionError
from ...types.tools import ToolDef

EXAMPLES = 3
"""As many are shown for one tool."""


@dataclass(frozen=True, slots=True)
class Example:
    """A message and the arguments that it means."""

    user: str
    arguments: Mapping[str, Any]


def examples_of(tool: ToolDef) -> list[Example]:
    """A tool's own examples: `metadata["examples"]`, a list of `{"user": text, "arguments": {…}}`.

    Raises:
        ToolDefinitionError: It is something else.
    """
    try:
        return [Example(str(item["user"]), dict(item["arguments"])) for item in tool.metadata.get("examples", ())]
    except (TypeError, KeyError, ValueError) as error:
        raise ToolDefinitionError(
            f"The examples of {tool.name} cannot be read.", hint='Each is {"user": text, "arguments": {…}}.'
        ) from error


def properties_of(tool: ToolDef) -> dict[str, Mapping[str, Any]]:
    """The schemas of a tool's arguments; one that allows anything (`true`) is empty."""
    properties = tool.parameters.get("properties", {})
    return {name: schema if isinstance(schema, Mapping) else {} for name, schema in properties.items()}


_INVENTED: dict[str, tuple[Any, ...]] = {
    "string": ("green apples", "the old bridge", "Marta"),
    "number": (12.5, 3, 480),
    "integer": (4, 25, 7),
    "boolean": (True, False, True),
}


def invented(tool: ToolDef) -> list[Example]:
    """Worked examples made from a tool's schema, for a tool that brings none: all required values are named."""
    properties = properties_of(tool)
    required = list(tool.parameters.get("required", ())) or list(properties)[:1]
    name = tool.name.replace("_", " ").replace("-", " ")
    made: list[Example] = []
    for number in range(EXAMPLES):
        arguments = {key: _value(properties.get(key, {}), number) for key in required}
        said = ", ".join(f"{key.replace('_', ' ')} {_shown(value)}" for key, value in arguments.items())
        made.append(Example(f"Please {name} with {said}." if said else f"Please {name}.", arguments))
    return made


def _value(schema: Mapping[str, Any], number: int) -> Any:
    for key in ("enum", "examples"):
        if choices := schema.get(key):
            return choices[number % len(choices)]
    if "const" in schema or "default" in schema:
        return schema.get("const", schema.get("default"))
    match schema.get("type"):
        case "array":
            return [_value(schema.get("items", {}), number)]
        case "object":
            return {key: _value(inner, number) for key, inner in schema.get("properties", {}).items()}
        case str() as kind if kind in _INVENTED:
            return _INVENTED[kind][number]
    options = schema.get("anyOf") or schema.get("oneOf")
    return _value(options[0], number) if options else _INVENTED["string"][number]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
