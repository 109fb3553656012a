"""The tools of a response: functions that the client runs, and built-in ones that run here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from ... import plugins
from ...config import MCPConfig, using
from ...net import Guard
from ...protocols import Tool, ToolContext, Toolgroup, ToolOutput, ToolPolicy
from ...threads import run_in_thread
from ...types.errors import InvalidInput, NotFound
from ...types.tools import ToolDef
from ..knowledge import RAG
from ..services import Services
from ..toolgroups import Shared
from .chat_input import read_choice, read_tools, text_at
from .response_items import KNOWN, Kind

WEB_SEARCH = ("web_search", "web_search_preview")
BUILTIN = {"code_interpreter": "builtin::code_interpreter", **dict.fromkeys(WEB_SEARCH, "builtin::websearch")}


@dataclass(slots=True)
class Tools:
    """A response's tools.

    Attributes:
        given: As an agent takes them.
        kinds: What each is to the API, by name.
        listed: What each MCP server offers, by its label.
        opened: The groups that belong to this response and are closed after it.
    """

    given: list[Any] = field(default_factory=list)
    kinds: dict[str, Kind] = field(default_factory=dict)
    listed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    opened: list[Toolgroup] = field(default_factory=list)

    async def aclose(self) -> None:
        """Closes what was opened for this response."""
        for group in self.opened:
            await group.aclose()


async def open_tools(listed: Iterable[Mapping[str, Any]], services: Services) -> Tools:
    """Makes the tools that a request lists.

    Raises:
        InvalidInput: One is unknown or misses something.
        NotFound: The server has no such tool or vector store.
        ConfigError: One cannot be opened.
    """
    tools = Tools()
    functions: list[Any] = []
    try:
        for number, item in enumerate(listed):
            if item.get("type") == "function":
                functions.append(item)
            else:
                await _add_built_in(item, f"tools[{number}]", tools, services)
        for definition in read_tools(functions):
            tools.given.append(definition)
            tools.kinds[definition.name] = Kind("function_call")
    except BaseException:
        await tools.aclose()
        raise
    return tools


async def _add_built_in(item: Mapping[str, Any], where: str, tools: Tools, services: Services) -> None:
    kind = item.get("type")
    if kind == "file_search":
        await _add_search(item, where, tools, services)
    elif kind == "mcp":
        await _add_server(item, where, tools, services)
    elif isinstance(kind, str) and (name := kind.partition("_202")[0]) in BUILTIN:
        _add(tools, await services.toolgroups.for_agent(BUILTIN[name], {}))
    else:
        raise InvalidInput(f"{where}: tools of type {kind!r} are not supported.")


def choice_of(given: Any, tools: Tools) -> str:
    """What `tool_choice` says.

    Raises:
        InvalidInput: It names a tool that is not listed.
    """
    if isinstance(given, Mapping) and given.get("type") not in ("function", "allowed_tools", None):
        kind, label, name = str(given.get("type")).partition("_202")[0], given.get("server_label"), given.get("name")
        for known, tool in tools.kinds.items():
            built_in = tool.item == f"{kind.removesuffix('_preview')}_call"
            if built_in and kind != "mcp":
                return known
            if kind == "mcp" and tool.item == "mcp_call" and tool.label == label and name in (None, tool.name):
                return known if name else "required"
        raise InvalidInput(f"tool_choice names a tool of type {given.get('type')!r}, which is not among the tools.")
    return read_choice(given, list(tools.kinds))


async def _add_search(item: Mapping[str, Any], where: str, tools: Tools, services: Services) -> None:
    stores = item.get("vector_store_ids")
    if not isinstance(stores, Sequence) or isinstance(stores, str) or not all(isinstance(one, str) for one in stores):
        raise InvalidInput(f"{where}.vector_store_ids must be a list of ids.")
    for store in stores:
        await services.banks.get(store)
    if stores:
        _add(tools, await services.toolgroups.for_agent(RAG, {"vector_db_ids": list(stores)}))


def _add(tools: Tools, group: Iterable[Tool]) -> None:
    offered = list(group)
    if any(tool.definition.name in tools.kinds for tool in offered):
        return  # the same built-in tool, listed twice
    tools.given.append(Shared("builtin", offered))
    for tool in offered:
        name = tool.definition.name
        tools.kinds[name] = KNOWN.get(name, Kind("mcp_call", "builtin", name))


async def _add_server(item: Mapping[str, Any], where: str, tools: Tools, services: Services) -> None:
    """An MCP server: one of the configuration's by its label, or one at the address that the client names."""
    label = text_at(item, "server_label", where)
    if label in tools.listed:
        raise InvalidInput(f"{where}: there are two servers called {label!r}.")
    if item.get("server_url"):
        await _check_address(text_at(item, "server_url", where), services)
        group = await run_in_thread(lambda: _connect(item, label, where, services), "agentic-mcp")
        tools.opened.append(group)
        offered = list(group)
    elif item.get("connector_id"):
        raise InvalidInput(f"{where}: connectors are OpenAI's own; give server_url.")
    else:
        try:
            offered = list(await services.toolgroups.for_agent(f"mcp::{label}", {}))
        except NotFound:
            raise InvalidInput(f"{where} needs server_url: this server knows no MCP server {label!r}.") from None
    allowed = _names(item.get("allowed_tools"))
    chosen = [tool for tool in offered if allowed is None or tool.definition.name in allowed]
    approved = [_Asking(tool, _asks(item.get("require_approval"), tool.definition.name)) for tool in chosen]
    tools.given.append(Shared(label, approved))
    for tool in chosen:
        definition = tool.definition
        for name in (definition.name, f"{label}__{definition.name}"):  # the latter where two groups have one name
            tools.kinds.setdefault(name, Kind("mcp_call", label, definition.name))
    tools.listed[label] = [
        {"name": one.definition.name, "description": one.definition.description}
        | {"input_schema": dict(one.definition.parameters), "annotations": None}
        for one in chosen
    ]


async def _check_address(url: str, services: Services) -> None:
    """Lets clients name public servers only: what this machine can reach besides is not theirs to reach.

    Raises:
        InvalidInput: It is no public address, and none of the configuration's servers.
    """
    if url in [server.url for server in services.stack.config.mcp.values()]:
        return
    try:
        await Guard().resolve(httpx.URL(url))
    except (InvalidInput, httpx.InvalidURL, httpx.ConnectError) as error:
        raise InvalidInput(f"The MCP server {url!r} cannot be used: {error}", hint=_PRIVATE) from None


_PRIVATE = "One in a private network is put into the server's configuration, and named by server_label alone."


def _connect(item: Mapping[str, Any], label: str, where: str, services: Services) -> Toolgroup:
    """Connects, and learns the tools; blocks."""
    headers = item.get("headers") or {}
    if not isinstance(headers, Mapping) or not all(isinstance(value, str) for value in headers.values()):
        raise InvalidInput(f"{where}.headers must be texts by name.")
    sent = {str(name): value for name, value in headers.items()}
    if isinstance(token := item.get("authorization"), str):
        sent["Authorization"] = f"Bearer {token}"
    server = MCPConfig(url=text_at(item, "server_url", where), headers=sent)
    config = services.stack.config.model_copy(update={"mcp": {label: server}})
    with using(config):
        group: Toolgroup = plugins.load("tools", f"mcp::{label}")(f"mcp::{label}")
    iter(group)
    return group


def _names(given: Any) -> set[str] | None:
    if isinstance(given, Mapping):
        given = given.get("tool_names")
    return None if given is None or isinstance(given, str) else {str(name) for name in given}


def _asks(given: Any, name: str) -> bool:
    """Whether calls of a tool wait for the client's approval; as with OpenAI, they do unless it says otherwise."""
    if isinstance(given, Mapping):
        never, always = _names(given.get("never")), _names(given.get("always"))
        return name in (always or ()) or name not in (never or ())
    return bool(given != "never")


@dataclass(frozen=True, slots=True)
class _Asking:
    """A tool whose calls wait for an approval, or do not, whatever its group says."""

    tool: Tool
    asks: bool

    @property
    def definition(self) -> ToolDef:
        return self.tool.definition

    @property
    def policy(self) -> ToolPolicy:
        return replace(self.tool.policy, approve=self.asks)

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        return await self.tool.invoke(arguments, context)
