"""Brings arguments to the types of a tool's JSON schema, where a value has only one reading in that type."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

MAX_DEPTH: Final = 32
_FAILED: Final = object()

ALIASES: Final = {"int": "integer", "float": "number", "double": "number", "bool": "boolean", "dict": "object"} | {
    "list": "array",
    "tuple": "array",
    "str": "string",
    "none": "null",
}
"""Type names that tool authors write beside JSON schema's own."""


def coerce(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Brings arguments to the types of a schema.

    A string that spells a number, a boolean, null, a list or an object becomes that value where the schema wants it;
    a whole float becomes an integer, and a number becomes text. Anything else is left as it is, for the tool's own
    check to refuse; no value is invented, shortened or rounded.

    Args:
        arguments: What the model wrote.
        schema: A JSON schema of type object; `$ref` within it is followed.

    Returns:
        The arguments, and a phrase for each value that was changed.
    """
    notes: list[str] = []
    result = _Coercion(schema, notes).value(dict(arguments), schema, "", 0)
    return (result if isinstance(result, dict) else dict(arguments)), tuple(notes)


class _Coercion:
    """One run over a set of arguments."""

    def __init__(self, root: Mapping[str, Any], notes: list[str]) -> None:
        self._root = root
        self._notes = notes

    def value(self, value: Any, schema: Any, path: str, depth: int) -> Any:
        """The value in the schema's type, or as it was."""
        schema = self._resolved(schema)
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
            return value
        for key in ("anyOf", "oneOf"):
            if isinstance(branches := schema.get(key), list):
                return self._branch(value, branches, path, depth)
        if isinstance(parts := schema.get("allOf"), list) and len(parts) == 1:
            return self.value(value, parts[0], path, depth + 1)
        value = self._typed(value, _types(schema), path)
        if isinstance(value, dict):
            return self._object(value, schema, path, depth)
        if isinstance(value, list) and isinstance(items := schema.get("items"), Mapping):
            return [self.value(item, items, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
        return value

    def _object(self, value: dict[str, Any], schema: Mapping[str, Any], path: str, depth: int) -> dict[str, Any]:
        known = schema.get("properties")
        known = known if isinstance(known, Mapping) else {}
        rest = schema.get("additionalProperties")
        prefix = f"{path}." if path else ""
        return {key: self.value(item, known.get(key, rest), f"{prefix}{key}", depth + 1) for key, item in value.items()}

    def _branch(self, value: Any, branches: list[Any], path: str, depth: int) -> Any:
        """The first branch that takes the value as it is, else the first that can be reached."""
        resolved = [branch for branch in map(self._resolved, branches) if isinstance(branch, Mapping)]
        for branch in resolved:
            if any(_is(value, name) for name in _types(branch)) or not _types(branch):
                return self.value(value, branch, path, depth + 1)
        for branch in resolved:
            if any(_convert(value, name) is not _FAILED for name in _types(branch)):
                return self.value(value, branch, path, depth + 1)
        return value

    def _typed(self, value: Any, types: tuple[str, ...], path: str) -> Any:
        if not types or any(_is(value, name) for name in types):
            return value
        for name in types:
            converted = _convert(value, name)
            if converted is not _FAILED:
                self._notes.append(f"{path}: read {type(value).__name__} {str(value)[:40]!r} as {name}")
                return converted
        return value

    def _resolved(self, schema: Any) -> Any:
        for _ in range(MAX_DEPTH):
            reference = schema.get("$ref") if isinstance(schema, Mapping) else None
            if not isinstance(reference, str) or not reference.startswith("#/"):
                return schema
            schema = self._root
            for part in reference[2:].split("/"):
                name = part.replace("~1", "/").replace("~0", "~")
                schema = schema.get(name) if isinstance(schema, Mapping) else None
        return None


def _types(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The types a schema names, in JSON schema's spelling; none when it names none it is sure of."""
    written = schema.get("type")
    names = written if isinstance(written, list) else [written]
    types = tuple(ALIASES.get(name.lower(), name.lower()) for name in names if isinstance(name, str))
    return types if all(name in _CONVERTERS for name in types) else ()


def _is(value: Any, name: str) -> bool:
    match name:
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
    return isinstance(value, dict)


def _convert(value: Any, name: str) -> Any:
    return _CONVERTERS[name](value)


def _to_integer(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        number = _to_number(value)
        exact = isinstance(number, int) or (isinstance(number, float) and number.is_integer() and abs(number) < 2**53)
        return int(number) if exact else _FAILED
    return _FAILED


def _to_number(value: Any) -> Any:
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > 64 or not text.isascii() or set(text) - set("+-.0123456789eE"):
        return _FAILED
    try:
        number = int(text) if set(text) <= set("+-0123456789") else float(text)
    except ValueError:
        return _FAILED
    return number if math.isfinite(number) else _FAILED


def _to_boolean(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.strip().lower(), _FAILED) if isinstance(value, str) else _FAILED


def _to_null(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in ("null", "none") else _FAILED


def _to_string(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _FAILED
    return json.dumps(value)


def _from_json(kind: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
            return _FAILED
        try:
            decoded = json.loads(value)
        except (ValueError, RecursionError):
            return _FAILED
        return decoded if isinstance(decoded, kind) else _FAILED

    return convert


_CONVERTERS: Final[dict[str, Callable[[Any], Any]]] = {
    "integer": _to_integer,
    "number": _to_number,
    "boolean": _to_boolean,
    "null": _to_null,
    "string": _to_string,
    "array": _from_json(list),
    "object": _from_json(dict),
}
