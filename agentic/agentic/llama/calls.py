"""From what was read to a tool call: which names are known, where the arguments are, how positions become names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ..types.errors import InvalidInput
from ..types.tools import BUILTIN_TOOLS, ToolDef
from .intake import WRAP, ToolLike, defined, schema_of
from .literals import read_object
from .values import Frame

CODE_INTERPRETER: Final = "code_interpreter"
CALL_KEYS: Final = frozenset({"type", "name", "function", "parameters", "arguments", "params", "args", "id"})
"""The keys that a JSON call may have; an object with any other key is an answer, not a call."""

_ARGUMENT_KEYS = ("parameters", "arguments", "params", "args")
_WRAPPERS = frozenset({*_ARGUMENT_KEYS, "kwargs"})
_NAME = re.compile(r"[A-Za-z_][\w.-]{0,127}")


class Toolbox:
    """The tools that a request offered.

    Args:
        tools: Definitions, objects that have one, mappings with `name` and `parameters` (bare or under `function`), or
            names. None says that the tools are not known: then every name counts as known.

    Raises:
        InvalidInput: It is no list, or an entry is no tool or has no name.
    """

    def __init__(self, tools: Sequence[ToolLike] | None) -> None:
        if isinstance(tools, str | Mapping) or not isinstance(tools, Iterable | None):
            raise InvalidInput("tools is a list of tools.")
        self.open = tools is None
        self.schemas: dict[str, Mapping[str, Any]] = {}
        for tool in map(defined, tools or ()):
            name: object
            schema: object = None
            if isinstance(tool, str):
                name = tool
            elif isinstance(tool, ToolDef):
                name, schema = tool.name, tool.parameters
            else:
                inner = tool.get("function", tool) if isinstance(tool, Mapping) else None
                if not isinstance(inner, Mapping):
                    raise InvalidInput("A tool is a ToolDef, a dict or a name.", hint=WRAP)
                name, schema = inner.get("name", inner.get("tool_name")), schema_of(inner.get("parameters"))
            if not isinstance(name, str) or not name:
                raise InvalidInput("Every tool needs a name.")
            self.schemas[name] = schema if isinstance(schema, Mapping) else {}

    def knows(self, name: str) -> bool:
        """Whether the tool was offered, as far as is known."""
        return self.open or name in self.schemas

    def offers(self, name: str) -> bool:
        """Whether the tool is certainly among those offered."""
        return name in self.schemas

    def may_begin(self, text: str) -> bool:
        """Whether more text after this may make it an offered tool's name, or `name.call`."""
        return any(name.startswith(text) or text.startswith(name) for name in self.schemas)

    @property
    def runs_code(self) -> bool:
        """Whether text after `<|python_tag|>` can be code: the interpreter was offered, or nothing is known."""
        return not self.schemas or CODE_INTERPRETER in self.schemas

    def resolve(self, name: str) -> str:
        """The tool's name; built-in calls, and custom ones that copy their form, write it `name.call`."""
        return name.removesuffix(".call") if name not in self.schemas else name

    def may_be_tagged_call(self, name: str) -> bool:
        """Whether `name(` after `<|python_tag|>` begins a call; otherwise it is code."""
        plain = self.resolve(name)
        if plain in self.schemas or plain in BUILTIN_TOOLS:
            return True
        return plain != name and not (self.schemas and self.runs_code)

    def properties(self, name: str) -> Sequence[str]:
        """The names of a tool's parameters, in order; empty when they are not known.

        Built-in tools are known from training, by names alone: each of them but the code interpreter takes a query.
        """
        properties = self.schemas.get(name, {}).get("properties")
        if isinstance(properties, Mapping) and properties:
            return list(properties)
        return ("query",) if name in BUILTIN_TOOLS and name != CODE_INTERPRETER else ()

    def takes_object(self, name: str) -> bool:
        """Whether the tool's first parameter is an object."""
        properties = self.schemas.get(name, {}).get("properties")
        first = next(iter(properties.values()), None) if isinstance(properties, Mapping) else None
        return isinstance(first, Mapping) and first.get("type") in ("object", "dict")


def json_call(found: Mapping[str, Any], tools: Toolbox) -> tuple[str, dict[str, Any], list[str]] | None:
    """Reads an object as a call: `name` (or `function`) and `parameters` (or `arguments`).

    Returns:
        The name, the arguments and what was mended; None when the object is no call.
    """
    function = found.get("function")
    inner: Mapping[str, Any] = {**found, **function} if isinstance(function, dict) else found
    name = inner.get("name", function)
    if not isinstance(name, str) or not (name in tools.schemas or _NAME.fullmatch(name)):
        return None
    given = [key for key in _ARGUMENT_KEYS if key in inner]
    if not given:
        if not tools.offers(name) or tools.properties(name) or function is not None:
            return None
        return name, {}, ["took the missing arguments as none"]
    values = [inner[key] for key in given if inner[key] is not None] or [{}]
    if any(value != values[0] for value in values):
        return None
    notes = [f"read {given[0]!r} as the parameters"] if given[0] in ("params", "args") else []
    if isinstance(values[0], str):
        decoded = read_object(values[0])
        if decoded is None:
            return None
        return name, decoded[0], [*notes, "decoded arguments that were written as a string", *decoded[1]]
    return (name, values[0], notes) if isinstance(values[0], dict) else None


def bound(name: str, root: Frame, tools: Toolbox) -> tuple[dict[str, Any], list[str]] | None:
    """The arguments of `name(…)`; None when positions cannot be given names.

    Models also write `f({...})` and `f(params={...})` for a call with those arguments; both are read so unless the
    tool has a parameter that fits literally.
    """
    pairs, items = root.pairs, root.items
    properties = tools.properties(name)
    if not items:
        key = next(iter(pairs), "")
        wrapped = pairs.get(key) if len(pairs) == 1 else None
        if key in _WRAPPERS and isinstance(wrapped, dict) and properties and key not in properties:
            return wrapped, [f"unwrapped {key!r}"]
        return pairs, []
    first = items[0]
    alone = len(items) == 1 and not pairs and isinstance(first, dict)
    if alone and (not tools.takes_object(name) or any(key in properties for key in first)):
        return first, ["took an object as the arguments"]
    free = [key for key in properties if key not in pairs]
    if root.loose or len(items) > len(free):
        return None
    return {**dict(zip(free, items, strict=False)), **pairs}, ["gave positional arguments their names by the schema"]
