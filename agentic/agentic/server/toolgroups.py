"""Toolgroups by id, and their tools; each group is opened once and shared."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .. import plugins
from ..config import MCPConfig, using
from ..keys import later
from ..protocols import Tool, ToolContext, Toolgroup, ToolOutput, ToolPolicy
from ..stack import Stack
from ..store.documents import Documents
from ..threads import run_in_thread
from ..types.content import Text
from ..types.errors import InvalidInput, NotFound
from ..types.tools import ToolDef
from .banks import Banks
from .knowledge import RAG, KnowledgeSearch, insert_into_memory
from .registry import Registry

KIND = "toolgroup"
ALIASES = {"web_search": "brave_search"}
"""Llama Stack lists the tool under the one name and calls it by the other."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One toolgroup.

    Attributes:
        toolgroup_id: Such as `builtin::websearch`.
        provider_id: What offers it.
        url: The address of its MCP server, where a client registered it.
        args: What its tools are given besides a model's arguments.
    """

    toolgroup_id: str
    provider_id: str
    url: str | None = None
    args: dict[str, Any] = field(default_factory=dict)

    @property
    def of_mcp(self) -> bool:
        """Whether an MCP server offers it."""
        return self.url is not None or self.toolgroup_id.startswith("mcp::")


@dataclass(frozen=True, slots=True)
class Itemised:
    """A tool of an MCP server; Llama Stack answers with the items that the server gave, one for a text.

    Attributes:
        tool: The tool.
    """

    tool: Tool

    @property
    def definition(self) -> ToolDef:
        """As the model sees it."""
        return self.tool.definition

    @property
    def policy(self) -> ToolPolicy:
        """How it may be run."""
        return self.tool.policy

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Runs it."""
        output = await self.tool.invoke(arguments, context)
        return replace(output, content=(Text(output.content),)) if isinstance(output.content, str) else output


class Shared:
    """A group that several agents use: an agent that closes does not close it."""

    def __init__(self, name: str, tools: Sequence[Tool]) -> None:
        self.name = name
        self._tools = tools

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools)

    async def aclose(self) -> None:
        """Leaves it open."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A group that is open.

    Attributes:
        name: What its tools' results are kept under.
        tools: Its tools.
        group: What is to be closed.
    """

    name: str
    tools: Sequence[Tool]
    group: Toolgroup | None

    async def aclose(self) -> None:
        if self.group is not None:
            await self.group.aclose()


class Toolgroups(Registry[Entry, _Opened]):
    """The toolgroups of a stack, and those that clients have registered.

    Args:
        stack: The configuration.
        documents: Where registrations are kept.
        banks: What `builtin::rag` searches.
    """

    def __init__(self, stack: Stack, documents: Documents, banks: Banks) -> None:
        super().__init__(documents, Entry, kind=KIND, called="Tool group")
        self._stack = stack
        self._banks = banks
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def tools(self, toolgroup_id: str) -> Sequence[Tool]:
        """A toolgroup's tools; whatever must be connected for that is connected now.

        Args:
            toolgroup_id: Its id, or `group/tool`, which stands for the group.

        Raises:
            NotFound: There is none of that id.
            ConfigError: It cannot be opened: a key or a package is missing.
        """
        _, tools = await self._opened((await self.named(toolgroup_id))[0])
        return tools

    async def named(self, name: str) -> tuple[Entry, str]:
        """A toolgroup and, where it is named as `group/tool`, that tool; an id may have slashes, too.

        Raises:
            NotFound: There is no such toolgroup.
        """
        group, _, tool = name.rpartition("/")
        if not group or name in await self._entries():
            return await self.get(name), ""
        return await self.get(group), tool

    async def for_agent(self, name: str, args: Mapping[str, Any]) -> Shared:
        """The tools of a toolgroup as one agent uses them.

        Args:
            name: The id of a group, or `group/tool` for one of its tools.
            args: What the agent's configuration says; `vector_db_ids` for `builtin::rag`.

        Raises:
            NotFound: There is no such group or tool.
            ConfigError: It cannot be opened.
        """
        entry, wanted = await self.named(name)
        given = {**entry.args, **args}
        if entry.toolgroup_id == RAG:
            return Shared("rag", [KnowledgeSearch(self._banks, given)])
        prefix, tools = await self._opened(entry)
        chosen = [tool for tool in tools if not wanted or tool.definition.name == ALIASES.get(wanted, wanted)]
        if not chosen:
            raise NotFound(f"Tool group {entry.toolgroup_id!r} has no tool {wanted!r}.")
        return Shared(prefix, chosen)

    async def tool(self, name: str) -> tuple[Entry, Tool]:
        """A tool by its name, or by `group/tool` where several groups have one of that name.

        Raises:
            NotFound: No toolgroup that could be opened has it.
        """
        group, _, tail = name.rpartition("/")
        wanted = ALIASES.get(tail, tail)
        for entry in await self.list():
            if group and entry.toolgroup_id != group:
                continue
            if (tool := await self._named(entry, wanted)) is not None:
                return entry, tool
        raise NotFound(f"Tool {name!r} not found.", hint="GET /v1/tools lists them.")

    async def register(self, entry: Entry) -> None:
        """Adds a toolgroup behind an MCP server.

        Raises:
            InvalidInput: It has no address, or the configuration has a group of that id.
        """
        if entry.url is None:
            if entry.toolgroup_id in self._configured():
                return  # it is there already, which is what was asked for
            raise InvalidInput(
                f"Tool group {entry.toolgroup_id!r} is none of this server's; a new one needs mcp_endpoint."
            )
        if not entry.url.startswith(("http://", "https://")):
            raise InvalidInput("mcp_endpoint is an address that begins with http:// or https://.")
        await self._add(entry.toolgroup_id, entry)

    async def unregister(self, toolgroup_id: str) -> None:
        """Removes a toolgroup that was registered.

        Raises:
            NotFound: There is none of that id.
            InvalidInput: It is one of the configuration's.
        """
        await self._remove(toolgroup_id)

    async def _named(self, entry: Entry, name: str) -> Tool | None:
        try:
            _, tools = await self._opened(entry)
        except Exception:  # another group may have it; this one cannot be opened, which its own listing says
            return None
        return next((tool for tool in tools if tool.definition.name == name), None)

    async def _opened(self, entry: Entry) -> tuple[str, Sequence[Tool]]:
        if entry.toolgroup_id == RAG:
            return "rag", [insert_into_memory(), KnowledgeSearch(self._banks, entry.args)]
        async with self._opening[entry.toolgroup_id]:  # a group may start a program: once is enough
            if entry.toolgroup_id not in self._open:
                self._open[entry.toolgroup_id] = await run_in_thread(lambda: self._open_now(entry), "agentic-toolgroup")
            opened = self._open[entry.toolgroup_id]
        return opened.name, opened.tools

    def _open_now(self, entry: Entry) -> _Opened:
        """Opens a group; it may start programs or connect, so it is done in a thread."""
        config = self._stack.config
        given = self._stack.toolgroups.get(entry.toolgroup_id)
        if given is None:
            name = entry.toolgroup_id
            if entry.url is not None:
                name = f"mcp::{_server_name(name)}"
                config = config.model_copy(update={"mcp": {name.removeprefix("mcp::"): MCPConfig(url=entry.url)}})
            with using(config), later():
                given = plugins.load("tools", name)(name)
        tools = [Itemised(tool) for tool in given] if entry.of_mcp else list(given)
        if isinstance(given, Toolgroup):
            return _Opened(given.name, tools, given)
        return _Opened(entry.toolgroup_id.rpartition("::")[2], tools, None)

    def _configured(self) -> dict[str, Entry]:
        config = self._stack.config
        ids = config.toolgroups
        if ids is None:
            ids = [name for name in plugins.names("tools") if not name.endswith("*")]
            ids += [RAG, *(f"mcp::{name}" for name in config.mcp)]
        return {name: Entry(name, _provider(name)) for name in dict.fromkeys([*self._stack.toolgroups, *ids])}


def _server_name(toolgroup_id: str) -> str:
    """What the MCP server behind a toolgroup is called here; an id may hold anything."""
    return re.sub(r"[^A-Za-z0-9_-]|^(?![A-Za-z_])", "_", toolgroup_id.rpartition("::")[2])[:32]


def _provider(toolgroup_id: str) -> str:
    return "rag-runtime" if toolgroup_id == RAG else toolgroup_id.rpartition("::")[2].replace("_", "-")
