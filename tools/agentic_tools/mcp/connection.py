"""One connection to a server, and what its failures mean.

It lives on the loop of sync calls, in a task of its own: the SDK's scopes must be left by the task that entered them,
and the loop that a tool is called from may be gone before its next call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeAlias

from agentic.types.errors import AgenticError, ConfigError, ToolError, ToolUnauthorized

from ..text import clean, clip
from .stdio import Child
from .web import Site

CLOSING = 10.0
"""Seconds that closing may take; a process gets 6 of them."""

_ERROR_CHARS = 1000


Peer: TypeAlias = Child | Site
"""The other side: a process or an address."""


class Refused(ToolError):
    """A server answered a request with an HTTP status that says no.

    Attributes:
        status: The status.
    """

    def __init__(self, server: str, status: int) -> None:
        phrase = HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else ""
        super().__init__(f"{server} refused the request (HTTP {f'{status} {phrase}'.strip()}).")
        self.status = status


class Connection:
    """A connection that is open, or was. Use `Connection.open`.

    Args:
        name: The server's name, for errors.
        make: Makes the other side; it is given what to call when that has ended.
        seconds: How long the server may take to answer a request, the first included.
    """

    def __init__(self, name: str, make: Callable[[Callable[[], None]], Peer], seconds: float) -> None:
        self.name = name
        self._seconds = seconds
        self._leave = asyncio.Event()
        self._peer = make(self._leave.set)
        self._ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._failure: BaseException | None = None
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, name: str, make: Callable[[Callable[[], None]], Peer], seconds: float) -> Connection:
        """Connects; the arguments are those of the class.

        Raises:
            ConfigError: The program cannot be started.
            ToolError: The server cannot be reached, ends, answers something else than MCP, or takes too long.
        """
        connection = cls(name, make, seconds)
        connection._task = asyncio.create_task(connection._hold())
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(connection._ready)
        except TimeoutError:
            await connection.aclose()
            raise ToolError(f"The MCP server {name!r} did not answer within {seconds:g} s of its start.") from None
        except asyncio.CancelledError:
            await connection.aclose()
            raise
        except Exception as error:
            await connection.aclose()
            raise await connection.explain(error, starting=True) from None
        return connection

    @property
    def client(self) -> Any:
        """The SDK's client."""
        return self._ready.result()

    @property
    def alive(self) -> bool:
        """Whether the server can be expected to answer."""
        return not self._leave.is_set() and self._task is not None and not self._task.done()

    async def aclose(self) -> None:
        """Closes the connection; the server's process has ended then."""
        self._closing = True
        self._leave.set()
        if self._task is None:
            return
        if not self._ready.done():
            self._task.cancel()
        await asyncio.wait({self._task}, timeout=CLOSING)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSING)

    async def explain(self, error: BaseException, *, starting: bool = False) -> AgenticError:
        """What a failure means: the connection's own if it has broken, otherwise that of one request."""
        server = f"The MCP server {self.name!r}"
        if _closed(error) and self._task is not None:
            await asyncio.wait({self._task}, timeout=1)  # its end may say why
        cause = _first(self._failure or error)
        if isinstance(cause, AgenticError):
            return cause
        if isinstance(cause, OSError) and cause.filename is not None:
            return ConfigError(f"{server} cannot be started: {cause.strerror}: {str(cause.filename)!r}.")
        peer = self._peer
        if isinstance(peer, Child) and peer.problem:
            return ToolError(f"{server} {peer.problem}, so the connection was closed.")
        if isinstance(peer, Child) and _closed(cause):
            said = clean(bytes(peer.stderr).decode("utf-8", "replace"))
            last = clip(said.splitlines()[-1], 300) if said else ""
            return ToolError(f"{server} ended.", hint=f"The last it said: {last}" if starting and last else "")
        if isinstance(peer, Site) and peer.status:
            refused = Refused(server, peer.status)
            return ToolUnauthorized(refused.message) if peer.status == HTTPStatus.UNAUTHORIZED else refused
        return ToolError(f"{server} {_in_words(cause)}.")

    async def _hold(self) -> None:
        from mcp import Client

        try:
            async with Client(self._peer.transport(), read_timeout_seconds=self._seconds, cache=None) as client:
                if not self._ready.done():
                    self._ready.set_result(client)
                await self._leave.wait()
        except (Exception, BaseExceptionGroup, asyncio.CancelledError) as error:
            if not self._closing:
                self._failure = error
        finally:
            self._leave.set()
            if not self._ready.done():
                self._ready.set_exception(self._failure if isinstance(self._failure, Exception) else EOFError())
                self._ready.exception()  # whoever opened it may have given up already


def _closed(error: BaseException) -> bool:
    """Whether a failure only says that the other side is gone."""
    import anyio
    from mcp import MCPError
    from mcp_types import CONNECTION_CLOSED

    if isinstance(error, MCPError):
        return bool(error.code == CONNECTION_CLOSED)
    return isinstance(error, EOFError | ConnectionError | anyio.ClosedResourceError | anyio.BrokenResourceError)


def unanswered(error: BaseException) -> bool:
    """Whether a failure leaves it open what the server did with a request."""
    from mcp import MCPError
    from mcp_types import REQUEST_TIMEOUT

    late = isinstance(error, TimeoutError) or (isinstance(error, MCPError) and error.code == REQUEST_TIMEOUT)
    return late or _closed(error)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return error


def _in_words(error: BaseException) -> str:
    """The rest of a sentence that begins with the server's name."""
    import httpx2
    from mcp import MCPError
    from mcp_types import REQUEST_TIMEOUT
    from pydantic import ValidationError

    match error:
        case MCPError() if error.code == REQUEST_TIMEOUT:
            return "took too long to answer"
        case _ if _closed(error):
            return "broke the connection off"
        case MCPError():
            return f"answered with an error: {clip(clean(error.message), _ERROR_CHARS).rstrip('.') or error.code}"
        case TimeoutError() | httpx2.TimeoutException():
            return "took too long to answer"
        case httpx2.ConnectError():
            return "cannot be reached"
        case httpx2.HTTPError() | httpx2.InvalidURL():
            return f"broke the connection off: {type(error).__name__}"
        case ValidationError():
            return "answered with something that is not what MCP documents"
        case _:
            return f"failed: {type(error).__name__}: {clip(clean(str(error)), 300).rstrip('.')}"
