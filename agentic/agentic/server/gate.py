"""What stands before every route: who may ask, from where, and how much."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..config import ServerConfig
from . import errors, failures
from .access import ANYONE, Key, Keys
from .limits import Limits
from .watch import REQUEST_ID, RequestWatch, Watch

LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN_PATHS = ("/v1/health",)
"""Paths that need no token: a load balancer asks them."""


class Gate:
    """ASGI middleware: checks Host, Origin, key, limits, media type and size, and gives each answer a trace id.

    Args:
        app: What is behind it.
        settings: The server's settings.
        keys: Who may ask.
        limits: How much.
        watch: What is told of requests.
    """

    def __init__(self, app: ASGIApp, *, settings: ServerConfig, keys: Keys, limits: Limits, watch: Watch) -> None:
        self._app = app
        self._settings = settings
        self._keys = keys
        self._limits = limits
        self._watch = watch
        self._hosts = {name.lower() for name in (*LOOPBACK, settings.host, *settings.hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        watched = self._watch.request(scope)
        told = REQUEST_ID.set(watched.request_id)
        try:
            with ExitStack() as held:
                held.callback(watched.end)
                await self._answered(scope, receive, send, watched, held)
        finally:
            REQUEST_ID.reset(told)

    async def _answered(
        self, scope: Scope, receive: Receive, send: Send, watched: RequestWatch, held: ExitStack
    ) -> None:
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        allowed = origin if origin in self._settings.origins else None
        begun = False

        async def marked(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered["x-trace-id"] = watched.request_id
                if allowed:
                    answered["access-control-allow-origin"] = allowed
                    answered["access-control-expose-headers"] = "x-turn-id, x-trace-id"
                    answered.add_vary_header("origin")
                watched.begin(message["status"], answered.get("x-turn-id"))
            elif not message.get("more_body", False):
                held.close()  # before the client can know that the answer is complete, and ask again
            await send(message)

        if allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            asked = headers.get("access-control-request-headers")  # an allowed page may send any
            await _answer(marked, 204, None, _PREFLIGHT | ({"access-control-allow-headers": asked} if asked else {}))
            return
        try:
            key = await self._holder(scope, headers, origin, allowed)
            if key is not ANYONE:
                watched.ids |= {"key": key.key_id, "tenant": key.tenant}
            self._check_body(scope, headers)
            held.enter_context(self._counted(scope, key))
            scope.setdefault("state", {})["tenant"] = key.tenant
            await self._through(scope, receive, marked)
        except HTTPException as refused:
            await _answer(marked, refused.status_code, refused.detail, refused.headers)
        except Exception as error:  # FastAPI's own handler of last resort would stand outside this gate
            if begun:
                raise
            answer = errors.answer(Request(scope), failures.status_of(error), failures.message_of(error))
            await answer(scope, receive, marked)

    async def _holder(self, scope: Scope, headers: Headers, origin: str | None, allowed: str | None) -> Key:
        """Whose request it is; pages that use a reader's browser to ask are turned away."""
        demanded = await self._keys.demanded()
        host = headers.get("host", "")
        if (not demanded or self._settings.hosts) and _name(host) not in self._hosts:
            raise HTTPException(403, f"The host {host[:100]!r} is none of this server's; add it to server.hosts.")
        if origin and not allowed and urlsplit(origin).netloc.lower() != host.lower():
            raise HTTPException(403, f"Pages of {origin[:100]!r} may not use this server; add it to server.origins.")
        if not demanded or scope["path"] in OPEN_PATHS:
            return ANYONE
        if (key := await self._keys.holder(headers.get("authorization", ""))) is None:
            raise HTTPException(
                401, "Send a key of this server: Authorization: Bearer …", {"www-authenticate": "Bearer"}
            )
        if lacking := key.lacks(scope["method"], scope["path"]):
            raise HTTPException(403, f"This key lacks the scope {lacking!r}.")
        return key

    @contextmanager
    def _counted(self, scope: Scope, key: Key) -> Iterator[None]:
        if scope["path"] in OPEN_PATHS:
            yield
            return
        if (late := self._limits.enter(key)) is not None:
            why, seconds = late
            raise HTTPException(429, why, {"retry-after": str(seconds)})
        try:
            yield
        finally:
            self._limits.leave(key)

    def _check_body(self, scope: Scope, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 15 or int(length) > self._settings.max_body:
            raise HTTPException(413, self._too_large)
        has_body = length != "0" or "transfer-encoding" in headers
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        form = media_type == "multipart/form-data" and scope["path"].endswith("/files")
        if has_body and scope["method"] != "GET" and media_type != "application/json" and not form:
            raise HTTPException(415, "Send JSON, with content-type: application/json.")

    async def _through(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on; its body may be so large and take so long."""
        size, whole = 0, False
        latest = asyncio.get_running_loop().time() + self._settings.body_seconds

        async def limited() -> Message:
            nonlocal size, whole
            if whole:
                return await receive()  # only news of the connection come from here on
            try:
                async with asyncio.timeout_at(latest):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "The body took too long to arrive.", {"connection": "close"}) from None
            size += len(message.get("body", b""))
            if size > self._settings.max_body:
                raise HTTPException(413, self._too_large, {"connection": "close"})
            whole = not message.get("more_body", False)
            return message

        await self._app(scope, limited, send)

    @property
    def _too_large(self) -> str:
        return f"The body is larger than {self._settings.max_body} bytes."


_PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, PUT, DELETE",
    "access-control-allow-headers": "authorization, content-type, last-event-id",
    "access-control-max-age": "600",
}


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


async def _answer(send: Send, status: int, message: str | None, headers: Mapping[str, str] | None = None) -> None:
    """Answers before any route is known, so in the form of both APIs."""
    kind, code = _KINDS.get(status, ("invalid_request_error", None))
    error = {"message": message, "type": kind, "param": None, "code": code}
    body = b"" if message is None else json.dumps({"detail": message, "error": error}).encode()
    given = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    pairs = [(name.encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


_KINDS = {
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", None),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}
