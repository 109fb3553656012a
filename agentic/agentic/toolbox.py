"""An agent's tools: what was listed, made into tools that each have a name of their own."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from . import plugins
from .portal import run_sync
from .protocols import Tool as ToolProtocol
from .protocols import ToolContext, Toolgroup, ToolOutput, ToolPolicy
from .tool import Tool
from .types.errors import ConfigError
from .types.tools import ToolDef

Listed: TypeAlias = Any
"""A function, a tool, a toolgroup, a `ToolDef` or an id: what `agent.ToolLike` says."""

_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Toolbox:
    """An agent's tools by name, and the groups that must be closed with it."""

    tools: Mapping[str, ToolProtocol]
    groups: Sequence[Toolgroup]

    @classmethod
    def of(cls, listed: Sequence[Listed]) -> Toolbox:
        """Makes tools of what was listed. A group's tool whose name is taken is called `group__tool`.

        Raises:
            ConfigError: An id is not known, or two tools that are in no group share a name.
            ToolDefinitionError: A function cannot be offered as a tool.
        """
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            raise ConfigError("tools is a list: of functions, Tools, ToolDefs, toolgroups or ids.")
        groups: list[Toolgroup] = []
        try:
            found = [pair for item in listed for pair in _expanded(item, groups)]
            return cls(_by_name(found), groups)
        except BaseException:
            run_sync(cls({}, groups).aclose())
            raise

    async def aclose(self) -> None:
        """Closes the groups, each of them, whatever closing another raises."""
        async with AsyncExitStack() as closing:
            for group in self.groups:
                closing.push_async_callback(group.aclose)


def fitting_name(text: str) -> str:
    """The tool's name that is nearest to a text: illegal characters become `_`, what is too long ends in a hash."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", text)
    name = name if re.match(r"[A-Za-z_]", name) else f"_{name}"
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 9]}_{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"
    return name


@dataclass(frozen=True, slots=True)
class _Renamed:
    """A tool under another name."""

    definition: ToolDef
    tool: ToolProtocol

    @property
    def policy(self) -> ToolPolicy:
        return self.tool.policy

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        return await self.tool.invoke(arguments, context)


def _expanded(item: Listed, groups: list[Toolgroup]) -> list[tuple[str, ToolProtocol]]:
    """Tools with the name of their group, or an empty string."""
    if isinstance(item, str):
        item = plugins.load("tools", item)(item)
        if not isinstance(item, Toolgroup):
            return [("", tool) for tool in item]
    match item:
        case ToolProtocol():
            return [("", item)]
        case Toolgroup():
            groups.append(item)
            return [(item.name, tool) for tool in item]
        case _:
            return [("", Tool(item))]


def _by_name(found: Sequence[tuple[str, ToolProtocol]]) -> dict[str, ToolProtocol]:
    uses = Counter(tool.definition.name for _, tool in found)
    by_name: dict[str, ToolProtocol] = {}
    for group, tool in found:
        name, named = tool.definition.name, tool
        if group and uses[name] > 1:
            name = fitting_name(f"{group}__{name}")
            named = _Renamed(replace(tool.definition, name=name), tool)
        if name in by_name:
            raise ConfigError(f"Two tools are called {name!r}.", hint="Give one another name.")
        by_name[name] = named
    return by_name
