"""A server and its tools."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from agentic.config import current_config
from agentic.keys import headers_for
from agentic.portal import run_in_portal, run_sync
from agentic.protocols import Tool, ToolContext, ToolOutput, ToolPolicy
from agentic.types.content import Content
from agentic.types.errors import AgenticError, ConfigError, ToolError, ToolUnauthorized
from agentic.types.messages import Message
from agentic.types.tools import ToolDef

from .connection import Connection, Peer, Refused, unanswered
from .content import messages_of, output_of, resource_of
from .listing import Definitions, listed
from .stdio import SENDING, Child, Sending
from .web import Site

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}")
_REPORTS = 1000
"""How much progress of one call is passed on: a server may send it without end."""
_NOT_STREAMABLE = (400, 404, 405)
"""What a server of the older form, whose endpoint is a stream of events, answers to a message that is posted there."""


class MCP:
    """An MCP server, whose tools an agent can call: `Agent(tools=[MCP("files", command=["npx", "-y", "…"])])`.

    The server is connected when its tools are first asked for, which an agent does when it is built, and stays
    connected until `aclose` (which closing the agent does). One that died is started again for the next call. A call
    that may have reached it is never sent twice.

    Args:
        name: What it is called here: up to 32 letters, digits, `_` and `-`.
        command: The program that speaks MCP over stdin and stdout, and its arguments; or the program alone.
        args: More arguments for it, as the settings of MCP clients have them.
        env: Variables for the program, besides the few that are harmless (`PATH`, `HOME`, …): no key is inherited.
        folder: Where the program runs.
        url: The endpoint of a server that speaks HTTP, streamable or with a stream of events, instead of a program.
        headers: Sent to it with each request, such as `Authorization`. A request of a server's client may bring others
            (see `agentic.keys.given`): its calls have a connection of their own, with these instead.
        allow: The names of the tools to offer, with wildcards; default: all.
        deny: The names of tools not to offer, with wildcards.
        timeout: Seconds for one call, and for starting the server.
        approve: Ask the caller before each call.
        parallel: Its tools may run beside each other; False for a server where one call changes what the next sees.

    Raises:
        ConfigError: An argument makes no sense, or the package `mcp` is not installed.
    """

    def __init__(
        self,
        name: str,
        *,
        command: Sequence[str] | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        folder: str | None = None,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] = (),
        timeout: float = 60.0,
        approve: bool = False,
        parallel: bool = True,
    ) -> None:
        if importlib.util.find_spec("mcp") is None:
            raise ConfigError("MCP servers need the package mcp.", hint="Run: pip install 'agentic[mcp]'")
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot be a server's name.", hint="Use up to 32 letters, digits, '_' and '-'.")
        if bool(command) == bool(url) or isinstance(args, str) or (args and url):
            raise ConfigError(f"The MCP server {name!r} needs either command, with args if need be, or url.")
        if isinstance(command, str) and not args and len(command.split()) > 1:
            raise ConfigError(
                f"The command of the MCP server {name!r} is one text, {command!r:.80}.",
                hint="Give it as a list of texts, or its arguments as args.",
            )
        if url and not url.startswith(("http://", "https://")):
            raise ConfigError(f"The URL of the MCP server {name!r} must begin with http:// or https://.")
        if not 0 < timeout <= 3600:
            raise ConfigError(f"timeout is above 0 and at most 3600 seconds, not {timeout}.")
        if isinstance(allow, str) or isinstance(deny, str):
            raise ConfigError("allow and deny are lists of names.")
        self.name = name
        self.timeout = timeout
        self.policy = ToolPolicy(timeout=timeout, approve=approve, parallel=parallel)
        self._command = [*([command] if isinstance(command, str) else command or ()), *args]
        self._env = dict(env or {})
        self._folder = folder
        self._url = url or ""
        self._headers = dict(headers or {})
        self._allow = allow
        self._deny = deny
        self._place: _Place | None = None
        self._definitions: Definitions | None = None
        self._events = False

    def __repr__(self) -> str:
        return f"MCP({self.name!r})"

    def __iter__(self) -> Iterator[Tool]:
        """The tools. The first time, this connects and blocks; in async code call `connect` before.

        Raises:
            ConfigError: The server's program cannot be started.
            ToolError: The server cannot be reached, is broken, or takes too long.
        """
        if self._definitions is None:
            run_sync(self._learn(headers_for(self._url)))
        return iter([_ServerTool(self, definition, name) for definition, name in self._definitions or ()])

    async def connect(self) -> None:
        """Connects and learns the tools, unless they are known. Errors are those of iterating."""
        await run_in_portal(self._learn(headers_for(self._url)))

    async def aclose(self) -> None:
        """Closes the connection and ends the server's process. A later call opens both again."""
        await run_in_portal(self._close())

    async def call(
        self, name: str, arguments: Mapping[str, Any], report: Callable[[Content], None] = lambda _: None
    ) -> ToolOutput:
        """Calls a tool by the server's own name for it.

        Args:
            name: The tool.
            arguments: As its schema says; the server checks them.
            report: Is given what the server says of the call's progress.

        Raises:
            ToolError: The tool failed, the server died, or it took too long; the message says which.
        """
        import mcp_types as types

        loop = asyncio.get_running_loop()
        left = _REPORTS

        def pass_on(text: str) -> None:
            nonlocal left
            left -= 1
            if left >= 0:
                report(text)

        async def progress(done: float, total: float | None, message: str | None) -> None:
            of = f"{done:g}" if total is None else f"{done:g}/{total:g}"
            with suppress(RuntimeError):  # the caller's loop is closed already
                loop.call_soon_threadsafe(pass_on, f"{of} {message}" if message else of)

        async def ask(client: Any) -> Any:
            # Not `client.call_tool`: it checks the result against a schema of the server's, whose patterns may be
            # such that the check never ends.
            params = types.CallToolRequestParams(name=name, arguments=dict(arguments))
            request = types.CallToolRequest(params=params)
            return await client.session.send_request(request, types.CallToolResult, progress_callback=progress)

        try:
            return output_of(await self._ask(ask, what=name))
        finally:
            left = 0  # what comes after the result belongs to no call

    async def resources(self) -> list[dict[str, Any]]:
        """What can be read: `uri` (or `uri_template`), `name`, `description` and `mime_type` of each.

        Raises:
            ToolError: The server failed or took too long.
        """
        found = await self._ask(lambda client: listed(client, "resources"))
        return [_plain(item) for item in found]

    async def read_resource(self, uri: str) -> Content:
        """Reads a resource: its text, its picture, or its file.

        Raises:
            ToolError: There is none, the server failed or it took too long.
        """
        return resource_of(await self._ask(lambda client: client.read_resource(uri)))

    async def prompts(self) -> list[dict[str, Any]]:
        """The server's prompts: `name`, `description` and `arguments` of each.

        Raises:
            ToolError: The server failed or took too long.
        """
        return [_plain(item) for item in await self._ask(lambda client: listed(client, "prompts"))]

    async def get_prompt(self, name: str, arguments: Mapping[str, str] | None = None) -> list[Message]:
        """A prompt with its arguments filled in, as messages that `session.run` takes.

        Raises:
            ToolError: There is none, an argument is missing, the server failed or it took too long.
        """
        return messages_of(await self._ask(lambda client: client.get_prompt(name, dict(arguments or {}))))

    async def _ask(self, ask: Callable[[Any], Awaitable[T]], what: str = "") -> T:
        """Asks the server on the loop where the connection lives; `what` names a call that must not be repeated."""
        return await run_in_portal(self._asked(ask, what, headers_for(self._url)))

    async def _asked(self, ask: Callable[[Any], Awaitable[T]], what: str, headers: Mapping[str, str]) -> T:
        if headers:
            return await self._asked_once(ask, what, headers)
        sending = Sending()
        SENDING.set(sending)
        for attempt in (1, 2):
            connection = await self._connected()
            sending.written = bool(self._url)  # what happens to a request by HTTP cannot be seen from here
            try:
                # The time-out of whoever runs the tool comes first, and knows better what to say.
                async with asyncio.timeout(self.timeout + 1):
                    return await ask(connection.client)
            except Exception as error:
                problem = await connection.explain(error)
                expired = "Session terminated" in str(error)  # how the SDK says that the server forgot us
                lost = not connection.alive or expired
                if lost:
                    await connection.aclose()
                if attempt == 1 and lost and (expired or not sending.written or not what):
                    continue
                unsettled = (lost or unanswered(error)) and sending.written
                raise _unsettled(problem, what) if unsettled else problem from None
        raise AssertionError  # the second attempt has returned or raised

    async def _asked_once(self, ask: Callable[[Any], Awaitable[T]], what: str, headers: Mapping[str, str]) -> T:
        """Asks by a connection of its own: the headers that came with one request serve no other one."""
        connection = await self._opened(headers)
        try:
            async with asyncio.timeout(self.timeout + 1):
                return await ask(connection.client)
        except Exception as error:
            problem = await connection.explain(error)
            unsettled = not connection.alive or unanswered(error)
            raise _unsettled(problem, what) if unsettled else problem from None
        finally:
            await connection.aclose()

    async def _learn(self, headers: Mapping[str, str]) -> None:
        if self._definitions is None:
            self._definitions = await self._asked(self._listed, "", headers)

    async def _listed(self, client: Any) -> Definitions:
        definitions = Definitions.of(self.name, await listed(client, "tools"), self._allow, self._deny)
        return definitions.with_resources(await listed(client, "resources"))

    async def _connected(self) -> Connection:
        place = self._here()
        async with place.lock:
            if place.connection is None or not place.connection.alive:
                if place.connection is not None:
                    await place.connection.aclose()
                place.connection = None
                place.connection = await self._opened(self._headers)
            return place.connection

    async def _opened(self, headers: Mapping[str, str]) -> Connection:
        events = self._events
        try:
            return await Connection.open(self.name, partial(self._peer, headers, events), self.timeout)
        except Refused as error:
            if events or error.status not in _NOT_STREAMABLE:
                raise
            refused = error
        try:
            connection = await Connection.open(self.name, partial(self._peer, headers, True), self.timeout)
        except ToolUnauthorized:
            raise
        except ToolError:
            raise refused from None
        self._events = True
        return connection

    async def _close(self) -> None:
        place = self._here()
        async with place.lock:
            connection, place.connection = place.connection, None
            if connection is not None:
                await connection.aclose()

    def _here(self) -> _Place:
        """The connection's place on this loop. A forked process has another loop, and leaves its parent's alone."""
        loop = asyncio.get_running_loop()
        if self._place is None or self._place.loop is not loop:
            self._place = _Place(loop)
        return self._place

    def _peer(self, headers: Mapping[str, str], events: bool, ended: Callable[[], None]) -> Peer:
        if self._url:
            return Site(self._url, headers, self.timeout, events)
        from mcp.client.stdio import get_default_environment

        env = {**get_default_environment(), **self._env}
        program = shutil.which(self._command[0], path=env.get("PATH")) or self._command[0]
        return Child([program, *self._command[1:]], env, self._folder, ended)


@dataclass(slots=True)
class _Place:
    loop: asyncio.AbstractEventLoop
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    connection: Connection | None = None


@dataclass(frozen=True, slots=True)
class _ServerTool:
    """A tool of a server; without a name of its own there, the one that reads resources."""

    group: MCP
    definition: ToolDef
    name: str

    @property
    def policy(self) -> ToolPolicy:
        return self.group.policy

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        if self.name:
            return await self.group.call(self.name, arguments, context.report)
        uri = arguments.get("uri")
        if not isinstance(uri, str) or not uri:
            raise ToolError("The arguments do not fit. $.uri: is required, and is text.")
        return ToolOutput(await self.group.read_resource(uri))


def _unsettled(problem: AgenticError, what: str) -> AgenticError:
    """The failure of a connection that was lost, where it may have carried a call out."""
    if not what or type(problem) is not ToolError:  # one who is not let in has done nothing
        return problem
    return ToolError(problem.message, hint=f"{what} had been sent: whether it took effect is not known.")


def _plain(item: Any) -> dict[str, Any]:
    plain: dict[str, Any] = item.model_dump(mode="json", by_alias=False, exclude_none=True, exclude={"meta", "icons"})
    return plain


def toolgroup(toolgroup_id: str) -> MCP:
    """The entry point of `mcp::*`: the server that the configuration calls so.

    Raises:
        ConfigError: It names no such server.
    """
    name = toolgroup_id.partition("::")[2]
    servers = current_config().mcp
    if name not in servers:
        known = ", ".join(servers) or "none"
        raise ConfigError(
            f"The configuration has no MCP server called {name!r}; it has: {known}.",
            hint="Add it under mcp: in run.yaml, or pass MCP(...) itself.",
        )
    return MCP(name, **servers[name].model_dump(exclude_unset=True))
