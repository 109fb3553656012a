"""What a server lists, as definitions for a model. All of it is the server's word, so all of it is checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from agentic.toolbox import fitting_name
from agentic.types.errors import ToolError
from agentic.types.tools import BUILTIN_TOOLS, ToolDef

from ..text import clean, clip

_PAGES = 100
_MOST = 1000
_DESCRIPTION_CHARS = 10_000
_SCHEMA_CHARS = 500_000
_NAMED_RESOURCES = 20


@dataclass(frozen=True, slots=True)
class Definitions:
    """A server's tools as models see them, each with the server's own name for it.

    Attributes:
        server: The server's name.
        tools: The definitions; the one that reads resources has no name at the server.
        allow: The names to offer, with wildcards; None is all.
        deny: The names not to offer.
    """

    server: str
    tools: Sequence[tuple[ToolDef, str]]
    allow: Sequence[str] | None
    deny: Sequence[str]

    def __iter__(self) -> Iterator[tuple[ToolDef, str]]:
        return iter(self.tools)

    @classmethod
    def of(cls, server: str, tools: Sequence[Any], allow: Sequence[str] | None, deny: Sequence[str]) -> Definitions:
        """Checks the tools that a server lists and names them for models.

        Raises:
            ToolError: A tool's schema is none, or all of them together are too large to be checked.
        """
        empty = cls(server, (), allow, deny)
        found: dict[str, tuple[ToolDef, str]] = {}
        offered = {tool.name: tool for tool in tools if empty._offers(tool.name)}
        if sum(len(json.dumps(tool.input_schema)) for tool in offered.values()) > _SCHEMA_CHARS:
            raise ToolError(
                f"The tools of the MCP server {server!r} have schemas of more than {_SCHEMA_CHARS:,} characters.",
                hint="Name those that are wanted by allow.",
            )
        for tool in offered.values():
            name = fitting_name(tool.name)
            if name in found or name in BUILTIN_TOOLS:
                name = fitting_name(f"{server}__{tool.name}")
            about = clip(clean(tool.description or tool.title or ""), _DESCRIPTION_CHARS)
            metadata = {"toolgroup": f"mcp::{server}", "name": tool.name}
            found[name] = ToolDef(name, about, _checked(server, tool.name, tool.input_schema), metadata), tool.name
        return cls(server, tuple(found.values()), allow, deny)

    def with_resources(self, resources: Sequence[Any]) -> Definitions:
        """With a tool that reads the server's resources, unless there are none or it is denied."""
        name = f"{self.server}_read_resource"
        if not resources or not self._offers(name) or any(tool.name == name for tool, _ in self.tools):
            return self
        lines = [f"Reads a resource of {self.server}."]
        for item in resources[:_NAMED_RESOURCES]:
            uri = getattr(item, "uri", None) or item.uri_template
            lines.append(f"{clip(clean(uri), 500)} - {clip(clean(item.description or item.name), 200)}")
        if len(resources) > _NAMED_RESOURCES:
            lines.append(f"and {len(resources) - _NAMED_RESOURCES} more.")
        uri_schema = {"type": "string", "description": "The resource's URI; {parts} of a template are filled in."}
        parameters = {"type": "object", "properties": {"uri": uri_schema}, "required": ["uri"]}
        tool = ToolDef(name, "\n".join(lines), parameters, {"toolgroup": f"mcp::{self.server}"})
        return Definitions(self.server, (*self.tools, (tool, "")), self.allow, self.deny)

    def _offers(self, name: str) -> bool:
        allowed = self.allow is None or any(fnmatchcase(name, pattern) for pattern in self.allow)
        return allowed and not any(fnmatchcase(name, pattern) for pattern in self.deny)


async def listed(client: Any, what: Literal["tools", "resources", "prompts"]) -> list[Any]:
    """All pages of a list; for resources also the templates. Empty when the server has none of the kind.

    Raises:
        ToolError: It does not end.
    """
    from mcp import MCPError
    from mcp_types import METHOD_NOT_FOUND

    if getattr(client.server_capabilities, what) is None:
        return []
    asked = {
        "tools": [(client.list_tools, "tools")],
        "resources": [(client.list_resources, "resources"), (client.list_resource_templates, "resource_templates")],
        "prompts": [(client.list_prompts, "prompts")],
    }[what]
    items: list[Any] = []
    for ask, field in asked:
        cursor = None
        for _ in range(_PAGES):
            try:
                page = await ask(cursor=cursor)
            except MCPError as error:
                if error.code == METHOD_NOT_FOUND and field == "resource_templates":
                    break  # many servers have resources and no templates, and leave the method out
                raise
            items += getattr(page, field)
            cursor = page.next_cursor
            if cursor is None or len(items) > _MOST:
                break
        if cursor is not None or len(items) > _MOST:
            raise ToolError(f"The MCP server lists more than {_MOST} {what}, or never ends to.")
    return items


def _checked(server: str, name: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool's schema, whole.

    Raises:
        ToolError: It is no JSON schema of an object.
    """
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(schema).check_schema(schema)
        fits = schema.get("type", "object") == "object"
    except (SchemaError, RecursionError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise ToolError(
            f"The MCP server {server!r} describes its tool {name!r} by something that is no JSON schema of an object.",
            hint="Leave it out by deny.",
        )
    return {"type": "object", "properties": {}, **schema}
