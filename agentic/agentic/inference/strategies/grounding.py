"""A schema narrowed to what the user said.

A very small model that must write a city's name may write any city. Here it can only point: a free string has to be a
piece of the message, standing where the examples' values stood if any piece does; a number one of the numbers in it;
and an enumeration's value one that is named, where any is. An optional argument is left out unless a value of its
enumeration is named or an example uses it, and a piece that can only be one argument is no other one's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .examples import Example
from .router import numbers_in
from .spans import Span, placed, spans

LONGEST_MESSAGE = 64
"""Words; a longer message is not narrowed to: its pieces would be too many to choose from."""

_FREE = frozenset({"type", "title", "description", "default", "examples"})


def grounded(schema: Mapping[str, Any], message: str, examples: Sequence[Example] = ()) -> dict[str, Any]:
    """The schema of a tool's arguments, narrowed to a message.

    Args:
        schema: Of type object.
        message: What the user said.
        examples: Messages and the arguments that they mean.
    """
    narrowed = dict(schema)
    if not 0 < len(message.split()) <= LONGEST_MESSAGE:
        return narrowed
    required = list(schema.get("required", ()))
    pieces = spans(message)
    properties: dict[str, Any] = {}
    for name, inner in schema.get("properties", {}).items():
        if name not in required:
            values = inner.get("enum", ()) if isinstance(inner, dict) else ()
            if named(values, message):
                required.append(name)
                pieces = [piece for piece in pieces if not named(values, piece.text)]
            elif values or not any(name in item.arguments for item in examples):
                continue
        properties[name] = inner
    for name, inner in properties.items():
        properties[name] = _narrowed(inner, message, pieces, _taken(name, examples))
    _settle(properties)
    return narrowed | {"properties": properties, "required": required}


def named(values: Iterable[Any], message: str) -> list[Any]:
    """The values that stand in a message as words of their own."""
    return [value for value in values if re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", message, re.IGNORECASE)]


def _taken(name: str, examples: Sequence[Example]) -> list[tuple[str, str]]:
    """Where each example has the value of this argument from."""
    return [(item.user, str(item.arguments[name])) for item in examples if name in item.arguments]


def _narrowed(schema: Any, message: str, pieces: Sequence[Span], examples: Sequence[tuple[str, str]]) -> Any:
    if not isinstance(schema, dict):
        return schema
    if "enum" in schema:
        found = named(schema["enum"], message)
        likely = placed([piece for piece in pieces if named(schema["enum"], piece.text) == [piece.text]], examples)
        return schema | {"enum": [piece.text for piece in likely] or found or schema["enum"]}
    if "items" in schema:
        return schema | {"items": _narrowed(schema["items"], message, pieces, ())}
    if "anyOf" in schema:
        return schema | {"anyOf": [_narrowed(inner, message, pieces, examples) for inner in schema["anyOf"]]}
    numbers = numbers_in(message)
    match schema.get("type"):
        case "string" if pieces and schema.keys() <= _FREE:
            return {"enum": [piece.text for piece in placed(pieces, examples)]}
        case "number" if numbers and schema.keys() <= _FREE:
            return {"enum": numbers}
        case "integer" if schema.keys() <= _FREE and (whole := [int(n) for n in numbers if n == int(n)]):
            return {"enum": whole}
    return schema


def _settle(properties: dict[str, Any]) -> None:
    """Takes a value that is the only one for an argument from the others, as long as they keep one."""
    lists = {name: inner["enum"] for name, inner in properties.items() if isinstance(inner, dict) and "enum" in inner}
    settled: set[str] = set()
    while single := next((name for name in lists if name not in settled and len(lists[name]) == 1), None):
        settled.add(single)
        for name in lists.keys() - {single}:
            lists[name] = [value for value in lists[name] if value != lists[single][0]] or lists[name]
    for name, values in lists.items():
        properties[name] = properties[name] | {"enum": values}
